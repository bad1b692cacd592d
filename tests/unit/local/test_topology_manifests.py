"""What the supervisor writes is what the control planes read, and says what a cluster's manifests say."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from mesh.ir.view import ProxyKind
from mesh.local import addresses, services
from mesh.local.addresses import Network
from mesh.local.issuer import Issuer
from mesh.local.layout import Layout
from mesh.local.mesh_files import MeshFiles
from mesh.local.names import DataPlane, Shape
from mesh.local.plan import Plan
from mesh.local.services import ISTIO
from mesh.local.workloads import CALLS, Role, address_names, service_host
from mesh.manifests.manifests import Manifests
from mesh.manifests.read import read
from mesh.manifests.security import RequestAuthentication
from mesh.manifests.sidecar import Sidecar
from mesh.resolve import index, proxies, resolve


def make_plan(*regions: str) -> Plan:
    shape = Shape(regions, DataPlane.SIDECAR)
    ports = {name: 20000 + position for position, name in enumerate(shape.port_names())}
    hosts = {name: 2 + position for position, name in enumerate(address_names(shape))}
    return Plan(shape, ports, Network("127.66.1", hosts))


def written(home: Path, plan: Plan, region: str, draining: tuple[str, ...] = ()) -> Manifests:
    """What the control plane of `region` reads."""
    layout = Layout(home)
    layout.create()
    Issuer(layout).publish()
    MeshFiles(layout, plan).write_topology(draining)
    return read(services.manifests(layout, region))


@pytest.mark.parametrize("regions", [("us-west-2", "us-east-1"), ("eu-north-1", "us-west-2", "ap-south-1")])
def test_every_workload_has_a_proxy_that_listens_where_it_is_looked_for(
    tmp_path: Path, regions: tuple[str, ...]
) -> None:
    plan = make_plan(*regions)
    for region in regions:
        manifests = written(tmp_path / "home", plan, region)
        views = {proxy.name: resolve(index(manifests), proxy) for proxy in proxies(manifests)}
        assert set(views) == {workload.name for workload in plan.workloads}
        for workload in plan.workloads:
            view = views[workload.name]
            kind = ProxyKind.SIDECAR if workload.role is Role.SIDECAR else ProxyKind.GATEWAY
            assert (view.proxy.kind, view.proxy.spiffe_id) == (kind, workload.identity.uri)
            listens = {(listener.address, listener.port) for listener in view.listeners}
            assert {address for address, _ in listens} == {workload.address}
            wanted = {
                Role.FRONT: {addresses.HTTPS},
                Role.INGRESS: {addresses.HTTPS, addresses.HTTPS_MESH},
                Role.SIDECAR: set() if workload.app == "indexer" else {addresses.INBOUND},
            }[workload.role]
            assert wanted <= {port for _, port in listens}


def test_a_draining_region_is_marked_at_every_one_of_its_hosts(tmp_path: Path) -> None:
    plan = make_plan("us-west-2", "us-east-1")
    manifests = written(tmp_path / "home", plan, "us-west-2", ("us-east-1",))
    proxy = next(proxy for proxy in proxies(manifests) if proxy.name == "gateway-us-west-2")
    view = resolve(index(manifests), proxy)
    hosts = [host for cluster in view.clusters for group in cluster.groups for host in group.hosts]
    drained = {host.workload for host in hosts if host.draining}
    assert drained == {f"causeway/{app}-us-east-1" for app in CALLS["gateway"]}


def test_the_local_issuer_differs_from_a_clusters_by_its_keys_alone(tmp_path: Path) -> None:
    local = written(tmp_path / "home", make_plan("us-west-2"), "us-west-2").of(RequestAuthentication)
    cluster = read([ISTIO / "clusters" / "common"]).of(RequestAuthentication)
    assert [(item.namespace, item.name) for item in local] == [
        (item.namespace, item.name) for item in cluster
    ]
    here, there = (items[0].spec.jwt_rules[0] for items in (local, cluster))
    compared = [field.name for field in fields(here) if field.compare]
    assert {name for name in compared if getattr(here, name) != getattr(there, name)} == {"jwks", "jwks_uri"}


def test_an_application_calls_the_same_services_here_as_in_a_cluster() -> None:
    found = {
        item.name: {host for listener in item.spec.egress for host in listener.hosts}
        for item in read([ISTIO / "clusters" / "common"]).of(Sidecar)
    }
    for app, hosts in found.items():
        mesh_hosts = {host for host in hosts if host.endswith(".causeway.svc.cluster.local")}
        assert mesh_hosts == {f"./{service_host(called)}" for called in CALLS.get(app, ())}
