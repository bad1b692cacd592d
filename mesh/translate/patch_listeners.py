"""Patches of listeners, filter chains, network filters and HTTP filters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from google.protobuf.message import Message

from mesh.ir.origin import Origin
from mesh.ir.patch import Operation, Patch, Target
from mesh.translate import patch_match
from mesh.translate.errors import PatchError
from mesh.translate.names import EXT_AUTHZ, HCM, JWT, RBAC, ROUTER
from mesh.translate.packing import Proto, pack
from mesh.translate.patch_lists import edit
from mesh.translate.patch_values import merge, merge_typed, merge_with_socket
from mesh.xds.protos import http_connection_manager_pb2, listener_components_pb2, listener_pb2
from mesh.xds.resources import LISTENER, Path

_CLASSES = {"AUTHN": (JWT,), "AUTHZ": (JWT, RBAC, EXT_AUTHZ)}


class Values(Protocol):
    """What patches hold, and a note of which of them did something."""

    origins: dict[Path, Origin]

    def value(self, patch: Patch, kind: type[Message]) -> Proto:
        """A fresh copy of the patch's value."""

    def used(self, patch: Patch) -> None:
        """Notes that the patch has changed something."""


def patch_listener(made: Proto, patches: Sequence[Patch], values: Values) -> None:
    """Changes the listener in place; `patches` are those that match it, and none of them removes it."""
    at = (LISTENER, made.name)
    for patch in patches:
        if patch.target is not Target.LISTENER:
            continue
        values.used(patch)
        merge(made, values.value(patch, listener_pb2.Listener))
        values.origins[(*at, "patch")] = patch.origin
    chains = list(made.filter_chains)
    kept = [chain for chain in chains if _patch_chain(chain, at, patches, values)]
    for patch in patches:
        if patch.target is Target.FILTER_CHAIN and patch.operation is Operation.ADD:
            added = values.value(patch, listener_components_pb2.FilterChain)
            kept.append(added)
            values.used(patch)
            values.origins[(*at, added.name)] = patch.origin
    _replace(made.filter_chains, kept)


def _patch_chain(chain: Proto, at: Path, patches: Sequence[Patch], values: Values) -> bool:
    """Whether the chain stays."""
    ours = [patch for patch in patches if patch_match.chain(patch.match, chain)]
    at = (*at, chain.name)
    for patch in ours:
        if patch.target is not Target.FILTER_CHAIN:
            continue
        if patch.operation is Operation.ADD:
            continue
        values.used(patch)
        if patch.operation is Operation.REMOVE:
            return False
        value = values.value(patch, listener_components_pb2.FilterChain)
        same = chain.transport_socket.name == value.transport_socket.name
        merge_with_socket(chain, value, chain.transport_socket if same else None, patch.origin)
        values.origins[(*at, "patch")] = patch.origin
    _patch_network_filters(chain, at, ours, values)
    for network_filter in chain.filters:
        if network_filter.name == HCM:
            _patch_http_filters(network_filter, at, ours, values)
    return True


def _patch_network_filters(chain: Proto, at: Path, patches: Sequence[Patch], values: Values) -> None:
    ours = [patch for patch in patches if patch.target is Target.NETWORK_FILTER]
    if not ours:
        return
    items = list(chain.filters)
    for patch in ours:
        _edit(items, patch, at, values, patch.match.filter_name, listener_components_pb2.Filter)
    for patch in ours:
        if patch.operation is Operation.MERGE:
            _merge(items, patch, at, values, patch.match.filter_name, listener_components_pb2.Filter)
    _replace(chain.filters, items)


def _patch_http_filters(network_filter: Proto, at: Path, patches: Sequence[Patch], values: Values) -> None:
    ours = [
        patch
        for patch in patches
        if patch.target is Target.HTTP_FILTER and patch.match.filter_name in ("", network_filter.name)
    ]
    if not ours:
        return
    manager = http_connection_manager_pb2.HttpConnectionManager()
    manager.ParseFromString(network_filter.typed_config.value)
    kind = http_connection_manager_pb2.HttpFilter
    items = list(manager.http_filters)
    for patch in ours:
        if patch.operation is Operation.ADD:
            _add_by_class(items, patch, at, values)
        else:
            _edit(items, patch, at, values, patch.match.sub_filter_name, kind)
    for patch in ours:
        if patch.operation is Operation.MERGE:
            _merge(items, patch, at, values, patch.match.sub_filter_name, kind)
    _replace(manager.http_filters, items)
    network_filter.typed_config.CopyFrom(pack(manager))


def _add_by_class(items: list[Proto], patch: Patch, at: Path, values: Values) -> None:
    """ADD puts an HTTP filter behind those of its class.

    Without a class it would come behind the router, where Envoy accepts none.
    """
    value = values.value(patch, http_connection_manager_pb2.HttpFilter)
    if patch.filter_class == "STATS":
        place = next((i for i, item in enumerate(items) if item.name == ROUTER), len(items))
    elif patch.filter_class in _CLASSES:
        before = _CLASSES[patch.filter_class]
        place = max((i + 1 for i, item in enumerate(items) if item.name in before), default=0)
    else:
        raise PatchError(
            patch.origin,
            f"ADD puts an HTTP filter behind {ROUTER}, which has to be the last: "
            f"use INSERT_BEFORE with subFilter {ROUTER}",
        )
    items.insert(place, value)
    values.used(patch)
    values.origins[(*at, value.name)] = patch.origin


def _edit(
    items: list[Proto], patch: Patch, at: Path, values: Values, wanted: str, kind: type[Message]
) -> None:
    if patch.operation is Operation.MERGE:
        return
    value = None if patch.operation is Operation.REMOVE else values.value(patch, kind)
    named = wanted and patch.operation is not Operation.INSERT_FIRST
    chosen: Callable[[Proto], bool] | None = (lambda item: bool(item.name == wanted)) if named else None
    if edit(items, patch, value, chosen):
        values.used(patch)
        if value is not None:
            values.origins[(*at, value.name)] = patch.origin


def _merge(
    items: list[Proto], patch: Patch, at: Path, values: Values, wanted: str, kind: type[Message]
) -> None:
    value = values.value(patch, kind)
    for item in items:
        if wanted not in ("", item.name):
            continue
        if value.HasField("typed_config"):
            item.typed_config.CopyFrom(merge_typed(item.typed_config, value.typed_config, patch.origin))
        item.name = value.name or item.name
        values.used(patch)
        values.origins[(*at, item.name, "patch")] = patch.origin


def _replace(field: Proto, items: Sequence[Proto]) -> None:
    """The new content of a repeated field, some of which is the old."""
    copies = []
    for item in items:
        copy = type(item)()
        copy.CopyFrom(item)
        copies.append(copy)
    del field[:]
    field.extend(copies)
