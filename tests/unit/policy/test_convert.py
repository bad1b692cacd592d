"""Protos and the domain: both ways, and at the edges."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from causeway.policy.v1 import audit_service_pb2, redaction_service_pb2
from services.common.errors import InvalidRequest
from services.policy import convert
from services.policy.domain import (
    AuditDraft,
    AuditEntry,
    AuditRecord,
    EntityKind,
    Finding,
    Outcome,
    Quota,
    RedactedText,
)

TIMES = st.datetimes(timezones=st.just(UTC))


def test_both_sides_know_the_same_kinds() -> None:
    numbers = [number for number in redaction_service_pb2.EntityKind.values() if number]
    assert {convert.kind_to(kind) for kind in EntityKind} == set(numbers)
    assert convert.kinds_from(numbers) == set(EntityKind)
    assert convert.kinds_from([]) == frozenset()


def test_both_sides_know_the_same_outcomes() -> None:
    numbers = [number for number in audit_service_pb2.AuditOutcome.values() if number]
    assert [convert.outcome_to(convert.outcome_from(number)) for number in numbers] == numbers
    assert len(Outcome) == len(numbers)


@given(TIMES)
def test_a_time_goes_there_and_back(time: datetime) -> None:
    assert convert.time_from(convert.time_to(time), "start_time") == time


@pytest.mark.parametrize(
    "seconds, nanos, expected",
    [
        (0, 1, datetime(1970, 1, 1, microsecond=1, tzinfo=UTC)),
        (0, 999_999_999, datetime(1970, 1, 1, second=1, tzinfo=UTC)),
        (253_402_300_799, 999_999_999, datetime.max.replace(tzinfo=UTC)),
        (-62_135_596_800, 0, datetime.min.replace(tzinfo=UTC)),
    ],
)
def test_a_time_is_rounded_up_to_microseconds(seconds: int, nanos: int, expected: datetime) -> None:
    assert convert.time_from(Timestamp(seconds=seconds, nanos=nanos), "start_time") == expected


@pytest.mark.parametrize(
    "seconds, nanos", [(253_402_300_800, 0), (-62_135_596_801, 0), (0, -1), (0, 10**9), (2**63 - 1, 0)]
)
def test_what_is_no_time_is_refused_by_name(seconds: int, nanos: int) -> None:
    request = audit_service_pb2.QueryRequest(end_time=Timestamp(seconds=seconds, nanos=nanos))
    with pytest.raises(InvalidRequest, match="end_time"):
        convert.filter_from(request)


def test_a_lease_is_rounded_up_to_microseconds() -> None:
    assert convert.duration_from(Duration(seconds=3, nanos=1)) == timedelta(seconds=3, microseconds=1)


def test_an_empty_filter_asks_for_everything() -> None:
    wanted = convert.filter_from(audit_service_pb2.QueryRequest())
    assert (wanted.action, wanted.subject, wanted.start_time, wanted.end_time) == (None, None, None, None)


@given(TIMES, st.sampled_from(Outcome), st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=4))
def test_a_record_goes_there_and_back(time: datetime, outcome: Outcome, attributes: dict[str, str]) -> None:
    draft = AuditDraft("chat.complete", outcome, "r", attributes, uuid4())
    record = AuditRecord(AuditEntry(uuid4(), "ada", draft), time, 1)
    sent = convert.record_to(record)
    assert sent.id == str(record.entry.id)
    assert sent.create_time.ToDatetime(UTC) == time
    back = convert.draft_from(sent)
    assert back.subject == "ada"
    assert (back.action, back.outcome, back.resource) == (draft.action, outcome, draft.resource)
    assert (back.attributes, back.request_id) == (attributes, draft.request_id)


def test_a_record_without_a_request_id_stays_without_one() -> None:
    draft = AuditDraft("a.b", Outcome.FAILED)
    record = AuditRecord(AuditEntry(uuid4(), "ada", draft), datetime.now(UTC), 1)
    assert convert.draft_from(convert.record_to(record)).request_id is None


def test_a_quota_keeps_its_counts() -> None:
    sent = convert.quota_to(Quota(2**60, 5, 7, datetime(2030, 1, 1, tzinfo=UTC)))
    assert (sent.limit, sent.used, sent.reserved) == (2**60, 5, 7)
    assert sent.reset_time.ToDatetime(UTC) == datetime(2030, 1, 1, tzinfo=UTC)


def test_findings_keep_their_places() -> None:
    sent = convert.redacted_to(RedactedText("<IBAN>", (Finding(EntityKind.IBAN, 0, 22),)))
    assert sent.text == "<IBAN>"
    (finding,) = sent.findings
    assert (finding.kind, finding.start, finding.end) == (redaction_service_pb2.ENTITY_KIND_IBAN, 0, 22)
