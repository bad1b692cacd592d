"""Names of hosts: what a short one means, which pattern matches, which of several is the most specific.

The rules are those of Istio's `pkg/config/host` (https://github.com/istio/istio/tree/master/pkg/config/host)
and of https://istio.io/latest/docs/reference/config/networking/virtual-service/#VirtualService (short names).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")

DOMAIN = "cluster.local"
"""DNS suffix of a cluster's services; Kubernetes' default."""

MESH_GATEWAY = "mesh"
"""What a VirtualService calls all sidecars."""


def is_wildcard(host: str) -> bool:
    """Whether `host` is a pattern: `*` or `*.example.com`."""
    return host.startswith("*")


def overlaps(left: str, right: str) -> bool:
    """Whether some host is meant by both, either of which may be a pattern."""
    if is_wildcard(left) and is_wildcard(right):
        shorter, longer = sorted((left[1:], right[1:]), key=len)
        return longer.endswith(shorter)
    return covers(left, right) or covers(right, left)


def covers(pattern: str, host: str) -> bool:
    """Whether everything that `host` means, which may be a pattern itself, is meant by `pattern` too."""
    if is_wildcard(pattern):
        if is_wildcard(host):
            return len(host) >= len(pattern) and host[1:].endswith(pattern[1:])
        return host.endswith(pattern[1:])
    return pattern == host


def meeting(left: Iterable[str], right: Iterable[str]) -> tuple[str, ...]:
    """What both lists mean, in the narrower words of the two, in order and once."""
    others = tuple(right)
    found: dict[str, None] = {}
    for one in left:
        for other in others:
            if covers(one, other):
                found[other] = None
            elif covers(other, one):
                found[one] = None
    return tuple(found)


def full_host(host: str, namespace: str) -> str:
    """The host that a VirtualService or DestinationRule in `namespace` means: a name without a dot is a
    service of its own namespace."""
    host = host.lower()
    if not host or "." in host or is_wildcard(host):
        return host
    return f"{host}.{namespace}.svc.{DOMAIN}"


def full_gateway(gateway: str, namespace: str) -> str:
    """`namespace/name` of the Gateway that a VirtualService in `namespace` means; `mesh` stays."""
    if gateway == MESH_GATEWAY:
        return gateway
    if gateway.startswith("./"):
        return f"{namespace}/{gateway[2:]}"
    if "/" in gateway:
        return gateway
    if gateway.endswith(f".svc.{DOMAIN}"):
        name, _, rest = gateway.partition(".")
        return f"{rest.partition('.')[0]}/{name}"
    return f"{namespace}/{gateway}"


def cluster_name(host: str, port: int, subset: str = "") -> str:
    """`outbound|8080|v1|session.causeway.svc.cluster.local`."""
    return f"outbound|{port}|{subset}|{host}"


def inbound_cluster_name(port: int) -> str:
    """`inbound|9443||`."""
    return f"inbound|{port}||"


def server_name(host: str, port: int, subset: str = "") -> str:
    """The TLS server name a sidecar sends with ISTIO_MUTUAL: a cluster's name in letters that DNS allows."""
    return f"outbound_.{port}_.{subset}_.{host}"


def domains(host: str, namespace: str) -> tuple[str, ...]:
    """Every name by which a client in `namespace` may call a service, the full one first.

    A service of the client's own namespace may be called `session`, one of another `session.causeway`
    (pilot/pkg/networking/core/httproute.go, `GenerateAltVirtualHosts`).
    """
    names = [host]
    service, _, rest = host.partition(".")
    if rest.endswith(f".svc.{DOMAIN}") and not is_wildcard(host):
        owner = rest.removesuffix(f".svc.{DOMAIN}")
        if owner and "." not in owner:
            if owner == namespace:
                names.append(service)
            names += [f"{service}.{owner}.svc", f"{service}.{owner}"]
    return tuple(names)


class HostTable(Generic[T]):
    """Values by host or pattern; finding takes the most specific."""

    def __init__(self, entries: Mapping[str, T]) -> None:
        self._exact = {host: value for host, value in entries.items() if not is_wildcard(host)}
        self._patterns = sorted(
            ((host, value) for host, value in entries.items() if is_wildcard(host)),
            key=lambda entry: (-len(entry[0]), entry[0]),
        )

    def find(self, host: str) -> T | None:
        """The value of `host` itself, else of the longest pattern that covers it, else None."""
        if host in self._exact:
            return self._exact[host]
        for pattern, value in self._patterns:
            if covers(pattern, host):
                return value
        return None
