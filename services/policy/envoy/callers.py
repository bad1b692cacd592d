"""Which proxies may ask: those whose certificates the mesh has checked.

The interfaces for proxies take no token, so who may call them is for the mesh to say: an AuthorizationPolicy
admits the ingresses' principals only. Where principals are named here as well, this is checked a second time,
by the ``x-forwarded-client-cert`` header that the sidecar of this service sets
(https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers). Its last element is
about the proxy that called the sidecar; the ones before it are that proxy's own words.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from services.common.errors import PermissionDenied

HEADER = "x-forwarded-client-cert"
_MOST_BYTES = 16_384
_PAIR = re.compile(r'(?P<name>[A-Za-z]+)=(?P<value>"(?:[^"\\]|\\.)*"|[^",;]*)(?P<end>[;,]|$)')


class Callers:
    """The proxies that may ask."""

    def __init__(self, principals: Collection[str]) -> None:
        """``principals``: SPIFFE ids; everybody whom the mesh lets through when there are none."""
        self._principals = frozenset(principals)

    def require(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        """Checks who calls.

        Raises:
            PermissionDenied: none of those.
        """
        if not self._principals:
            return
        values = [value for key, value in metadata if key == HEADER]
        if len(values) != 1 or self._principals.isdisjoint(uris_of_last(str(values[0]))):
            raise PermissionDenied("only the proxies at the edge may ask this")


def uris_of_last(header: str) -> frozenset[str]:
    """The URIs in the last element of a header; none when it cannot be read."""
    found: set[str] = set()
    position = 0
    if len(header) > _MOST_BYTES:
        return frozenset()
    while position < len(header):
        pair = _PAIR.match(header, position)
        if pair is None:
            return frozenset()
        if pair["name"].lower() == "uri":
            found.add(pair["value"].strip('"'))
        if pair["end"] == ",":
            found.clear()
        position = pair.end()
    return frozenset(found)
