"""A person at the policy service, over gRPC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc

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
from fakes.tokens import Issuer
from services.common.errors import RemoteError
from services.common.status import from_call


def new_tenant() -> str:
    """A tenant that no other test knows."""
    return f"t-{uuid4().hex[:12]}"


@dataclass
class PolicyClient:
    """One person's view of the service."""

    channel: grpc.aio.Channel
    issuer: Issuer
    tenant: str = field(default_factory=new_tenant)
    subject: str = "ada"
    roles: Sequence[str] = ("admin",)

    def __post_init__(self) -> None:
        self.metadata: Any = self.issuer.metadata(self.tenant, self.subject, self.roles)
        self.authorization = authorization_service_pb2_grpc.AuthorizationServiceStub(self.channel)
        self.redaction = redaction_service_pb2_grpc.RedactionServiceStub(self.channel)
        self.quota = quota_service_pb2_grpc.QuotaServiceStub(self.channel)
        self.audit = audit_service_pb2_grpc.AuditServiceStub(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)

    def another(
        self, *, tenant: str = "", subject: str = "ada", roles: Sequence[str] = ("admin",)
    ) -> PolicyClient:
        """Somebody else at the same server."""
        return PolicyClient(self.channel, self.issuer, tenant or self.tenant, subject, roles)

    async def check(self, action: str, resource: str = "") -> tuple[bool, str]:
        """A decision and its reason."""
        request = authorization_service_pb2.CheckRequest(action=action, resource=resource)
        response = await self.authorization.Check(request, metadata=self.metadata)
        return response.allowed, response.reason

    async def redact(self, *texts: str, kinds: Sequence[Any] = ()) -> Any:
        """Redacted texts."""
        request = redaction_service_pb2.RedactRequest(texts=texts, kinds=kinds)
        return (await self.redaction.Redact(request, metadata=self.metadata)).texts

    async def reserve(self, tokens: int, *, reservation: str = "", lease: int | None = None) -> str:
        """The id of a reservation of tokens; ``lease`` in seconds."""
        request = quota_service_pb2.ReserveRequest(
            reservation_id=reservation or str(uuid4()),
            tokens=tokens,
            lease=None if lease is None else Duration(seconds=lease),
        )
        await self.quota.Reserve(request, metadata=self.metadata)
        return request.reservation_id

    async def settle(self, reservation: str, used: int) -> None:
        """Ends a reservation."""
        request = quota_service_pb2.SettleRequest(reservation_id=reservation, used_tokens=used)
        await self.quota.Settle(request, metadata=self.metadata)

    async def quota_now(self) -> tuple[int, int, int]:
        """Limit, used and reserved tokens."""
        response = await self.quota.GetQuota(quota_service_pb2.GetQuotaRequest(), metadata=self.metadata)
        return response.quota.limit, response.quota.used, response.quota.reserved

    async def append(self, *entries: audit_service_pb2.AuditEntry) -> list[str]:
        """The ids of stored entries."""
        request = audit_service_pb2.AppendRequest(entries=entries)
        return list((await self.audit.Append(request, metadata=self.metadata)).ids)

    async def query(self, **fields: Any) -> audit_service_pb2.QueryResponse:
        """A page of the trail."""
        request = audit_service_pb2.QueryRequest(**fields)
        response: audit_service_pb2.QueryResponse = await self.audit.Query(request, metadata=self.metadata)
        return response

    async def healthy(self, service: str) -> bool:
        """Whether a service, or a dependency, is reported to serve."""
        response = await self.health.Check(health_pb2.HealthCheckRequest(service=service))
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)


def entry(action: str = "chat.complete", **fields: Any) -> audit_service_pb2.AuditEntry:
    """Something that was done."""
    return audit_service_pb2.AuditEntry(
        **{"action": action, "outcome": audit_service_pb2.AUDIT_OUTCOME_SUCCEEDED, **fields}
    )


@contextmanager
def refused() -> Iterator[list[RemoteError]]:
    """Collects the error that the block must end in, as the service told it."""
    caught: list[RemoteError] = []
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        yield caught
    told = from_call(failure.value)
    assert told is not None, failure.value
    caught.append(told)
