"""What a walk found: proxies passed, decisions taken, and how it ended."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mesh.ir.origin import Origin
from mesh.simulate.request import Request
from mesh.simulate.upstream import Choice, Endpoint

GRPC_STATUS = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
"""How a proxy tells a gRPC client of an HTTP status; any other is 2, UNKNOWN.

https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
"""

GRPC_NAMES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""By number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One decision."""

    kind: str
    """For example "listener", "filter", "route", "priority"."""
    says: str
    resource: tuple[str, ...] = ()
    """Type URL and name of the xDS resource that decided, and names inside it."""
    origin: Origin | None = None
    """The manifest's line behind it."""
    sure: bool = True
    """False where a simulation had to assume."""


class Result(enum.Enum):
    """How a walk ended."""

    REACHED = "reached"
    """The application, or a host outside the mesh, gets the request."""
    ANSWERED = "answered"
    """A proxy answers by itself, as it was told to: a redirect, a direct response, a CORS preflight."""
    REFUSED = "refused"
    """A proxy refuses."""
    FAILED = "failed"
    """It cannot be delivered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The end of a walk."""

    result: Result
    says: str
    by: str = ""
    """The proxy that decided, `namespace/name`."""
    status: int | None = None
    """HTTP status that the caller gets; None when the application decides, or a connection just closes."""
    grpc: str = ""
    """Name of the gRPC status; empty for a request that is not gRPC, or that the application answers."""
    at: str = ""
    """`address:port` of who got it."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a request at the hosts of a cluster."""

    number: int
    """From 1."""
    choice: Choice
    endpoint: Endpoint | None
    failed: str = ""
    """Why it came to nothing; empty: it went through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One proxy passed."""

    proxy: str
    """`namespace/name`."""
    region: str
    role: str
    """"outbound", "inbound" or "gateway"."""
    steps: tuple[Step, ...]
    cluster: str = ""
    """That it chose; empty when it did not get so far."""
    clusters: tuple[tuple[str, float], ...] = ()
    """The clusters that the route spreads over, with their shares."""
    attempts: tuple[Attempt, ...] = ()

    @property
    def endpoint(self) -> Endpoint | None:
        """The host that gets it; None when none does."""
        return self.attempts[-1].endpoint if self.attempts and not self.attempts[-1].failed else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """The way of one request."""

    request: Request
    """As it was sent."""
    hops: tuple[Hop, ...]
    ending: Ending
    arrived: Request | None = None
    """As the last one got it; None when nobody did."""
    sides: tuple[Walk, ...] = field(default=())
    """Calls that proxies made on the way, to authorizers and rate limiters."""

    @property
    def reached(self) -> bool:
        """Whether somebody got the request."""
        return self.ending.result is Result.REACHED

    @property
    def delivered(self) -> bool:
        """Whether it went as it was meant to: somebody got it, or a proxy answered as it was told to."""
        return self.ending.result in (Result.REACHED, Result.ANSWERED)

    @property
    def region(self) -> str:
        """Region of the last proxy."""
        return self.hops[-1].region if self.hops else ""

    @property
    def proxies(self) -> tuple[str, ...]:
        """Names of those passed."""
        return tuple(hop.proxy for hop in self.hops)

    @property
    def sure(self) -> bool:
        """Whether nothing had to be assumed."""
        return all(step.sure for step in self.steps())

    def steps(self, kind: str = "") -> Iterator[Step]:
        """All of them, or those of one kind."""
        for hop in self.hops:
            for step in hop.steps:
                if not kind or step.kind == kind:
                    yield step

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "request": {
                "authority": self.request.authority,
                "method": self.request.method,
                "path": self.request.path,
                "headers": dict(self.request.headers),
            },
            "hops": [_hop(hop) for hop in self.hops],
            "ending": {
                "result": self.ending.result.value,
                "says": self.ending.says,
                "by": self.ending.by,
                "status": self.ending.status,
                "grpc_status": self.ending.grpc or None,
                "at": self.ending.at or None,
            },
            "sure": self.sure,
            "side_calls": [side.to_json() for side in self.sides],
        }


def _hop(hop: Hop) -> dict[str, Any]:
    return {
        "proxy": hop.proxy,
        "region": hop.region,
        "role": hop.role,
        "cluster": hop.cluster or None,
        "clusters": [{"cluster": name, "share": round(share, 6)} for name, share in hop.clusters],
        "attempts": [_attempt(attempt) for attempt in hop.attempts],
        "steps": [_step(step) for step in hop.steps],
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    loads = attempt.choice.loads
    return {
        "number": attempt.number,
        "priorities": [
            {"priority": place, "load_percent": loads.of(place), "panic": loads.panic[place]}
            for place in range(len(loads.healthy))
        ],
        "endpoints": [
            {
                "address": item.endpoint.where,
                "locality": item.endpoint.locality,
                "priority": item.endpoint.priority,
                "share": round(item.share, 6),
            }
            for item in attempt.choice.shares
        ],
        "chosen": attempt.endpoint.where if attempt.endpoint else None,
        "failed": attempt.failed or None,
    }


def _step(step: Step) -> dict[str, Any]:
    origin = step.origin
    return {
        "kind": step.kind,
        "says": step.says,
        "resource": list(step.resource),
        "origin": None
        if origin is None
        else {
            "file": origin.file or None,
            "line": origin.line or None,
            "kind": origin.kind,
            "namespace": origin.namespace or None,
            "name": origin.name or None,
            "path": origin.path or None,
        },
        "sure": step.sure,
    }


def local_answer(request: Request | None, status: int, grpc: int | None = None) -> str:
    """The gRPC status by which a proxy's own answer reaches a gRPC caller; empty for others."""
    if request is None or not request.is_grpc:
        return ""
    return GRPC_NAMES[grpc if grpc is not None else 0 if status == 200 else GRPC_STATUS.get(status, 2)]
