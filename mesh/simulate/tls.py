"""Transport sockets: what a proxy offers to a host, and whether a handshake comes about.

No keys are looked at. A certificate named `default` is the proxy's own identity, as Istio names it. Any other
is not known, and a client that expects names of the server takes it to have one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from mesh.ir.view import Proxy
from mesh.simulate import matchers
from mesh.simulate.logic import some
from mesh.simulate.messages import DOWNSTREAM_TLS, UPSTREAM_TLS, Proto, type_name, unpack, which
from mesh.simulate.request import Connection, Offer
from mesh.simulate.upstream import Endpoint

OWN = "default"
"""Secret that holds a proxy's own certificate."""

SPIFFE = "spiffe://"


@dataclass(frozen=True, slots=True)
class Handshake:
    """What became of it."""

    connection: Connection | None
    """As the server sees it afterwards; None: it failed."""
    says: str
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Dialled:
    """How a proxy connects to a host."""

    offer: Offer | None
    """None: plaintext."""
    says: str
    sure: bool = True


def dial(cluster: Proto, endpoint: Endpoint, proxy: Proxy, sni: str = "") -> Dialled:
    """The transport socket a cluster uses for a host; `sni` is used when the cluster leaves it open."""
    socket, why = _socket(cluster, endpoint)
    if socket is None:
        return Dialled(None, f"plaintext{why}")
    kind = type_name(socket.typed_config)
    if kind.endswith(".RawBuffer"):
        return Dialled(None, f"plaintext{why}")
    context = unpack(socket.typed_config) if kind == UPSTREAM_TLS else None
    if context is None:
        return Dialled(Offer(), f"a transport socket that is not simulated ({kind})", sure=False)
    common = context.common_tls_context
    identity = proxy.spiffe_id if OWN in set(certificates(common)) else ""
    offer = Offer(
        sni=context.sni or sni,
        protocols=tuple(common.alpn_protocols),
        identity=identity,
        context=context,
    )
    expected = ", ".join(expected_names(common)) or "any name"
    who = f" as {identity}" if identity else (" with a certificate" if any(certificates(common)) else "")
    name = f", server name {offer.sni}" if offer.sni else ""
    return Dialled(offer, f"TLS{who}{name}, expects {expected}{why}")


def _socket(cluster: Proto, endpoint: Endpoint) -> tuple[Proto | None, str]:
    for item in cluster.transport_socket_matches:
        if matchers.struct_contains(item.match, endpoint.labels):
            return item.transport_socket, f" (by the host's labels: {item.name})"
    return (cluster.transport_socket, "") if cluster.HasField("transport_socket") else (None, "")


def accept(chain: Proto, connection: Connection, proxy: Proxy) -> Handshake:
    """What a filter chain's transport socket makes of a connection."""
    context = None
    if chain.HasField("transport_socket"):
        kind = type_name(chain.transport_socket.typed_config)
        if kind == DOWNSTREAM_TLS:
            context = unpack(chain.transport_socket.typed_config)
        elif not kind.endswith(".RawBuffer"):
            taken = replace(connection, secured=connection.tls is not None)
            return Handshake(taken, f"a transport socket that is not simulated ({kind})", sure=False)
    if context is None:
        return Handshake(connection, "plaintext")
    if connection.tls is None:
        return Handshake(None, "plaintext is refused: this port takes only TLS")
    return _shake(context, connection, connection.tls, proxy)


def _shake(context: Proto, connection: Connection, offer: Offer, proxy: Proxy) -> Handshake:
    common = context.common_tls_context
    served = proxy.spiffe_id if OWN in set(certificates(common)) else ""
    theirs = offer.context.common_tls_context if offer.context is not None else None
    wanted = expected_names(theirs) if theirs is not None else ()
    if wanted and served and _accepts(theirs, served) is False:
        return Handshake(
            None, f"the client refuses: the server is {served}, and it expects {', '.join(wanted)}"
        )
    asks = validates(common)
    required = bool(context.require_client_certificate.value)
    if required and not offer.identity:
        return Handshake(None, "refused: the client has no certificate, and one is required")
    if not asks or not offer.identity:
        note = "" if not served else f", proves to be {served}"
        return Handshake(replace(connection, secured=True), f"TLS; the client stays unknown{note}")
    names = expected_names(common)
    accepted = _accepts(common, offer.identity)
    if names and accepted is False:
        return Handshake(None, f"refused: the client is {offer.identity}, accepted is {', '.join(names)}")
    proved = replace(connection, secured=True, principal=offer.identity)
    return Handshake(proved, f"mutual TLS: the client proves to be {offer.identity}")


def certificates(common: Proto) -> Iterator[str]:
    """Names of the certificates presented; an inline one is called `inline`."""
    for item in common.tls_certificate_sds_secret_configs:
        yield item.name
    for _ in common.tls_certificates:
        yield "inline"
    if common.HasField("tls_certificate_provider_instance"):
        yield common.tls_certificate_provider_instance.certificate_name or OWN


def validates(common: Proto) -> bool:
    """Whether the other side's certificate is asked for and checked."""
    return bool(which(common, "validation_context_type"))


def _validation(common: Proto) -> Proto | None:
    kind = which(common, "validation_context_type")
    if kind == "combined_validation_context":
        return common.combined_validation_context.default_validation_context
    return common.validation_context if kind == "validation_context" else None


def _names(common: Proto) -> Iterator[Proto]:
    context = _validation(common)
    if context is None:
        return
    for item in context.match_typed_subject_alt_names:
        yield item.matcher
    yield from context.match_subject_alt_names


def expected_names(common: Proto) -> tuple[str, ...]:
    """The names of which the other side must prove one, for people; empty: any that is trusted."""
    return tuple(matchers.describe(item) for item in _names(common))


def _accepts(common: Proto, identity: str) -> bool | None:
    return some(matchers.string(item, identity) for item in _names(common))
