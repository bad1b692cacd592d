"""The policy service as its clients see it."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from support.policy_client import PolicyClient, entry, refused

from causeway.policy.v1 import audit_service_pb2, quota_service_pb2, redaction_service_pb2
from services.common.errors import Code, Reason

LIMIT = 1000


async def test_a_decision_is_the_callers_own(client: PolicyClient) -> None:
    reader = client.another(roles=("reader",))
    assert await client.check("documents.write") == (True, "role admin allows documents.write")
    allowed, reason = await reader.check("documents.write", "documents/1")
    assert not allowed
    assert reason == "no rule allows it: documents.write is for admin, editor"


async def test_an_unknown_action_is_named(client: PolicyClient) -> None:
    with refused() as told:
        await client.check("documents.burn")
    assert told[0].status == (Code.INVALID_ARGUMENT, Reason.INVALID_REQUEST)
    assert [violation.field for violation in told[0].violations] == ["action"]


async def test_texts_are_redacted_with_offsets_in_code_points(client: PolicyClient) -> None:
    email = redaction_service_pb2.ENTITY_KIND_EMAIL_ADDRESS
    first, second = await client.redact("🧀 ada@example.org 10.0.0.1", "nothing", kinds=[email])
    assert first.text == "🧀 <EMAIL_ADDRESS> 10.0.0.1"
    assert [(found.kind, found.start, found.end) for found in first.findings] == [(email, 2, 17)]
    assert (second.text, list(second.findings)) == ("nothing", [])


async def test_the_largest_request_gets_an_answer_that_clients_accept(client: PolicyClient) -> None:
    texts = await client.redact(*["::1 " * 4096] * 16)
    assert len(texts) == 16
    assert all(len(text.findings) == 4096 for text in texts)


@pytest.mark.parametrize("texts", [[], ["x" * 16_385], ["x"] * 65, ["x" * 16_384] * 17])
async def test_texts_beyond_the_limits_are_refused_by_name(client: PolicyClient, texts: list[str]) -> None:
    with refused() as told:
        await client.redact(*texts)
    assert told[0].status == (Code.INVALID_ARGUMENT, Reason.INVALID_REQUEST)
    assert told[0].violations[0].field.startswith("texts")


async def test_tokens_are_reserved_and_settled(client: PolicyClient) -> None:
    reservation = await client.reserve(600, lease=60)
    assert await client.quota_now() == (LIMIT, 0, 600)
    await client.reserve(600, reservation=reservation.upper())
    assert await client.quota_now() == (LIMIT, 0, 600)
    for _ in range(2):
        await client.settle(reservation, 250)
        assert await client.quota_now() == (LIMIT, 250, 0)


async def test_an_exhausted_quota_says_when_to_come_back(client: PolicyClient) -> None:
    await client.reserve(LIMIT, lease=60)
    with refused() as told:
        await client.reserve(1)
    assert told[0].status == (Code.RESOURCE_EXHAUSTED, Reason.QUOTA_EXCEEDED)
    assert told[0].retry_after is not None
    assert 50 < told[0].retry_after.total_seconds() <= 60
    assert told[0].metadata["limit"] == str(LIMIT)
    assert told[0].metadata["reserved"] == str(LIMIT)


async def test_a_quota_is_the_tenants_of_the_token(client: PolicyClient) -> None:
    await client.reserve(LIMIT)
    with refused():
        await client.another(subject="bob").reserve(1)
    await client.another(tenant=f"{client.tenant}x").reserve(LIMIT)


async def test_a_reservation_is_settled_by_its_maker_only(client: PolicyClient) -> None:
    reservation = await client.reserve(10)
    for other in (client.another(subject="bob"), client.another(tenant=f"{client.tenant}x")):
        with refused() as told:
            await other.settle(reservation, 5)
        assert told[0].status == (Code.NOT_FOUND, Reason.RESERVATION_NOT_FOUND)
    with refused() as told:
        await client.settle(str(uuid4()), 5)
    assert told[0].status == (Code.NOT_FOUND, Reason.RESERVATION_NOT_FOUND)


async def test_a_used_reservation_id_cannot_be_reserved_again(client: PolicyClient) -> None:
    reservation = await client.reserve(10)
    with refused() as told:
        await client.reserve(11, reservation=reservation)
    assert told[0].status == (Code.ALREADY_EXISTS, Reason.REQUEST_ID_REUSED)
    await client.settle(reservation, 5)
    with refused() as told:
        await client.reserve(10, reservation=reservation)
    assert told[0].status == (Code.ALREADY_EXISTS, Reason.REQUEST_ID_REUSED)


async def test_fifty_clients_at_once_share_exactly_what_is_there(client: PolicyClient) -> None:
    results = await asyncio.gather(*(client.reserve(30) for _ in range(50)), return_exceptions=True)
    granted = [result for result in results if isinstance(result, str)]
    codes = {result.code() for result in results if isinstance(result, grpc.aio.AioRpcError)}
    assert len(granted) == LIMIT // 30
    assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    await asyncio.gather(*(client.settle(reservation, 1) for reservation in granted))
    assert await client.quota_now() == (LIMIT, len(granted), 0)


@pytest.mark.parametrize(
    "request_",
    [
        quota_service_pb2.ReserveRequest(reservation_id="x", tokens=1),
        quota_service_pb2.ReserveRequest(tokens=1),
        quota_service_pb2.ReserveRequest(reservation_id=str(uuid4())),
        quota_service_pb2.ReserveRequest(reservation_id=str(uuid4()), tokens=1_000_001),
        quota_service_pb2.ReserveRequest(reservation_id=str(uuid4()), tokens=1, lease=Duration()),
        quota_service_pb2.ReserveRequest(reservation_id=str(uuid4()), tokens=1, lease=Duration(seconds=3601)),
    ],
)
async def test_a_malformed_reservation_is_refused_by_name(
    client: PolicyClient, request_: quota_service_pb2.ReserveRequest
) -> None:
    with refused() as told:
        await client.quota.Reserve(request_, metadata=client.metadata)
    assert told[0].status == (Code.INVALID_ARGUMENT, Reason.INVALID_REQUEST)
    assert told[0].violations


async def test_what_was_done_is_kept_as_the_callers_own(client: PolicyClient) -> None:
    bob = client.another(subject="bob", roles=("reader",))
    ids = await bob.append(entry(resource="r", attributes={"model": "m"}), entry("documents.read"))
    page = await client.query(subject="bob")
    assert [kept.id for kept in page.entries] == ids[::-1]
    assert {kept.subject for kept in page.entries} == {"bob"}
    assert page.entries[1].attributes == {"model": "m"}
    assert page.entries[0].create_time.seconds > 0
    assert page.next_page_token == ""


async def test_nobody_writes_in_anothers_name(client: PolicyClient) -> None:
    with refused() as told:
        await client.append(entry(subject="bob"))
    assert told[0].status == (Code.PERMISSION_DENIED, Reason.PERMISSION_DENIED)
    assert len(await client.append(entry(subject="ada"))) == 1


async def test_the_trail_is_for_admins(client: PolicyClient) -> None:
    for roles in (("reader",), ("editor",), ()):
        with refused() as told:
            await client.another(roles=roles).query()
        assert told[0].status == (Code.PERMISSION_DENIED, Reason.PERMISSION_DENIED)


async def test_a_tenant_sees_its_own_trail_only(client: PolicyClient) -> None:
    await client.append(entry(request_id=str(uuid4())))
    other = client.another(tenant=f"{client.tenant}x")
    assert not (await other.query()).entries


async def test_a_repeated_entry_is_stored_once_and_another_is_refused(client: PolicyClient) -> None:
    request_id = str(uuid4())
    ids = await client.append(entry(request_id=request_id))
    assert await client.append(entry(request_id=request_id.upper())) == ids
    with refused() as told:
        await client.append(entry("chat.other", request_id=request_id))
    assert told[0].status == (Code.ALREADY_EXISTS, Reason.REQUEST_ID_REUSED)
    page = await client.query()
    assert [kept.request_id for kept in page.entries] == [request_id]


async def test_pages_follow_each_other_and_belong_to_their_query(client: PolicyClient) -> None:
    ids = await client.append(*(entry() for _ in range(5)))
    found, token = [], ""
    for _ in range(3):
        page = await client.query(page_size=2, page_token=token)
        found += [kept.id for kept in page.entries]
        token = page.next_page_token
    assert (found, token) == (ids[::-1], "")
    token = (await client.query(page_size=2)).next_page_token
    for fields in ({"action": "chat.complete"}, {"subject": "ada"}, {"end_time": Timestamp(seconds=2**33)}):
        with refused() as told:
            await client.query(page_token=token, **fields)
        assert told[0].status == (Code.INVALID_ARGUMENT, Reason.INVALID_PAGE_TOKEN)


@pytest.mark.parametrize(
    "fields",
    [
        {"start_time": Timestamp(seconds=2**62)},
        {"end_time": Timestamp(nanos=-1)},
        {"start_time": Timestamp(seconds=9), "end_time": Timestamp(seconds=8)},
        {"subject": "a\0"},
        {"action": "\0"},
        {"page_size": -1},
        {"page_size": 201},
        {"page_token": "x" * 257},
        {"page_token": "AAAA"},
        {"page_token": "é"},
    ],
)
async def test_a_malformed_query_is_refused_by_name(client: PolicyClient, fields: dict[str, object]) -> None:
    with refused() as told:
        await client.query(**fields)
    assert told[0].status[0] == Code.INVALID_ARGUMENT
    assert told[0].violations[0].field in fields


@pytest.mark.parametrize("seconds", [-62_135_596_800, 253_402_300_799])
async def test_the_ends_of_time_can_be_asked_for(client: PolicyClient, seconds: int) -> None:
    await client.append(entry())
    page = await client.query(start_time=Timestamp(seconds=seconds))
    assert len(page.entries) == (seconds < 0)
    assert not (await client.query(end_time=Timestamp(seconds=-62_135_596_800, nanos=1))).entries


@pytest.mark.parametrize(
    "bad",
    [
        entry("Chat.complete"),
        entry(""),
        entry(outcome=audit_service_pb2.AUDIT_OUTCOME_UNSPECIFIED),
        entry(outcome=9),
        entry(resource="x" * 257),
        entry(resource="\0"),
        entry(request_id="x"),
        entry(attributes={f"k{n}": "" for n in range(17)}),
        entry(attributes={"": "x"}),
        entry(attributes={"k": "x" * 256}),
        entry(attributes={"k": "\0"}),
    ],
)
async def test_a_malformed_entry_is_refused_and_nothing_of_its_batch_kept(
    client: PolicyClient, bad: audit_service_pb2.AuditEntry
) -> None:
    with refused() as told:
        await client.append(entry(), bad)
    assert told[0].status == (Code.INVALID_ARGUMENT, Reason.INVALID_REQUEST)
    assert told[0].violations[0].field.startswith("entries[1]")
    assert not (await client.query()).entries
