"""What every AuditLog must do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.common.errors import RequestIdReused
from services.policy.domain import AuditCursor, AuditDraft, AuditEntry, AuditFilter, AuditRecord, Outcome
from services.policy.ports import AuditLog

ALL = AuditFilter()


def entry(action: str = "chat.complete", subject: str = "ada", **fields: Any) -> AuditEntry:
    """A new entry."""
    draft = AuditDraft(action=action, outcome=Outcome.SUCCEEDED, request_id=uuid4())
    return AuditEntry(uuid4(), subject, replace(draft, **fields))


def ids(records: Sequence[AuditRecord]) -> list[UUID]:
    """The ids of records."""
    return [record.entry.id for record in records]


async def test_what_was_stored_can_be_read(log: AuditLog, tenant: str) -> None:
    stored = [
        entry(resource="ä'\"; drop table x;--\u2028🧀", attributes={"naïve key": "\n\t\\", "": "x"}),
        entry(outcome=Outcome.DENIED, request_id=None),
        entry(outcome=Outcome.FAILED, attributes={f"k{n}": "v" * 255 for n in range(16)}),
    ]
    await log.append(tenant, stored)
    records = await log.query(tenant, ALL, None, 10)
    assert [record.entry for record in reversed(records)] == stored
    assert all(record.create_time.tzinfo is not None for record in records)


async def test_records_come_newest_first_and_a_batch_in_its_order(log: AuditLog, tenant: str) -> None:
    batches = [[entry() for _ in range(5)] for _ in range(3)]
    for batch in batches:
        await log.append(tenant, batch)
    expected = [one.id for batch in batches for one in batch]
    assert ids(await log.query(tenant, ALL, None, 100)) == expected[::-1]


async def test_pages_hold_every_record_once_while_others_are_added(log: AuditLog, tenant: str) -> None:
    first = [entry() for _ in range(11)]
    await log.append(tenant, first)
    found: list[UUID] = []
    after: AuditCursor | None = None
    while page := await log.query(tenant, ALL, after, 3):
        found += ids(page)
        after = AuditCursor(page[-1].create_time, page[-1].sequence)
        await log.append(tenant, [entry()])
    assert found == [one.id for one in reversed(first)]


async def test_filters_narrow_the_list(log: AuditLog, tenant: str) -> None:
    chat, search, other = entry(), entry("documents.search"), entry(subject="bob")
    await log.append(tenant, [chat, search, other])
    assert ids(await log.query(tenant, AuditFilter(action="documents.search"), None, 10)) == [search.id]
    assert ids(await log.query(tenant, AuditFilter(subject="bob"), None, 10)) == [other.id]
    assert ids(await log.query(tenant, AuditFilter("chat.complete", "ada"), None, 10)) == [chat.id]
    assert ids(await log.query(tenant, AuditFilter(subject="nobody"), None, 10)) == []


async def test_the_start_is_in_the_range_and_the_end_is_not(log: AuditLog, tenant: str) -> None:
    one = entry()
    await log.append(tenant, [one])
    stored = (await log.query(tenant, ALL, None, 1))[0].create_time
    tick = timedelta(microseconds=1)
    for start, end, found in (
        (stored, stored + tick, [one.id]),
        (stored - tick, stored, []),
        (stored + tick, None, []),
        (None, stored + tick, [one.id]),
    ):
        wanted = AuditFilter(start_time=start, end_time=end)
        assert ids(await log.query(tenant, wanted, None, 10)) == found


async def test_the_same_entry_is_stored_once(log: AuditLog, tenant: str) -> None:
    first, second, third = entry(attributes={"a": "b"}), entry(), entry()
    await log.append(tenant, [first, second])
    await log.append(tenant, [second, third, first, third])
    assert ids(await log.query(tenant, ALL, None, 10)) == [third.id, second.id, first.id]


@pytest.mark.parametrize(
    "change",
    [
        {"action": "chat.other"},
        {"resource": "x"},
        {"outcome": Outcome.FAILED},
        {"attributes": {"a": "b"}},
    ],
)
async def test_an_id_cannot_be_used_for_another_entry_and_the_batch_is_dropped(
    log: AuditLog, tenant: str, change: dict[str, Any]
) -> None:
    first = entry()
    await log.append(tenant, [first])
    changed = replace(first, draft=replace(first.draft, **change))
    with pytest.raises(RequestIdReused):
        await log.append(tenant, [entry(), changed, entry()])
    with pytest.raises(RequestIdReused):
        await log.append(tenant, [one := entry(), replace(one, draft=replace(one.draft, action="a.b"))])
    assert ids(await log.query(tenant, ALL, None, 10)) == [first.id]


async def test_concurrent_retries_store_once(log: AuditLog, tenant: str) -> None:
    batch = [entry() for _ in range(20)]
    await asyncio.gather(*(log.append(tenant, batch) for _ in range(8)))
    assert ids(await log.query(tenant, ALL, None, 100)) == [one.id for one in reversed(batch)]


async def test_a_tenant_sees_its_own_records_only(log: AuditLog, tenant: str) -> None:
    mine = entry()
    await log.append(tenant, [mine])
    other = f"{tenant}x"
    assert ids(await log.query(other, ALL, None, 10)) == []
    # The same id in another tenant is another entry: no conflict shows that it exists.
    theirs = replace(mine, subject="eve")
    await log.append(other, [theirs])
    assert [record.entry for record in await log.query(tenant, ALL, None, 10)] == [mine]
    assert [record.entry for record in await log.query(other, ALL, None, 10)] == [theirs]
