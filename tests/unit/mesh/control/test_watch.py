"""A change of a file is noticed, however it is made."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mesh.control import watch
from mesh.control.watch import Watcher


async def noticed(watcher: Watcher, change: Callable[[], object], limit: float = 1.0) -> float:
    """Seconds until a change was told."""
    waiting = asyncio.ensure_future(watcher.changed())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    began = time.monotonic()
    change()
    await asyncio.wait_for(waiting, limit)
    return time.monotonic() - began


def replace(path: Path, text: str) -> None:
    temporary = path.with_name(".new")
    temporary.write_text(text)
    temporary.replace(path)


async def test_every_kind_of_change_is_noticed_at_once(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("1")
    async with Watcher([tmp_path]) as watcher:
        for change in (
            lambda: file.write_text("2"),
            lambda: replace(file, "3"),
            lambda: (tmp_path / "b.yaml").write_text("new"),
            lambda: file.unlink(),
            lambda: (tmp_path / "folder").mkdir(),
            lambda: (tmp_path / "folder" / "c.yaml").write_text("deep"),
        ):
            assert await noticed(watcher, change) < 0.5


async def test_a_single_file_is_watched_through_its_replacement(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("1")
    async with Watcher([file]) as watcher:
        for text in ("2", "3"):
            await noticed(watcher, lambda text=text: replace(file, text))  # type: ignore[misc]


async def test_files_that_come_to_matter_later_are_watched_too(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    async with Watcher([one]) as watcher:
        watcher.also([other / "x.yaml"])
        await noticed(watcher, lambda: (other / "x.yaml").write_text("1"))


async def test_changes_in_quick_succession_are_told_once(tmp_path: Path) -> None:
    async with Watcher([tmp_path]) as watcher:
        await noticed(watcher, lambda: [(tmp_path / f"{n}.yaml").write_text("x") for n in range(20)])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(watcher.changed(), 0.2)


async def test_changes_without_end_are_told_nevertheless(tmp_path: Path) -> None:
    async with Watcher([tmp_path]) as watcher:

        async def write() -> None:
            for number in range(1000):
                (tmp_path / "a.yaml").write_text(str(number))
                await asyncio.sleep(0.001)

        writer = asyncio.ensure_future(write())
        await asyncio.wait_for(watcher.changed(), watch.LONGEST + 0.5)
        writer.cancel()


async def test_what_the_kernel_does_not_tell_is_found_by_looking(tmp_path: Path) -> None:
    async with Watcher([tmp_path / "later"], look=0.05) as watcher:
        folder = tmp_path / "later"
        folder.mkdir()
        await asyncio.wait_for(watcher.changed(), 1.0)
        await noticed(watcher, lambda: (folder / "a.yaml").write_text("1"))


async def test_what_the_kernel_told_is_looked_at_once_more(tmp_path: Path) -> None:
    """What changed while the change was taken over and the kernel did not tell would else never be found."""
    async with Watcher([tmp_path], look=0.05) as watcher:
        await noticed(watcher, lambda: (tmp_path / "a.yaml").write_text("1"))
        await asyncio.wait_for(watcher.changed(), 1.0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(watcher.changed(), 0.3)
