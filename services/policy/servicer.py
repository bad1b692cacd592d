"""The four gRPC services of policy: parse, call the core, convert."""

from __future__ import annotations

from typing import Any
from uuid import UUID

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
from services.common.identity import current_caller
from services.policy import convert
from services.policy.ports import DecisionEngine
from services.policy.quotas import Quotas
from services.policy.redaction import Redaction
from services.policy.trail import Trail


class AuthorizationServicer(authorization_service_pb2_grpc.AuthorizationServiceServicer):
    """Answers what callers may do."""

    def __init__(self, engine: DecisionEngine) -> None:
        self._engine = engine

    async def Check(
        self, request: authorization_service_pb2.CheckRequest, context: Any
    ) -> authorization_service_pb2.CheckResponse:
        """See AuthorizationService.Check."""
        decision = self._engine.decide(current_caller(), request.action, request.resource)
        return authorization_service_pb2.CheckResponse(allowed=decision.allowed, reason=decision.rule)


class RedactionServicer(redaction_service_pb2_grpc.RedactionServiceServicer):
    """Takes personal data out of texts."""

    def __init__(self, redaction: Redaction) -> None:
        self._redaction = redaction

    async def Redact(
        self, request: redaction_service_pb2.RedactRequest, context: Any
    ) -> redaction_service_pb2.RedactResponse:
        """See RedactionService.Redact."""
        redacted = await self._redaction.redact(request.texts, convert.kinds_from(request.kinds))
        return redaction_service_pb2.RedactResponse(texts=map(convert.redacted_to, redacted))


class QuotaServicer(quota_service_pb2_grpc.QuotaServiceServicer):
    """Meters tokens."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas

    async def Reserve(
        self, request: quota_service_pb2.ReserveRequest, context: Any
    ) -> quota_service_pb2.ReserveResponse:
        """See QuotaService.Reserve."""
        lease = convert.duration_from(request.lease) if request.HasField("lease") else None
        reservation = UUID(request.reservation_id)
        quota = await self._quotas.reserve(current_caller(), reservation, request.tokens, lease)
        return quota_service_pb2.ReserveResponse(quota=convert.quota_to(quota))

    async def Settle(
        self, request: quota_service_pb2.SettleRequest, context: Any
    ) -> quota_service_pb2.SettleResponse:
        """See QuotaService.Settle."""
        reservation = UUID(request.reservation_id)
        quota = await self._quotas.settle(current_caller(), reservation, request.used_tokens)
        return quota_service_pb2.SettleResponse(quota=convert.quota_to(quota))

    async def GetQuota(
        self, request: quota_service_pb2.GetQuotaRequest, context: Any
    ) -> quota_service_pb2.GetQuotaResponse:
        """See QuotaService.GetQuota."""
        quota = await self._quotas.read(current_caller())
        return quota_service_pb2.GetQuotaResponse(quota=convert.quota_to(quota))


class AuditServicer(audit_service_pb2_grpc.AuditServiceServicer):
    """Keeps what was done."""

    def __init__(self, trail: Trail) -> None:
        self._trail = trail

    async def Append(
        self, request: audit_service_pb2.AppendRequest, context: Any
    ) -> audit_service_pb2.AppendResponse:
        """See AuditService.Append."""
        drafts = [convert.draft_from(entry) for entry in request.entries]
        ids = await self._trail.append(current_caller(), drafts)
        return audit_service_pb2.AppendResponse(ids=map(str, ids))

    async def Query(
        self, request: audit_service_pb2.QueryRequest, context: Any
    ) -> audit_service_pb2.QueryResponse:
        """See AuditService.Query."""
        wanted = convert.filter_from(request)
        page, token = await self._trail.query(current_caller(), wanted, request.page_size, request.page_token)
        return audit_service_pb2.QueryResponse(entries=map(convert.record_to, page), next_page_token=token)
