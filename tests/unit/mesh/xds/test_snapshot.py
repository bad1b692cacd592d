"""What may be published, and what a version says."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from support import xds_json

from mesh.ir.origin import Origin
from mesh.xds.cache import InconsistentSnapshot, SnapshotCache
from mesh.xds.protos import cluster_pb2, endpoint_pb2, listener_pb2, message_class, route_pb2, secret_pb2
from mesh.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ORDER, ROUTES, SECRET, Resources
from mesh.xds.snapshot import Packer, Snapshot


def cluster(name: str = "c", **more: Any) -> Any:
    return ParseDict(xds_json.cluster(name, **more), cluster_pb2.Cluster())


def endpoints(name: str = "c", *ports: int) -> Any:
    return ParseDict(xds_json.endpoints(name, *ports), endpoint_pb2.ClusterLoadAssignment())


def listener(table: str = "r", *, mutual_tls: bool = False) -> Any:
    document = xds_json.listener("l", 80, table, mutual_tls=mutual_tls)
    return ParseDict(document, listener_pb2.Listener())


def routes(name: str = "r") -> Any:
    return ParseDict(xds_json.route_table(name, "c"), route_pb2.RouteConfiguration())


def whole(**more: Any) -> Resources:
    return Resources(
        {
            CLUSTER: {"c": cluster()},
            ENDPOINTS: {"c": endpoints("c", 1)},
            LISTENER: {"l": listener()},
            ROUTES: {"r": routes()},
            **more,
        }
    )


def test_equal_content_has_equal_versions_wherever_it_is_made() -> None:
    one, other = Packer().pack(whole()), Packer().pack(whole())
    assert one.version == other.version
    for type_url in ORDER:
        assert one.versions(type_url) == other.versions(type_url)


def test_a_change_changes_one_version_and_leaves_the_other_types_alone() -> None:
    packer = Packer()
    before = packer.pack(whole())
    after = packer.pack(whole(**{ENDPOINTS: {"c": endpoints("c", 2)}}), before)
    assert after.versions(ENDPOINTS) != before.versions(ENDPOINTS)
    assert after.versions(CLUSTER) is before.versions(CLUSTER), "the same object: nothing has to be compared"
    assert after.version != before.version


def test_a_message_is_packed_once_however_many_clients_share_it() -> None:
    packer, shared = Packer(), cluster()
    one = packer.pack(whole(**{CLUSTER: {"c": shared}}))
    other = packer.pack(whole(**{CLUSTER: {"c": shared}}))
    assert one.get(CLUSTER, "c") is other.get(CLUSTER, "c")


def test_origins_are_no_part_of_a_version() -> None:
    here = Origin("a.yaml", 1, "DestinationRule", "n", "c")
    moved = Resources(whole().by_type, {(CLUSTER, "c"): here})
    assert Packer().pack(whole()).version == Packer().pack(moved).version
    assert moved.origin(CLUSTER, "c", "endpoint", "x") == here
    assert moved.origin(CLUSTER, "d") is None


def test_a_renewed_certificate_is_no_new_configuration() -> None:
    def with_secret(serial: str) -> Snapshot:
        secret = secret_pb2.Secret(name="default")
        secret.generic_secret.secret.inline_string = serial
        return Packer().pack(whole(**{SECRET: {"default": secret}}))

    assert with_secret("1").version == with_secret("2").version
    assert with_secret("1").versions(SECRET) != with_secret("2").versions(SECRET)


@pytest.mark.parametrize(
    "change, found",
    [
        ({}, []),
        ({ENDPOINTS: {}}, ["EDS c is missing; CDS c needs it"]),
        ({CLUSTER: {}}, ["EDS c is used by nothing"]),
        ({ROUTES: {}}, ["RDS r is missing; LDS l needs it"]),
        ({LISTENER: {}}, ["RDS r is used by nothing"]),
        ({LISTENER: {"l": listener(mutual_tls=True)}}, ["SDS default is missing", "SDS ROOTCA is missing"]),
        ({SECRET: {"default": secret_pb2.Secret(name="default")}}, []),
        (
            {SECRET: {"kubernetes://x": secret_pb2.Secret(name="kubernetes://x")}},
            ["SDS kubernetes://x is used"],
        ),
    ],
)
def test_an_inconsistent_snapshot_is_never_published(change: Any, found: list[str]) -> None:
    snapshot = Packer().pack(whole(**change))
    said = [str(item) for item in snapshot.inconsistencies()]
    assert len(said) == len(found)
    assert all(text.startswith(start) for text, start in zip(said, found, strict=True))
    cache = SnapshotCache()
    if found:
        with pytest.raises(InconsistentSnapshot, match=found[0].split(";")[0].replace("/", ".")):
            cache.publish("proxy", snapshot)
        assert cache.get("proxy") is None
    else:
        assert cache.publish("proxy", snapshot)


async def test_a_reader_is_told_of_news_and_finds_only_the_newest() -> None:
    cache, packer = SnapshotCache(), Packer()
    with cache.watch("proxy") as watch, cache.watch("other") as other:
        snapshots = [packer.pack(whole(**{ENDPOINTS: {"c": endpoints("c", port)}})) for port in (1, 2, 3)]
        for snapshot in snapshots:
            assert cache.publish("proxy", snapshot)
        assert watch.changed.is_set()
        assert watch.snapshot is snapshots[-1]
        assert not other.changed.is_set()
        watch.changed.clear()
        assert not cache.publish("proxy", packer.pack(whole(**{ENDPOINTS: {"c": endpoints("c", 3)}})))
        assert not watch.changed.is_set(), "the same again is no news"
    assert not cache.watched()


def test_a_type_that_only_a_manifest_names_is_found() -> None:
    found = message_class("type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer")
    assert found is not None
    assert found.DESCRIPTOR.full_name == "envoy.extensions.filters.http.buffer.v3.Buffer"
    assert message_class("type.googleapis.com/envoy.no.such.v3.Thing") is None
    assert message_class("type.googleapis.com/os.path") is None


def test_clients_with_the_very_same_resources_of_a_type_share_all_that_is_made_of_them() -> None:
    packer, clusters, hosts = Packer(), {"c": cluster()}, {"c": endpoints("c", 1)}
    shared = {CLUSTER: clusters, ENDPOINTS: hosts}
    one, other = packer.pack(whole(**shared)), packer.pack(whole(**shared))
    assert one.by_type[CLUSTER] is other.by_type[CLUSTER]
    assert one.versions(ENDPOINTS) is other.versions(ENDPOINTS)
    assert one.version == other.version
    assert one.by_type[LISTENER] is not other.by_type[LISTENER]


def test_a_group_that_was_not_packed_anew_keeps_its_resources() -> None:
    """Its messages may come in another mapping with the next change."""
    packer, message = Packer(), cluster()
    first = packer.pack(whole(**{CLUSTER: {"c": message}}))
    for _ in range(3):
        packer.sweep()
        again = packer.pack(first.source, first)
        assert again.by_type[CLUSTER] is first.by_type[CLUSTER]
    other = packer.pack(whole(**{CLUSTER: {"c": message}}))
    assert other.get(CLUSTER, "c") is first.get(CLUSTER, "c")


def test_what_is_used_twice_and_what_is_not_used_is_told_by_name() -> None:
    snapshot = Packer().pack(
        whole(
            **{
                CLUSTER: {name: cluster(name) for name in "cde"},
                ENDPOINTS: {name: endpoints(name, 1) for name in "cxy"},
                SECRET: {name: secret_pb2.Secret(name=name) for name in ("ROOTCA", "other")},
            }
        )
    )
    assert [str(item) for item in snapshot.inconsistencies()] == [
        "EDS d is missing; CDS d needs it",
        "EDS e is missing; CDS e needs it",
        "EDS x is used by nothing",
        "EDS y is used by nothing",
        "SDS other is used by nothing",
    ]
