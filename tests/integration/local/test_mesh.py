"""Two regions behind real proxies, without models: what callers at the front see of faults."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import grpc
import pytest
from support.platform import DATA, MESH, Platform, running
from support.wait import until

from causeway.session.v1 import conversation_service_pb2, conversation_service_pb2_grpc
from mesh.local import addresses, admin, regions, sync
from mesh.local.addresses import Network
from mesh.local.names import FRONT, in_region
from mesh.local.regions import Wish
from mesh.local.topology_files import PLATFORM_HOST

WEST, EAST = MESH.regions
LIGHT = ("control", "policy", "session", "envoy-policy", "envoy-session", "ingress")
"""Enough for a call from the front to a database."""


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    regional = [in_region(program, region) for region in MESH.regions for program in LIGHT]
    with running([*DATA, "migrations", FRONT, *regional], shape=MESH) as platform:
        yield platform


@pytest.fixture(autouse=True)
def whole(platform: Platform) -> None:
    """Each test begins with both regions up."""
    until(lambda: platform.report().ready, limit=60, what="both regions ready")


class Caller:
    """Makes one idempotent call again and again."""

    def __init__(self, platform: Platform, channel: grpc.Channel, tenant: str) -> None:
        self._platform = platform
        self._tenant = tenant
        self._stub = conversation_service_pb2_grpc.ConversationServiceStub(channel)

    def call(self, timeout: float = 10.0) -> str:
        """Its status code."""
        token = self._platform.token(self._tenant)
        request = conversation_service_pb2.ListConversationsRequest(page_size=1)
        try:
            self._stub.ListConversations(
                request, metadata=(("authorization", f"Bearer {token}"),), timeout=timeout
            )
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
        return "OK"

    def calls(self, seconds: float) -> Counter[str]:
        """The status codes of about 50 calls a second."""
        found: Counter[str] = Counter()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found[self.call()] += 1
            time.sleep(0.02)
        return found


@pytest.fixture
def caller(platform: Platform) -> Iterator[Caller]:
    with platform.channel("session") as channel:
        yield Caller(platform, channel, f"t-{uuid.uuid4().hex[:8]}")


def network(platform: Platform) -> Network:
    found = addresses.load(platform.layout.network)
    assert found is not None
    return found


def served(platform: Platform, region: str) -> int:
    """Requests that a region's ingress has had of the front, health checks aside."""
    front = network(platform).address(FRONT)
    ingress = network(platform).address(in_region("ingress", region))
    text = asyncio.run(admin.get(front, addresses.ADMIN, "/clusters"))
    lines = [line for line in text.splitlines() if f"{ingress}:{addresses.HTTPS_MESH}::rq_total" in line]
    return sum(int(line.rpartition("::")[2]) for line in lines)


def test_the_front_spreads_calls_over_both_regions(platform: Platform, caller: Caller) -> None:
    before = {region: served(platform, region) for region in MESH.regions}
    assert set(caller.calls(1.5)) == {"OK"}
    assert all(served(platform, region) > before[region] for region in MESH.regions)


def test_no_call_fails_while_a_region_is_killed_and_while_it_comes_back(
    platform: Platform, caller: Caller
) -> None:
    assert caller.call() == "OK"
    done = regions.bring(platform.layout, WEST, Wish.KILL)
    found = caller.calls(2)
    assert time.time() - done < 10
    regions.ask(platform.layout, WEST, Wish.RUN)
    found += caller.calls(4)
    assert set(found) == {"OK"}


def test_no_call_fails_while_a_region_is_drained_and_stopped(platform: Platform, caller: Caller) -> None:
    regions.ask(platform.layout, EAST, Wish.STOP)
    found = caller.calls(4)
    until(lambda: platform.report().regions[EAST].done_at is not None, limit=30, what="the region stopped")
    found += caller.calls(0.5)
    regions.bring(platform.layout, EAST, Wish.RUN)
    assert set(found) == {"OK"}


