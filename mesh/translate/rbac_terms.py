"""One condition of an AuthorizationPolicy as a term of Envoy's RBAC.

Envoy tells who calls (principals) from what is asked for (permissions); conditions are sorted accordingly.
Values are Istio's: exact, `prefix*`, `*suffix`, `*` for present.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping

from mesh.ir.security import Attribute, Condition
from mesh.ir.values import MatchKind, StringMatcher
from mesh.translate.claims import claim_path, either, list_or_string, metadata, string_claim
from mesh.translate.packing import Proto, pack, regex_match, string_match
from mesh.xds.protos import (
    address_pb2,
    extension_pb2,
    path_pb2,
    rbac_pb2,
    route_components_pb2,
    uri_template_match_pb2,
    value_pb2,
)

Permission = rbac_pb2.Permission
Principal = rbac_pb2.Principal

HTTP_ONLY = frozenset(
    {
        Attribute.REQUEST_PRINCIPAL,
        Attribute.REQUEST_AUDIENCE,
        Attribute.REQUEST_PRESENTER,
        Attribute.CLAIM,
        Attribute.HEADER,
        Attribute.HOST,
        Attribute.METHOD,
        Attribute.PATH,
    }
)
"""What is not known of a bare connection."""

_EXPERIMENTAL = "experimental."


def permission(condition: Condition) -> Proto | None:
    """A term about what is asked for; None when the condition is about who asks."""
    make = _PERMISSIONS.get(condition.attribute)
    if make is None:
        return None
    terms = make(condition)
    term = Permission(or_rules=Permission.Set(rules=terms))
    return Permission(not_rule=term) if condition.invert else term


def principal(condition: Condition) -> Proto | None:
    """A term about who asks; None when the condition is about what is asked for."""
    make = _PRINCIPALS.get(condition.attribute)
    if make is None:
        return None
    terms = make(condition)
    term = Principal(or_ids=Principal.Set(ids=terms))
    return Principal(not_id=term) if condition.invert else term


def text_match(value: str, *, ignore_case: bool = False) -> Proto:
    """Istio's way to write a comparison."""
    if value == "*":
        return regex_match(".+")
    if value.startswith("*"):
        return string_match(StringMatcher(MatchKind.SUFFIX, value[1:], ignore_case))
    if value.endswith("*"):
        return string_match(StringMatcher(MatchKind.PREFIX, value[:-1], ignore_case))
    return string_match(StringMatcher(MatchKind.EXACT, value, ignore_case))


def _identity(value: str) -> Proto:
    """A principal without its scheme: `cluster.local/ns/causeway/sa/gateway`."""
    if value == "*":
        return regex_match(".+")
    if value.startswith("*"):
        return regex_match(f"spiffe://.*{re.escape(value[1:])}")
    if value.endswith("*"):
        return string_match(StringMatcher(MatchKind.PREFIX, f"spiffe://{value[:-1]}"))
    return string_match(StringMatcher(MatchKind.EXACT, f"spiffe://{value}"))


def _authenticated(matcher: Proto) -> Proto:
    return Principal(authenticated=Principal.Authenticated(principal_name=matcher))


def _principals(condition: Condition) -> list[Proto]:
    return [_authenticated(_identity(value)) for value in condition.values]


def _namespaces(condition: Condition) -> list[Proto]:
    patterns = [re.escape(value).replace(r"\*", ".*") for value in condition.values]
    return [_authenticated(regex_match(f".*/ns/{pattern}/.*")) for pattern in patterns]


def _service_accounts(condition: Condition) -> list[Proto]:
    terms = []
    for value in condition.values:
        namespace, _, name = value.rpartition("/")
        pattern = f"spiffe://.+/ns/{re.escape(namespace)}/(.+/|)sa/{re.escape(name)}(/.+)?"
        terms.append(_authenticated(regex_match(pattern)))
    return terms


def _trust_domains(condition: Condition) -> list[Proto]:
    """A `*` ends with the trust domain: it must not reach into the path, where whoever is named can write."""
    patterns = [re.escape(value).replace(r"\*", "[^/]*") for value in condition.values]
    return [_authenticated(regex_match(f"spiffe://{pattern}/.*")) for pattern in patterns]


def _request_principals(condition: Condition) -> list[Proto]:
    """`issuer/subject`. The last slash parts them: an issuer may be a URL."""
    terms = []
    for value in condition.values:
        issuer, subject = _issuer_and_subject(value)
        both = [
            Principal(sourced_metadata=_dynamic(string_claim("iss", issuer))),
            Principal(sourced_metadata=_dynamic(string_claim("sub", subject))),
        ]
        terms.append(Principal(and_ids=Principal.Set(ids=both)))
    return terms


def _dynamic(matcher: Proto) -> Proto:
    """What a filter left behind while it handled the request."""
    return rbac_pb2.SourcedMetadata(metadata_matcher=matcher, metadata_source=rbac_pb2.MetadataSource.DYNAMIC)


