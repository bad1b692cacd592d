"""Between protos and the domain. What a request holds has been validated against its proto before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from causeway.policy.v1 import audit_service_pb2, quota_service_pb2, redaction_service_pb2
from services.common.errors import InvalidRequest
from services.policy.domain import (
    AuditDraft,
    AuditEntry,
    AuditFilter,
    AuditRecord,
    EntityKind,
    Outcome,
    Quota,
    RedactedText,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_SECOND = -62_135_596_800
"""0001-01-01T00:00:00Z, the first that a Timestamp may hold."""
_LAST_SECOND = 253_402_300_799
"""9999-12-31T23:59:59Z, the last that a Timestamp may hold."""
_LAST_MICROSECOND = datetime.max.replace(tzinfo=UTC)


def kinds_from(values: Sequence[int]) -> frozenset[EntityKind]:
    """The kinds named by enum numbers."""
    names = (redaction_service_pb2.EntityKind.Name(value) for value in values)  # type: ignore[arg-type]
    return frozenset(EntityKind[name.removeprefix("ENTITY_KIND_")] for name in names)


def kind_to(kind: EntityKind) -> redaction_service_pb2.EntityKind.ValueType:
    """The enum number of a kind."""
    return redaction_service_pb2.EntityKind.Value(f"ENTITY_KIND_{kind.name}")


def redacted_to(redacted: RedactedText) -> redaction_service_pb2.RedactedText:
    """A redacted text."""
    findings = (
        redaction_service_pb2.Finding(kind=kind_to(finding.kind), start=finding.start, end=finding.end)
        for finding in redacted.findings
    )
    return redaction_service_pb2.RedactedText(text=redacted.text, findings=findings)


def duration_from(duration: Duration) -> timedelta:
    """A duration, rounded up to microseconds."""
    return timedelta(seconds=duration.seconds, microseconds=-(-duration.nanos // 1000))


def quota_to(quota: Quota) -> quota_service_pb2.Quota:
    """A quota."""
    return quota_service_pb2.Quota(
        limit=quota.limit, used=quota.used, reserved=quota.reserved, reset_time=time_to(quota.reset_time)
    )


def time_to(time: datetime) -> Timestamp:
    """A point in time."""
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp


def time_from(timestamp: Timestamp, field: str) -> datetime:
    """A point in time, rounded up to microseconds: stored times are whole ones, so comparisons stay exact.

    Raises:
        InvalidRequest: outside the years 1 to 9999, or a fraction of a second that is none.
    """
    if not _FIRST_SECOND <= timestamp.seconds <= _LAST_SECOND or not 0 <= timestamp.nanos < 1_000_000_000:
        raise InvalidRequest.field(field, "must be between the years 1 and 9999")
    micros = -(-timestamp.nanos // 1000)
    if timestamp.seconds == _LAST_SECOND and micros == 1_000_000:
        return _LAST_MICROSECOND
    return _EPOCH + timedelta(seconds=timestamp.seconds, microseconds=micros)


def outcome_from(value: int) -> Outcome:
    """The outcome of an enum number; both sides count alike, and a test holds them together."""
    return Outcome(value)


def outcome_to(outcome: Outcome) -> audit_service_pb2.AuditOutcome.ValueType:
    """The enum number of an outcome."""
    return audit_service_pb2.AuditOutcome.Value(f"AUDIT_OUTCOME_{outcome.name}")


def draft_from(entry: audit_service_pb2.AuditEntry) -> AuditDraft:
    """An entry that a client sent. Its id and time are the server's to set, and are passed over."""
    return AuditDraft(
        action=entry.action,
        outcome=outcome_from(entry.outcome),
        resource=entry.resource,
        attributes=dict(entry.attributes),
        request_id=UUID(entry.request_id) if entry.request_id else None,
        subject=entry.subject,
    )


def record_to(record: AuditRecord) -> audit_service_pb2.AuditEntry:
    """A stored entry."""
    entry: AuditEntry = record.entry
    draft = entry.draft
    return audit_service_pb2.AuditEntry(
        id=str(entry.id),
        subject=entry.subject,
        action=draft.action,
        resource=draft.resource,
        outcome=outcome_to(draft.outcome),
        attributes=draft.attributes,
        create_time=time_to(record.create_time),
        request_id=str(draft.request_id) if draft.request_id else "",
    )


def filter_from(request: audit_service_pb2.QueryRequest) -> AuditFilter:
    """Which entries a query asks for.

    Raises:
        InvalidRequest: a time is not one.
    """
    return AuditFilter(
        action=request.action or None,
        subject=request.subject or None,
        start_time=time_from(request.start_time, "start_time") if request.HasField("start_time") else None,
        end_time=time_from(request.end_time, "end_time") if request.HasField("end_time") else None,
    )
