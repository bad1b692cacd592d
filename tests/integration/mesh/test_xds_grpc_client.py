"""A real grpcio client that finds its server over xDS (state of the world, mutual TLS), without a proxy."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from support import xds_json
from support.ads_envoy import eventually
from support.mesh_control import Mesh

from mesh.ir.view import ProxyKind
from mesh.pki.bootstrap import IdentityFiles

CLIENT = """
import sys
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

with grpc.insecure_channel("xds:///backend.test") as channel:
    stub = health_pb2_grpc.HealthStub(channel)
    for line in sys.stdin:
        try:
            request = health_pb2.HealthCheckRequest(service=line.strip())
            answer = stub.Check(request, timeout=10, wait_for_ready=True)
            print(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status), flush=True)
        except grpc.RpcError as error:
            print(error.code().name, flush=True)
"""


class Client:
    """The client's process: one word in, one word out."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def check(self, service: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{service}\n".encode())
        return (await asyncio.wait_for(self._process.stdout.readline(), 15.0)).decode().strip()


@asynccontextmanager
async def client(mesh: Mesh) -> AsyncIterator[Client]:
    files = IdentityFiles(mesh.identity("a"))
    tls = {
        "certificate_file": str(files.certificate),
        "private_key_file": str(files.key),
        "ca_certificate_file": str(files.trust),
        "refresh_interval": "1s",
    }
    document = {
        "xds_servers": [
            {
                "server_uri": f"127.0.0.1:{mesh.port}",
                "channel_creds": [{"type": "tls", "config": tls}],
                "server_features": ["xds_v3"],
            }
        ],
        "node": {"id": mesh.node("a", ProxyKind.PROXYLESS)},
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        CLIENT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(document)},
    )
    try:
        yield Client(process)
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def backend(name: str) -> AsyncIterator[int]:
    """A server that serves only the service called after it; its port."""
    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()
    await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


def serve(mesh: Mesh, port: int, **cluster: Any) -> None:
    http = xds_json.manager(rds={"route_config_name": "routes", "config_source": xds_json.ADS})
    mesh.resources(
        "a",
        LDS=[{"name": "backend.test", "api_listener": {"api_listener": http}}],
        RDS=[
            {
                "name": "routes",
                "virtual_hosts": [
                    {
                        "name": "all",
                        "domains": ["*"],
                        "routes": [{"match": {"prefix": ""}, "route": {"cluster": "backend"}}],
                    }
                ],
            }
        ],
        CDS=[xds_json.cluster("backend", lb_policy="ROUND_ROBIN", **cluster)],
        EDS=[xds_json.endpoints("backend", port) | {"endpoints": [_locality(port)]}],
    )


def _locality(port: int) -> dict[str, Any]:
    return {
        **xds_json.endpoints("", port)["endpoints"][0],
        "load_balancing_weight": 1,
        "locality": {"region": "r"},
    }


@pytest.fixture
def mesh(tmp_path: Path) -> Mesh:
    return Mesh(tmp_path)


async def test_it_finds_its_server_follows_changes_and_keeps_the_last_good_cluster(mesh: Mesh) -> None:
    async with backend("one") as one, backend("two") as two:
        serve(mesh, one)
        async with mesh.control(), client(mesh) as caller:
            assert await caller.check("one") == "SERVING"

            async def synced() -> bool:
                return bool(mesh.proxy_status("a", "grpc")["state"] == "synced")

            await eventually(synced, what="synced")
            assert mesh.proxy_status("a", "grpc")["streams"][0]["protocol"] == "sotw"

            serve(mesh, two)

            async def moved() -> bool:
                return await caller.check("two") == "SERVING"

            await eventually(moved, what="the other server")

            # gRPC takes no load reports over ADS: it refuses the cluster, names it, and keeps the one before.
            serve(mesh, two, lrs_server={"ads": {}})

            async def rejected() -> bool:
                return bool(mesh.proxy_status("a", "grpc")["state"] == "nacked")

            await eventually(rejected, what="the rejection")
            (rejection,) = mesh.proxy_status("a", "grpc")["streams"][0]["rejections"]
            assert (rejection["type"], rejection["resource"]) == ("CDS", "backend")
            assert "lrs_server" in rejection["reason"]
            assert await caller.check("two") == "SERVING"


async def test_running_calls_go_on_without_a_control_plane_and_changes_arrive_when_it_is_back(
    mesh: Mesh,
) -> None:
    async with backend("one") as one, backend("two") as two:
        serve(mesh, one)
        async with client(mesh) as caller:
            async with mesh.control():
                assert await caller.check("one") == "SERVING"
            assert await caller.check("one") == "SERVING"
            serve(mesh, two)
            async with mesh.control():

                async def moved() -> bool:
                    return await caller.check("two") == "SERVING"

                await eventually(moved, what="the other server", limit=15.0)
