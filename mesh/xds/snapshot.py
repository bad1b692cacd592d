"""The configuration of one client at one moment, ready to be sent: immutable, versioned by content,
consistent."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from mesh.xds.protos import discovery_pb2
from mesh.xds.references import Reference, references
from mesh.xds.resources import CLUSTER, ENDPOINTS, EXTENSION, ROUTES, SECRET, SHORT, Resources

OWN_SECRETS = frozenset({"default", "ROOTCA"})
"""The client's own identity and whom it trusts. It may have them whether a resource uses them or not."""

_NEEDED = frozenset({ENDPOINTS, ROUTES, EXTENSION, SECRET})
"""Types whose resources are only there for others."""


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """One resource, packed once and sent to whoever asks."""

    type_url: str
    name: str
    version: str
    """A hash of its content: two control planes give the same content the same version, and so does one that
    was started again."""
    message: Message
    sent: discovery_pb2.Resource = field(repr=False)
    """As delta xDS carries it; its `resource` is the Any of state of the world."""
    references: tuple[Reference, ...]
    mark: int = field(repr=False)
    """The same hash as a number, with type and name in it. Numbers of several resources can be added up."""


@dataclass(frozen=True, slots=True)
class Inconsistency:
    """Why a snapshot must not be sent."""

    type_url: str
    name: str
    needed_by: tuple[str, str] | None
    """Type and name of what points at it; None when nothing does and something should."""

    def __str__(self) -> str:
        what = f"{SHORT.get(self.type_url, self.type_url)} {self.name}"
        if self.needed_by is None:
            return f"{what} is used by nothing"
        kind, name = self.needed_by
        return f"{what} is missing; {SHORT.get(kind, kind)} {name} needs it"


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """All resources of one type that somebody has; made once for all clients that have the very same."""

    messages: Mapping[str, Message]
    """What it was made from."""
    resources: Mapping[str, Resource]
    versions: Mapping[str, str]
    needed: Mapping[str, frozenset[str]]
    """Type to the names that these resources point at."""
    mark: int
    """The sum of theirs."""
    packed: Mapping[int, Resource]
    """By the numbers of the messages."""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """All resources of one client."""

    version: str
    """A hash over all of them, secrets apart."""
    by_type: Mapping[str, Mapping[str, Resource]]
    _groups: Mapping[str, Group]
    _versions: Mapping[str, Mapping[str, str]]
    source: Resources
    """What it was made from; it has the origins."""

    def versions(self, type_url: str) -> Mapping[str, str]:
        """Name to version. The same object as in the snapshot before, while nothing in it changed."""
        return self._versions.get(type_url, _NOTHING)

    def endpoints_of(self, cluster: str) -> Collection[str]:
        """Names of the endpoint resources that a cluster is filled by."""
        resource = self.by_type.get(CLUSTER, {}).get(cluster)
        return [name for kind, name in resource.references if kind == ENDPOINTS] if resource else ()

    def get(self, type_url: str, name: str) -> Resource:
        """One resource. Raises KeyError when there is none."""
        return self.by_type[type_url][name]

    def inconsistencies(self) -> list[Inconsistency]:
        """What is missing and what nothing uses; empty: it may be sent."""
        used: dict[str, frozenset[str]] = {}
        for group in self._groups.values():
            for kind, names in group.needed.items():
                used[kind] = used.get(kind, _NOBODY) | names
        missing = {
            (kind, name)
            for kind, names in used.items()
            for name in names.difference(self.by_type.get(kind, ()))
        }
        found = self._needed(missing) if missing else []
        for kind in sorted(_NEEDED):
            unused = self.by_type.get(kind, _NO_RESOURCES).keys() - used.get(kind, _NOBODY)
            if kind == SECRET:
                unused -= OWN_SECRETS
            found += [Inconsistency(kind, name, None) for name in sorted(unused)]
        return found

    def _needed(self, missing: Collection[Reference]) -> list[Inconsistency]:
        return [
            Inconsistency(kind, name, (type_url, resource.name))
            for type_url, resources in self.by_type.items()
            for resource in resources.values()
            for kind, name in resource.references
            if (kind, name) in missing
        ]


