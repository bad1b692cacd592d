"""How clients stand: what they have, what they refuse, what they did not answer."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mesh.ir.view import Proxy
from mesh.xds.subscription import Rejection


class Sync(enum.Enum):
    """How near a client is to what it should have."""

    SYNCED = "synced"
    """It has accepted everything."""
    STALE = "stale"
    """It lacks something, or has not answered yet, or is not connected."""
    REJECTED = "nacked"
    """It refuses something and uses the last good version of that; it has all the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamReport:
    """One stream of a client."""

    node_id: str
    protocol: str
    """delta or sotw."""
    connected: bool
    since: float
    """When it connected, seconds since the epoch."""
    answered: float
    """When it last answered."""
    version: str
    """Of the newest snapshot for it; empty when there is none."""
    synced: bool
    rejections: tuple[Rejection, ...]
    waiting: Mapping[str, float]
    """Type URL to the seconds for which a response has had no answer."""

    @property
    def state(self) -> Sync:
        """How near it is."""
        if not self.connected:
            return Sync.STALE
        if self.rejections:
            return Sync.REJECTED
        return Sync.SYNCED if self.synced else Sync.STALE


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyReport:
    """One client, all its streams together."""

    proxy: Proxy
    streams: tuple[StreamReport, ...]

    @property
    def state(self) -> Sync:
        """Of the stream that is farthest off."""
        states = {stream.state for stream in self.streams}
        for state in (Sync.REJECTED, Sync.STALE):
            if state in states:
                return state
        return Sync.SYNCED

    @property
    def connected(self) -> bool:
        """Whether any stream is open."""
        return any(stream.connected for stream in self.streams)


def merge(proxy: Proxy, streams: Sequence[StreamReport]) -> ProxyReport:
    """The report of a client from those of its streams."""
    return ProxyReport(proxy=proxy, streams=tuple(streams))
