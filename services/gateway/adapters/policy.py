"""The policy service over gRPC."""

from __future__ import annotations

from datetime import timedelta

import grpc

from causeway.policy.v1 import (
    audit_service_pb2,
    audit_service_pb2_grpc,
    authorization_service_pb2,
    authorization_service_pb2_grpc,
    quota_service_pb2,
    quota_service_pb2_grpc,
)
from services.common.channel import peer_errors
from services.common.errors import PermissionDenied, Reason, RemoteError
from services.gateway.ports import AuditRecord, Outcome

_NAME = "the policy service"
_DECISION_TIMEOUT = 3.0
_AUDIT_TIMEOUT = 5.0
_MOST_TOKENS = 1_000_000
_OUTCOMES = {
    Outcome.SUCCEEDED: audit_service_pb2.AUDIT_OUTCOME_SUCCEEDED,
    Outcome.DENIED: audit_service_pb2.AUDIT_OUTCOME_DENIED,
    Outcome.FAILED: audit_service_pb2.AUDIT_OUTCOME_FAILED,
}


class PolicyService:
    """services.gateway.ports.Policy."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._authorization = authorization_service_pb2_grpc.AuthorizationServiceStub(channel)
        self._quota = quota_service_pb2_grpc.QuotaServiceStub(channel)
        self._audit = audit_service_pb2_grpc.AuditServiceStub(channel)

    async def check(self, action: str) -> None:
        """Raises PermissionDenied unless the caller may do this."""
        request = authorization_service_pb2.CheckRequest(action=action)
        with peer_errors(_NAME):
            decision = await self._authorization.Check(request, timeout=_DECISION_TIMEOUT)
        if not decision.allowed:
            # The policy's own reason is for people who run the platform, not for callers.
            raise PermissionDenied("the tenant's policy does not allow this", metadata={"action": action})

    async def reserve(self, reservation_id: str, tokens: int, lease: timedelta) -> None:
        """Takes tokens out of the quota."""
        request = quota_service_pb2.ReserveRequest(
            reservation_id=reservation_id, tokens=min(tokens, _MOST_TOKENS)
        )
        request.lease.FromTimedelta(lease)
        with peer_errors(_NAME):
            await self._quota.Reserve(request, timeout=_DECISION_TIMEOUT)

    async def settle(self, reservation_id: str, used: int) -> None:
        """Ends a reservation; one that does not exist is no error."""
        request = quota_service_pb2.SettleRequest(
            reservation_id=reservation_id, used_tokens=min(used, _MOST_TOKENS)
        )
        try:
            with peer_errors(_NAME):
                await self._quota.Settle(request, timeout=_DECISION_TIMEOUT)
        except RemoteError as error:
            if error.status[1] is not Reason.RESERVATION_NOT_FOUND:
                raise

    async def audit(self, record: AuditRecord) -> None:
        """Stores an audit entry."""
        entry = audit_service_pb2.AuditEntry(
            action=record.action,
            resource=record.resource,
            outcome=_OUTCOMES[record.outcome],
            attributes=record.attributes,
            request_id=record.request_id,
        )
        with peer_errors(_NAME):
            await self._audit.Append(audit_service_pb2.AppendRequest(entries=[entry]), timeout=_AUDIT_TIMEOUT)
