"""The root of all certificates is replaced while calls go on over the platform's two regions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from cryptography.x509 import Certificate
from support.mesh_echo import Load
from support.mesh_istio import Platform, running
from support.mesh_processes import eventually
from support.mesh_tls import through_tls, tls

from mesh.local.addresses import INBOUND
from mesh.pki.bootstrap import IdentityFiles, ensure
from mesh.pki.regional import RegionalAuthority
from mesh.pki.root import RootAuthority
from mesh.pki.svid import Identity

pytestmark = pytest.mark.asyncio(loop_scope="module")

WEST, EAST = "us-west-2", "us-east-1"
LIST = "/causeway.session.v1.ConversationService/ListConversations"
MESSAGES = "/causeway.session.v1.MessageService/ListMessages"
CHAT = "/causeway.gateway.v1.ChatService/Chat"
GATEWAY = Identity("causeway", "gateway")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    async with running(tmp_path_factory.mktemp("rotation")) as platform:
        # The supervisor's part: who asks a control plane needs an identity before.
        (keep,) = platform.files.mesh().background
        task = asyncio.create_task(keep())
        yield platform
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Fleet:
    """What the proxies have to do with roots."""

    def __init__(self, platform: Platform, folder: Path) -> None:
        self._platform = platform
        self._folder = folder
        self._shown: dict[str, set[int]] = {}

    async def trusts(self, *roots: Certificate) -> None:
        """Wait until every proxy trusts these roots and no others."""
        wanted = {root.serial_number for root in roots}
        await self._eventually("ca_cert", lambda _, found: found == wanted)

    async def shows(self) -> None:
        """Remember with what every proxy proves who it is."""
        self._shown = {name: await self._serials(name, "cert_chain") for name in self._platform.proxies}

    async def shows_anew(self) -> None:
        """Wait until every proxy proves it with something else."""
        await self._eventually("cert_chain", lambda name, found: found.isdisjoint(self._shown[name]))

    def identity(self, name: str) -> IdentityFiles:
        """The gateway's, as a proxy that starts now would get it."""
        ensure(RegionalAuthority.open(self._platform.layout.pki, WEST), GATEWAY, self._folder / name)
        return IdentityFiles(self._folder / name)

    async def meets(self, files: IdentityFiles) -> str:
        """What becomes of a call with this identity over a new connection, straight to a server's proxy."""
        address = f"{self._platform.plan.address('session', WEST)}:{INBOUND}"
        async with through_tls(address, tls(files, files.trust)) as client:
            try:
                return (await client.call(MESSAGES, timeout=5.0)).instance
            except grpc.aio.AioRpcError as error:
                return str(error.code().name)

    async def _eventually(self, part: str, holds: Callable[[str, set[int]], bool]) -> None:
        async def so() -> bool:
            found = {name: await self._serials(name, part) for name in self._platform.proxies}
            return all(holds(name, serials) for name, serials in found.items())

        await eventually(so, f"{part} of all proxies")
        await eventually(self._platform.in_step, "proxies in step")

    async def _serials(self, name: str, part: str) -> set[int]:
        # A gateway shows people another certificate, which has nothing to do with the mesh's roots.
        found = json.loads(await self._platform.proxies[name].ask("/certs"))["certificates"]
        items = [item for one in found for item in one.get(part, [])]
        return {
            int(item["serial_number"], 16) for item in items if "spiffe://" in str(item["subject_alt_names"])
        }


async def ticking(request: bytes, context: Any) -> AsyncIterator[bytes]:
    """A stream without an end."""
    while True:
        yield b"tick"
        await asyncio.sleep(0.1)


async def test_replacing_the_root_fails_no_call_and_ends_no_stream(
    platform: Platform, tmp_path: Path
) -> None:
    fleet = Fleet(platform, tmp_path)
    authority = RootAuthority(platform.layout.pki, "cluster.local")
    for region in (WEST, EAST):
        platform.echoes[f"gateway@{region}"].streams = {CHAT: ticking}
    async with platform.outside() as outside, platform.inside("gateway", WEST, "session") as inside:
        outside.always = {"authorization": platform.token()}
        stream = outside.watch(CHAT)
        assert await stream.read() == b"tick"
        async with (
            Load(outside, each=0.03, method=LIST) as people,
            Load(inside, each=0.03, method=MESSAGES) as services,
        ):
            first = authority.state().signing
            await fleet.trusts(first)
            second = authority.introduce().introduced
            assert second is not None
            await fleet.trusts(first, second)
            old = fleet.identity("old")
            await fleet.shows()
            authority.switch()
            await fleet.shows_anew()
            await fleet.trusts(first, second)
            new = fleet.identity("new")
            # Until the last has changed over, both are somebody.
            assert [await fleet.meets(old), await fleet.meets(new)] == [f"session@{WEST}"] * 2
            authority.retire(timedelta(0))
            await fleet.trusts(second)
            assert await fleet.meets(new) == f"session@{WEST}"
            assert await fleet.meets(old) == "UNAVAILABLE"
        for _ in range(100):
            assert await asyncio.wait_for(stream.read(), 5.0) == b"tick"
        stream.cancel()
    for load in (people, services):
        assert set(load.counts()) <= {f"session@{region}" for region in (WEST, EAST)}, load.failures


async def test_who_starts_after_the_old_root_is_gone_is_let_in(platform: Platform) -> None:
    """Both ends of a connection anew: nothing lives on by what was open before."""
    for name in (f"envoy-gateway@{WEST}", f"envoy-session@{WEST}"):
        platform.proxies[name].kill()
        platform.proxies[name].start()
    await eventually(platform.in_step, "proxies in step")
    async with platform.inside("gateway", WEST, "session") as client:

        async def served() -> bool:
            return await client.who(MESSAGES) == f"session@{WEST}"

        await eventually(served, "the own region's server")
