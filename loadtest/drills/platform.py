"""What a drill needs of a platform: to call it, and to harm it.

Each fault returns the moment at which it was done, in seconds since the epoch, so that figures count from the
fault and not from when somebody asked for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from loadtest.bench.report import BenchError
from loadtest.drills.caller import Caller


class DrillError(BenchError):
    """A drill cannot be done; the message says why."""


class NotPossibleError(DrillError):
    """This machine does not allow a fault (packets cannot be dropped without privileges)."""


class Platform(Protocol):
    """A platform that runs and is ready."""

    @property
    def regions(self) -> Sequence[str]:
        """Its regions, two at least."""
        ...

    @property
    def synthetic(self) -> bool:
        """Whether the model is the one whose text is known beforehand."""
        ...

    async def spread(self) -> None:
        """Wait until the regions share the calls: load that began earlier would begin with all of its streams
        in the one that came up first. Raises DrillError."""
        ...

    def caller(self) -> Caller:
        """A client outside the mesh, at the one address that people are given."""
        ...

    async def kill(self, region: str) -> float:
        """SIGKILL to everything in a region at once, its ingress included."""
        ...

    async def freeze(self, region: str) -> float:
        """SIGSTOP to everything in a region at once."""
        ...

    async def drain(self, region: str) -> float:
        """Planned: no new calls go there, those under way go on; returns when it is done."""
        ...

    async def restore(self, region: str) -> None:
        """Everything in the region runs again, and is ready."""
        ...

    async def slow(self, region: str, seconds: float) -> float:
        """Everything in a region stands still for so long, again and again, until `restore`."""
        ...

    async def cut(self, region: str) -> float:
        """Packets to and from a region are dropped, and nobody is told. Raises NotPossibleError."""
        ...

    async def mend(self, region: str) -> None:
        """They pass again."""
        ...

    async def kill_control(self, region: str) -> float:
        """SIGKILL to a region's control plane, which stays away."""
        ...

    async def start_control(self, region: str) -> float:
        """It runs again; returns when it serves."""
        ...

    async def restart_proxy(self, app: str, region: str) -> float:
        """Ends an application's sidecar and starts it anew; returns when it serves."""
        ...

    async def change(self) -> None:
        """Something new in the manifests, for every proxy."""
        ...

    async def synced(self) -> bool:
        """Whether every proxy that runs has the newest configuration of a control plane that runs."""
        ...

    async def rotate_leaf(self) -> float:
        """Every proxy gets a new certificate."""
        ...

    async def rotate_root(self) -> float:
        """A new root is made, trusted beside the old one, used, then trusted alone; returns at its end."""
        ...
