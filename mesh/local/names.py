"""The processes of a platform by name: which there are in which regions, their order and their ports.

Light, because commands need it too. A platform without a mesh stands in one place, and its processes have
bare names (`gateway`). With a mesh it stands in regions: what each of them has is named `gateway@us-west-2`,
what there is once (the data servers, the front) keeps its bare name.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

DEFAULT_REGIONS = ("us-west-2", "us-east-1")
LIMIT = 8
"""Regions one machine is asked to play."""

FRONT = "front"
SEPARATOR = "@"

PROXIED = ("policy", "session", "retrieval", "indexer", "triton", "gateway")
"""Programs that have a sidecar."""

SIDECAR = "envoy-"
"""What a sidecar's name begins with; the rest names whom it stands before."""

_REGION = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")


class DataPlane(enum.StrEnum):
    """What carries calls between services."""

    SIDECAR = "sidecar"
    """An Envoy beside every server, on both ends of every call."""
    PROXYLESS = "proxyless"
    """Clients are their own proxies (`xds:///`); servers keep theirs."""
    NONE = "none"
    """Plaintext on loopback, in one place."""


class UnknownProcessError(ValueError):
    """A process was named that this platform does not have."""


class ShapeError(ValueError):
    """Regions and data plane do not go together, or a region has no proper name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One process of a platform."""

    name: str
    """`gateway@us-west-2`, or the program alone."""
    program: str
    """What runs: gateway, envoy-gateway, control, ingress, front, postgres, …"""
    region: str
    """Empty for what stands outside regions."""
    depends: tuple[str, ...] = ()
    """Processes that must have been ready before it starts.

    Services wait by themselves for Triton and for one another (their health says so meanwhile): that way they
    start while Triton loads its models, which takes longest.
    """
    after: tuple[str, ...] = ()
    """Processes that must have been ready before it starts, and need not outlive it."""
    uses: tuple[str, ...] = ()
    """Processes that must outlive it when the platform stops, beside those it depends on."""
    ports: tuple[str, ...] = ()
    """Names of the ports it listens on at 127.0.0.1, its main one first."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Where a platform stands. Raises ShapeError when that makes no sense."""

    regions: tuple[str, ...] = ()
    """In the order of their start; none without a data plane."""
    data_plane: DataPlane = DataPlane.NONE

    def __post_init__(self) -> None:
        """Refuses regions without a mesh, a mesh without regions, and names that no address could carry."""
        if bool(self.regions) != self.has_mesh:
            raise ShapeError(
                "a mesh needs a region" if self.has_mesh else "without a data plane there is one place only"
            )
        if len(set(self.regions)) != len(self.regions):
            raise ShapeError("a region is named twice")
        if len(self.regions) > LIMIT:
            raise ShapeError(f"at most {LIMIT} regions")
        for region in self.regions:
            if not _REGION.fullmatch(region) or len(region) > 40:
                raise ShapeError(f"{region!r} is no region: use lower-case letters, digits and hyphens")

    @property
    def has_mesh(self) -> bool:
        """Whether there are sidecars."""
        return self.data_plane is not DataPlane.NONE

    @property
    def names(self) -> tuple[str, ...]:
        """Every process, in start order."""
        return tuple(member.name for member in self.members)

    @property
    def members(self) -> tuple[Member, ...]:
        """Every process, in start order."""
        return _members(self)

    def check(self, names: Collection[str]) -> None:
        """Raise UnknownProcessError unless each is a process of the platform, and there is one."""
        unknown = sorted(set(names) - set(self.names))
        if unknown:
            raise UnknownProcessError(
                f"no process is called {unknown[0]!r}; there are {', '.join(self.names)}"
            )
        if not names:
            raise UnknownProcessError("no process was named")

    def select(self, only: Collection[str] | None) -> tuple[Member, ...]:
        """The processes asked for, in start order; all of them for None. Raises UnknownProcessError."""
        if only is None:
            return self.members
        self.check(only)
        return tuple(member for member in self.members if member.name in only)

    def port_names(self) -> tuple[str, ...]:
        """Every port a whole platform needs: a subset reserves them too, so that its peers' addresses are
        known."""
        return tuple(port for member in self.members for port in member.ports)


SINGLE = Shape()
"""A platform without a mesh."""


