"""What every queue has to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from uuid import uuid4

import pytest

from services.retrieval.model import Delivery, Job, JobKind
from services.retrieval.ports import Queue

MakeQueue = Callable[[timedelta], Queue]
NOW = timedelta(0)
LONG = timedelta(seconds=30)
SHORT = timedelta(milliseconds=100)
_IDS = count(1)


def job(tenant: str = "acme", kind: JobKind = JobKind.INDEX) -> Job:
    operation = uuid4() if kind is JobKind.INDEX else None
    return Job(id=next(_IDS), tenant=tenant, kind=kind, document_id=uuid4(), operation_id=operation)


async def drain(queue: Queue, limit: int = 100) -> list[Delivery]:
    return list(await queue.take(limit, NOW))


async def test_what_is_put_comes_out_whole(make_queue: MakeQueue) -> None:
    queue = make_queue(LONG)
    jobs = [job(), job(kind=JobKind.DELETE)]
    await queue.put(jobs)
    deliveries = await drain(queue)
    assert [delivery.job for delivery in deliveries] == jobs
    assert {delivery.attempt for delivery in deliveries} == {1}


async def test_a_job_goes_to_one_worker(make_queue: MakeQueue) -> None:
    one, two = make_queue(LONG), make_queue(LONG)
    await one.put([job() for _ in range(20)])
    taken = await asyncio.gather(*(queue.take(5, NOW) for queue in (one, two, one, two)))
    ids = [delivery.job.id for deliveries in taken for delivery in deliveries]
    assert len(ids) == len(set(ids)) == 20
    assert await drain(one) == []


async def test_a_job_put_twice_is_there_once_also_while_it_is_under_way(make_queue: MakeQueue) -> None:
    queue = make_queue(LONG)
    some = job()
    await queue.put([some, some])
    await queue.put([some])
    (delivery,) = await drain(queue)
    await queue.put([some])
    assert await drain(queue) == []
    await queue.done(delivery)
    assert await drain(queue) == []
    await queue.put([some])
    assert len(await drain(queue)) == 1


async def test_tenants_take_turns(make_queue: MakeQueue) -> None:
    queue = make_queue(LONG)
    await queue.put([job("large") for _ in range(50)])
    await queue.put([job("small") for _ in range(2)])
    first = await queue.take(4, NOW)
    assert sorted(delivery.job.tenant for delivery in first) == ["large", "large", "small", "small"]


async def test_turns_go_on_where_they_were(make_queue: MakeQueue) -> None:
    queue = make_queue(LONG)
    tenants = [f"t{number}" for number in range(5)]
    for tenant in tenants:
        await queue.put([job(tenant) for _ in range(3)])
    seen = [(await queue.take(1, NOW))[0].job.tenant for _ in range(5)]
    assert sorted(seen) == tenants


async def test_an_abandoned_job_is_handed_on_and_counted(make_queue: MakeQueue) -> None:
    one, two = make_queue(SHORT), make_queue(SHORT)
    some = job()
    await one.put([some])
    await drain(one)
    assert await drain(two) == []
    await asyncio.sleep(0.15)
    (again,) = await drain(two)
    assert (again.job, again.attempt) == (some, 2)
    await asyncio.sleep(0.15)
    (third,) = await drain(one)
    assert third.attempt == 3


async def test_a_held_job_is_not_handed_on(make_queue: MakeQueue) -> None:
    one, two = make_queue(timedelta(milliseconds=300)), make_queue(timedelta(milliseconds=300))
    await one.put([job()])
    (delivery,) = await drain(one)
    for _ in range(5):
        await asyncio.sleep(0.1)
        await one.extend(delivery)
        assert await drain(two) == []


async def test_a_job_given_back_is_there_at_once_and_not_counted(make_queue: MakeQueue) -> None:
    one, two = make_queue(LONG), make_queue(LONG)
    some = job()
    await one.put([some])
    (delivery,) = await drain(one)
    await one.give_back(delivery)
    (again,) = await drain(two)
    assert (again.job, again.attempt) == (some, 1)
    await two.put([some])
    assert await drain(one) == []


async def test_a_job_that_is_done_does_not_come_back(make_queue: MakeQueue) -> None:
    one, two = make_queue(SHORT), make_queue(SHORT)
    await one.put([job()])
    (delivery,) = await drain(one)
    await one.done(delivery)
    await one.done(delivery)
    await one.give_back(delivery)
    await one.extend(delivery)
    await asyncio.sleep(0.15)
    assert await drain(two) == []


async def test_done_by_the_late_worker_is_done(make_queue: MakeQueue) -> None:
    one, two = make_queue(SHORT), make_queue(SHORT)
    await one.put([job()])
    (late,) = await drain(one)
    await asyncio.sleep(0.15)
    (second,) = await drain(two)
    await one.done(late)
    await two.done(second)
    await asyncio.sleep(0.15)
    assert await drain(one) == []


async def test_a_waiting_worker_gets_a_new_job_soon(make_queue: MakeQueue) -> None:
    queue = make_queue(LONG)
    waiting = asyncio.create_task(queue.take(1, timedelta(seconds=1)))
    await asyncio.sleep(0.1)
    await make_queue(LONG).put([job("newcomer")])
    async with asyncio.timeout(0.8):
        (delivery,) = await waiting
    assert delivery.job.tenant == "newcomer"


async def test_a_wait_ends_without_a_job(make_queue: MakeQueue) -> None:
    assert await make_queue(LONG).take(1, SHORT) == []


async def test_an_empty_put_is_nothing(make_queue: MakeQueue) -> None:
    queue = make_queue(LONG)
    await queue.put([])
    assert await drain(queue) == []


@pytest.mark.parametrize("tenant", ["", "a b", "A", "a:b", "a*", "x" * 64, "-a"])
async def test_what_is_no_tenant_gets_no_key(make_queue: MakeQueue, tenant: str) -> None:
    with pytest.raises(ValueError, match="tenant"):
        await make_queue(LONG).put([job(tenant)])
