"""Where the claims of a checked token are found: in the metadata that the JWT filter leaves behind.

`jwt.py` puts them there, and authorization and routing read them from there.
"""

from __future__ import annotations

from collections.abc import Sequence

from mesh.translate.names import JWT, JWT_PAYLOAD
from mesh.translate.packing import Proto
from mesh.xds.protos import metadata_matcher_pb2, value_pb2


def claim_path(key: str) -> tuple[str, ...]:
    """`[group][id]`, `group][id` and, for one name, `group`: the names on the way to the claim."""
    return tuple(key.removeprefix("[").removesuffix("]").split("]["))


def string_claim(claim: str, matcher: Proto) -> Proto:
    """A MetadataMatcher for a claim that is a string, such as `iss`."""
    return _metadata((claim,), value_pb2.ValueMatcher(string_match=matcher))


def list_or_string(path: Sequence[str], matchers: Sequence[Proto]) -> Proto:
    """A MetadataMatcher for a claim that may be a string or a list of them: one must match one of
    `matchers`."""
    values = [value_pb2.ValueMatcher(string_match=matcher) for matcher in matchers]
    value = either(values)
    in_list = value_pb2.ValueMatcher(list_match=value_pb2.ListMatcher(one_of=value))
    return _metadata(path, either([value, in_list]))


def either(values: Sequence[Proto]) -> Proto:
    """A ValueMatcher that matches when one of them does."""
    if len(values) == 1:
        return values[0]
    return value_pb2.ValueMatcher(or_match=value_pb2.OrMatcher(value_matchers=values))


def metadata(filter_name: str, path: Sequence[str], value: Proto) -> Proto:
    """A MetadataMatcher for what some filter left behind."""
    segment = metadata_matcher_pb2.MetadataMatcher.PathSegment
    return metadata_matcher_pb2.MetadataMatcher(
        filter=filter_name, path=[segment(key=name) for name in path], value=value
    )


def _metadata(path: Sequence[str], value: Proto) -> Proto:
    return metadata(JWT, (JWT_PAYLOAD, *path), value)