def shape_for(
    only: Collection[str] | None, regions: Sequence[str] | None, data_plane: DataPlane | None
) -> Shape:
    """The shape that was asked for, or, where nothing was said, the one that the names need.

    A choice of bare names gets no mesh (the data servers are the same in both worlds); anything else gets
    sidecars in the default regions. Raises ShapeError.
    """
    if data_plane is None:
        bare = only is not None and not any(SEPARATOR in name or name == FRONT for name in only)
        data_plane = DataPlane.NONE if bare and regions is None else DataPlane.SIDECAR
    if data_plane is DataPlane.NONE:
        return Shape(tuple(regions or ()))
    return Shape(tuple(DEFAULT_REGIONS if regions is None else regions), data_plane)


def in_region(program: str, region: str) -> str:
    """The name of a program's process in a region; the program itself outside of regions."""
    return f"{program}{SEPARATOR}{region}" if region else program


def split(name: str) -> tuple[str, str]:
    """Program and region of a process; the region is empty outside of regions."""
    program, _, region = name.partition(SEPARATOR)
    return program, region


def _data() -> tuple[Member, ...]:
    def member(name: str, *depends: str, listens: bool = False) -> Member:
        return Member(name=name, program=name, region="", depends=depends, ports=(name,) if listens else ())

    return (
        member("postgres", listens=True),
        member("valkey", listens=True),
        member("milvus", listens=True),
        member("models"),
        member("migrations", "postgres"),
    )


_NEEDS = {
    "triton": ("models",),
    "policy": ("migrations", "valkey"),
    "session": ("migrations",),
    "retrieval": ("migrations", "valkey", "milvus"),
    "indexer": ("migrations", "valkey", "milvus"),
    "gateway": (),
}
"""What stands outside regions and must have been ready."""

_CALLS = {
    "retrieval": ("triton",),
    "indexer": ("triton",),
    "gateway": ("policy", "session", "retrieval", "triton"),
}
"""Whom a program calls."""

_CALLED_FROM_OUTSIDE = ("gateway", "session", "retrieval")


@functools.lru_cache(maxsize=32)
def _members(shape: Shape) -> tuple[Member, ...]:
    members = list(_data())
    for region in shape.regions or ("",):
        members += _region(region, shape)
    if shape.has_mesh:
        control = in_region("control", shape.regions[0])
        ingresses = tuple(in_region("ingress", region) for region in shape.regions)
        members.append(Member(name=FRONT, program=FRONT, region="", depends=(control,), after=ingresses))
    return tuple(members)


def _region(region: str, shape: Shape) -> list[Member]:
    def here(*programs: str) -> tuple[str, ...]:
        return tuple(in_region(program, region) for program in programs)

    def proxy(program: str) -> Member:
        return Member(name=here(program)[0], program=program, region=region, depends=here("control"))

    def server(program: str, more_ports: tuple[str, ...] = ()) -> Member:
        called = _CALLS.get(program, ())
        uses = [*here(*called)]
        if shape.has_mesh:
            # Calls that are still under way when it stops go out, and came in, through these.
            uses += here(*(SIDECAR + other for other in (program, *called)))
            if program in _CALLED_FROM_OUTSIDE:
                uses += [*here("ingress"), FRONT]
        # A client that is its own proxy would go to another control plane rather than wait for its own.
        first = here("control") if called and shape.data_plane is DataPlane.PROXYLESS else ()
        ports = here(program, *more_ports)
        return Member(
            name=here(program)[0],
            program=program,
            region=region,
            depends=(*_NEEDS[program], *first),
            uses=tuple(uses),
            ports=ports,
        )

    triton = server("triton", ("triton_http", "triton_metrics"))
    watchdog = Member(name=here("watchdog")[0], program="watchdog", region=region, depends=here("triton"))
    services = [server(program) for program in ("policy", "session", "retrieval", "indexer", "gateway")]
    if not shape.has_mesh:
        return [triton, watchdog, *services]
    control = Member(name=here("control")[0], program="control", region=region)
    sidecars = [proxy(SIDECAR + program) for program in PROXIED]
    # A region opens its door when there is somebody inside: until then the front sends nobody there.
    ingress = replace(proxy("ingress"), after=here("policy", *_CALLED_FROM_OUTSIDE))
    return [control, triton, watchdog, *services, *sidecars, ingress]
