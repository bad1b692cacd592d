"""The recorded translation for a gRPC client without a proxy is taken by a real one, which then does what it
says: it calls over mutual TLS, and goes to the other region when its own is gone."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from golden import recorded
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from support.ads_envoy import eventually
from support.golden_site import GoldenSite

from mesh.pki.bootstrap import IdentityFiles
from mesh.pki.svid import Identity
from mesh.xds.nodes import node_id

CLIENT = """
import sys
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

credentials = grpc.xds_channel_credentials()
with grpc.secure_channel("xds:///session.causeway.svc.cluster.local:8080", credentials) as channel:
    stub = health_pb2_grpc.HealthStub(channel)
    for line in sys.stdin:
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=line.strip()), timeout=5)
            print(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status), flush=True)
        except grpc.RpcError as error:
            print(error.code().name, flush=True)
"""

WEST, EAST = "127.66.1.2:9443", "127.66.2.2:9443"


@asynccontextmanager
async def server(address: str, identity: IdentityFiles) -> AsyncIterator[None]:
    """A server that lets in whoever the mesh knows, and serves the service named after its address."""
    made = grpc.aio.server()
    servicer = health.aio.HealthServicer()
    await servicer.set(address, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, made)
    pair = (identity.key.read_bytes(), identity.certificate.read_bytes())
    credentials = grpc.ssl_server_credentials([pair], identity.trust.read_bytes(), require_client_auth=True)
    made.add_secure_port(address, credentials)
    await made.start()
    try:
        yield
    finally:
        await made.stop(None)


@asynccontextmanager
async def client(site: GoldenSite, node: str, identity: IdentityFiles) -> AsyncIterator[Any]:
    """Asks which service serves, by its name."""
    files = {
        "certificate_file": str(identity.certificate),
        "private_key_file": str(identity.key),
        "ca_certificate_file": str(identity.trust),
    }
    document = {
        "xds_servers": [
            {
                "server_uri": f"127.0.0.1:{site.port}",
                "channel_creds": [{"type": "tls", "config": files}],
                "server_features": ["xds_v3"],
            }
        ],
        "node": {"id": node, "locality": {"region": "us-west-2"}},
        "certificate_providers": {"default": {"plugin_name": "file_watcher", "config": files}},
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        CLIENT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(document)},
    )

    async def check(service: str) -> str:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{service}\n".encode())
        return (await asyncio.wait_for(process.stdout.readline(), 15.0)).decode().strip()

    try:
        yield check
    finally:
        process.kill()
        await process.wait()


async def test_a_real_client_takes_it_and_fails_over(tmp_path: Path) -> None:
    site = GoldenSite(tmp_path, "proxyless")
    proxy = recorded.views("proxyless")["causeway/client"].proxy
    session = IdentityFiles(site.identity(Identity("causeway", "session")))
    own = IdentityFiles(site.identity(Identity(proxy.namespace, proxy.service_account)))
    async with site.control(), AsyncExitStack() as west:
        await west.enter_async_context(server(WEST, session))
        async with server(EAST, session), client(site, node_id(proxy), own) as check:
            assert await check(WEST) == "SERVING"
            assert await check(EAST) == "NOT_FOUND", "the other region gets nothing while the own is there"

            async def taken() -> bool:
                return bool(site.status("causeway/client")["state"] == "synced")

            await eventually(taken, what="the word that the client took it")
            await west.aclose()

            async def moved() -> bool:
                return bool(await check(EAST) == "SERVING")

            await eventually(moved, limit=15.0, what="the other region")


async def test_another_identity_than_the_services_is_not_called(tmp_path: Path) -> None:
    site = GoldenSite(tmp_path, "proxyless")
    proxy = recorded.views("proxyless")["causeway/client"].proxy
    other = IdentityFiles(site.identity(Identity("causeway", "somebody-else")))
    own = IdentityFiles(site.identity(Identity(proxy.namespace, proxy.service_account)))
    async with (
        site.control(),
        server(WEST, other),
        server(EAST, other),
        client(site, node_id(proxy), own) as check,
    ):
        assert await check(WEST) in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
