"""Puts Envoy's interfaces together."""

from __future__ import annotations

from collections.abc import Sequence

from envoy.service.auth.v3 import external_auth_pb2, external_auth_pb2_grpc
from envoy.service.ratelimit.v3 import rls_pb2, rls_pb2_grpc

from services.common.config import AuthConfig
from services.common.server import Binding
from services.policy.config import EdgeConfig, RatesConfig
from services.policy.edge import Edge
from services.policy.envoy.authorization import EnvoyAuthorizationServicer
from services.policy.envoy.callers import Callers
from services.policy.envoy.ratelimit import EnvoyRateLimitServicer
from services.policy.ports import DecisionEngine, RateMeter
from services.policy.rates import RateLimiter


def bindings(
    edge: EdgeConfig, rates: RatesConfig, auth: AuthConfig, engine: DecisionEngine, meter: RateMeter
) -> Sequence[Binding]:
    """What serves ext_authz and the rate limit filter. Decisions need no store, limits need Valkey."""
    callers = Callers(edge.principals)
    return (
        Binding(
            external_auth_pb2_grpc.add_AuthorizationServicer_to_server,
            EnvoyAuthorizationServicer(Edge(engine, auth.issuer, auth.audience), callers, edge.claims),
            external_auth_pb2.DESCRIPTOR.services_by_name["Authorization"],
        ),
        Binding(
            rls_pb2_grpc.add_RateLimitServiceServicer_to_server,
            EnvoyRateLimitServicer(RateLimiter(meter, rates.rules, rates.domain), callers),
            rls_pb2.DESCRIPTOR.services_by_name["RateLimitService"],
            required={"valkey"},
        ),
    )
