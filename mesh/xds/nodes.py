"""Who a client is: what it says of itself, held against its certificate and its WorkloadEntry."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from cryptography import x509

from mesh.ir.view import Proxy, ProxyKind

_NODE = re.compile(
    r"(?P<kind>sidecar|router|grpc)~(?P<address>[0-9a-fA-F.:]+)~(?P<name>[^~]+)\.(?P<namespace>[^~.]+)~[^~]+"
)


class Refused(Exception):
    """A client may not have what it asks for. The message is for the client and the log."""


class Unauthenticated(Refused):
    """A client has not proven who it is."""


class NotReady(Exception):
    """There is nothing to serve yet; the client may come back, or go elsewhere."""


@dataclass(frozen=True, slots=True)
class NodeId:
    """The fields of a node id, as Istio writes it:
    `sidecar~127.66.1.7~session-a.causeway~causeway.svc.cluster.local`."""

    kind: ProxyKind
    address: str
    name: str
    namespace: str

    def __str__(self) -> str:
        workload, domain = f"{self.name}.{self.namespace}", f"{self.namespace}.svc.cluster.local"
        return f"{self.kind.value}~{self.address}~{workload}~{domain}"


def parse_node_id(text: str) -> NodeId:
    """The parts of a node's id.

    Raises:
        Refused: it is not of Istio's form.
    """
    found = _NODE.fullmatch(text)
    if found is None:
        raise Refused(f"node id {text[:200]!r} is not kind~address~workload.namespace~domain")
    return NodeId(ProxyKind(found["kind"]), found["address"], found["name"], found["namespace"])


def node_id(proxy: Proxy) -> str:
    """The id that the bootstrap of `proxy` gives."""
    return str(NodeId(proxy.kind, proxy.address, proxy.name, proxy.namespace))


Find = Callable[[str, str], Proxy | None]
"""The proxy of a WorkloadEntry by namespace and name."""


def authorise(node: str, spiffe_id: str, find: Find) -> Proxy:
    """The proxy that a client is.

    The id only chooses a WorkloadEntry; everything else comes from there, and the certificate has to be the
    one of its namespace and service account. A gRPC client without a proxy may stand in for the sidecar of
    its workload.

    Raises:
        Refused: there is no such workload, or the certificate is another's.
    """
    claimed = parse_node_id(node)
    proxy = find(claimed.namespace, claimed.name)
    if proxy is None or proxy.spiffe_id != spiffe_id:
        # One text for both, so that ids cannot be probed for.
        raise Refused(f"{spiffe_id} has no workload {claimed.namespace}/{claimed.name}")
    if claimed.kind is ProxyKind.PROXYLESS and proxy.kind is ProxyKind.SIDECAR:
        return replace(proxy, kind=ProxyKind.PROXYLESS)
    if claimed.kind is not proxy.kind:
        raise Refused(f"workload {claimed.namespace}/{claimed.name} is no {claimed.kind.value}")
    return proxy


@dataclass(frozen=True, slots=True)
class Peer:
    """What a client's certificate says."""

    spiffe_id: str
    expires: float
    """Seconds since the epoch."""


def peer(auth_context: Mapping[str, object]) -> Peer:
    """Who stands at the other end of a connection, from gRPC's authentication context.

    gRPC has checked the chain against the trust bundle. It names a SPIFFE ID only when the certificate has
    exactly one URI, as the standard asks.

    Raises:
        Unauthenticated: plaintext, or a certificate without a SPIFFE ID.
    """
    identity, certificate = (_only(auth_context.get(key)) for key in ("peer_spiffe_id", "x509_pem_cert"))
    if not identity or not certificate:
        raise Unauthenticated("the client has no SPIFFE certificate")
    parsed = x509.load_pem_x509_certificate(certificate)
    return Peer(identity.decode(), parsed.not_valid_after_utc.timestamp())


def _only(values: object) -> bytes:
    if isinstance(values, list | tuple) and len(values) == 1 and isinstance(values[0], bytes):
        return values[0]
    return b""
