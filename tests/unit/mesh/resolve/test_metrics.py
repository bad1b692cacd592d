"""https://istio.io/latest/docs/reference/config/telemetry/#Metrics"""

from __future__ import annotations

import pytest
from unit.mesh.resolve.documents import (
    CLIENT,
    SERVER,
    host,
    listener,
    manifest,
    mesh_config,
    service,
    view_of,
)

from mesh.ir.metrics import MetricKind, Metrics
from mesh.ir.telemetry import Telemetry

ON = "metrics: [{providers: [{name: prometheus}]}]"
EVERY = set(MetricKind)
ALL_OFF = "{match: {metric: ALL_METRICS}, disabled: true}"


def told(*documents: str, inbound: bool = False) -> Telemetry:
    view = view_of(CLIENT, SERVER, *documents, proxy="server" if inbound else "client")
    return listener(view, "127.1.0.1_9443" if inbound else "127.1.0.9_8080").telemetry


def found(*documents: str, inbound: bool = False) -> Metrics:
    metrics = told(*documents, inbound=inbound).metrics
    assert metrics is not None
    return metrics


def telemetry(name: str, spec: str, *, namespace: str = "shop") -> str:
    return manifest("Telemetry", name, spec, namespace=namespace)


def root(overrides: str = "") -> str:
    spec = f"metrics: [{{providers: [{{name: prometheus}}], overrides: [{overrides}]}}]"
    return telemetry("root", spec, namespace="istio-system")


def own(overrides: str, name: str = "own", selector: str = "") -> str:
    return telemetry(name, f"{selector}metrics: [{{overrides: [{overrides}]}}]")


def kinds(*documents: str, inbound: bool = False) -> set[MetricKind]:
    metrics = told(*documents, inbound=inbound).metrics
    return {metric.kind for metric in metrics.metrics} if metrics else set()


def tags(*documents: str, inbound: bool = False) -> dict[str, str | None]:
    metrics = found(*documents, inbound=inbound).metrics
    return dict(next(one.tags for one in metrics if one.kind is MetricKind.REQUEST_COUNT))


def test_there_are_no_metrics_unless_they_are_asked_for() -> None:
    assert told() == Telemetry()
    logs = telemetry("logs", "accessLogging: [{providers: [{name: envoy}]}]", namespace="istio-system")
    assert told(logs).metrics is None
    view = view_of(CLIENT, SERVER, proxy="client")
    assert {cluster.named for cluster in view.clusters} == {None}
    assert {one.party for cluster in view.clusters for group in cluster.groups for one in group.hosts} == {
        None
    }


def test_a_default_provider_is_enough_and_an_entry_without_providers_means_it() -> None:
    default = mesh_config("defaultProviders: {metrics: [prometheus]}")
    assert kinds(default) == EVERY
    assert kinds(default, own("{match: {metric: REQUEST_COUNT}, disabled: true}")) == EVERY - {
        MetricKind.REQUEST_COUNT
    }
    assert kinds(own("{match: {metric: REQUEST_COUNT}}")) == set(), "of nobody, nothing is asked"


def test_who_does_not_scrape_gets_nothing() -> None:
    config = mesh_config("extensionProviders: [{name: log, envoyFileAccessLog: {}}]")
    spec = "metrics: [{providers: [{name: log}]}]"
    assert told(config, telemetry("own", spec)).metrics is None
    assert told(telemetry("own", "metrics: [{providers: [{name: nobody}]}]")).metrics is None


def test_the_narrowest_that_names_providers_says_which_count() -> None:
    config = mesh_config("extensionProviders: [{name: other, prometheus: {}}]")
    wide = root("{tagOverrides: {a: {value: \"'1'\"}}}")
    narrow = telemetry("own", "metrics: [{providers: [{name: other}]}]")
    assert found(config, wide).provider == "prometheus"
    assert found(config, wide, narrow).provider == "other"
    assert tags(config, wide, narrow) == {}, "what the first was told is not the other's"


