"""The steps from files to what a proxy is sent, handed in so that the control plane can be tried without
them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from mesh.ir.view import Proxy, ProxyView
from mesh.xds.resources import Resources

M = TypeVar("M")
I = TypeVar("I")  # noqa: E741 - the index


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something wrong with a manifest, for people."""

    file: str
    line: int
    """1-based; 0 for the whole file."""
    path: str
    """The field; empty for the whole document."""
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place} {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class BadManifests(Exception):
    """The manifests cannot be used; what was used before stays."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
        super().__init__(f"{problems[0]}{more}" if problems else "no problem")
        self.problems = tuple(problems)


def _nothing() -> None:
    pass


def _nobody(index: object, former: object) -> Iterable[Proxy]:
    del index, former
    return ()


def _named(view: ProxyView) -> Iterable[str]:
    return view.credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline(Generic[M, I]):
    """The steps. Each is a pure function; what is given as former only saves work."""

    read: Callable[[Sequence[Path], M | None], M]
    """Files and folders to manifests; the second argument is what was read before. Raises BadManifests."""
    files: Callable[[M], Iterable[str | Path]]
    """The files that manifests were read from, those included by others too."""
    version: Callable[[M], str]
    """A hash of the manifests' content."""
    index: Callable[[M, I | None], I]
    """Manifests to what is looked up for every proxy; the second argument is the index before."""
    proxies: Callable[[I], Iterable[Proxy]]
    """All proxies of the mesh."""
    resolve: Callable[[I, Proxy], ProxyView]
    """What one proxy is to do."""
    translate: Callable[[ProxyView], Resources]
    """The same as xDS. Raises BadManifests when that cannot be made because of what a manifest says."""
    trials: Callable[[I, I | None], Iterable[Proxy]] = _nobody
    """The proxies whose translation may raise BadManifests and did not with the index before (the second
    argument): they are tried before anybody is sent anything made of the new one."""
    credentials: Callable[[ProxyView], Iterable[str]] = _named
    """The secrets that a gateway asks for, beside its own identity."""
    sweep: Callable[[], None] = _nothing
    """Called when every proxy was translated: what was kept for reuse and not used may go."""
