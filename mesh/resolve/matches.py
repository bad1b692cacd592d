"""Which requests a rule of a VirtualService means.

https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPMatchRequest
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mesh.ir.route import RouteMatch
from mesh.ir.values import ClaimMatcher, MatchKind, NamedMatcher, StringMatcher
from mesh.manifests.claims import claim_of, is_claim
from mesh.manifests.common import StringMatch
from mesh.manifests.virtual_service import HTTPMatchRequest, L4MatchAttributes, TLSMatchAttributes
from mesh.resolve import labels as words
from mesh.resolve.client import Client
from mesh.resolve.names import MESH_GATEWAY, full_gateway

_PRESENT = StringMatcher(MatchKind.PRESENT)


@dataclass(frozen=True, slots=True)
class Place:
    """Where requests come in."""

    client: Client
    gateways: frozenset[str]
    """`mesh`, or the name of the gateway."""
    port: int

    def among(self, gateways: Sequence[str], namespace: str) -> bool:
        """Whether it is one of `gateways`, as a VirtualService in `namespace` names them."""
        return any(full_gateway(one, namespace) in self.gateways for one in gateways)

    def has(self, labels: Mapping[str, str], namespace: str | None) -> bool:
        """Whether the proxy's labels and namespace are those."""
        return namespace in (None, "", self.client.namespace) and words.selects(labels, self.client.labels)


def concerns(match: HTTPMatchRequest, place: Place, namespace: str) -> bool:
    """Whether a match of a VirtualService in `namespace` can hold for a proxy at all: port, gateways, the
    proxy's labels and namespace, and that sidecars know no claims.

    Labels and namespace are not asked for where gateways are named (pilot's `sourceMatchHTTP`).
    """
    if match.port is not None and match.port != place.port:
        return False
    if MESH_GATEWAY in place.gateways and any(is_claim(name) for name in match.headers):
        return False
    if match.gateways:
        return place.among(match.gateways, namespace)
    return place.has(match.source_labels, match.source_namespace)


def concerns_connections(match: TLSMatchAttributes | L4MatchAttributes, place: Place, namespace: str) -> bool:
    """The same for TLS and TCP routes, where all that is said must hold."""
    if match.port is not None and match.port != place.port:
        return False
    if match.gateways and not place.among(match.gateways, namespace):
        return False
    return place.has(match.source_labels, match.source_namespace)


def route_match(match: HTTPMatchRequest | None) -> RouteMatch:
    """What is left to look at in a request."""
    if match is None:
        return RouteMatch()
    headers: list[NamedMatcher] = []
    claims: list[ClaimMatcher] = []
    for said, invert in ((match.headers, False), (match.without_headers, True)):
        for name, value in said.items():
            if is_claim(name):
                claims.append(ClaimMatcher(claim_of(name), _named(value), invert))
            else:
                headers.append(NamedMatcher(name.lower(), _named(value), invert))
    return RouteMatch(
        path=string_matcher(match.uri, ignore_case=bool(match.ignore_uri_case)),
        method=string_matcher(match.method),
        scheme=string_matcher(match.scheme),
        authority=string_matcher(match.authority),
        headers=tuple(sorted(headers, key=lambda one: (one.name, one.invert))),
        claims=tuple(sorted(claims, key=lambda one: (one.path, one.invert))),
        query=tuple(NamedMatcher(name, _named(value)) for name, value in sorted(match.query_params.items())),
        name=match.name or "",
    )


def string_matcher(match: StringMatch | None, *, ignore_case: bool = False) -> StringMatcher | None:
    """None when nothing is asked."""
    if match is None:
        return None
    if match.exact is not None:
        return StringMatcher(MatchKind.EXACT, match.exact, ignore_case)
    if match.prefix is not None:
        return StringMatcher(MatchKind.PREFIX, match.prefix, ignore_case)
    if match.regex is not None:
        return StringMatcher(MatchKind.REGEX, match.regex, ignore_case)
    return None


def _named(match: StringMatch) -> StringMatcher:
    """Of a header or query parameter: nothing asked means that it is there."""
    return string_matcher(match) or _PRESENT


def is_catch_all(match: RouteMatch) -> bool:
    """Whether every request matches, so that no later rule is reached."""
    path = match.path
    every_path = path is None or (
        (path.kind is MatchKind.PREFIX and path.text == "/")
        or (path.kind is MatchKind.REGEX and path.text == ".*")
    )
    return every_path and not (
        match.method or match.scheme or match.authority or match.headers or match.query or match.claims
    )
