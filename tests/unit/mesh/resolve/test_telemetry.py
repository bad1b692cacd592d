"""https://istio.io/latest/docs/tasks/observability/telemetry/"""

from __future__ import annotations

import pytest
from unit.mesh.resolve.documents import (
    CLIENT,
    SERVER,
    cluster_names,
    host,
    listener,
    manifest,
    mesh_config,
    service,
    view_of,
)

from mesh.ir.telemetry import Telemetry

CONFIG = mesh_config(f"""
extensionProviders:
  - {{name: out, envoyFileAccessLog: {{path: /dev/stdout}}}}
  - {{name: json, envoyFileAccessLog: {{path: /log, logFormat: {{labels: {{code: "%RESPONSE_CODE%"}}}}}}}}
  - {{name: otel, envoyOtelAls: {{service: {host("collector")}, port: 8080}}}}
  - {{name: spans, opentelemetry: {{service: {host("collector")}, port: 8080}}}}
defaultConfig: {{tracing: {{sampling: 5}}}}
""")


def told(*documents: str, inbound: bool = False) -> Telemetry:
    view = view_of(CLIENT, SERVER, service("collector"), *documents, proxy="server" if inbound else "client")
    return listener(view, "127.1.0.1_9443" if inbound else "127.1.0.9_8080").telemetry


def telemetry(name: str, spec: str, *, namespace: str = "shop") -> str:
    return manifest("Telemetry", name, spec, namespace=namespace)


def logs(*documents: str, inbound: bool = False) -> list[str]:
    return [log.provider for log in told(CONFIG, *documents, inbound=inbound).access_logs]


ROOT = telemetry("root", "accessLogging: [{providers: [{name: out}]}]", namespace="istio-system")


def test_nothing_is_told_unless_it_is_asked_for() -> None:
    assert told() == Telemetry()


def test_the_meshs_access_log_file_counts_where_no_telemetry_does() -> None:
    config = mesh_config("accessLogFile: /dev/stdout\naccessLogEncoding: JSON")
    (log,) = told(config).access_logs

    assert log.path == "/dev/stdout"
    assert log.json_format["response_code"] == "%RESPONSE_CODE%"


@pytest.mark.parametrize(
    "documents, providers",
    [
        ([ROOT], ["out"]),
        ([ROOT, telemetry("own", "accessLogging: [{providers: [{name: json}]}]")], ["json"]),
        ([ROOT, telemetry("own", "accessLogging: [{disabled: true}]")], []),
        (
            [
                ROOT,
                telemetry(
                    "one",
                    "selector: {matchLabels: {app: client}}\naccessLogging: [{providers: [{name: otel}]}]",
                ),
            ],
            ["otel"],
        ),
        (
            [
                ROOT,
                telemetry("one", "selector: {matchLabels: {app: server}}\naccessLogging: [{disabled: true}]"),
            ],
            ["out"],
        ),
    ],
)
def test_the_narrowest_telemetry_says_where_requests_are_logged(
    documents: list[str], providers: list[str]
) -> None:
    assert logs(*documents) == providers


def test_a_log_may_be_for_one_side_of_a_call() -> None:
    servers = telemetry("own", "accessLogging: [{match: {mode: SERVER}, providers: [{name: out}]}]")

    assert logs(servers) == []
    assert logs(servers, inbound=True) == ["out"]


def test_formats_and_filters_are_carried_over() -> None:
    rule = telemetry(
        "own", "accessLogging: [{providers: [{name: json}], filter: {expression: response.code >= 400}}]"
    )
    (log,) = told(CONFIG, rule).access_logs

    assert (log.path, log.json_format, log.filter) == (
        "/log",
        {"code": "%RESPONSE_CODE%"},
        "response.code >= 400",
    )


def test_spans_go_to_the_provider_and_are_sampled_as_the_narrowest_says() -> None:
    root = telemetry("root", "tracing: [{providers: [{name: spans}]}]", namespace="istio-system")
    own = telemetry("own", "tracing: [{randomSamplingPercentage: 50}]")

    by_mesh, by_namespace = told(CONFIG, root).tracing, told(CONFIG, root, own).tracing

    assert by_mesh is not None
    assert by_namespace is not None
    assert (by_mesh.sampling_percent, by_namespace.sampling_percent) == (5, 50)
    assert by_namespace.cluster == f"outbound|8080||{host('collector')}"
    assert by_namespace.service_name == "client.shop"


def test_spans_may_be_switched_off() -> None:
    root = telemetry("root", "tracing: [{providers: [{name: spans}]}]", namespace="istio-system")
    found = told(CONFIG, root, telemetry("own", "tracing: [{disableSpanReporting: true}]")).tracing

    assert found is not None
    assert found.disabled


def test_a_collectors_cluster_is_there_even_where_the_sidecar_resource_does_not_let_it_through() -> None:
    scope = manifest("Sidecar", "scope", f"egress: [{{hosts: ['./{host('server')}']}}]")
    own = telemetry("own", "tracing: [{providers: [{name: spans}]}]")

    view = view_of(CLIENT, SERVER, service("collector"), CONFIG, scope, own)

    assert f"outbound|8080||{host('collector')}" in cluster_names(view)


def test_istios_built_in_log_needs_no_entry_in_mesh_config() -> None:
    (log,) = told(telemetry("own", "accessLogging: [{providers: [{name: envoy}]}]")).access_logs

    assert (log.provider, log.path) == ("envoy", "/dev/stdout")


def test_a_collector_that_is_no_service_is_told_nothing() -> None:
    """As pilot, which does not find the provider's cluster."""
    wanted = telemetry(
        "all", "accessLogging: [{providers: [{name: otel}]}]\ntracing: [{providers: [{name: spans}]}]"
    )
    assert told(CONFIG, wanted).tracing is not None
    alone = listener(view_of(CLIENT, SERVER, CONFIG, wanted, proxy="client"), "127.1.0.9_8080").telemetry
    assert alone == Telemetry()
