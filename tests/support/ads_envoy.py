"""Real Envoys that ask a control plane: started with a small bootstrap, watched through their admin
interface."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import ssl
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesh.local.binaries import envoy as program
from mesh.pki.bootstrap import IdentityFiles

_TYPE = "type.googleapis.com/envoy.extensions."


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def eventually(
    check: Callable[[], Awaitable[object]], *, limit: float = 10.0, what: str = "the condition"
) -> float:
    """Wait until `check` gives something true; seconds that took. Fails after `limit`."""
    began = time.monotonic()
    while True:
        try:
            if await check():
                return time.monotonic() - began
            reason = ""
        except (OSError, LookupError, http.client.HTTPException, AssertionError) as error:
            reason = f" ({type(error).__name__}: {error})"
        assert time.monotonic() < began + limit, f"{what} did not come true within {limit:g} s{reason}"
        await asyncio.sleep(0.02)


@dataclass(frozen=True)
class Envoy:
    """A running Envoy."""

    admin: int
    log: Path
    process: subprocess.Popen[bytes]

    async def ask(self, path: str) -> str:
        """What the admin interface answers."""
        return await asyncio.to_thread(get, self.admin, path)

    async def stat(self, name: str) -> int:
        """A counter or gauge; 0 when there is none."""
        text = await self.ask(f"/stats?filter=^{name}$")
        return int(text.rpartition(": ")[2]) if text.strip() else 0

    async def clusters(self) -> set[str]:
        """Names of the clusters in use."""
        answer = json.loads(await self.ask("/clusters?format=json"))
        return {item["name"] for item in answer.get("cluster_statuses", ())}

    async def listeners(self) -> set[str]:
        """Names of the listeners in use."""
        answer = json.loads(await self.ask("/listeners?format=json"))
        return {item["name"] for item in answer.get("listener_statuses", ())}

    async def ready(self) -> bool:
        """Whether it has its first configuration."""
        return (await self.ask("/ready")).strip() == "LIVE"


@contextmanager
def running(folder: Path, document: dict[str, Any], admin: int) -> Iterator[Envoy]:
    """Start an Envoy; it is ended on leaving."""
    folder.mkdir(parents=True, exist_ok=True)
    config, log = folder / "bootstrap.json", folder / "envoy.log"
    config.write_text(json.dumps(document))
    command = [str(program()), "--config-path", str(config), "--concurrency", "1"]
    command += ["--disable-hot-restart", "--log-level", "warning", "--drain-time-s", "1"]
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield Envoy(admin, log, process)
    finally:
        process.kill()
        process.wait()


def bootstrap(node_id: str, identity: Path, admin: int, *control_planes: int) -> dict[str, Any]:
    """Delta ADS over mutual TLS, with an identity from files."""
    files = IdentityFiles(identity)
    own = {
        "certificate_chain": {"filename": str(files.certificate)},
        "private_key": {"filename": str(files.key)},
    }
    tls = {
        "@type": f"{_TYPE}transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "tls_certificates": [own],
            "validation_context": {"trusted_ca": {"filename": str(files.trust)}},
        },
    }
    http2 = {
        "@type": f"{_TYPE}upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    endpoints = [
        {"priority": number, "lb_endpoints": [{"endpoint": {"address": _address(port)}}]}
        for number, port in enumerate(control_planes)
    ]
    ads = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    back_off = {"retry_back_off": {"base_interval": "0.1s", "max_interval": "0.3s"}}
    control = {
        "name": "control",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "control", "endpoints": endpoints},
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
    }
    return {
        "node": {"id": node_id, "cluster": "test"},
        "admin": {"address": _address(admin)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "control", "retry_policy": back_off}}],
            },
            "cds_config": ads,
            "lds_config": ads,
        },
        "static_resources": {"clusters": [control]},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def get(port: int, path: str = "/", identity: Path | None = None) -> str:
    """The body of an answer from this machine; with an identity, over mutual TLS."""
    connection = connect(port, identity)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def connect(port: int, identity: Path | None = None) -> http.client.HTTPConnection:
    """An HTTP connection to this machine, not yet open."""
    if identity is None:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=tls_context(identity))


def tls_context(identity: Path) -> ssl.SSLContext:
    """A client that proves who it is, and trusts the mesh. SPIFFE servers have no host name to check."""
    files = IdentityFiles(identity)
    context = ssl.create_default_context(cafile=str(files.trust))
    context.check_hostname = False
    context.load_cert_chain(files.certificate, files.key)
    return context
