"""What an EnvoyFilter wants to put in, as messages, and how it is merged with what is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from google.protobuf import any_pb2, duration_pb2, json_format
from google.protobuf.message import DecodeError, Message

from mesh.ir.origin import Origin
from mesh.ir.patch import Patch
from mesh.translate.errors import PatchError
from mesh.translate.packing import Proto, pack
from mesh.xds.protos import message_class

_TYPE = "@type"


def parse(patch: Patch, kind: type[Message]) -> Proto:
    """The patch's value as a message of that class.

    Raises:
        PatchError: it is not one, or mentions a type that is not known.
    """
    value = _plain(patch.value)
    for type_url in _types(value):
        if message_class(type_url) is None:
            raise PatchError(
                patch.origin,
                f"type {type_url!r} is not known here; xds.type.v3.TypedStruct carries any type of Envoy's",
            )
    try:
        return json_format.ParseDict(value, kind())
    except json_format.ParseError as error:
        raise PatchError(patch.origin, f"value is no {kind.DESCRIPTOR.full_name}: {error}") from error


def _plain(value: object) -> Any:
    """Mappings and sequences of every kind as dicts and lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(inner) for inner in value]
    return value


def _types(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get(_TYPE), str):
            yield value[_TYPE]
        for inner in value.values():
            yield from _types(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _types(inner)


def merge(target: Message, source: Message) -> None:
    """Merges like Istio: what `source` sets wins, lists are appended to, entries of maps are replaced.

    As in Istio, a wrapper (UInt32Value, BoolValue) that says zero or false changes nothing that is set: it
    has no content to merge. Durations are replaced whole: ten seconds and half a second make half a second.
    """
    for field, value in source.ListFields():
        kind = field.message_type
        if kind is None or _repeated(field):
            continue
        if kind.full_name == duration_pb2.Duration.DESCRIPTOR.full_name:
            getattr(target, field.name).CopyFrom(value)
        else:
            inner = getattr(target, field.name)
            inner.SetInParent()
            merge(inner, value)
    _merge_rest(target, source)


def _merge_rest(target: Message, source: Message) -> None:
    rest = type(source)()
    rest.CopyFrom(source)
    for field, _ in source.ListFields():
        if field.message_type is not None and not _repeated(field):
            rest.ClearField(field.name)
    target.MergeFrom(rest)


def _repeated(field: Proto) -> bool:
    return bool(field.is_repeated)


def merge_typed(target: any_pb2.Any, source: any_pb2.Any, origin: Origin) -> any_pb2.Any:
    """What is inside both, merged.

    Raises:
        PatchError: they hold different types (Istio would read the one as the other), or one that is not
        known.
    """
    if target.type_url != source.type_url:
        raise PatchError(origin, f"a {_short(source)} cannot be merged into a {_short(target)}")
    kind = message_class(target.type_url)
    if kind is None:
        raise PatchError(origin, f"type {target.type_url!r} is not known here and cannot be merged")
    merged, added = kind(), kind()
    try:
        merged.ParseFromString(target.value)
        added.ParseFromString(source.value)
    except DecodeError as error:
        raise PatchError(origin, f"a {_short(source)} that cannot be read") from error
    merge(merged, added)
    return pack(merged)


def _short(packed: any_pb2.Any) -> str:
    return packed.type_url.rpartition(".")[2]


def merge_with_socket(target: Proto, value: Proto, socket: Proto | None, origin: Origin) -> None:
    """Merges a Cluster or a FilterChain that may bring a transport socket.

    Args:
        socket: The target's own, when the value's has the same name: TLS settings are merged with it.

    Raises:
        PatchError: the value changes TLS and more at once, of which Istio would apply the TLS only.
    """
    if not value.HasField("transport_socket"):
        merge(target, value)
        return
    others = [field.name for field, _ in value.ListFields() if field.name not in ("transport_socket", "name")]
    if others:
        raise PatchError(
            origin,
            f"Istio merges the transport_socket and drops {', '.join(others)}: make them two patches",
        )
    if socket is None:
        target.transport_socket.CopyFrom(value.transport_socket)
        return
    merged = merge_typed(socket.typed_config, value.transport_socket.typed_config, origin)
    socket.typed_config.CopyFrom(merged)
