"""Listeners: what is accepted, and what stands in the way of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from golden.views import INBOUND, OUTBOUND, gateway_view, inbound, origin, outbound, table, view

from mesh.ir.listener import Chain, Direction, HttpChain, Listener, TcpChain, TcpDestination
from mesh.ir.security import (
    Attribute,
    Condition,
    Effect,
    ExternalAuthorizer,
    JwtIssuer,
    MutualTls,
    Policy,
    Rule,
    Security,
    ServerTls,
    ServerTlsMode,
)
from mesh.ir.values import MatchKind, Protocol, StringMatcher
from mesh.ir.view import ProxyView
from mesh.simulate.chains import choose
from mesh.simulate.request import Connection, Offer
from mesh.translate import translate
from mesh.xds.protos import http_connection_manager_pb2, tcp_proxy_pb2, tls_pb2
from mesh.xds.resources import LISTENER, ROUTES


def made(listener: Listener) -> Any:
    """The listener in a sidecar."""
    return translate(view(listeners=(listener,))).of(LISTENER)[listener.name]


def manager(chain: Any) -> Any:
    """The connection manager of a chain."""
    found = http_connection_manager_pb2.HttpConnectionManager()
    assert chain.filters[-1].typed_config.Unpack(found)
    return found


def context(chain: Any) -> Any:
    """The server's side of TLS."""
    found = tls_pb2.DownstreamTlsContext()
    assert chain.transport_socket.typed_config.Unpack(found)
    return found


def _security(*effects: Effect, issuers: tuple[JwtIssuer, ...] = ()) -> Security:
    policies = tuple(
        Policy(
            name="causeway/p",
            effect=effect,
            rules=(Rule((), (), (Condition(Attribute.PORT, ("9443",)),), origin()),),
            provider="policy" if effect is Effect.CUSTOM else "",
            origin=origin(),
        )
        for effect in effects
    )
    authorizer = ExternalAuthorizer(name="policy", cluster="outbound|8080||policy", origin=origin())
    return Security(issuers=issuers, policies=policies, authorizers={"policy": authorizer})


def test_strict_takes_nothing_but_identities_of_the_trust_domain() -> None:
    (chain,) = made(inbound()).filter_chains
    tls = context(chain)
    assert tls.require_client_certificate.value
    validation = tls.common_tls_context.combined_validation_context
    (subject,) = validation.default_validation_context.match_typed_subject_alt_names
    assert subject.matcher.prefix == "spiffe://cluster.local/"
    assert validation.validation_context_sds_secret_config.name == "ROOTCA"


def test_permissive_has_a_chain_for_each_kind_of_client() -> None:
    listener = made(inbound(mutual_tls=MutualTls.PERMISSIVE))
    secured, plain = listener.filter_chains
    found = choose(listener, Connection(address="127.66.1.1", port=9443, tls=Offer()))
    assert found is not None
    assert found.chain == secured
    found = choose(listener, Connection(address="127.66.1.1", port=9443))
    assert found is not None
    assert found.chain == plain
    assert context(secured).require_client_certificate.value
    assert not plain.HasField("transport_socket")
    assert listener.continue_on_listener_filters_timeout, "a client may wait for the server to speak"


def test_disabled_takes_plaintext() -> None:
    (chain,) = made(inbound(mutual_tls=MutualTls.DISABLE)).filter_chains
    assert not chain.HasField("transport_socket")


def test_the_application_is_told_only_who_proved_to_be_there() -> None:
    (chain,) = made(inbound()).filter_chains
    mode = http_connection_manager_pb2.HttpConnectionManager
    assert manager(chain).forward_client_cert_details == mode.SANITIZE_SET
    (plain,) = made(inbound(mutual_tls=MutualTls.DISABLE)).filter_chains
    assert manager(plain).forward_client_cert_details == mode.SANITIZE


def test_inbound_routes_are_inside_and_outbound_ones_come_over_rds() -> None:
    resources = translate(view())
    listeners: Mapping[str, Any] = resources.of(LISTENER)
    (inside,) = listeners["127.66.1.1_9443"].filter_chains
    assert manager(inside).route_config.name == INBOUND
    (outside,) = listeners["127.66.1.1_8080"].filter_chains
    assert manager(outside).rds.route_config_name == "8080"
    assert list(resources.of(ROUTES)) == ["8080"]


def test_filters_stand_in_istios_order() -> None:
    issuer = JwtIssuer(issuer="https://issuer", jwks='{"keys":[]}', origin=origin())
    security = _security(Effect.ALLOW, Effect.CUSTOM, Effect.DENY, Effect.AUDIT, issuers=(issuer,))
    content = HttpChain(
        route_table=INBOUND, security=security, fault=True, cors=True, grpc_web=True, stats_prefix="in"
    )
    chain = Chain(name="in", content=content, origin=origin())
    (translated,) = made(inbound(chains=(chain,))).filter_chains
    names = [item.name.removeprefix("envoy.filters.http.") for item in manager(translated).http_filters]
    assert names == [
        "rbac",
        "ext_authz",
        "jwt_authn",
        "rbac",
        "rbac",
        "rbac",
        "grpc_web",
        "fault",
        "cors",
        "router",
    ]


def test_without_anything_to_do_there_is_only_the_router() -> None:
    (chain,) = made(outbound()).filter_chains
    assert [item.name for item in manager(chain).http_filters] == ["envoy.filters.http.router"]


def test_silence_ends_no_stream_and_paths_are_normalised() -> None:
    (chain,) = made(inbound()).filter_chains
    found = manager(chain)
    assert found.HasField("stream_idle_timeout")
    assert not found.stream_idle_timeout.seconds
    assert found.normalize_path.value


