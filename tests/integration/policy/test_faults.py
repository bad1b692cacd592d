"""What callers see when a store dies, hangs or comes back."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest
from support.gate import Gate
from support.policy_client import PolicyClient, entry, refused

from causeway.policy.v1 import audit_service_pb2
from services.common.errors import Code, Reason

DOWN = (Code.UNAVAILABLE, Reason.STORE_UNAVAILABLE)


async def until_health(client: PolicyClient, name: str, serving: bool) -> None:
    """Waits until the health of a name is reported so."""
    async with asyncio.timeout(20):
        while await client.healthy(name) is not serving:
            await asyncio.sleep(0.05)


async def entries_stored(client: PolicyClient) -> int:
    """How many entries the trail holds, once its store answers again."""
    async with asyncio.timeout(20):
        while True:
            try:
                return len((await client.query()).entries)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(0.1)


async def test_without_valkey_no_tokens_are_given_and_the_rest_goes_on(
    client: PolicyClient, valkey_gate: Gate
) -> None:
    reservation = await client.reserve(100)
    await valkey_gate.shut()
    for call in (client.reserve(1), client.settle(reservation, 1), client.quota_now()):
        with refused() as told:
            await call
        assert told[0].status == DOWN
        assert "redis" not in told[0].message.lower()
    await client.append(entry())
    assert (await client.check("chat.complete"))[0]
    await valkey_gate.open()
    await client.settle(reservation, 40)
    assert (await client.quota_now())[1:] == (40, 0)


async def test_without_postgres_nothing_is_acknowledged_and_the_rest_goes_on(
    client: PolicyClient, postgres_gate: Gate
) -> None:
    await client.append(entry())
    await postgres_gate.shut()
    for call in (client.append(entry()), client.query()):
        with refused() as told:
            await call
        assert told[0].status == DOWN
    await client.reserve(1)
    assert (await client.redact("10.0.0.1"))[0].text == "<IP_ADDRESS>"
    await postgres_gate.open()
    assert await entries_stored(client) == 1


async def test_a_valkey_that_hangs_is_given_up_in_time(client: PolicyClient, valkey_gate: Gate) -> None:
    await client.reserve(1)
    valkey_gate.stall()
    started = time.monotonic()
    with refused() as told:
        await client.reserve(1)
    assert told[0].status == DOWN
    assert time.monotonic() - started < 5
    valkey_gate.resume()


async def test_a_postgres_that_hangs_is_reported_and_used_again_when_it_answers(
    client: PolicyClient, postgres_gate: Gate
) -> None:
    await client.append(entry())
    postgres_gate.stall()
    request = audit_service_pb2.AppendRequest(entries=[entry()])
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await client.audit.Append(request, metadata=client.metadata, timeout=2)
    assert failure.value.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
    await until_health(client, "dependency:postgres", False)
    assert (await client.check("chat.complete"))[0]
    postgres_gate.resume()
    assert await entries_stored(client) >= 1
    await until_health(client, "dependency:postgres", True)


@pytest.mark.parametrize("store", ["valkey", "postgres"])
async def test_health_tells_which_store_is_lost(
    client: PolicyClient, valkey_gate: Gate, postgres_gate: Gate, store: str
) -> None:
    lost, other = f"dependency:{store}", "dependency:" + {"valkey": "postgres", "postgres": "valkey"}[store]
    gate = valkey_gate if store == "valkey" else postgres_gate
    for name in (lost, other, "", "causeway.policy.v1.QuotaService"):
        await until_health(client, name, True)
    await gate.shut()
    await until_health(client, lost, False)
    assert await client.healthy(other)
    await gate.open()
    await until_health(client, lost, True)


async def test_a_retry_after_a_lost_answer_is_harmless(client: PolicyClient, valkey_gate: Gate) -> None:
    """The answer is held back and the connection breaks: however often it is tried, tokens are taken once."""
    reservation = await client.reserve(1)
    valkey_gate.stall()
    with refused():
        await client.reserve(1, reservation=reservation)
    await valkey_gate.shut()
    valkey_gate.resume()
    await valkey_gate.open()
    await client.reserve(1, reservation=reservation)
    assert (await client.quota_now())[1:] == (0, 1)
