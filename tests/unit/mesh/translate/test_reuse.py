"""A change costs what it touches."""

from __future__ import annotations

from dataclasses import replace

from golden.views import (
    INBOUND,
    OUTBOUND,
    cluster,
    group,
    host,
    inbound,
    origin,
    outbound,
    patch,
    proxy,
    view,
)

from mesh.ir.cluster import Discovery
from mesh.ir.patch import Operation, Target
from mesh.ir.security import MutualTls
from mesh.translate import Reuse, translate, translate_endpoints
from mesh.translate.reuse import AGE, VARIANTS
from mesh.xds.protos import route_pb2
from mesh.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES


def test_an_equal_view_makes_nothing_new() -> None:
    reuse = Reuse()
    first = translate(view(), reuse)
    made = reuse.made
    second = translate(view(), reuse)
    assert reuse.made == made
    for type_url, messages in first.by_type.items():
        assert all(second.of(type_url)[name] is message for name, message in messages.items())


def test_one_host_more_makes_one_message() -> None:
    reuse = Reuse()
    before = view()
    first = translate(before, reuse)
    made = reuse.made
    grown = cluster(groups=(group(host(1), host(2), host(3)),))
    second = translate(replace(before, clusters=(before.clusters[0], grown)), reuse)
    assert reuse.made == made + 1
    assert second.of(ENDPOINTS)[OUTBOUND] is not first.of(ENDPOINTS)[OUTBOUND]
    assert second.of(CLUSTER)[OUTBOUND] is first.of(CLUSTER)[OUTBOUND]


def test_proxies_share_what_is_equal_for_them() -> None:
    reuse = Reuse()
    one = translate(view(), reuse)
    other = replace(proxy(), name="other", address="127.66.1.9")
    listeners = (outbound(name="127.66.1.9_8080", address="127.66.1.9"), inbound())
    two = translate(view(proxy=other, listeners=listeners), reuse)
    assert one.of(CLUSTER)[OUTBOUND] is two.of(CLUSTER)[OUTBOUND]
    assert one.of(ROUTES)["8080"] is two.of(ROUTES)["8080"]
    assert set(one.of(LISTENER)) != set(two.of(LISTENER))


def test_a_listener_is_made_anew_when_what_is_inside_it_changes() -> None:
    reuse = Reuse()
    first = translate(view(), reuse)
    second = translate(view(listeners=(outbound(), inbound(mutual_tls=MutualTls.DISABLE))), reuse)
    name = "127.66.1.1_9443"
    assert first.of(LISTENER)[name] != second.of(LISTENER)[name]
    changed = replace(view().route_tables[1], hosts=())
    third = translate(view(route_tables=(view().route_tables[0], changed)), reuse)
    assert third.of(LISTENER)[name] != first.of(LISTENER)[name]


def test_endpoints_can_be_translated_by_themselves() -> None:
    reuse = Reuse()
    whole = translate(view(), reuse)
    alone = translate_endpoints(view(), reuse)
    assert alone[OUTBOUND] is whole.of(ENDPOINTS)[OUTBOUND]
    assert list(alone) == [OUTBOUND], "a cluster that has its hosts inside needs none"


def test_what_is_patched_is_shared_and_still_cited() -> None:
    """A patch of all sidecars must not make each of them a cluster of its own."""
    reuse = Reuse()
    given = view(
        patches=(patch(Target.CLUSTER, Operation.MERGE, {"alt_stat_name": "x"}, cluster_name=OUTBOUND),)
    )
    first, second = translate(given, reuse), translate(given, reuse)
    assert first.of(CLUSTER)[OUTBOUND] is second.of(CLUSTER)[OUTBOUND]
    for made in (first, second):
        cited = made.origin(CLUSTER, OUTBOUND, "patch")
        assert cited is not None
        assert cited.kind == "EnvoyFilter"


def test_what_is_long_unused_is_forgotten_and_what_is_used_is_not() -> None:
    reuse = Reuse()
    translate(view(), reuse)
    made = reuse.made
    for _ in range(AGE):
        translate_endpoints(view(), reuse)
        reuse.sweep()
    translate_endpoints(view(), reuse)
    assert reuse.made == made
    for _ in range(2 * AGE):
        reuse.sweep()
    translate_endpoints(view(), reuse)
    assert reuse.made == made + 1


def test_of_the_same_object_a_message_is_made_once_until_it_is_not_asked_for() -> None:
    reuse, made = Reuse(), []

    def make() -> route_pb2.RouteConfiguration:
        made.append(True)
        return route_pb2.RouteConfiguration(name="r")

    source = object()
    first = reuse.of("type", source, make)
    assert reuse.of("type", source, make) is first
    reuse.sweep()
    assert reuse.of("type", source, make) is first
    assert reuse.of("other", source, make) is not first
    reuse.sweep()
    reuse.sweep()
    assert reuse.of("type", source, make) is not first
    assert len(made) == 3


def test_the_applications_of_however_many_services_are_translated_once() -> None:
    """Their clusters and tables all have one name."""
    reuse = Reuse()

    def all_of_them() -> None:
        for number in range(2 * VARIANTS):
            said = origin("service", number)
            before = view()
            tables = tuple(
                replace(one, hosts=tuple(replace(each, origin=said) for each in one.hosts))
                for one in before.route_tables
            )
            application = cluster(
                INBOUND,
                service="",
                discovery=Discovery.STATIC,
                groups=(group(host(origin=said)),),
                origin=said,
            )
            translate(replace(before, clusters=(application,), route_tables=tables), reuse)

    all_of_them()
    made = reuse.made
    all_of_them()
    assert reuse.made == made


def test_views_with_the_very_same_clusters_share_them_as_a_whole() -> None:
    reuse, given = Reuse(), view()
    one, other = translate(given, reuse), translate(replace(given, listeners=()), reuse)
    assert one.of(CLUSTER) is other.of(CLUSTER)
    assert one.of(ENDPOINTS) is other.of(ENDPOINTS)
