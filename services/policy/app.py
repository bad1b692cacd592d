"""Puts the policy service together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

from causeway.policy.v1 import (
    audit_service_pb2,
    audit_service_pb2_grpc,
    authorization_service_pb2,
    authorization_service_pb2_grpc,
    quota_service_pb2,
    quota_service_pb2_grpc,
    redaction_service_pb2,
    redaction_service_pb2_grpc,
)
from services.common.postgres import Database
from services.common.server import Application, Binding
from services.common.valkey import Valkey, open_valkey
from services.policy.adapters.postgres_audit import PostgresAuditLog
from services.policy.adapters.valkey_quota import ValkeyQuotaLedger
from services.policy.adapters.valkey_rates import ValkeyRateMeter
from services.policy.config import Config
from services.policy.decisions import RoleTable
from services.policy.domain import QuotaPlan
from services.policy.quotas import Quotas
from services.policy.redaction import PatternRedactor, Redaction
from services.policy.servicer import AuditServicer, AuthorizationServicer, QuotaServicer, RedactionServicer
from services.policy.trail import Trail

PERMISSIONS: Mapping[str, str] = {
    "/causeway.policy.v1.AuthorizationService/Check": "policy.check",
    "/causeway.policy.v1.RedactionService/Redact": "policy.redact",
    "/causeway.policy.v1.QuotaService/Reserve": "quota.reserve",
    "/causeway.policy.v1.QuotaService/Settle": "quota.reserve",
    "/causeway.policy.v1.QuotaService/GetQuota": "quota.read",
    "/causeway.policy.v1.AuditService/Append": "audit.append",
    "/causeway.policy.v1.AuditService/Query": "audit.query",
}
"""Method to the action that its callers must be allowed to do."""


async def build(config: Config, stack: AsyncExitStack) -> Application:
    """The service, its stores open. Neither store needs to be up yet."""
    database = await stack.enter_async_context(Database(config.postgres))
    valkey = open_valkey(config.valkey)
    stack.push_async_callback(valkey.aclose)
    return application(config, database, valkey)


def application(config: Config, database: Database, valkey: Valkey) -> Application:
    """The service over open stores. Decisions and redactions need neither of them."""
    plan = QuotaPlan(config.quota.tokens, config.quota.window)
    ledger = ValkeyQuotaLedger(valkey)
    quotas = Quotas(ledger, plan, config.quota.lease)
    trail = Trail(PostgresAuditLog(database))
    decisions = RoleTable()
    edge = _edge(config, decisions, valkey)

    return Application(
        bindings=[
            Binding(
                authorization_service_pb2_grpc.add_AuthorizationServiceServicer_to_server,
                AuthorizationServicer(decisions),
                authorization_service_pb2.DESCRIPTOR.services_by_name["AuthorizationService"],
            ),
            Binding(
                redaction_service_pb2_grpc.add_RedactionServiceServicer_to_server,
                RedactionServicer(Redaction(PatternRedactor())),
                redaction_service_pb2.DESCRIPTOR.services_by_name["RedactionService"],
            ),
            Binding(
                quota_service_pb2_grpc.add_QuotaServiceServicer_to_server,
                QuotaServicer(quotas),
                quota_service_pb2.DESCRIPTOR.services_by_name["QuotaService"],
                required={"valkey"},
            ),
            Binding(
                audit_service_pb2_grpc.add_AuditServiceServicer_to_server,
                AuditServicer(trail),
                audit_service_pb2.DESCRIPTOR.services_by_name["AuditService"],
                required={"postgres"},
            ),
            *edge,
        ],
        permissions=PERMISSIONS,
        proxied={binding.descriptor.full_name for binding in edge},
        dependencies={"postgres": database.check, "valkey": ledger.check},
    )


def _edge(config: Config, decisions: RoleTable, valkey: Valkey) -> Sequence[Binding]:
    """What Envoys at the edge ask, if there are any."""
    if not config.edge.enabled:
        return ()
    # Here, because Envoy's API is looked for as this is imported, and nobody else needs it.
    from services.policy.envoy.app import bindings

    return bindings(config.edge, config.rates, config.service.auth, decisions, ValkeyRateMeter(valkey))
