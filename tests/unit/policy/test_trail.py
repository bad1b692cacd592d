"""The audit trail: authorship, identity of retries, paging."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from fakes.policy_stores import FakeAuditLog, ManualClock
from services.common.errors import InvalidPageToken, InvalidRequest, PermissionDenied, StoreUnavailable
from services.common.identity import Caller
from services.common.pagination import encode_page_token
from services.policy.domain import AuditDraft, AuditFilter, Outcome
from services.policy.trail import Trail, token_kind

ADA = Caller("acme", "ada", frozenset({"admin"}))
BOB = Caller("acme", "bob", frozenset({"admin"}))
EVE = Caller("other", "ada", frozenset({"admin"}))
ALL = AuditFilter()


def draft(request_id: UUID | None = None, subject: str = "", resource: str = "") -> AuditDraft:
    """Something that was done."""
    return AuditDraft("chat.complete", Outcome.SUCCEEDED, resource, {"a": "b"}, request_id, subject)


@pytest.fixture
def log() -> FakeAuditLog:
    """A log in memory."""
    return FakeAuditLog(ManualClock())


@pytest.fixture
def trail(log: FakeAuditLog) -> Trail:
    """A trail over it."""
    return Trail(log)


async def test_entries_are_stored_as_the_callers_own(trail: Trail) -> None:
    ids = await trail.append(ADA, [draft(), draft(subject="ada")])
    page, token = await trail.query(ADA, ALL, 0, "")
    assert [record.entry.id for record in reversed(page)] == ids
    assert {record.entry.subject for record in page} == {"ada"}
    assert token == ""


async def test_nobody_can_write_in_anothers_name(trail: Trail) -> None:
    with pytest.raises(PermissionDenied, match=r"entries\[1\]\.subject"):
        await trail.append(ADA, [draft(), draft(subject="bob")])
    assert await trail.query(ADA, ALL, 0, "") == ([], "")


async def test_a_retry_gets_the_same_ids(trail: Trail) -> None:
    drafts = [draft(uuid4()), draft(uuid4())]
    ids = await trail.append(ADA, drafts)
    assert await trail.append(ADA, drafts) == ids
    assert len((await trail.query(ADA, ALL, 0, ""))[0]) == 2


async def test_entries_without_a_request_id_are_stored_every_time(trail: Trail) -> None:
    assert await trail.append(ADA, [draft()]) != await trail.append(ADA, [draft()])


async def test_a_request_id_is_the_callers_own(trail: Trail) -> None:
    """Another subject or tenant with the same request id neither conflicts nor keeps an entry out."""
    request_id = uuid4()
    ids = [(await trail.append(caller, [draft(request_id)]))[0] for caller in (ADA, BOB, EVE)]
    assert len(set(ids)) == 3
    assert len((await trail.query(ADA, ALL, 0, ""))[0]) == 2


@pytest.mark.parametrize(
    "changed, field",
    [
        (AuditDraft("a.b", Outcome.FAILED, resource="a\0"), "entries[1].resource"),
        (AuditDraft("a.b", Outcome.FAILED, attributes={"\0": ""}), "entries[1].attributes"),
        (AuditDraft("a.b", Outcome.FAILED, attributes={"a": "b\0c"}), "entries[1].attributes"),
    ],
)
async def test_text_that_no_store_keeps_is_refused_by_name(
    trail: Trail, changed: AuditDraft, field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await trail.append(ADA, [draft(), changed])
    assert [violation.field for violation in refused.value.violations] == [field]


@pytest.mark.parametrize(
    "count, size, pages", [(0, 3, [0]), (3, 3, [3]), (7, 3, [3, 3, 1]), (60, 0, [50, 10])]
)
async def test_pages_cover_everything_once(trail: Trail, count: int, size: int, pages: list[int]) -> None:
    ids = list(await trail.append(ADA, [draft() for _ in range(count)]))
    found: list[UUID] = []
    sizes: list[int] = []
    token = ""
    while not sizes or token:
        page, token = await trail.query(ADA, ALL, size, token)
        sizes.append(len(page))
        found += [record.entry.id for record in page]
    assert sizes == pages
    assert found == ids[::-1]


async def test_a_page_token_is_bound_to_its_filter(trail: Trail) -> None:
    await trail.append(ADA, [draft() for _ in range(3)])
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    filters = [
        ALL,
        AuditFilter(action="chat.complete"),
        AuditFilter(subject="chat.complete"),
        AuditFilter(end_time=moment),
        AuditFilter(end_time=moment + timedelta(microseconds=1)),
    ]
    _, token = await trail.query(ADA, ALL, 1, "")
    assert token
    assert len(token) <= 256
    for wanted in filters[1:]:
        with pytest.raises(InvalidPageToken):
            await trail.query(ADA, wanted, 1, token)


@pytest.mark.parametrize(
    "cursor",
    [[], [1], [1, 2, 3], ["1", 2], [1, -1], [1, 2**63], [10**30, 1], [-(10**30), 1], [2**62, 1]],
)
async def test_a_made_up_page_token_is_an_error_of_the_client(trail: Trail, cursor: list[str | int]) -> None:
    forged = encode_page_token(token_kind(ALL), cursor)
    with pytest.raises(InvalidPageToken):
        await trail.query(ADA, ALL, 1, forged)


async def test_a_range_that_can_hold_nothing_is_refused(trail: Trail) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(InvalidRequest, match="end_time"):
        await trail.query(ADA, AuditFilter(start_time=moment, end_time=moment), 0, "")


@pytest.mark.parametrize(
    "field, wanted", [("action", AuditFilter(action="a\0")), ("subject", AuditFilter(subject="\0"))]
)
async def test_a_filter_with_a_nul_character_is_refused_by_name(
    trail: Trail, field: str, wanted: AuditFilter
) -> None:
    with pytest.raises(InvalidRequest, match=field):
        await trail.query(ADA, wanted, 0, "")


async def test_the_loss_of_the_log_is_told(trail: Trail, log: FakeAuditLog) -> None:
    log.fail_next(StoreUnavailable("down"), StoreUnavailable("down"))
    with pytest.raises(StoreUnavailable):
        await trail.append(ADA, [draft()])
    with pytest.raises(StoreUnavailable):
        await trail.query(ADA, ALL, 0, "")
