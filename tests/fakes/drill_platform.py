"""A platform of two regions that is not there: callers are answered by arithmetic, faults change the sums."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from loadtest.drills.caller import Accepted, Caller, CallFailedError, Event, Held, Resumed, Text

REGIONS = ("us-west-2", "us-east-1")


@dataclass(slots=True)
class FakePlatform:
    """Answers from its first region, and from the second once the first is lost."""

    clock: Callable[[], float]
    outage: float = 0.0
    """Seconds after a kill during which calls fail."""
    loses: int = 0
    """Words that a stream loses when it is taken up elsewhere; negative: repeats."""
    breaks: bool = False
    """A kill breaks the callers' own streams, and not only what is behind the gateway."""
    regions: Sequence[str] = REGIONS
    synthetic: bool = True
    away: set[str] = field(default_factory=set)
    killed_at: float = 0.0
    done: list[str] = field(default_factory=list)
    """What was asked of it, in order."""

    async def spread(self) -> None:
        """The first region answers everything here."""

    def caller(self) -> Caller:
        """A client."""
        return FakeCaller(self)

    @property
    def region(self) -> str:
        """The one that answers."""
        return next((name for name in self.regions if name not in self.away), "")

    def _take_away(self, region: str, what: str) -> float:
        self.done.append(f"{what} {region}")
        self.away.add(region)
        self.killed_at = self.clock()
        return self.killed_at

    async def kill(self, region: str) -> float:
        """It stays away."""
        return self._take_away(region, "kill")

    async def freeze(self, region: str) -> float:
        """The same here."""
        return self._take_away(region, "freeze")

    async def drain(self, region: str) -> float:
        """The same here."""
        return self._take_away(region, "drain")

    async def cut(self, region: str) -> float:
        """The same here."""
        return self._take_away(region, "cut")

    async def mend(self, region: str) -> None:
        """It comes back."""
        self.done.append(f"mend {region}")
        self.away.discard(region)

    async def restore(self, region: str) -> None:
        """It comes back."""
        self.done.append(f"restore {region}")
        self.away.discard(region)

    async def slow(self, region: str, seconds: float) -> float:
        """Nothing is slow here."""
        self.done.append(f"slow {region}")
        return self.clock()

    async def kill_control(self, region: str) -> float:
        """Callers do not notice."""
        self.done.append(f"kill control {region}")
        return self.clock()

    async def start_control(self, region: str) -> float:
        """At once."""
        self.done.append(f"start control {region}")
        return self.clock()

    async def restart_proxy(self, app: str, region: str) -> float:
        """At once."""
        self.done.append(f"restart {app} {region}")
        return self.clock()

    async def change(self) -> None:
        """Noted."""
        self.done.append("change")

    async def synced(self) -> bool:
        """Always."""
        return True

    async def rotate_leaf(self) -> float:
        """Callers do not notice."""
        self.done.append("rotate leaf")
        return self.clock()

    async def rotate_root(self) -> float:
        """Callers do not notice."""
        self.done.append("rotate root")
        return self.clock()


class FakeCaller:
    """Its client."""

    def __init__(self, platform: FakePlatform) -> None:
        self._platform = platform

    async def unary(self, timeout: float) -> str:
        """A millisecond later."""
        await asyncio.sleep(0.001)
        platform = self._platform
        if platform.away and platform.clock() - platform.killed_at < platform.outage:
            raise CallFailedError("UNAVAILABLE", "connection refused")
        return platform.region

    async def stream(self, words: int, held: Held | None) -> AsyncIterator[Event]:
        """A word every two milliseconds."""
        platform = self._platform
        number = len(held.text.split()) if held else 0
        offset = len(held.text) if held else 0
        region = platform.region
        yield Accepted(region, b"token")
        if held:
            yield Resumed(offset, region)
        while number < words:
            await asyncio.sleep(0.002)
            if region in platform.away:
                if platform.breaks:
                    raise CallFailedError("UNAVAILABLE", "connection reset")
                region = platform.region
                number = max(0, number + platform.loses)
                yield Resumed(offset, region)
            text = f"word{number} "
            yield Text(offset, text)
            number += 1
            offset += len(text)