_NOTHING: Mapping[str, str] = {}
_NO_RESOURCES: Mapping[str, Resource] = {}
_NOBODY: frozenset[str] = frozenset()
_MARKS = 1 << 64


class Packer:
    """Makes snapshots. Packing, hashing and reading references is done once for each message object, however
    many clients and moments share it."""

    def __init__(self) -> None:
        self._packed: dict[int, Resource] = {}
        self._used: dict[int, Resource] = {}
        self._groups: dict[tuple[str, int], Group] = {}
        self._used_groups: dict[tuple[str, int], Group] = {}

    def pack(self, resources: Resources, previous: Snapshot | None = None) -> Snapshot:
        """The snapshot of `resources`; what did not change since `previous` is taken from it.

        Raises:
            ValueError: a message cannot be serialised.
        """
        groups: dict[str, Group] = {}
        versions: dict[str, Mapping[str, str]] = {}
        for type_url, messages in resources.by_type.items():
            before = previous._groups.get(type_url) if previous else None
            group = groups[type_url] = self._group(type_url, messages, before)
            known = previous.versions(type_url) if previous else _NOTHING
            versions[type_url] = known if known == group.versions else group.versions
        mark = sum(group.mark for type_url, group in groups.items() if type_url != SECRET)
        by_type = {type_url: group.resources for type_url, group in groups.items()}
        return Snapshot(f"{mark % _MARKS:016x}", by_type, groups, versions, resources)

    def sweep(self) -> None:
        """Forget what was not packed since the last call."""
        self._packed, self._used = self._used, {}
        self._groups, self._used_groups = self._used_groups, {}

    def _group(self, type_url: str, messages: Mapping[str, Message], before: Group | None) -> Group:
        key = type_url, id(messages)
        group = self._used_groups.get(key)
        if group is not None:
            return group
        group = self._groups.get(key)
        if group is None and before is not None and before.messages is messages:
            group = before
        if group is None:
            group = self._grouped(type_url, messages, before.resources if before else _NO_RESOURCES)
        else:
            self._used.update(group.packed)
        # The group holds the mapping, so its id is not given to another while it is kept here.
        self._used_groups[key] = group
        return group

    def _grouped(
        self, type_url: str, messages: Mapping[str, Message], before: Mapping[str, Resource]
    ) -> Group:
        resources: dict[str, Resource] = {}
        needed: dict[str, set[str]] = {}
        mark = 0
        for name, message in messages.items():
            resource = self._used.get(id(message))
            if resource is None or resource.name != name or resource.type_url != type_url:
                resource = self._resource(type_url, name, message, before)
            resources[name] = resource
            mark += resource.mark
            for kind, other in resource.references:
                needed.setdefault(kind, set()).add(other)
        return Group(
            messages=messages,
            resources=resources,
            versions={name: resource.version for name, resource in resources.items()},
            needed={kind: frozenset(names) for kind, names in needed.items()},
            mark=mark,
            packed={id(resource.message): resource for resource in resources.values()},
        )

    def _resource(
        self, type_url: str, name: str, message: Message, before: Mapping[str, Resource]
    ) -> Resource:
        key = id(message)
        resource = self._packed.get(key)
        if resource is None:
            same = before.get(name)
            resource = same if same is not None and same.message is message else None
        if resource is None or resource.name != name or resource.type_url != type_url:
            resource = _packed(type_url, name, message)
        # The resource holds the message, so its id is not given to another while it is kept here.
        self._used[key] = resource
        return resource


def _packed(type_url: str, name: str, message: Message) -> Resource:
    content = message.SerializeToString(deterministic=True)
    version = hashlib.sha256(content).hexdigest()[:16]
    marked = hashlib.sha256(f"{type_url} {name} {version}".encode()).digest()
    return Resource(
        type_url=type_url,
        name=name,
        version=version,
        message=message,
        sent=discovery_pb2.Resource(
            name=name, version=version, resource=AnyMessage(type_url=type_url, value=content)
        ),
        references=references(type_url, message),
        mark=int.from_bytes(marked[:8], "big"),
    )
