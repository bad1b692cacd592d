"""Equal manifests make equal views, and a change costs what it touches."""

from __future__ import annotations

import random
import time

from hypothesis import given, settings
from hypothesis import strategies as st
from unit.mesh.resolve.documents import (
    CLIENT,
    host,
    manifest,
    mesh_config,
    of_service,
    proxy_of,
    service,
    virtual_service,
    workload,
)

from mesh.ir.listener import Direction
from mesh.ir.security import MutualTls
from mesh.ir.view import ProxyView
from mesh.manifests import Manifests, Text, read
from mesh.resolve import index, proxies, resolve

MESH = (
    CLIENT,
    mesh_config("localityLbSetting: {failover: [{from: west, to: east}]}"),
    service("server"),
    service("other"),
    service("far", namespace="elsewhere"),
    workload("server-1", "server", address="127.1.0.1", labels={"version": "v1"}),
    workload("server-2", "server", address="127.1.0.2", labels={"version": "v2"}, locality="east/east-a"),
    workload("server-3", "server", address="127.1.0.3", locality="north/north-a"),
    workload("other-1", "other", address="127.1.0.4"),
    manifest(
        "DestinationRule",
        "server",
        "host: server\ntrafficPolicy: {outlierDetection: {consecutive5xxErrors: 2}}\n"
        "subsets: [{name: v1, labels: {version: v1}}]",
    ),
    virtual_service("- route: [{destination: {host: server, subset: v1}}]"),
    manifest("PeerAuthentication", "own", "mtls: {mode: STRICT}"),
    manifest("AuthorizationPolicy", "server", "selector: {matchLabels: {app: server}}\nrules: [{}]"),
    manifest("Sidecar", "own", 'egress: [{hosts: ["./*", "elsewhere/*"]}]'),
)


def views(found: Manifests) -> dict[str, ProxyView]:
    indexed = index(found)
    return {proxy.name: resolve(indexed, proxy) for proxy in proxies(found)}


def as_files(documents: dict[str, str]) -> Manifests:
    return read([Text(name, text) for name, text in documents.items()])


@given(st.permutations(range(len(MESH))))
@settings(max_examples=25, deadline=None)
def test_the_order_of_files_decides_nothing_where_no_two_manifests_contend(order: list[int]) -> None:
    texts = {f"{number}.yaml": MESH[number] for number in range(len(MESH))}
    shuffled = {f"{number}.yaml": MESH[number] for number in order}

    assert views(as_files(shuffled)) == views(as_files(texts))


def test_a_change_of_workloads_leads_to_the_same_as_starting_afresh() -> None:
    texts = {f"{number}.yaml": document for number, document in enumerate(MESH)}
    generator = random.Random(7)
    manifests = as_files(texts)
    found = index(manifests)
    for step in range(12):
        name = f"server-{generator.randrange(4)}"
        key = f"extra-{generator.randrange(3)}.yaml"
        if key in texts and generator.random() < 0.4:
            del texts[key]
        else:
            app = generator.choice(["server", "other", "nobody"])
            texts[key] = workload(f"{name}-{key[6]}", app, address=f"127.2.0.{step + 1}")
        manifests = read([Text(name, text) for name, text in texts.items()], former=manifests)
        found = index(manifests, found)

        fresh = index(manifests)
        for proxy in proxies(manifests):
            assert resolve(found, proxy) == resolve(fresh, proxy)


def test_a_change_of_workloads_leaves_other_services_and_all_routes_untouched() -> None:
    texts = {f"{number}.yaml": document for number, document in enumerate(MESH)}
    before = as_files(texts)
    former = index(before)
    first = resolve(former, proxy_of(former, "client"))
    texts["extra.yaml"] = workload("server-4", "server", address="127.1.0.7")

    after = index(read([Text(name, text) for name, text in texts.items()], former=before), former)
    second = resolve(after, proxy_of(after, "client"))

    assert of_service(second, "other") is of_service(first, "other")
    assert of_service(second, "server") != of_service(first, "server")
    assert all(one is other for one, other in zip(second.route_tables, first.route_tables, strict=True))


def test_a_change_of_anything_else_is_seen() -> None:
    texts = {f"{number}.yaml": document for number, document in enumerate(MESH)}
    before = as_files(texts)
    former = index(before)
    texts["rule.yaml"] = manifest(
        "DestinationRule", "other", "host: other\ntrafficPolicy: {connectionPool: {tcp: {maxConnections: 4}}}"
    )

    after = index(read([Text(name, text) for name, text in texts.items()], former=before), former)

    assert of_service(resolve(after, proxy_of(after, "client")), "other").pool.max_connections == 4