@pytest.mark.parametrize(
    "match, off",
    [
        ("{metric: REQUEST_COUNT}", {MetricKind.REQUEST_COUNT}),
        ("{customMetric: response_bytes}", {MetricKind.RESPONSE_SIZE}),
        ("{metric: ALL_METRICS}", EVERY),
        ("{}", EVERY),
        ("{mode: SERVER}", set()),
        ("{metric: REQUEST_SIZE, mode: CLIENT}", {MetricKind.REQUEST_SIZE}),
        ("{metric: TCP_SENT_BYTES, mode: CLIENT_AND_SERVER}", {MetricKind.TCP_SENT_BYTES}),
    ],
)
def test_metrics_are_switched_off_as_they_match(match: str, off: set[MetricKind]) -> None:
    assert kinds(root(f"{{match: {match}, disabled: true}}")) == EVERY - off


def test_a_side_has_its_own() -> None:
    rule = root("{match: {metric: REQUEST_COUNT, mode: SERVER}, disabled: true}")
    assert kinds(rule) == EVERY
    assert kinds(rule, inbound=True) == EVERY - {MetricKind.REQUEST_COUNT}


def test_what_is_off_is_on_again_only_where_that_is_said() -> None:
    off = root("{match: {metric: REQUEST_COUNT}, disabled: true}")
    tagged = own("{match: {metric: REQUEST_COUNT}, tagOverrides: {a: {value: \"'1'\"}}}")
    back = own("{match: {metric: REQUEST_COUNT}, disabled: false}")
    assert kinds(off, tagged) == EVERY - {MetricKind.REQUEST_COUNT}
    assert kinds(off, back) == EVERY


def test_after_all_were_switched_off_any_override_brings_all_back() -> None:
    """pilot's `disabledAllMetricsProviders`."""
    assert kinds(root(ALL_OFF), own("{match: {metric: REQUEST_COUNT}, disabled: false}")) == EVERY
    assert kinds(root(ALL_OFF), own("{match: {metric: REQUEST_COUNT, mode: SERVER}}")) == set()


def test_labels_are_merged_name_by_name_from_the_mesh_to_the_workload() -> None:
    wide = root("{tagOverrides: {a: {value: \"'mesh'\"}, b: {value: \"'mesh'\"}, c: {value: \"'mesh'\"}}}")
    space = own("{tagOverrides: {b: {value: \"'space'\"}, c: {operation: REMOVE}}}")
    one = own(
        "{match: {metric: REQUEST_COUNT}, tagOverrides: {c: {operation: UPSERT, value: request.host}}}",
        "one",
        "selector: {matchLabels: {app: client}}\n",
    )
    assert tags(wide) == {"a": "'mesh'", "b": "'mesh'", "c": "'mesh'"}
    assert tags(wide, space) == {"a": "'mesh'", "b": "'space'", "c": None}
    assert tags(wide, space, one) == {"a": "'mesh'", "b": "'space'", "c": "request.host"}
    others = [metric.tags for metric in found(wide, space, one).metrics][1:]
    assert {dict(each)["c"] for each in others} == {None}


def test_a_conversion_around_all_of_an_expression_is_left_out() -> None:
    assert tags(root('{tagOverrides: {port: {value: "string(destination.port)"}}}')) == {
        "port": "destination.port"
    }


def test_a_proxy_says_who_it_is_and_its_clusters_and_hosts_do() -> None:
    metrics = found(root())
    assert metrics.own is not None
    assert (metrics.own.namespace, metrics.own.workload, metrics.own.app) == ("shop", "client", "client")
    view = view_of(CLIENT, SERVER, service("other"), root(), proxy="client")
    cluster = next(one for one in view.clusters if one.name == f"outbound|8080||{host('server')}")
    assert cluster.named is not None
    assert (cluster.named.host, cluster.named.name, cluster.named.namespace) == (
        host("server"),
        "server",
        "shop",
    )
    parties = [one.party for group in cluster.groups for one in group.hosts]
    assert [(one.workload, one.namespace, one.app) for one in parties if one] == [
        ("server", "shop", "server")
    ]
    inbound = view_of(CLIENT, SERVER, root(), proxy="server")
    served = next(one for one in inbound.clusters if one.name.startswith("inbound|"))
    assert served.named == cluster.named


def test_the_origin_is_the_entry_that_was_last() -> None:
    assert found(root()).origin.name == "root"
    assert found(root(), own("{tagOverrides: {a: {operation: REMOVE}}}")).origin.name == "own"
    default = found(mesh_config("defaultProviders: {metrics: [prometheus]}"))
    assert default.origin.path.endswith("defaultProviders.metrics")
