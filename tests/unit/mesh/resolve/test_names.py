from __future__ import annotations

import pytest

from mesh.resolve import names


@pytest.mark.parametrize(
    "pattern, host, covered",
    [
        ("*", "a.example.com", True),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "*.a.example.com", True),
        ("*.a.example.com", "*.example.com", False),
        ("a.example.com", "a.example.com", True),
        ("a.example.com", "*.example.com", False),
    ],
)
def test_a_pattern_covers_what_ends_in_it(pattern: str, host: str, covered: bool) -> None:
    assert names.covers(pattern, host) is covered


@pytest.mark.parametrize(
    "left, right, both",
    [
        (["*.example.com"], ["a.example.com", "b.other.com"], ("a.example.com",)),
        (["a.example.com"], ["*.example.com"], ("a.example.com",)),
        (["*"], ["*.example.com"], ("*.example.com",)),
        (["a.example.com"], ["b.example.com"], ()),
    ],
)
def test_two_lists_of_hosts_meet_in_the_narrower_words(
    left: list[str], right: list[str], both: tuple[str, ...]
) -> None:
    assert names.meeting(left, right) == both


@pytest.mark.parametrize(
    "written, meant",
    [
        ("server", "server.shop.svc.cluster.local"),
        ("server.other", "server.other"),
        ("Server.Example.com", "server.example.com"),
        ("*", "*"),
    ],
)
def test_a_host_without_a_dot_is_a_service_of_the_manifests_own_namespace(written: str, meant: str) -> None:
    assert names.full_host(written, "shop") == meant


@pytest.mark.parametrize(
    "written, meant", [("mesh", "mesh"), ("edge", "shop/edge"), ("other/edge", "other/edge")]
)
def test_a_gateway_without_a_namespace_is_of_the_manifests_own(written: str, meant: str) -> None:
    assert names.full_gateway(written, "shop") == meant


def test_the_longest_pattern_wins_and_a_name_before_all_patterns() -> None:
    table = names.HostTable({"*": 1, "*.com": 2, "*.example.com": 3, "a.example.com": 4})

    assert [table.find(host) for host in ("a.example.com", "b.example.com", "b.com", "b.org")] == [4, 3, 2, 1]


def test_short_forms_of_a_name_depend_on_the_callers_namespace() -> None:
    own = names.domains("server.shop.svc.cluster.local", "shop")
    foreign = names.domains("server.shop.svc.cluster.local", "other")

    assert set(own) - set(foreign) == {"server"}
    assert {"server.shop", "server.shop.svc"} < set(foreign)


def test_a_name_outside_the_cluster_has_no_short_forms() -> None:
    assert names.domains("api.example.com", "shop") == ("api.example.com",)