def test_new_calls_leave_a_region_that_hangs(platform: Platform, caller: Caller) -> None:
    regions.bring(platform.layout, WEST, Wish.FREEZE)
    time.sleep(1.5)
    assert {caller.call(timeout=2.0) for _ in range(10)} == {"OK"}
    regions.bring(platform.layout, WEST, Wish.RUN)


def test_a_proxy_whose_control_plane_hangs_is_configured_by_the_other_regions(platform: Platform) -> None:
    control = platform.process(in_region("control", WEST)).identity
    name = in_region("envoy-session", WEST)
    proxy = platform.process(name).identity
    assert control is not None
    assert proxy is not None
    os.kill(control.pid, signal.SIGSTOP)
    try:
        os.kill(proxy.pid, signal.SIGKILL)
        until(
            lambda: platform.process(name).ready and platform.process(name).pid not in (None, proxy.pid),
            limit=25,
            what="the proxy configured",
        )
        until(
            lambda: sync.read(platform.layout, [EAST]).proxies.get(name) == sync.Sync("synced", EAST),
            what="the other control plane telling of it",
        )
    finally:
        os.kill(control.pid, signal.SIGCONT)


@pytest.mark.parametrize(
    "process, port",
    [
        ("session", addresses.INBOUND),
        ("policy", addresses.INBOUND),
        ("ingress", addresses.HTTPS_MESH),
        ("control", addresses.XDS),
    ],
)
def test_a_stranger_without_an_identity_is_refused_by_every_member(
    platform: Platform, process: str, port: int
) -> None:
    assert said_to_a_stranger(network(platform).address(in_region(process, WEST)), port) == b""


def said_to_a_stranger(address: str, port: int) -> bytes:
    """What a server says to an HTTP/2 client that speaks TLS and has no certificate, before it hangs up."""
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    anybody.set_alpn_protocols(["h2"])
    said = b""
    # With TLS 1.3 the refusal of a client comes after its side of the handshake is done.
    with contextlib.suppress(ssl.SSLError, ConnectionError), ExitStack() as stack:
        plain = stack.enter_context(socket.create_connection((address, port), 5))
        secured = stack.enter_context(anybody.wrap_socket(plain, server_hostname=PLATFORM_HOST))
        secured.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        while received := secured.recv(1024):
            said += received
    return said


def test_plaintext_is_answered_by_no_sidecar(platform: Platform) -> None:
    address = network(platform).address(in_region("session", WEST))
    with grpc.insecure_channel(f"{address}:{addresses.INBOUND}") as channel:
        stub = conversation_service_pb2_grpc.ConversationServiceStub(channel)
        request = conversation_service_pb2.ListConversationsRequest()
        with pytest.raises(grpc.RpcError) as caught:
            stub.ListConversations(request, timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_caller_without_a_token_is_refused_at_the_ingress(platform: Platform) -> None:
    with platform.channel("session") as channel:
        stub = conversation_service_pb2_grpc.ConversationServiceStub(channel)
        request = conversation_service_pb2.ListConversationsRequest()
        with pytest.raises(grpc.RpcError) as caught:
            stub.ListConversations(request, timeout=5)
    assert caught.value.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


def test_a_killed_proxy_comes_back_and_calls_go_on(platform: Platform, caller: Caller) -> None:
    for program in ("front", "ingress", "envoy-session"):
        name = program if program == FRONT else in_region(program, WEST)
        old = platform.process(name)
        assert old.identity is not None
        os.kill(old.identity.pid, signal.SIGKILL)
        until(
            lambda name=name, old=old: (  # type: ignore[misc]
                platform.process(name).ready and platform.process(name).pid not in (None, old.pid)
            ),
            limit=30,
            what=f"the return of {name}",
        )
        until(lambda: caller.call() == "OK", limit=10, what="an answer")
