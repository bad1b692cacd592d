"""The claims that Envoy's jwt_authn filter has verified, out of the metadata that ext_authz sends along.

https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/jwt_authn_filter: the payload of a
token that holds stands in the filter's metadata, under the key that its configuration names. Istio calls it
``payload``. The filter's configuration must name that namespace in ``metadata_context_namespaces``.
"""

from __future__ import annotations

from typing import Any

NAMESPACE = "envoy.filters.http.jwt_authn"
_DEEPEST = 4
"""Levels of lists and objects; our own claims need two."""


def claims_of(metadata: Any, key: str) -> dict[str, object] | None:
    """The claims in an ``envoy.config.core.v3.Metadata``; None when the filter verified no token."""
    if NAMESPACE not in metadata.filter_metadata:
        return None
    fields = metadata.filter_metadata[NAMESPACE].fields
    if key not in fields or fields[key].WhichOneof("kind") != "struct_value":
        return None
    payload = fields[key].struct_value
    return {name: _plain(value, _DEEPEST) for name, value in payload.fields.items()}


def _plain(value: Any, deepest: int) -> object:
    """A protobuf Value as Python has it; None for what is null, unset or too deep."""
    match value.WhichOneof("kind"):
        case "string_value":
            return str(value.string_value)
        case "number_value":
            return float(value.number_value)
        case "bool_value":
            return bool(value.bool_value)
        case "list_value" if deepest:
            return [_plain(item, deepest - 1) for item in value.list_value.values]
        case "struct_value" if deepest:
            return {name: _plain(item, deepest - 1) for name, item in value.struct_value.fields.items()}
        case _:
            return None