def _issuer_and_subject(value: str) -> tuple[Proto, Proto]:
    anything = regex_match(".+")
    if value == "*":
        return anything, anything
    issuer, slash, subject = value.rpartition("/")
    if not slash:
        if value.startswith("*"):
            return anything, text_match(value)
        if value.endswith("*"):
            return text_match(value), anything
        issuer, subject = value, ""
    if value.startswith("*"):
        return text_match(issuer), _exactly(subject)
    if value.endswith("*"):
        return _exactly(issuer), text_match(subject)
    return _exactly(issuer), _exactly(subject)


def _exactly(value: str) -> Proto:
    return string_match(StringMatcher(MatchKind.EXACT, value))


def _claims(path: tuple[str, ...]) -> Callable[[Condition], list[Proto]]:
    def make(condition: Condition) -> list[Proto]:
        matchers = [text_match(value) for value in condition.values]
        claim = list_or_string(path or claim_path(condition.key), matchers)
        return [Principal(sourced_metadata=_dynamic(claim))]

    return make


def _headers(condition: Condition) -> list[Proto]:
    return [Principal(header=_header(condition.key, value)) for value in condition.values]


def _header(name: str, value: str, *, ignore_case: bool = False) -> Proto:
    if value == "*":
        return route_components_pb2.HeaderMatcher(name=name, present_match=True)
    matcher = text_match(value, ignore_case=ignore_case)
    return route_components_pb2.HeaderMatcher(name=name, string_match=matcher)


def cidr(value: str) -> Proto:
    """`10.0.0.0/8`, or one address. Raises ValueError for what is neither."""
    network = ipaddress.ip_network(value, strict=False)
    made = address_pb2.CidrRange(address_prefix=str(network.network_address))
    made.prefix_len.value = network.prefixlen
    return made


def _paths(condition: Condition) -> list[Proto]:
    return [_path(value) for value in condition.values]


def _path(value: str) -> Proto:
    if "{*}" not in value and "{**}" not in value:
        return Permission(url_path=path_pb2.PathMatcher(path=text_match(value)))
    template = value.replace("{*}", "*").replace("{**}", "**")
    return Permission(
        uri_template=extension_pb2.TypedExtensionConfig(
            name="envoy.path.match.uri_template.uri_template_matcher",
            typed_config=pack(uri_template_match_pb2.UriTemplateMatchConfig(path_template=template)),
        )
    )


def _filter_metadata(condition: Condition) -> list[Proto]:
    """`envoy.filters.network.mysql_proxy[db.table]`; a value in brackets is looked for in a list."""
    name, _, path = condition.key.removeprefix(_EXPERIMENTAL).partition("[")
    values = []
    for value in condition.values:
        if value.startswith("[") and value.endswith("]"):
            inner = value_pb2.ValueMatcher(string_match=text_match(value[1:-1]))
            values.append(value_pb2.ValueMatcher(list_match=value_pb2.ListMatcher(one_of=inner)))
        else:
            values.append(value_pb2.ValueMatcher(string_match=text_match(value)))
    wanted = metadata(name, (path.removesuffix("]"),), either(values))
    return [Permission(sourced_metadata=_dynamic(wanted))]


_PRINCIPALS: Mapping[Attribute, Callable[[Condition], list[Proto]]] = {
    Attribute.PRINCIPAL: _principals,
    Attribute.NAMESPACE: _namespaces,
    Attribute.SERVICE_ACCOUNT: _service_accounts,
    Attribute.TRUST_DOMAIN: _trust_domains,
    Attribute.REQUEST_PRINCIPAL: _request_principals,
    Attribute.REQUEST_AUDIENCE: _claims(("aud",)),
    Attribute.REQUEST_PRESENTER: _claims(("azp",)),
    Attribute.CLAIM: _claims(()),
    Attribute.SOURCE_IP: lambda it: [Principal(direct_remote_ip=cidr(value)) for value in it.values],
    Attribute.REMOTE_IP: lambda it: [Principal(remote_ip=cidr(value)) for value in it.values],
    Attribute.HEADER: _headers,
}
_PERMISSIONS: Mapping[Attribute, Callable[[Condition], list[Proto]]] = {
    Attribute.HOST: lambda it: [
        Permission(header=_header(":authority", value, ignore_case=True)) for value in it.values
    ],
    Attribute.METHOD: lambda it: [Permission(header=_header(":method", value)) for value in it.values],
    Attribute.PATH: _paths,
    Attribute.PORT: lambda it: [Permission(destination_port=int(value)) for value in it.values],
    Attribute.DESTINATION_IP: lambda it: [Permission(destination_ip=cidr(value)) for value in it.values],
    Attribute.SNI: lambda it: [Permission(requested_server_name=text_match(value)) for value in it.values],
    Attribute.FILTER: _filter_metadata,
}