def test_a_bare_connection_is_authorised_before_it_is_passed_on() -> None:
    listener = made(inbound(_security(Effect.CUSTOM, Effect.ALLOW, Effect.DENY), tcp=True))
    (chain,) = listener.filter_chains
    assert [item.name for item in chain.filters] == [
        "envoy.filters.network.rbac",
        "envoy.filters.network.ext_authz",
        "envoy.filters.network.rbac",
        "envoy.filters.network.rbac",
        "envoy.filters.network.tcp_proxy",
    ]
    assert not context(chain).common_tls_context.alpn_protocols


def test_connections_spread_by_weight() -> None:
    content = TcpChain(
        destinations=(
            TcpDestination(cluster=OUTBOUND, weight=3),
            TcpDestination(cluster="other"),
            TcpDestination(cluster="none", weight=0),
        ),
        stats_prefix="tcp",
    )
    chain = Chain(name="tcp", protocol=Protocol.TCP, content=content, origin=origin())
    (translated,) = made(outbound(chains=(chain,))).filter_chains
    proxy = tcp_proxy_pb2.TcpProxy()
    assert translated.filters[0].typed_config.Unpack(proxy)
    assert [(item.name, item.weight) for item in proxy.weighted_clusters.clusters] == [
        (OUTBOUND, 3),
        ("other", 1),
    ]


def _gateway(tls: ServerTls | None, *names: str) -> ProxyView:
    content = HttpChain(route_table="https.443.https.public.causeway", stats_prefix="gw")
    chain = Chain(name="gw", server_names=names, gateway_tls=tls, content=content, origin=origin())
    return gateway_view(outbound(chains=(chain,)), table("https.443.https.public.causeway"))


def _gateway_chain(tls: ServerTls | None, *names: str) -> Any:
    ((listener),) = translate(_gateway(tls, *names)).of(LISTENER).values()
    found: Any = listener
    return found.filter_chains[0]


def test_a_gateways_certificate_is_asked_for_by_its_credentials_name() -> None:
    tls = ServerTls(mode=ServerTlsMode.SIMPLE, credential="api", minimum_version="TLSV1_3", origin=origin())
    chain = _gateway_chain(tls, "api.causeway.local")
    common = context(chain).common_tls_context
    assert [item.name for item in common.tls_certificate_sds_secret_configs] == ["kubernetes://api"]
    assert not context(chain).require_client_certificate.value
    assert list(common.alpn_protocols) == ["h2", "http/1.1"]
    assert common.tls_params.tls_minimum_protocol_version == 4
    assert list(chain.filter_chain_match.server_names) == ["api.causeway.local"]


@pytest.mark.parametrize(
    "mode, required", [(ServerTlsMode.MUTUAL, True), (ServerTlsMode.OPTIONAL_MUTUAL, False)]
)
def test_a_gateway_may_ask_its_clients_for_certificates(mode: ServerTlsMode, required: bool) -> None:
    tls = ServerTls(
        mode=mode, credential="api", names=(StringMatcher(MatchKind.EXACT, "partner"),), origin=origin()
    )
    found = context(_gateway_chain(tls))
    assert found.require_client_certificate.value is required
    combined = found.common_tls_context.combined_validation_context
    assert combined.validation_context_sds_secret_config.name == "kubernetes://api-cacert"
    (subject,) = combined.default_validation_context.match_typed_subject_alt_names
    assert subject.matcher.exact == "partner"


def test_a_gateway_can_be_a_member_of_the_mesh() -> None:
    tls = ServerTls(mode=ServerTlsMode.ISTIO_MUTUAL, origin=origin())
    common = context(_gateway_chain(tls)).common_tls_context
    assert [item.name for item in common.tls_certificate_sds_secret_configs] == ["default"]


def test_a_gateway_can_have_its_certificates_in_files() -> None:
    tls = ServerTls(
        mode=ServerTlsMode.MUTUAL, certificate_file="/c", key_file="/k", ca_file="/r", origin=origin()
    )
    common = context(_gateway_chain(tls)).common_tls_context
    assert common.tls_certificates[0].certificate_chain.filename == "/c"
    assert common.validation_context.trusted_ca.filename == "/r"


def test_passed_through_connections_are_told_apart_by_server_name() -> None:
    tls = ServerTls(mode=ServerTlsMode.PASSTHROUGH, origin=origin())
    content = TcpChain(destinations=(TcpDestination(cluster=OUTBOUND),), stats_prefix="raw")
    chain = Chain(name="raw", server_names=("raw.local",), gateway_tls=tls, content=content, origin=origin())
    ((listener),) = translate(gateway_view(outbound(chains=(chain,)))).of(LISTENER).values()
    found: Any = listener
    assert not found.filter_chains[0].HasField("transport_socket")
    assert [item.name for item in found.listener_filters] == ["envoy.filters.listener.tls_inspector"]


def test_only_a_gateway_doubts_what_clients_say_of_themselves() -> None:
    assert manager(_gateway_chain(None)).use_remote_address.value
    (chain,) = made(inbound()).filter_chains
    assert not manager(chain).use_remote_address.value


def test_literal_destinations_are_matched_by_address() -> None:
    chain = replace(outbound().chains[0], destination_cidrs=("10.0.0.0/8", "192.0.2.1"))
    (translated,) = made(outbound(chains=(chain,))).filter_chains
    ranges = translated.filter_chain_match.prefix_ranges
    assert [(item.address_prefix, item.prefix_len.value) for item in ranges] == [
        ("10.0.0.0", 8),
        ("192.0.2.1", 32),
    ]


def test_a_listener_says_which_side_it_serves() -> None:
    assert made(inbound()).traffic_direction == 1
    assert made(outbound()).traffic_direction == 2
    assert made(replace(outbound(), direction=Direction.OUTBOUND)).address.socket_address.port_value == 8080
