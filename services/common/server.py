"""Builds and runs a service's gRPC server: one shape for all of them.

A service's ``app.py`` builds an Application by hand; ``run`` opens it, serves it, and drains it on SIGTERM:
health goes to NOT_SERVING, new calls are refused, open calls get the drain time, then everything closes in
the reverse order of its opening.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Protocol, TypeVar

import grpc
import uvloop
from google.protobuf.descriptor import ServiceDescriptor
from grpc_channelz.v1 import channelz, channelz_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.common import logs, workers
from services.common.auth import TokenVerifier
from services.common.config import ConfigError, ServiceConfig, load
from services.common.health import Check, HealthMonitor
from services.common.interceptor import CallInterceptor, Verifier

MAX_TRANSPORT_BYTES = 64 << 20
"""Far above what a request may have (services.common.validation), so that one that is too large is told so as
INVALID_ARGUMENT; beyond it gRPC itself refuses the message, with RESOURCE_EXHAUSTED."""

_CHANNELZ = channelz_pb2.DESCRIPTOR.services_by_name["Channelz"].full_name

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Binding:
    """One proto service and what serves it."""

    register: Callable[[Any, Any], None]
    """The generated ``add_…Servicer_to_server``."""
    servicer: object
    """Its implementation."""
    descriptor: ServiceDescriptor
    """Its descriptor, for health and reflection."""
    required: Collection[str] = ()
    """Dependencies without which none of its calls succeed, beyond the application's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """All that a service serves."""

    bindings: Sequence[Binding]
    """Its proto services."""
    permissions: Mapping[str, str]
    """Full method name to action; a method that is missing here is refused to everybody."""
    dependencies: Mapping[str, Check] = field(default_factory=dict)
    """Checks of what it depends on; each raises when its dependency does not answer."""
    required: Collection[str] = ()
    """The dependencies without which no call can succeed."""
    proxied: Collection[str] = ()
    """Full names of the proto services whose callers are proxies, not people: they answer without a token,
    and who may call them is for the mesh to say (AuthorizationPolicy)."""
    background: Sequence[Callable[[], Awaitable[None]]] = ()
    """Loops that run beside the server until it stops; one that ends or fails stops the service."""


Build = Callable[[AsyncExitStack], Awaitable[Application]]


class HasService(Protocol):
    """A service's configuration."""

    @property
    def service(self) -> ServiceConfig:
        """The part that every service has."""


C = TypeVar("C", bound=HasService)


def main(name: str, kind: type[C], build: Callable[[C, AsyncExitStack], Awaitable[Application]]) -> int:
    """What a service's ``__main__`` does: reads the configuration and runs. Returns the exit code.

    Settings that do not hold, some of which turn out as they are used, are told in a line: a traceback would
    be about us, and they are the operator's.
    """
    try:
        config = load(kind)
        run(name, config.service, partial(build, config))
    except ConfigError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return workers.HOPELESS
    except SystemExit:
        # A worker has told it already.
        return workers.HOPELESS
    return 0


def run(name: str, config: ServiceConfig, build: Build) -> None:
    """Serves until SIGTERM or SIGINT, in as many processes as the config says."""
    logs.configure(name, config.log_level)

    def serve(shared_port: bool) -> None:
        # A tenth less CPU for a call than with the loop of asyncio.
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                runner.run(_main(config, build, shared_port=shared_port))
            except ConfigError as error:
                if not shared_port:
                    raise
                print(f"{name}: {error}", file=sys.stderr)
                raise SystemExit(workers.HOPELESS) from error

    workers.run(config.workers, serve)


async def _main(config: ServiceConfig, build: Build, *, shared_port: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    async with AsyncExitStack() as stack:
        application = await build(stack)
        address = str(config.listen)
        async with serving(
            application,
            TokenVerifier(config.auth),
            address=address,
            drain=config.drain,
            shared_port=shared_port,
        ) as bound:
            log.info("serving", extra={"address": bound})
            background = [asyncio.ensure_future(loop_()) for loop_ in application.background]
            waiter = asyncio.ensure_future(stop.wait())
            done, _ = await asyncio.wait([waiter, *background], return_when=asyncio.FIRST_COMPLETED)
            log.info("draining" if waiter in done else "a background loop ended")
            for task in (waiter, *background):
                task.cancel()
            failures = await asyncio.gather(*background, return_exceptions=True)
        for failure in failures:
            if isinstance(failure, Exception):
                raise failure


@asynccontextmanager
async def serving(
    application: Application,
    verifier: Verifier | TokenVerifier,
    *,
    address: str = "127.0.0.1:0",
    drain: timedelta = timedelta(0),
    shared_port: bool = False,
) -> AsyncIterator[str]:
    """Serves an application inside this process; yields ``host:port``. Tests use it as it is.

    Raises:
        OSError: the address is taken.
    """
    server = grpc.aio.server(
        interceptors=[CallInterceptor(verifier, application.permissions, application.proxied)],
        options=[
            ("grpc.so_reuseport", int(shared_port)),
            ("grpc.enable_channelz", 1),
            ("grpc.max_receive_message_length", MAX_TRANSPORT_BYTES),
            # Clients may ping as often as our own channels do (services.common.channel).
            ("grpc.http2.min_ping_interval_without_data_ms", 5000),
            ("grpc.keepalive_permit_without_calls", 1),
        ],
    )
    for binding in application.bindings:
        binding.register(binding.servicer, server)
    needs = {binding.descriptor.full_name: binding.required for binding in application.bindings}
    monitor = HealthMonitor(
        {"": application.required} | {name: {*application.required, *extra} for name, extra in needs.items()},
        application.dependencies,
    )
    health_pb2_grpc.add_HealthServicer_to_server(monitor.servicer, server)
    channelz.add_channelz_servicer(server)
    infrastructure = [health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, _CHANNELZ]
    reflection.enable_server_reflection([*needs, *infrastructure, reflection.SERVICE_NAME], server)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}") from error
    await monitor.check_once()
    await server.start()
    watch = asyncio.create_task(monitor.run())
    try:
        yield f"{address.rpartition(':')[0]}:{port}"
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        await monitor.drain()
        await server.stop(drain.total_seconds() or None)
