"""What is asked of a region is carried out at once, on all of it, and on nothing else."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mesh.local import lock, procfs, regions, state
from mesh.local.layout import Layout
from mesh.local.regions import RegionError, Wish
from mesh.local.spec import ProcessSpec
from mesh.local.state import PlatformState, ProcessStatus
from mesh.local.supervisor import Mesh, Supervisor

NAMES = ("app@west", "envoy-app@west", "app@east", "data")


def spec(name: str) -> ProcessSpec:
    script = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); signal.pause()"
    program, _, region = name.partition("@")
    return ProcessSpec(
        name=name,
        program=program,
        region=region,
        argv=(sys.executable, "-I", "-S", "-c", script),
        cwd=Path("/"),
        uses=("envoy-app@west",) if name == "app@west" else (),
    )


class Running:
    """A platform of four idle processes."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.drained: list[set[str]] = []

    def drain(self, names: Collection[str]) -> None:
        self.drained.append(set(names))

    def state(self) -> PlatformState:
        found = state.load(self.layout.state)
        assert found is not None
        return found

    def processes(self) -> dict[str, ProcessStatus]:
        return {process.name: process for process in self.state().processes}

    async def bring(self, region: str, wish: Wish) -> float:
        return await asyncio.to_thread(regions.bring, self.layout, region, wish, limit=10)


@asynccontextmanager
async def running(home: Path) -> AsyncIterator[Running]:
    layout = Layout(home)
    layout.create()
    platform = Running(layout)
    mesh = Mesh(regions=("west", "east"), mark_draining=platform.drain)
    supervisor = Supervisor([spec(name) for name in NAMES], {}, layout, mesh)
    with lock.held(layout.lock):
        life = asyncio.create_task(supervisor.run())
        while not layout.state.exists() or not platform.state().ready:
            await asyncio.sleep(0.02)
        try:
            yield platform
        finally:
            supervisor.request_stop()
            assert await life


async def test_a_killed_region_is_dead_at_once_and_stays_dead(tmp_path: Path) -> None:
    async with running(tmp_path / "home") as platform:
        before = platform.processes()
        done = await platform.bring("west", Wish.KILL)
        assert time.time() - done < 2
        await asyncio.sleep(0.5)
        after = platform.processes()
        for name in ("app@west", "envoy-app@west"):
            identity = before[name].identity
            assert identity is not None
            assert not procfs.alive(identity)
            assert (after[name].state, after[name].ready) == ("stopped", False)
            assert after[name].detail == "killed with its region"
        for name in ("app@east", "data"):
            assert after[name].pid == before[name].pid
        assert platform.drained == []


async def test_a_region_that_was_killed_comes_back_when_asked(tmp_path: Path) -> None:
    async with running(tmp_path / "home") as platform:
        before = platform.processes()
        await platform.bring("west", Wish.KILL)
        await platform.bring("west", Wish.RUN)
        after = platform.processes()
        assert platform.state().ready
        assert after["app@west"].pid not in (None, before["app@west"].pid)
        assert after["app@west"].restarts == 1
        assert after["app@east"].pid == before["app@east"].pid


async def test_a_frozen_region_keeps_its_processes_and_goes_on_when_asked(tmp_path: Path) -> None:
    async with running(tmp_path / "home") as platform:
        before = platform.processes()
        await platform.bring("west", Wish.FREEZE)
        identity = before["app@west"].identity
        assert identity is not None
        stat = procfs.stat(identity.pid)
        assert stat is not None
        assert stat.state == "T"
        await platform.bring("west", Wish.RUN)
        after = platform.processes()
        assert after["app@west"].identity == identity
        assert platform.state().ready


async def test_a_region_is_drained_before_it_is_stopped_and_taken_back_once_it_runs(tmp_path: Path) -> None:
    async with running(tmp_path / "home") as platform:
        await platform.bring("west", Wish.STOP)
        assert platform.drained == [{"west"}]
        assert platform.processes()["app@west"].state == "stopped"
        await platform.bring("west", Wish.RUN)
        assert platform.drained == [{"west"}, set()]
        assert platform.processes()["app@west"].ready


async def test_a_platform_with_a_frozen_region_can_be_stopped(tmp_path: Path) -> None:
    began = time.monotonic()
    async with running(tmp_path / "home") as platform:
        await platform.bring("west", Wish.FREEZE)
    assert time.monotonic() - began < 60


async def test_an_unknown_region_is_told_with_the_known_ones(tmp_path: Path) -> None:
    async with running(tmp_path / "home") as platform:
        with pytest.raises(RegionError, match="regions are east, west"):
            regions.ask(platform.layout, "north", Wish.KILL)


def test_nothing_can_be_asked_of_a_platform_that_does_not_run(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "home")
    layout.create()
    with pytest.raises(RegionError, match="not running"):
        regions.ask(layout, "west", Wish.KILL)


@pytest.mark.parametrize("text", ["", "[]", '{"west": "explode"}', '{"west": 1}', '{"west": []}'])
def test_a_damaged_wish_is_no_wish(tmp_path: Path, text: str) -> None:
    layout = Layout(tmp_path / "home")
    layout.create()
    layout.regions.write_text(text)
    assert dict(regions.load(layout)) == {}
