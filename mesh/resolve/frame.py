"""The part of a view that does not depend on other workloads."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.ir.cluster import Cluster
from mesh.ir.listener import Listener
from mesh.ir.patch import Patch
from mesh.ir.route import RouteTable
from mesh.ir.view import Proxy
from mesh.resolve.scope import Scope
from mesh.resolve.workloads import Workload


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Frame:
    """Kept for a proxy as long as the configuration and its own workload stay: the same objects again and
    again, so that whoever compares views sees at once what did not change."""

    proxy: Proxy
    workload: Workload | None
    scope: Scope
    listeners: tuple[Listener, ...]
    tables: tuple[RouteTable, ...]
    clusters: tuple[Cluster, ...]
    """Of the application behind it."""
    needed: frozenset[str]
    """Names of clusters that providers and key sets are reached through."""
    credentials: tuple[str, ...]
    patches: tuple[Patch, ...]
