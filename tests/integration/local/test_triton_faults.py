"""Triton has children and shared memory of its own: neither may outlive it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.platform import Platform, running
from support.wait import until

from mesh.local import lock, procfs, triton


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with running(["models", "triton"], limit=180) as platform:
        yield platform


def stubs(platform: Platform) -> list[int]:
    """Processes that Triton started for its models."""
    pid = platform.process("triton").pid
    return [item.pid for item in procfs.descendants(pid)] if pid else []


def shared_memory(platform: Platform) -> list[str]:
    prefix = triton.shm_prefix(platform.layout)
    return [path.name for path in Path("/dev/shm").iterdir() if path.name.startswith(prefix)]  # noqa: S108


def test_a_killed_triton_comes_back_and_leaves_neither_stubs_nor_shared_memory(platform: Platform) -> None:
    old = platform.process("triton").identity
    assert old is not None
    before, memory = stubs(platform), set(shared_memory(platform))
    assert len(before) >= 2
    assert memory

    os.kill(old.pid, signal.SIGKILL)
    until(lambda: not procfs.alive(old))
    assert not platform.report().ready
    until(lambda: platform.report().ready and platform.process("triton").pid != old.pid, limit=90)

    assert [pid for pid in before if procfs.identify(pid)] == []
    assert memory & set(shared_memory(platform)) == set()


def test_nothing_of_triton_is_left_after_its_supervisor_was_killed_and_the_platform_stopped(
    platform: Platform,
) -> None:
    from mesh.local import daemon

    before = stubs(platform)
    pid = platform.process("triton").pid
    holder = lock.holder(platform.layout.lock)
    assert pid is not None
    assert holder is not None
    os.kill(pid, signal.SIGSTOP)
    os.kill(holder.pid, signal.SIGKILL)
    until(lambda: not procfs.alive(holder))

    daemon.down(platform.layout)

    assert [left for left in (pid, *before) if procfs.identify(left)] == []
    assert shared_memory(platform) == []
