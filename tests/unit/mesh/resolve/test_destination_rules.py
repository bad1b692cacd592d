"""https://istio.io/latest/docs/reference/config/networking/destination-rule/"""

from __future__ import annotations

from datetime import timedelta

import pytest
from unit.mesh.resolve.documents import (
    CLIENT,
    NAMESPACE,
    SERVER,
    cluster_names,
    host,
    manifest,
    mesh_config,
    of_service,
    service,
    view_of,
    workload,
)

from mesh.ir.cluster import Balancing


def rule(
    name: str,
    connections: int,
    *,
    namespace: str = NAMESPACE,
    target: str | None = None,
    export_to: str = "",
    more: str = "",
) -> str:
    """A rule that is told from others by its limit of connections."""
    said = f"exportTo: [{export_to}]" if export_to else ""
    return manifest(
        "DestinationRule",
        name,
        f"""
host: "{target or host("server")}"
trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {connections}}}}}}}
{said}
{more}
""",
        namespace=namespace,
    )


def connections(*documents: str, subset: str = "") -> int | None:
    view = view_of(*documents)
    return of_service(view, "server", subset=subset).pool.max_connections


FAR_CLIENT = workload("client", "client", namespace="far")


def test_the_clients_namespace_comes_before_the_services_and_the_root() -> None:
    own = rule("own", 1, namespace="far")
    services = rule("service", 2)
    root = rule("root", 3, namespace="istio-system")

    assert connections(FAR_CLIENT, SERVER, root, services, own) == 1
    assert connections(FAR_CLIENT, SERVER, root, services) == 2
    assert connections(FAR_CLIENT, SERVER, root) == 3


def test_a_rule_that_is_not_exported_counts_in_its_own_namespace_alone() -> None:
    private = rule("private", 2, export_to='"."')

    assert connections(CLIENT, SERVER, private) == 2
    assert connections(FAR_CLIENT, SERVER, private) is None


def test_a_rule_may_be_exported_to_a_namespace_by_name() -> None:
    assert connections(FAR_CLIENT, SERVER, rule("named", 2, export_to="far")) == 2
    assert connections(FAR_CLIENT, SERVER, rule("named", 2, export_to="other")) is None


def test_the_most_specific_host_wins_within_a_namespace() -> None:
    wide = rule("wide", 1, target="*.cluster.local")
    narrow = rule("narrow", 2, target=f"*.{NAMESPACE}.svc.cluster.local")
    exact = rule("exact", 3)

    assert connections(CLIENT, SERVER, wide, narrow) == 2
    assert connections(CLIENT, SERVER, wide, narrow, exact) == 3


def test_a_wide_rule_of_the_clients_namespace_comes_before_an_exact_one_of_the_root() -> None:
    wide = rule("wide", 1, target="*.cluster.local")

    assert connections(CLIENT, SERVER, rule("root", 2, namespace="istio-system"), wide) == 1


def test_the_mesh_config_may_change_to_whom_rules_are_exported() -> None:
    config = mesh_config("defaultDestinationRuleExportTo: ['.']")

    assert connections(FAR_CLIENT, SERVER, config, rule("service", 2)) is None


def test_rules_for_one_host_are_joined_and_the_first_policy_counts() -> None:
    subset = "subsets: [{name: %s, labels: {version: %s}}]"
    first = rule("first", 1, more=subset % ("v1", "v1"))
    second = rule("second", 2, more=subset % ("v2", "v2"))

    view = view_of(CLIENT, SERVER, first, second)

    assert of_service(view, "server").pool.max_connections == 1
    assert {f"outbound|8080|{name}|{host('server')}" for name in ("", "v1", "v2")} <= cluster_names(view)


def test_of_rules_that_are_exported_differently_the_last_counts() -> None:
    """They are not joined, as then each would be seen where only the other may be."""
    everywhere, here = rule("a", 1), rule("b", 2, export_to='".", far')

    assert connections(CLIENT, SERVER, everywhere, here) == 2
    assert connections(CLIENT, SERVER, here, everywhere) == 1
    assert connections(FAR_CLIENT, SERVER, everywhere, here) == 2
    assert connections(workload("client", "client", namespace="other"), SERVER, everywhere, here) == 1


def test_a_joined_rule_without_a_policy_takes_the_next_ones() -> None:
    first = manifest("DestinationRule", "first", f"host: {host('server')}\nsubsets: [{{name: v1}}]")

    assert connections(CLIENT, SERVER, first, rule("second", 2)) == 2


def test_of_two_subsets_with_one_name_the_first_counts() -> None:
    more = "subsets: [{name: v1, labels: {version: %s}}]"
    documents = (
        CLIENT,
        service("server"),
        workload("one", "server", labels={"version": "one"}),
        workload("two", "server", labels={"version": "two"}),
        rule("first", 1, more=more % "one"),
        rule("second", 2, more=more % "two"),
    )

    hosts = [
        host
        for group in of_service(view_of(*documents), "server", subset="v1").groups
        for host in group.hosts
    ]

    assert [host.workload for host in hosts] == ["shop/one"]


