"""A walk as text for a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mesh.simulate.walk import Ending, Hop, Result, Step, Walk

_MARKS = {Result.REACHED: "●", Result.ANSWERED: "●", Result.REFUSED: "✗", Result.FAILED: "✗"}
_WIDTH = 11


def explain(walk: Walk) -> list[str]:
    """Hop by hop what was decided, and which line of which manifest decided it."""
    request = walk.request
    lines = [f"{request.method} {request.authority}{request.path}"]
    for number, hop in enumerate(walk.hops, 1):
        lines += ["", f"{number}. {_title(hop)}", *_steps(hop.steps)]
    for side in walk.sides:
        lines += ["", f"Meanwhile {side.hops[0].proxy} calls {side.request.authority}{side.request.path}:"]
        lines += [f"   {line}" for line in _short(side)]
    lines += ["", f"{_MARKS[walk.ending.result]} {ending(walk.ending)}"]
    if not walk.sure:
        lines += ["", "? marks what a simulation cannot know, and had to assume."]
    return lines


def ending(found: Ending) -> str:
    """How it ended, in a line."""
    got = []
    if found.status is not None:
        got.append(f"HTTP {found.status}")
    if found.grpc:
        got.append(f"gRPC {found.grpc}")
    caller = f" (the caller gets {', '.join(got)})" if got else ""
    who = f"{found.by}: " if found.by and found.result is not Result.REACHED else ""
    return f"{found.result.value}: {who}{found.says}{caller}"


def _title(hop: Hop) -> str:
    region = f" in {hop.region}" if hop.region else ""
    roles = {
        "outbound": "speaks for its application",
        "inbound": "guards its application",
        "gateway": "passes on",
        "own": "calls by itself",
    }
    return f"{hop.proxy}{region} {roles.get(hop.role, hop.role)}"


def _steps(steps: Sequence[Step]) -> Iterator[str]:
    """Each with the line behind it, unless the next has the same."""
    for place, step in enumerate(steps):
        mark = " " if step.sure else "?"
        yield f" {mark} {step.kind.ljust(_WIDTH)}{step.says}"
        following = steps[place + 1].origin if place + 1 < len(steps) else None
        if step.origin is not None and step.origin.file and step.origin != following:
            yield f"   {''.ljust(_WIDTH)}└ {step.origin}"


def _short(walk: Walk) -> Iterator[str]:
    yield f"{_MARKS[walk.ending.result]} {ending(walk.ending)}"
    for step in walk.steps("filter"):
        if walk.ending.result is Result.REFUSED:
            yield f"  {step.says}"
