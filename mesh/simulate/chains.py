"""Which listener and which of its filter chains takes a connection.

Criteria in order: destination address (longest prefix), server name (exact, then the longest wildcard, then
none), transport protocol, application protocol; a step that has decided is never taken back.
https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener_components.proto
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mesh.simulate import matchers
from mesh.simulate.messages import Proto
from mesh.simulate.request import Connection

TLS_INSPECTOR = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
ANY = ("0.0.0.0", "::")  # noqa: S104 - what a listener may be bound to
"""Addresses that stand for all of a machine."""


@dataclass(frozen=True, slots=True)
class Found:
    """The chain, and how it was chosen."""

    chain: Proto
    says: str
    default: bool = False


def addresses(listener: Proto) -> Iterator[tuple[str, int]]:
    """Every address and port that a listener accepts on."""
    yield _socket(listener.address)
    for further in listener.additional_addresses:
        yield _socket(further.address)


def _socket(address: Proto) -> tuple[str, int]:
    return address.socket_address.address, address.socket_address.port_value


def listener_at(listeners: Mapping[str, Proto], address: str, port: int) -> Proto | None:
    """The listener bound to exactly that address, else one bound to all; None when nobody listens."""
    open_to_all = None
    for name in sorted(listeners):
        for bound, at in addresses(listeners[name]):
            if at != port:
                continue
            if bound == address:
                return listeners[name]
            if bound in ANY:
                open_to_all = listeners[name]
    return open_to_all


def inspects_tls(listener: Proto) -> bool:
    """Whether the listener looks for a TLS hello before it chooses."""
    return any(item.typed_config.type_url.endswith(TLS_INSPECTOR) for item in listener.listener_filters)


def choose(listener: Proto, connection: Connection) -> Found | None:
    """The chain for a connection; None when it is closed because none matches."""
    seen = connection.tls if inspects_tls(listener) else None
    protocol = "tls" if seen is not None else "raw_buffer"
    chains: Sequence[Proto] = list(listener.filter_chains)
    chains = [item for item in chains if _port(item, connection.port)]
    chains = _by_address(chains, connection.address)
    chains, name = _by_server_name(chains, seen.sni.lower() if seen else "")
    chains = _most_specific(chains, lambda match: match.transport_protocol, [protocol])
    chains = _by_application(chains, seen.protocols if seen else ())
    chains = [item for item in chains if _source(item, connection.source)]
    if chains:
        criteria = _criteria(chains[0].filter_chain_match, name)
        return Found(chains[0], f"matched {criteria}" if criteria else "takes every connection")
    if listener.HasField("default_filter_chain"):
        return Found(listener.default_filter_chain, "the default: no other matched", default=True)
    return None


def _port(chain: Proto, port: int) -> bool:
    match = chain.filter_chain_match
    return not match.HasField("destination_port") or match.destination_port.value == port


def _by_address(chains: Iterable[Proto], address: str) -> list[Proto]:
    """Those with the longest prefix that holds the address; without any, those that name no address."""
    best = -1
    found: list[Proto] = []
    rest: list[Proto] = []
    for chain in chains:
        ranges = chain.filter_chain_match.prefix_ranges
        if not ranges:
            rest.append(chain)
        for item in ranges:
            length = item.prefix_len.value if item.HasField("prefix_len") else 0
            if not matchers.cidr(item, address) or length < best:
                continue
            if length > best:
                best, found = length, []
            if chain not in found:
                found.append(chain)
    return found or rest


def _by_server_name(chains: Iterable[Proto], name: str) -> tuple[list[Proto], str]:
    chains = list(chains)
    for wanted in _candidates(name):
        found = [item for item in chains if wanted in map(str.lower, item.filter_chain_match.server_names)]
        if found:
            return found, wanted
    return [item for item in chains if not item.filter_chain_match.server_names], ""


def _candidates(name: str) -> Iterator[str]:
    """The name, then `*.` over ever shorter tails of it."""
    if not name:
        return
    yield name
    labels = name.split(".")
    for start in range(1, len(labels)):
        yield "*." + ".".join(labels[start:])


def _most_specific(
    chains: Sequence[Proto], field: Callable[[Proto], str], wanted: Sequence[str]
) -> list[Proto]:
    for text in wanted:
        found = [item for item in chains if field(item.filter_chain_match) == text]
        if found:
            return found
    return [item for item in chains if not field(item.filter_chain_match)]


def _by_application(chains: Sequence[Proto], protocols: Sequence[str]) -> list[Proto]:
    for wanted in protocols:
        found = [item for item in chains if wanted in item.filter_chain_match.application_protocols]
        if found:
            return found
    return [item for item in chains if not item.filter_chain_match.application_protocols]


def _source(chain: Proto, source: str) -> bool:
    match = chain.filter_chain_match
    if match.source_type == 1:
        return _is_loopback(source)
    for ranges in (match.source_prefix_ranges, match.direct_source_prefix_ranges):
        if ranges and not any(matchers.cidr(item, source) for item in ranges):
            return False
    return True


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _criteria(match: Proto, name: str) -> str:
    parts = []
    if match.prefix_ranges:
        parts.append("destination " + ", ".join(_range(item) for item in match.prefix_ranges))
    if name:
        parts.append(f"server name {name}")
    if match.transport_protocol:
        known = {"raw_buffer": "plaintext", "tls": "TLS"}
        parts.append(known.get(match.transport_protocol, match.transport_protocol))
    if match.application_protocols:
        parts.append("ALPN " + ", ".join(match.application_protocols))
    return ", ".join(parts)


def _range(item: Proto) -> str:
    return f"{item.address_prefix}/{item.prefix_len.value}"