def test_a_rule_for_some_workloads_counts_for_them_alone_and_before_others() -> None:
    for_clients = rule("clients", 1, more="workloadSelector: {matchLabels: {app: client}}")
    for_others = rule("others", 2, more="workloadSelector: {matchLabels: {app: other}}")
    for_all = rule("all", 3)

    assert connections(CLIENT, SERVER, for_all, for_others, for_clients) == 1
    assert connections(CLIENT, SERVER, for_others, for_all) == 3


POLICIES = f"""
host: {host("server")}
trafficPolicy:
  connectionPool: {{tcp: {{maxConnections: 1}}}}
  outlierDetection: {{consecutive5xxErrors: 9}}
  portLevelSettings: []
subsets:
  - name: own
    trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: 2}}}}}}
  - name: none
"""


def test_a_subset_replaces_single_settings_and_keeps_the_others() -> None:
    view = view_of(CLIENT, SERVER, manifest("DestinationRule", "server", POLICIES))
    own, none = (of_service(view, "server", subset=name) for name in ("own", "none"))

    assert own.pool.max_connections == 2
    assert none.pool.max_connections == 1
    assert [one.outlier.consecutive_5xx for one in (own, none) if one.outlier] == [9, 9]


@pytest.mark.parametrize("port, outlier, limit", [(8080, None, 3), (9090, 9, 1)])
def test_what_is_said_for_a_port_replaces_everything_above_it(
    port: int, outlier: int | None, limit: int
) -> None:
    spec = f"""
host: {host("server")}
trafficPolicy:
  connectionPool: {{tcp: {{maxConnections: 1}}}}
  outlierDetection: {{consecutive5xxErrors: 9}}
  portLevelSettings:
    - port: {{number: {port}}}
      connectionPool: {{tcp: {{maxConnections: 3}}}}
"""
    found = of_service(view_of(CLIENT, SERVER, manifest("DestinationRule", "server", spec)), "server")

    assert (found.outlier.consecutive_5xx if found.outlier else None) == outlier
    assert found.pool.max_connections == limit


def test_a_subsets_port_replaces_what_the_subset_says() -> None:
    spec = f"""
host: {host("server")}
trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: 1}}}}}}
subsets:
  - name: v1
    trafficPolicy:
      connectionPool: {{tcp: {{maxConnections: 2}}}}
      portLevelSettings:
        - port: {{number: 8080}}
          loadBalancer: {{simple: RANDOM}}
"""
    found = of_service(
        view_of(CLIENT, SERVER, manifest("DestinationRule", "server", spec)), "server", subset="v1"
    )

    assert found.balancer.policy is Balancing.RANDOM
    assert found.pool.max_connections is None


def test_defaults_are_istios() -> None:
    found = of_service(view_of(CLIENT, SERVER), "server")

    assert found.balancer.policy is Balancing.LEAST_REQUEST
    assert found.outlier is None
    assert found.pool.connect_timeout == timedelta(seconds=10)
    assert found.pool.max_retries is None


def test_outlier_detection_takes_envoys_defaults_and_zero_switches_off() -> None:
    spec = f"host: {host('server')}\ntrafficPolicy: {{outlierDetection: %s}}"

    def outlier(text: str) -> object:
        found = of_service(
            view_of(CLIENT, SERVER, manifest("DestinationRule", "server", spec % text)), "server"
        ).outlier
        assert found is not None
        return (
            found.consecutive_5xx,
            found.consecutive_gateway_errors,
            found.consecutive_local_origin_failures,
            found.max_ejection_percent,
        )

    assert outlier("{interval: 1s}") == (5, None, None, 10)
    assert outlier("{consecutive5xxErrors: 0, consecutiveGatewayErrors: 1, maxEjectionPercent: 100}") == (
        None, 1, None, 100,
    )  # fmt: skip
    assert outlier("{splitExternalLocalOriginErrors: true}") == (5, None, 5, 10)


def test_the_meshs_connection_settings_count_where_a_rule_says_nothing() -> None:
    config = mesh_config("connectTimeout: 3s\ntcpKeepalive: {probes: 4}")

    pool = of_service(view_of(CLIENT, SERVER, config, rule("server", 7)), "server").pool

    assert (pool.connect_timeout, pool.tcp_keepalive_probes, pool.max_connections) == (
        timedelta(seconds=3),
        4,
        7,
    )


def test_an_origin_names_the_setting_and_its_manifest() -> None:
    found = of_service(view_of(CLIENT, SERVER, rule("limits", 7)), "server")

    assert found.pool.origin.name == "limits"
    assert found.pool.origin.path == "spec.trafficPolicy.connectionPool"
    assert found.pool.origin.line > 0
