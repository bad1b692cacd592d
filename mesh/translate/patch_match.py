"""Which of the generated objects an EnvoyFilter patch means."""

from __future__ import annotations

from collections.abc import Sequence

from mesh.ir.listener import Direction
from mesh.ir.patch import PatchMatch
from mesh.ir.view import ProxyKind
from mesh.translate.names import split
from mesh.translate.packing import Proto

_INBOUND = "inbound|"


def concerns(match: PatchMatch, direction: Direction) -> bool:
    """Whether the patch's context takes in that side of the proxy."""
    return match.direction is None or match.direction is direction


def adds_to(match: PatchMatch, kind: ProxyKind) -> bool:
    """Whether a listener or a cluster is added to a proxy of that kind; without a context, once."""
    if match.direction is None:
        return True
    return (match.direction is Direction.GATEWAY) is (kind is ProxyKind.GATEWAY)


def side_of(name: str, kind: ProxyKind) -> Direction:
    """The side of a proxy that a cluster or a route table of that name serves."""
    if kind is ProxyKind.GATEWAY:
        return Direction.GATEWAY
    return Direction.INBOUND if name.startswith(_INBOUND) else Direction.OUTBOUND


def cluster(match: PatchMatch, made: Proto, hosts: Sequence[str]) -> bool:
    """`hosts` are those of the services that the cluster stands for, which its name may not say: an inbound
    one's are the services that lead to the workload."""
    if match.cluster_name:
        return bool(match.cluster_name == made.name)
    _, subset, host, port = split(made.name)
    return (
        match.cluster_subset in ("", subset)
        and match.cluster_service in ("", host, *hosts)
        and match.cluster_port in (None, port)
    )


def listener(match: PatchMatch, made: Proto) -> bool:
    """By name and port."""
    return match.listener_name in ("", made.name) and match.listener_port in (
        None,
        made.address.socket_address.port_value,
    )


def chain(match: PatchMatch, made: Proto) -> bool:
    """By name and by what the chain itself asks of connections."""
    asked = made.filter_chain_match
    protocols = [name for name in match.chain_application_protocols.split(",") if name]
    return (
        match.chain_name in ("", made.name)
        and (not match.chain_sni or match.chain_sni in asked.server_names)
        and match.chain_transport_protocol in ("", asked.transport_protocol)
        and all(name in asked.application_protocols for name in protocols)
    )


def table(match: PatchMatch, name: str, kind: ProxyKind) -> bool:
    """By the name of a route table, and what Istio hides in it."""
    if match.route_table_name not in ("", name):
        return False
    if kind is not ProxyKind.GATEWAY:
        port = split(name)[3] if name.startswith(_INBOUND) else (int(name) if name.isdigit() else 0)
        return match.route_port in (None, 0, port)
    port, port_name, gateway = gateway_table(name)
    return (
        match.route_port in (None, 0, port)
        and match.route_port_name in ("", port_name)
        and match.gateway in ("", gateway)
    )


def gateway_table(name: str) -> tuple[int, str, str]:
    """Port, port name and gateway of `http.8080` or `https.443.<port name>.<gateway>.<namespace>`.

    A gateway's name may have dots; a namespace's may not.
    """
    parts = name.split(".")
    port = int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0
    if parts[0] != "https" or len(parts) < 5:
        return port, "", ""
    return port, parts[2], f"{parts[-1]}/{'.'.join(parts[3:-1])}"


def virtual_host(match: PatchMatch, made: Proto) -> bool:
    """By name, or by one of its domains."""
    return match.virtual_host_name in ("", made.name) and (
        not match.virtual_host_domain or match.virtual_host_domain in made.domains
    )


def names_a_route(match: PatchMatch) -> bool:
    """Whether the patch means certain routes, not all of a virtual host."""
    return bool(match.route_name) or match.route_action != "ANY"


def route(match: PatchMatch, made: Proto) -> bool:
    """By name and by what the route does."""
    if match.route_name not in ("", made.name):
        return False
    return match.route_action == "ANY" or match.route_action == str(made.WhichOneof("action")).upper()
