"""https://istio.io/latest/docs/tasks/traffic-management/locality-load-balancing/"""

from __future__ import annotations

from unit.mesh.resolve.documents import (
    CLIENT,
    manifest,
    mesh_config,
    of_service,
    priorities,
    service,
    view_of,
    workload,
)

HOSTS = (
    CLIENT,
    service("server"),
    workload("same-zone", "server", locality="west/west-a"),
    workload("same-region", "server", locality="west/west-b"),
    workload("east", "server", locality="east/east-a"),
    workload("north", "server", locality="north/north-a"),
)
OUTLIER = "outlierDetection: {consecutive5xxErrors: 3}"


def rule(policy: str) -> str:
    lines = "\n".join(f"  {line}" for line in policy.splitlines())
    return manifest("DestinationRule", "server", f"host: server\ntrafficPolicy:\n{lines}")


def test_without_outlier_detection_all_localities_are_one_priority() -> None:
    view = view_of(*HOSTS, rule("loadBalancer: {localityLbSetting: {failover: [{from: west, to: east}]}}"))

    assert {priority for priority, _, _ in priorities(of_service(view, "server"))} == {0}


def test_with_outlier_detection_the_nearest_come_first_without_gaps() -> None:
    view = view_of(*HOSTS, rule(OUTLIER))

    assert priorities(of_service(view, "server")) == [
        (0, "west/west-a", ["same-zone"]),
        (1, "west/west-b", ["same-region"]),
        (2, "east/east-a", ["east"]),
        (2, "north/north-a", ["north"]),
    ]


def test_priorities_have_no_gaps_where_nobody_is_near() -> None:
    remote = [document for document in HOSTS if "west/west-b" not in document]

    view = view_of(*remote, rule(OUTLIER))

    assert [priority for priority, _, _ in priorities(of_service(view, "server"))] == [0, 1, 1]


def test_failover_puts_its_region_before_all_others() -> None:
    view = view_of(
        *HOSTS,
        rule(OUTLIER + "\nloadBalancer: {localityLbSetting: {failover: [{from: west, to: east}]}}"),
    )

    assert [(priority, hosts) for priority, _, hosts in priorities(of_service(view, "server"))] == [
        (0, ["same-zone"]),
        (1, ["same-region"]),
        (2, ["east"]),
        (3, ["north"]),
    ]


def test_failover_of_another_region_changes_nothing_here() -> None:
    view = view_of(
        *HOSTS,
        rule(OUTLIER + "\nloadBalancer: {localityLbSetting: {failover: [{from: south, to: east}]}}"),
    )

    assert [priority for priority, _, _ in priorities(of_service(view, "server"))] == [0, 1, 2, 2]


def test_failover_priority_ranks_hosts_by_the_first_label_that_differs() -> None:
    view = view_of(
        workload("client", "client", labels={"tier": "gold", "rack": "1"}),
        service("server"),
        workload("both", "server", labels={"tier": "gold", "rack": "1"}),
        workload("tier", "server", labels={"tier": "gold", "rack": "2"}),
        workload("none", "server", labels={"tier": "tin", "rack": "1"}),
        rule(OUTLIER + "\nloadBalancer: {localityLbSetting: {failoverPriority: [tier, rack]}}"),
    )

    assert [(priority, hosts) for priority, _, hosts in priorities(of_service(view, "server"))] == [
        (0, ["both"]),
        (1, ["tier"]),
        (2, ["none"]),
    ]


def test_failover_priority_may_name_the_value_that_it_prefers() -> None:
    view = view_of(
        CLIENT,
        service("server"),
        workload("gold", "server", labels={"tier": "gold"}),
        workload("tin", "server", labels={"tier": "tin"}),
        rule(OUTLIER + "\nloadBalancer: {localityLbSetting: {failoverPriority: ['tier=gold']}}"),
    )

    assert [hosts for _, _, hosts in priorities(of_service(view, "server"))] == [["gold"], ["tin"]]


def test_failover_priority_knows_the_labels_of_localities() -> None:
    view = view_of(
        *HOSTS,
        rule(
            OUTLIER
            + "\nloadBalancer: {localityLbSetting: {failoverPriority: [topology.kubernetes.io/region]}}"
        ),
    )

    assert [(priority, locality) for priority, locality, _ in priorities(of_service(view, "server"))] == [
        (0, "west/west-a"),
        (0, "west/west-b"),
        (1, "east/east-a"),
        (1, "north/north-a"),
    ]


def test_distribute_gives_shares_and_leaves_out_what_it_does_not_name() -> None:
    setting = "{distribute: [{from: west/*, to: {west/*: 80, east/*: 20}}]}"

    server = of_service(view_of(*HOSTS, rule(f"loadBalancer: {{localityLbSetting: {setting}}}")), "server")

    assert [(str(group.locality), group.weight) for group in server.groups] == [
        ("east/east-a", 20),
        ("west/west-a", 40),
        ("west/west-b", 40),
    ]
    assert server.balancer.locality_weighted


def test_distribute_does_not_fail_over_even_with_outlier_detection() -> None:
    setting = "{distribute: [{from: '*', to: {west/*: 90, east/*: 10}}]}"

    server = of_service(
        view_of(*HOSTS, rule(OUTLIER + f"\nloadBalancer: {{localityLbSetting: {setting}}}")), "server"
    )

    assert {group.priority for group in server.groups} == {0}


def test_a_distribution_from_elsewhere_leaves_all_hosts() -> None:
    setting = "{distribute: [{from: south/*, to: {east/*: 100}}]}"

    server = of_service(view_of(*HOSTS, rule(f"loadBalancer: {{localityLbSetting: {setting}}}")), "server")

    assert sum(len(group.hosts) for group in server.groups) == 4


def test_the_meshs_setting_counts_where_the_rule_says_nothing() -> None:
    config = mesh_config("localityLbSetting: {failover: [{from: west, to: north}]}")

    view = view_of(*HOSTS, config, rule(OUTLIER))

    assert [hosts for _, _, hosts in priorities(of_service(view, "server"))][2:] == [["north"], ["east"]]


def test_the_rules_setting_replaces_the_meshs_as_a_whole() -> None:
    config = mesh_config("localityLbSetting: {failover: [{from: west, to: north}]}")

    view = view_of(*HOSTS, config, rule(OUTLIER + "\nloadBalancer: {localityLbSetting: {enabled: true}}"))

    assert [priority for priority, _, _ in priorities(of_service(view, "server"))] == [0, 1, 2, 2]


def test_locality_preference_can_be_switched_off() -> None:
    view = view_of(*HOSTS, rule(OUTLIER + "\nloadBalancer: {localityLbSetting: {enabled: false}}"))

    assert {priority for priority, _, _ in priorities(of_service(view, "server"))} == {0}


def test_hosts_that_drain_are_marked_and_stay_in_their_group() -> None:
    view = view_of(
        CLIENT,
        service("server"),
        workload("leaving", "server", labels={"istio.io/draining": "true"}),
        workload("staying", "server"),
    )

    drains = {
        host.workload: host.draining for group in of_service(view, "server").groups for host in group.hosts
    }
    assert drains == {"shop/leaving": True, "shop/staying": False}
