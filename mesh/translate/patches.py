"""EnvoyFilter patches, in Istio's order: within each kind of object removals and merges, then what is added.

https://istio.io/latest/docs/reference/config/networking/envoy-filter/

What cannot be applied is an error that names its manifest, where Istio would drop it silently. A patch that
matches nothing on this proxy is none: most patches are written for a few proxies of many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import Message

from mesh.ir.listener import Direction
from mesh.ir.origin import Origin
from mesh.ir.patch import Operation, Patch, Target
from mesh.ir.view import ProxyKind
from mesh.translate import patch_match
from mesh.translate.errors import PatchError
from mesh.translate.packing import Proto
from mesh.translate.patch_listeners import patch_listener
from mesh.translate.patch_lists import refuse
from mesh.translate.patch_routes import patch_table
from mesh.translate.patch_values import merge_with_socket, parse
from mesh.translate.reuse import Reuse
from mesh.xds.protos import PATCHED, cluster_pb2, extension_pb2, listener_pb2
from mesh.xds.resources import CLUSTER, EXTENSION, LISTENER, ROUTES, Path

_IN_LISTS = (
    Operation.ADD,
    Operation.REMOVE,
    Operation.MERGE,
    Operation.INSERT_BEFORE,
    Operation.INSERT_AFTER,
    Operation.INSERT_FIRST,
)
_WHOLE = (Operation.ADD, Operation.REMOVE, Operation.MERGE)
OPERATIONS: Mapping[Target, tuple[Operation, ...]] = {
    Target.LISTENER: _WHOLE,
    Target.FILTER_CHAIN: _WHOLE,
    Target.NETWORK_FILTER: (*_IN_LISTS, Operation.REPLACE),
    Target.HTTP_FILTER: (*_IN_LISTS, Operation.REPLACE),
    Target.ROUTE_CONFIGURATION: (Operation.MERGE,),
    Target.VIRTUAL_HOST: (*_WHOLE, Operation.REPLACE),
    Target.HTTP_ROUTE: _IN_LISTS,
    Target.CLUSTER: _WHOLE,
    Target.EXTENSION_CONFIG: (Operation.ADD,),
}
"""Which operations Istio has for each kind of object."""

_VALUE = "the value of a patch"
_POINTING = frozenset(
    {"type", "cluster_type", "clusterType", "eds_cluster_config", "edsClusterConfig", "rds"}
    | {"route_config", "routeConfig", "scoped_routes", "scopedRoutes"}
)
"""Fields by which clusters and connection managers say where endpoints and routes come from."""


@dataclass(slots=True)
class Patching:
    """The patches of one proxy, and what became of them.

    What is patched is kept for reuse as what is translated is: most patches are the same for many proxies.
    What was only reused leaves no notes (`origins`, `unused`); whoever wants those begins with an empty
    `reuse`.
    """

    kind: ProxyKind
    patches: Sequence[Patch]
    reuse: Reuse
    origins: dict[Path, Origin] = field(default_factory=dict)
    """Of what patches put in."""
    moved: dict[Path, Sequence[Origin | int]] = field(default_factory=dict)
    """Virtual hosts whose routes are no longer where they were."""
    _used: set[int] = field(default_factory=set)

    def of(self, *targets: Target) -> tuple[Patch, ...]:
        """Those for some kinds of objects, in order of the kinds."""
        return tuple(patch for target in targets for patch in self.patches if patch.target is target)

    def value(self, patch: Patch, kind: type[Message]) -> Proto:
        """A fresh copy of the patch's value. Raises PatchError when it is no such message."""
        return _copy(self._parsed(patch, kind))

    def _parsed(self, patch: Patch, kind: type[Message]) -> Proto:
        origin = patch.origin
        name = f"{origin.file}:{origin.line}:{origin.namespace}/{origin.name}:{origin.path}"
        return self.reuse.get(_VALUE, name, (patch,), lambda: parse(patch, kind))

    def used(self, patch: Patch) -> None:
        """Notes that the patch has changed something."""
        self._used.add(id(patch))

    def check(self) -> None:
        """Raises PatchError for the first patch that could be applied to no proxy, whether or not this one
        has what it matches."""
        for patch in self.patches:
            refuse(patch, *OPERATIONS[patch.target])
            if patch.operation is not Operation.REMOVE:
                self._parsed(patch, PATCHED[patch.target.value])

    def unused(self) -> tuple[Patch, ...]:
        """Those that changed nothing."""
        return tuple(patch for patch in self.patches if id(patch) not in self._used)

    def may_orphan(self) -> bool:
        """Whether some patch may leave route tables or endpoints behind that nothing asks for any more."""
        return any(_may_orphan(patch) for patch in self.patches)

    def clusters(self, made: Mapping[str, Proto], hosts: Mapping[str, Sequence[str]]) -> dict[str, Proto]:
        """The clusters after the patches. `hosts` are those of the services that they stand for."""
        patches = self.of(Target.CLUSTER)
        found: dict[str, Proto] = {}
        for name, cluster in made.items():
            side = patch_match.side_of(name, self.kind)
            ours = tuple(
                patch
                for patch in patches
                if patch.operation is not Operation.ADD
                and patch_match.concerns(patch.match, side)
                and patch_match.cluster(patch.match, cluster, hosts.get(name, ()))
            )
            if not self._removed(ours, Target.CLUSTER):
                found[name] = self._made(CLUSTER, cluster, ours, self._cluster)
        self._add(found, patches, cluster_pb2.Cluster, CLUSTER)
        return dict(sorted(found.items()))

    def _cluster(self, own: Proto, patches: Sequence[Patch]) -> None:
        for patch in patches:
            value = self.value(patch, cluster_pb2.Cluster)
            wanted = value.transport_socket.name
            mine = own.transport_socket if own.transport_socket.name == wanted and wanted else None
            merge_with_socket(own, value, mine, patch.origin)
            self.used(patch)
            self.origins[CLUSTER, own.name, "patch"] = patch.origin

    def tables(self, made: Mapping[str, Proto]) -> dict[str, Proto]:
        """The route tables after the patches; none is added or removed."""
        patches = self.of(Target.ROUTE_CONFIGURATION, Target.VIRTUAL_HOST, Target.HTTP_ROUTE)
        found = {}
        for name, table in made.items():
            side = patch_match.side_of(name, self.kind)
            ours = tuple(
                patch
                for patch in patches
                if patch_match.concerns(patch.match, side) and patch_match.table(patch.match, name, self.kind)
            )
            found[name] = self._made(ROUTES, table, ours, lambda own, ours: patch_table(own, ours, self))
        return found

    def listeners(self, made: Mapping[str, Proto], sides: Mapping[str, Direction]) -> dict[str, Proto]:
        """The listeners after the patches. `sides` are the directions of each."""
        inside = (Target.LISTENER, Target.FILTER_CHAIN, Target.NETWORK_FILTER, Target.HTTP_FILTER)
        patches = self.of(*inside)
        found: dict[str, Proto] = {}
        for name, listener in made.items():
            ours = tuple(
                patch
                for patch in patches
                if not (patch.target is Target.LISTENER and patch.operation is Operation.ADD)
                and patch_match.concerns(patch.match, sides[name])
                and patch_match.listener(patch.match, listener)
            )
            if not self._removed(ours, Target.LISTENER):
                found[name] = self._made(
                    LISTENER, listener, ours, lambda own, ours: patch_listener(own, ours, self)
                )
        self._add(found, self.of(Target.LISTENER), listener_pb2.Listener, LISTENER)
        return dict(sorted(found.items()))

    def _removed(self, patches: Sequence[Patch], target: Target) -> bool:
        for patch in patches:
            if patch.target is target and patch.operation is Operation.REMOVE:
                self.used(patch)
                return True
        return False

    def _made(
        self,
        type_url: str,
        message: Proto,
        patches: tuple[Patch, ...],
        change: Callable[[Proto, Sequence[Patch]], None],
    ) -> Proto:
        """The message with these patches: one of its own, since messages are shared."""
        if not patches:
            return message

        def make() -> Proto:
            own = _copy(message)
            change(own, patches)
            return own

        return self.reuse.get(f"patched {type_url}", message.name, (message, patches), make)

    def extensions(self) -> dict[str, Proto]:
        """Filter configurations that are sent by themselves (ECDS)."""
        found: dict[str, Proto] = {}
        kind = extension_pb2.TypedExtensionConfig
        self._add(found, self.of(Target.EXTENSION_CONFIG), kind, EXTENSION)
        return found

    def _add(
        self, found: dict[str, Proto], patches: Iterable[Patch], kind: type[Message], type_url: str
    ) -> None:
        for patch in patches:
            if patch.operation is not Operation.ADD or not patch_match.adds_to(patch.match, self.kind):
                continue
            value = self._parsed(patch, kind)
            if not value.name:
                raise PatchError(patch.origin, "what is added has no name")
            if value.name in found:
                raise PatchError(patch.origin, f"there is a {patch.target.value} {value.name} already")
            found[value.name] = value
            self.used(patch)
            self.origins[type_url, value.name] = patch.origin

    def note_moved(self, host: Path, order: Sequence[Origin | int]) -> None:
        """Tells where the routes of a virtual host are now: what put each there, or its index before."""
        self.moved[host] = order

    def corrected(self, found: Mapping[Path, Origin]) -> dict[Path, Origin]:
        """The view's origins with those of the patches; routes that moved are found where they are now."""
        kept = {path: origin for path, origin in found.items() if path[:3] not in self.moved or len(path) < 4}
        for host, order in self.moved.items():
            for index, source in enumerate(order):
                if isinstance(source, Origin):
                    kept[(*host, str(index))] = source
                    continue
                old = (*host, str(source))
                kept.update(
                    ((*host, str(index), *path[4:]), origin)
                    for path, origin in found.items()
                    if path[:4] == old
                )
        return {**kept, **self.origins}


def _may_orphan(patch: Patch) -> bool:
    if patch.target in (Target.LISTENER, Target.FILTER_CHAIN, Target.NETWORK_FILTER, Target.CLUSTER):
        if patch.operation in (Operation.REMOVE, Operation.REPLACE):
            return True
        config = patch.value.get("typed_config", patch.value.get("typedConfig"))
        said = {*patch.value, *(config if isinstance(config, Mapping) else ())}
        return not said.isdisjoint(_POINTING)
    return False


def _copy(message: Proto) -> Proto:
    """Messages are shared between proxies and moments: a patch changes one of its own."""
    own = type(message)()
    own.CopyFrom(message)
    return own