def large(workloads: int, services: int) -> dict[str, str]:
    """A mesh whose clients see ten services each."""
    texts = {"scope.yaml": manifest("Sidecar", "own", 'egress: [{hosts: ["./*"]}]', namespace="shop-0")}
    for number in range(services):
        namespace = f"shop-{number // 10}"
        name = f"service-{number}"
        texts[f"{name}.yaml"] = "---\n".join(
            (
                service(name, namespace=namespace),
                manifest(
                    "DestinationRule",
                    name,
                    f"host: {host(name, namespace)}\ntrafficPolicy: {{outlierDetection: {{interval: 1s}}}}",
                    namespace=namespace,
                ),
            )
        )
    for number in range(workloads):
        app = number % services
        texts[f"workload-{number}.yaml"] = workload(
            f"workload-{number}",
            f"service-{app}",
            namespace=f"shop-{app // 10}",
            address=f"127.3.{number // 250}.{number % 250 + 1}",
            locality=f"{'west' if number % 2 else 'east'}/zone-{number % 3}",
        )
    return texts


def test_a_thousand_workloads_are_indexed_in_a_moment_and_one_change_touches_one_service() -> None:
    texts = large(1000, 100)
    before = as_files(texts)

    started = time.process_time()
    former = index(before)
    built = time.process_time() - started
    proxy = proxy_of(former, "workload-0")
    started = time.process_time()
    resolve(former, proxy)
    resolved = time.process_time() - started

    texts["workload-0.yaml"] = texts["workload-0.yaml"].replace("127.3.0.1", "127.4.0.1")
    changed = read([Text(name, text) for name, text in texts.items()], former=before)
    started = time.process_time()
    after = index(changed, former)
    updated = time.process_time() - started

    untouched = sum(after.endpoints[key] is former.endpoints[key] for key in former.endpoints)
    assert untouched == 99
    # Ten times what it takes: the bounds catch a cost that grows with the square of the mesh.
    assert built < 2.0
    assert resolved < 0.1
    assert updated < 0.1


def test_a_change_of_other_workloads_hands_out_the_very_same_listeners() -> None:
    texts = {f"{number}.yaml": document for number, document in enumerate(MESH)}
    before = as_files(texts)
    former = index(before)
    first = resolve(former, proxy_of(former, "client"))
    texts["extra.yaml"] = workload("server-4", "server", address="127.1.0.7")

    after = index(read([Text(name, text) for name, text in texts.items()], former=before), former)

    assert resolve(after, proxy_of(after, "client")).listeners is first.listeners


def test_a_workload_that_moves_is_listened_for_at_its_new_address() -> None:
    texts = {f"{number}.yaml": document for number, document in enumerate(MESH)}
    before = as_files(texts)
    former = index(before)
    resolve(former, proxy_of(former, "client"))
    texts["0.yaml"] = texts["0.yaml"].replace("127.1.0.9", "127.1.0.8")

    after = index(read([Text(name, text) for name, text in texts.items()], former=before), former)

    view = resolve(after, proxy_of(after, "client"))
    assert {one.address for one in view.listeners} == {"127.1.0.8"}


def test_workloads_alike_share_what_is_made_for_them() -> None:
    """So that what many proxies see is translated and packed once."""
    alike = workload("server-4", "server", address="127.1.0.8", labels={"version": "v1"})
    found = index(as_files({f"{number}.yaml": document for number, document in enumerate((*MESH, alike))}))
    one, other = (resolve(found, proxy_of(found, name)) for name in ("server-1", "server-4"))

    assert one.clusters is other.clusters
    assert all(left is right for left, right in zip(one.route_tables, other.route_tables, strict=True))
    assert {listener.address for listener in one.listeners} == {"127.1.0.1"}
    assert {listener.address for listener in other.listeners} == {"127.1.0.8"}


def test_workloads_with_other_labels_or_ports_share_nothing_that_depends_on_them() -> None:
    texts = [
        *MESH,
        workload("server-4", "server", address="127.1.0.8", labels={"version": "v1", "istio": "x"}),
        workload(
            "server-5", "server", address="127.1.0.9", labels={"version": "v1"}, more="ports: {grpc: 7}"
        ),
        manifest("PeerAuthentication", "x", "selector: {matchLabels: {istio: x}}\nmtls: {mode: DISABLE}"),
    ]
    found = index(as_files({f"{number}.yaml": document for number, document in enumerate(texts)}))
    modes = {}
    for name in ("server-1", "server-4", "server-5"):
        (inbound,) = (
            one
            for one in resolve(found, proxy_of(found, name)).listeners
            if one.direction is Direction.INBOUND
        )
        modes[name] = inbound.port, inbound.mutual_tls

    assert modes == {
        "server-1": (9443, MutualTls.STRICT),
        "server-4": (9443, MutualTls.DISABLE),
        "server-5": (7, MutualTls.STRICT),
    }
