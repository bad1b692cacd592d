"""A delta ADS client that asks for everything, as Envoy does, and says when it has what it waits for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from loadtest.bench.control_plane_site import REGIONS, Site, name_of, workload_name
from loadtest.bench.report import BenchError
from mesh.ir.view import Proxy, ProxyKind
from mesh.local.workloads import NAMESPACE, TRUST_DOMAIN
from mesh.pki.regional import RegionalAuthority
from mesh.pki.svid import Identity
from mesh.xds.nodes import node_id
from mesh.xds.protos import ads_pb2_grpc, base_pb2, cluster_pb2, discovery_pb2, endpoint_pb2, listener_pb2
from mesh.xds.references import references
from mesh.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET

LIMIT = 60.0
LIFE = timedelta(hours=1)
_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 256 << 20),
)
_MESSAGES = {CLUSTER: cluster_pb2.Cluster, LISTENER: listener_pb2.Listener}
"""Those that point at others which have to be asked for."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """When news was there, by `time.perf_counter`."""

    received: float
    """The client has it."""
    acknowledged: float
    """The control plane has said that it knows so."""


@dataclass(slots=True)
class _Awaited:
    addresses: set[str]
    done: asyncio.Future[Arrival]
    probe: str = ""
    received: float = 0.0


@dataclass(slots=True)
class _State:
    names: dict[str, set[str]] = field(default_factory=dict)
    """Asked for, by type."""
    addresses: dict[str, set[str]] = field(default_factory=dict)
    """By endpoint resource."""


class AdsClient:
    """One sidecar's stream. `async with AdsClient(site, authority, 0, 1) as client:`

    `seen` returns once the control plane has the acknowledgement: the client asks for a name that does not
    exist in the very message that acknowledges, and the control plane's answer to it is what is waited for.
    So the time is too long by one way back rather than too short.
    """

    def __init__(self, site: Site, authority: RegionalAuthority, service: int, number: int) -> None:
        account = name_of(service)
        proxy = Proxy(
            name=workload_name(service, number),
            namespace=NAMESPACE,
            kind=ProxyKind.SIDECAR,
            service_account=account,
        )
        self._node = base_pb2.Node(id=node_id(proxy))
        made = authority.issue(Identity(NAMESPACE, account, TRUST_DOMAIN), life=LIFE)
        self._credentials = grpc.ssl_channel_credentials(
            authority.bundle, made.key.reveal().encode(), made.chain
        )
        self._target = site.target
        self._state = _State()
        self._awaited: _Awaited | None = None
        self._probes = 0
        self.endpoints = 0
        """Endpoint resources that it has."""

    async def __aenter__(self) -> Self:
        """Connect; returns when it has endpoints for every cluster."""
        self._channel = grpc.aio.secure_channel(self._target, self._credentials, options=_OPTIONS)
        stub: Any = ads_pb2_grpc.AggregatedDiscoveryServiceStub(self._channel)
        self._stream = stub.DeltaAggregatedResources(wait_for_ready=True)
        self._configured = asyncio.Event()
        self._reader = asyncio.ensure_future(self._read())
        try:
            await self._bounded(self._configured.wait())
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def seen(self, addresses: Collection[str]) -> Arrival:
        """Wait until endpoints have these addresses, and the control plane knows. Raises BenchError."""
        awaited = _Awaited(set(addresses), asyncio.get_running_loop().create_future())
        self._awaited = awaited
        await self._bounded(awaited.done)
        return awaited.done.result()

    async def _bounded(self, work: Any) -> None:
        """`work`, unless the stream ends before or it takes too long."""
        task = asyncio.ensure_future(work)
        done, _ = await asyncio.wait([task, self._reader], timeout=LIMIT, return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            return
        task.cancel()
        if self._reader in done and not self._reader.cancelled() and self._reader.exception() is not None:
            raise BenchError(f"the stream broke: {self._reader.exception()}") from self._reader.exception()
        raise BenchError(f"nothing came within {LIMIT:g} s" if not done else "the stream ended")

    async def _close(self) -> None:
        self._reader.cancel()
        self._stream.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._channel.close(None)

    async def _read(self) -> None:
        await self._send(CLUSTER, node=self._node)
        await self._send(LISTENER)
        await self._send(SECRET, subscribe=["default", "ROOTCA"])
        async for response in self._stream:
            await self._take(response)

    async def _send(self, type_url: str, **fields: Any) -> None:
        subscribe = fields.pop("subscribe", ())
        await self._stream.write(
            discovery_pb2.DeltaDiscoveryRequest(
                type_url=type_url, resource_names_subscribe=subscribe, **fields
            )
        )

    async def _take(self, response: Any) -> None:
        moment = time.perf_counter()
        kind = response.type_url
        wanted: dict[str, set[str]] = {}
        for resource in response.resources:
            if kind == ENDPOINTS:
                self._state.addresses[resource.name] = _addresses(resource.resource.value)
            elif kind in _MESSAGES:
                for other, name in references(kind, _MESSAGES[kind].FromString(resource.resource.value)):
                    wanted.setdefault(other, set()).add(name)
        await self._acknowledge(response, moment)
        for other, names in wanted.items():
            fresh = names - self._state.names.setdefault(other, set())
            if fresh and other in (ENDPOINTS, ROUTES):
                self._state.names[other] |= fresh
                await self._send(other, subscribe=sorted(fresh))
        self.endpoints = len(self._state.addresses)
        if kind == ENDPOINTS and self._state.names.get(ENDPOINTS, set()) <= self._state.addresses.keys():
            self._configured.set()

    async def _acknowledge(self, response: Any, moment: float) -> None:
        awaited = self._awaited
        subscribe, unsubscribe = [], []
        if awaited is not None and response.type_url == ENDPOINTS:
            if awaited.probe and awaited.probe in response.removed_resources:
                awaited.done.set_result(Arrival(awaited.received, moment))
                self._awaited = None
                unsubscribe = [awaited.probe]
            elif not awaited.probe and self._has(awaited.addresses, response):
                self._probes += 1
                awaited.probe, awaited.received = f"probe-{self._probes}", moment
                subscribe = [awaited.probe]
        await self._send(
            response.type_url,
            response_nonce=response.nonce,
            subscribe=subscribe,
            resource_names_unsubscribe=unsubscribe,
        )

    def _has(self, addresses: set[str], response: Any) -> bool:
        for resource in response.resources:
            addresses -= self._state.addresses[resource.name]
        return not addresses


def _addresses(content: bytes) -> set[str]:
    assignment = endpoint_pb2.ClusterLoadAssignment.FromString(content)
    return {
        host.endpoint.address.socket_address.address
        for locality in assignment.endpoints
        for host in locality.lb_endpoints
    }


def authority(site: Site) -> RegionalAuthority:
    """Who vouches for the clients."""
    return RegionalAuthority.open(site.layout.pki, REGIONS[0], TRUST_DOMAIN)
