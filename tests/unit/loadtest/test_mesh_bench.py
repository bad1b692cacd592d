"""What `causeway bench mesh` makes of what callers saw."""

from __future__ import annotations

import asyncio
import io
from types import SimpleNamespace

import grpc.aio
import pytest

from loadtest.bench import mesh
from loadtest.bench.harness import Round, Rounds, Run
from loadtest.bench.mesh import DIRECT, PROXYLESS, SIDECARS, SIDES
from loadtest.bench.peers.mesh_caller import measure
from loadtest.bench.progress import Progress
from loadtest.bench.report import Report
from loadtest.bench.samples import Sample, figures
from mesh.local.workloads import CALLS


def rounds(foreign: float = 0.0) -> tuple[Rounds, dict[tuple[str, int], Sample]]:
    """Two rounds, the second with half the speed on every way."""
    samples = {}
    for number, slow in enumerate((1.0, 2.0)):
        for side, factor in ((DIRECT, 1.0), (PROXYLESS, 1.5), (SIDECARS, 2.0)):
            samples[side, number] = Sample(factor * slow * 1e-3, factor * slow * 4e-3, 1000 / factor / slow)
    every = [Round({side: samples[side, number].p50 for side in SIDES}, foreign) for number in range(2)]
    return Rounds(every), samples


def reported(callers: int) -> Report:
    """The report of two rounds."""
    run = Run(report=Report(name="mesh", environment={}), progress=Progress(io.StringIO()))
    mesh.report(run, callers, *rounds())
    return run.report


def test_ratios_are_taken_round_by_round() -> None:
    checks = {check.name: check for check in reported(1).checks}
    assert checks["sidecars over direct, p50, 1 caller"].value == pytest.approx(2.0)
    assert checks["sidecars over direct, p50, 1 caller"].spread == pytest.approx((2.0, 2.0))
    assert checks["proxyless over direct, p50, 1 caller"].value == pytest.approx(1.5)
    assert checks["sidecars over direct, calls/s, 1 caller"].value == pytest.approx(0.5)
    assert checks["direct, p50, 1 caller"].value == pytest.approx(1.5)
    assert checks["sidecars, p99, 1 caller"].value == pytest.approx(12.0)


@pytest.mark.parametrize(
    "callers, bounded", [(1, ["sidecars over direct, p50, 1 caller"]), (16, []), (64, [])]
)
def test_only_a_single_caller_is_bounded(callers: int, bounded: list[str]) -> None:
    assert [check.name for check in reported(callers).checks if check.bound is not None] == bounded


def test_other_figures_keep_the_foreign_load_by_which_rounds_are_chosen() -> None:
    found, samples = rounds(foreign=0.7)
    assert [one.foreign for one in figures(found, samples, lambda one: one.rate).every] == [0.7, 0.7]


def test_the_caller_may_call_the_server_by_the_platforms_own_rules() -> None:
    assert mesh.SERVER in CALLS[mesh.CALLER]


async def test_callers_are_counted_between_the_ramp_and_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    # A clock of its own: what a busy machine makes of a tenth of a second is not the point.
    clock = SimpleNamespace(perf_counter=lambda: now)
    monkeypatch.setattr("loadtest.bench.peers.mesh_caller.time", clock)
    monkeypatch.setattr("loadtest.bench.peers.mesh_caller.RAMP", 2.0)

    async def call(_limit: float) -> None:
        nonlocal now
        answered = now + 0.5
        await asyncio.sleep(0)
        now = max(now, answered)

    found = await measure(call, 4, 10.0)
    assert (found["p50"], found["p99"]) == (0.5, 0.5)
    assert (found["calls"], found["rate"]) == (4 * 20, 8.0)


async def test_a_call_that_fails_is_told_and_ends_the_others() -> None:
    async def call(_limit: float) -> None:
        raise grpc.aio.AioRpcError(
            grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), details="no way"
        )

    assert await measure(call, 3, 5.0) == {"error": "UNAVAILABLE: no way"}


async def test_no_answer_at_all_is_told_too() -> None:
    async def call(_limit: float) -> None:
        await asyncio.sleep(0.3)

    assert "no call was answered" in (await measure(call, 1, 0.01))["error"]
