"""Patches of route tables, virtual hosts and routes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from google.protobuf.message import Message

from mesh.ir.origin import Origin
from mesh.ir.patch import Operation, Patch, Target
from mesh.translate import patch_match
from mesh.translate.errors import PatchError
from mesh.translate.packing import Proto
from mesh.translate.patch_lists import edit
from mesh.translate.patch_values import merge
from mesh.xds.protos import route_components_pb2, route_pb2
from mesh.xds.resources import ROUTES, Path


class Values(Protocol):
    """What patches hold, and a note of which of them did something."""

    origins: dict[Path, Origin]

    def value(self, patch: Patch, kind: type[Message]) -> Proto:
        """A fresh copy of the patch's value."""

    def used(self, patch: Patch) -> None:
        """Notes that the patch has changed something."""

    def note_moved(self, host: Path, order: Sequence[Origin | int]) -> None:
        """Tells where the routes of a virtual host are now: what put each there, or its index before."""


@dataclass(slots=True)
class _Placed:
    """A route, and what put it there: a patch, or, as its index before, the view."""

    route: Proto
    source: Origin | int
    merged: Origin | None = None
    """The last patch that was merged into it."""


def patch_table(made: Proto, patches: Sequence[Patch], values: Values) -> None:
    """Changes the table in place; `patches` are those that match it."""
    for patch in patches:
        if patch.target is Target.ROUTE_CONFIGURATION:
            merge(made, values.value(patch, route_pb2.RouteConfiguration))
            values.used(patch)
            values.origins[ROUTES, made.name, "patch"] = patch.origin
    hosts = []
    for host in made.virtual_hosts:
        patched = _patch_host(host, made.name, patches, values)
        if patched is not None:
            hosts.append(patched)
    for patch in patches:
        if patch.target is Target.VIRTUAL_HOST and patch.operation is Operation.ADD:
            hosts.append(_added_host(made.name, hosts, patch, values))
    copies = []
    for host in hosts:
        copy = route_components_pb2.VirtualHost()
        copy.CopyFrom(host)
        copies.append(copy)
    del made.virtual_hosts[:]
    made.virtual_hosts.extend(copies)


def _added_host(table: str, hosts: Sequence[Proto], patch: Patch, values: Values) -> Proto:
    host = values.value(patch, route_components_pb2.VirtualHost)
    taken = {domain for other in hosts for domain in other.domains}.intersection(host.domains)
    if taken:
        raise PatchError(
            patch.origin, f"{', '.join(sorted(taken))}: another virtual host of {table} has that domain"
        )
    values.used(patch)
    values.origins[ROUTES, table, host.name] = patch.origin
    return host


def _patch_host(host: Proto, table: str, patches: Sequence[Patch], values: Values) -> Proto | None:
    """The virtual host after the patches, None when it is removed."""
    for patch in patches:
        if patch.target is not Target.VIRTUAL_HOST or not patch_match.virtual_host(patch.match, host):
            continue
        if patch.operation is Operation.ADD:
            continue
        values.used(patch)
        if patch.operation is Operation.REMOVE:
            return None
        value = values.value(patch, route_components_pb2.VirtualHost)
        if patch.operation is Operation.MERGE:
            merge(host, value)
        else:
            host = value
        values.origins[ROUTES, table, host.name, "patch"] = patch.origin
    ours = [
        patch
        for patch in patches
        if patch.target is Target.HTTP_ROUTE and patch_match.virtual_host(patch.match, host)
    ]
    if ours:
        _patch_routes(host, (ROUTES, table, host.name), ours, values)
    return host


def _patch_routes(host: Proto, at: Path, patches: Sequence[Patch], values: Values) -> None:
    items = [_Placed(route, index) for index, route in enumerate(host.routes)]
    items = [item for item in items if _patch_route(item, patches, values)]
    for patch in patches:
        if patch.operation in (Operation.REMOVE, Operation.MERGE):
            continue
        added = _Placed(values.value(patch, route_components_pb2.Route), patch.origin)

        def chosen(item: _Placed, patch: Patch = patch) -> bool:
            return patch_match.route(patch.match, item.route)

        if edit(items, patch, added, chosen if patch_match.names_a_route(patch.match) else None):
            values.used(patch)
    copies = []
    for item in items:
        copy = route_components_pb2.Route()
        copy.CopyFrom(item.route)
        copies.append(copy)
    del host.routes[:]
    host.routes.extend(copies)
    values.note_moved(at, [item.source for item in items])
    for index, item in enumerate(items):
        if item.merged is not None:
            values.origins[(*at, str(index), "patch")] = item.merged


def _patch_route(item: _Placed, patches: Sequence[Patch], values: Values) -> bool:
    """Whether the route stays."""
    for patch in patches:
        if not patch_match.route(patch.match, item.route):
            continue
        if patch.operation is Operation.REMOVE:
            values.used(patch)
            return False
        if patch.operation is Operation.MERGE:
            merge(item.route, values.value(patch, route_components_pb2.Route))
            values.used(patch)
            item.merged = patch.origin
    return True
