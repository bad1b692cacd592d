"""Queue on Valkey Streams (https://valkey.io/topics/streams-intro/).

Keys, the tenant in each but the first two:

- ``retrieval:tenants``: the tenants that have jobs; those without are not asked;
- ``retrieval:wake``: a list that grows with every new job, on which idle workers block;
- ``retrieval:{tenant}:index``: the stream, with one consumer group;
- ``retrieval:{tenant}:queued``: job id to entry id of what is in the stream, so that a job that is put twice
  is there once.

Everything that touches more than one of them is a script, and so happens as a whole or not at all. Nothing
here is the truth: whatever is lost is put again from the outbox.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import redis.asyncio
import redis.exceptions

from services.common.valkey import store_errors
from services.retrieval.model import Delivery, Job, JobKind, tenant_id

GROUP = "indexers"
TENANTS = "retrieval:tenants"
WAKE = "retrieval:wake"

# KEYS: stream, queued, tenants, wake. ARGV: tenant, then job id and fields as JSON-free flat values.
_PUT = """
redis.call('sadd', KEYS[3], ARGV[1])
if redis.call('hexists', KEYS[2], ARGV[2]) == 1 then return 0 end
local entry = redis.call('xadd', KEYS[1], '*',
    'id', ARGV[2], 'kind', ARGV[3], 'document', ARGV[4], 'operation', ARGV[5])
redis.call('hset', KEYS[2], ARGV[2], entry)
redis.call('lpush', KEYS[4], '1')
redis.call('ltrim', KEYS[4], 0, 63)
return 1
"""
# KEYS: stream, queued, tenants. ARGV: tenant. Is the stream there? A tenant without one is struck off.
_STILL_THERE = """
if redis.call('exists', KEYS[1]) == 1 then return 1 end
redis.call('srem', KEYS[3], ARGV[1])
redis.call('del', KEYS[2])
return 0
"""
# KEYS: stream, queued, tenants. ARGV: tenant, group, entry, job id.
_DONE = """
redis.call('xack', KEYS[1], ARGV[2], ARGV[3])
redis.call('xdel', KEYS[1], ARGV[3])
if redis.call('hget', KEYS[2], ARGV[4]) == ARGV[3] then redis.call('hdel', KEYS[2], ARGV[4]) end
if redis.call('xlen', KEYS[1]) == 0 then
    redis.call('srem', KEYS[3], ARGV[1])
    redis.call('del', KEYS[1], KEYS[2])
end
return 1
"""
# KEYS: stream, queued, tenants, wake. ARGV: tenant, group, entry, job id, kind, document, operation. Does
# nothing when the entry is not there any more: it was done, or lost.
_GIVE_BACK = """
if redis.call('xdel', KEYS[1], ARGV[3]) == 0 then return 0 end
redis.call('xack', KEYS[1], ARGV[2], ARGV[3])
local entry = redis.call('xadd', KEYS[1], '*',
    'id', ARGV[4], 'kind', ARGV[5], 'document', ARGV[6], 'operation', ARGV[7])
redis.call('hset', KEYS[2], ARGV[4], entry)
redis.call('sadd', KEYS[3], ARGV[1])
redis.call('lpush', KEYS[4], '1')
redis.call('ltrim', KEYS[4], 0, 63)
return 1
"""


def stream_key(tenant: str) -> str:
    """The tenant's stream."""
    return f"retrieval:{tenant_id(tenant)}:index"


def queued_key(tenant: str) -> str:
    """What is in the tenant's stream."""
    return f"retrieval:{tenant_id(tenant)}:queued"


class ValkeyQueue:
    """See services.retrieval.ports.Queue. Every worker has one of its own: it is a consumer of the group."""

    def __init__(self, client: redis.asyncio.Redis, visibility: timedelta = timedelta(seconds=15)) -> None:
        """``visibility``: after how long without ``extend`` a job is handed to another worker."""
        self._client: Any = client
        self._visibility = round(visibility.total_seconds() * 1000)
        self._consumer = uuid4().hex
        self._tenants: list[str] = []

    async def check(self) -> None:
        """Raises StoreUnavailable unless the server answers."""
        with store_errors():
            await self._client.ping()

    async def put(self, jobs: Sequence[Job]) -> None:
        """See Queue."""
        with store_errors():
            async with self._client.pipeline(transaction=False) as pipeline:
                for job in jobs:
                    keys = (stream_key(job.tenant), queued_key(job.tenant), TENANTS, WAKE)
                    pipeline.eval(_PUT, len(keys), *keys, job.tenant, *_fields(job).values())
                await pipeline.execute()

    async def take(self, limit: int, wait: timedelta) -> Sequence[Delivery]:
        """See Queue."""
        with store_errors():
            found = await self._sweep(limit)
            if found or wait <= timedelta(0):
                return found
            await self._client.blpop([WAKE], timeout=wait.total_seconds())
            return await self._sweep(limit)

    async def _sweep(self, limit: int) -> list[Delivery]:
        """One job of each tenant in turn, until there are enough or no more."""
        members = {_text(member) for member in await self._client.smembers(TENANTS)}
        # Known tenants keep their turn; new ones come at a random place, so that names give no privilege.
        new = list(members - set(self._tenants))
        random.shuffle(new)
        self._tenants = [tenant for tenant in self._tenants if tenant in members] + new
        found: list[Delivery] = []
        idle = 0
        while self._tenants and len(found) < limit and idle < len(self._tenants):
            tenant = self._tenants.pop(0)
            self._tenants.append(tenant)
            delivery = await self._next(tenant)
            if delivery is None:
                idle += 1
            else:
                idle = 0
                found.append(delivery)
        return found

    async def _next(self, tenant: str) -> Delivery | None:
        try:
            return await self._read(tenant)
        except redis.exceptions.ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
        return await self._read(tenant) if await self._make_group(tenant) else None

    async def _read(self, tenant: str) -> Delivery | None:
        """What another worker left behind, else what is new."""
        stream = stream_key(tenant)
        claimed = await self._client.xautoclaim(
            stream, GROUP, self._consumer, min_idle_time=self._visibility, count=1
        )
        entries, attempt = claimed[1], 1
        if entries:
            entry = entries[0][0]
            pending = await self._client.xpending_range(stream, GROUP, min=entry, max=entry, count=1)
            attempt = int(pending[0]["times_delivered"]) if pending else 1
        else:
            entries = _entries(await self._client.xreadgroup(GROUP, self._consumer, {stream: ">"}, count=1))
        if not entries or not entries[0][1]:
            return None
        entry, fields = entries[0]
        return Delivery(job=_job(tenant, fields), receipt=_text(entry), attempt=attempt)

    async def _make_group(self, tenant: str) -> bool:
        """Makes the consumer group of a stream; False when there is no stream any more."""
        stream = stream_key(tenant)
        keys = (stream, queued_key(tenant), TENANTS)
        if not await self._client.eval(_STILL_THERE, len(keys), *keys, tenant):
            return False
        try:
            await self._client.xgroup_create(stream, GROUP, id="0")
        except redis.exceptions.ResponseError as error:
            # Another worker was first, or the stream is gone again.
            return str(error).startswith("BUSYGROUP")
        return True

    async def extend(self, delivery: Delivery) -> None:
        """See Queue."""
        with store_errors():
            try:
                await self._client.xclaim(
                    stream_key(delivery.job.tenant),
                    GROUP,
                    self._consumer,
                    min_idle_time=0,
                    message_ids=[delivery.receipt],
                    justid=True,
                )
            except redis.exceptions.ResponseError as error:
                # The queue lost everything; the job is done all the same, and twice is once.
                if not str(error).startswith("NOGROUP"):
                    raise

    async def done(self, delivery: Delivery) -> None:
        """See Queue."""
        job = delivery.job
        keys = (stream_key(job.tenant), queued_key(job.tenant), TENANTS)
        with store_errors():
            await self._client.eval(_DONE, len(keys), *keys, job.tenant, GROUP, delivery.receipt, str(job.id))

    async def give_back(self, delivery: Delivery) -> None:
        """See Queue."""
        job = delivery.job
        keys = (stream_key(job.tenant), queued_key(job.tenant), TENANTS, WAKE)
        with store_errors():
            await self._client.eval(
                _GIVE_BACK,
                len(keys),
                *keys,
                job.tenant,
                GROUP,
                delivery.receipt,
                *_fields(job).values(),
            )


def _fields(job: Job) -> dict[str, str]:
    return {
        "id": str(job.id),
        "kind": job.kind.value,
        "document": str(job.document_id),
        "operation": str(job.operation_id or ""),
    }


def _job(tenant: str, fields: dict[Any, Any]) -> Job:
    values = {_text(key): _text(value) for key, value in fields.items()}
    return Job(
        id=int(values["id"]),
        tenant=tenant,
        kind=JobKind(values["kind"]),
        document_id=UUID(values["document"]),
        operation_id=UUID(values["operation"]) if values["operation"] else None,
    )


def _entries(answer: Any) -> Any:
    """RESP3 answers a map of stream to a list of lists, RESP2 a list of pairs."""
    if not answer:
        return []
    return next(iter(answer.values()))[0] if isinstance(answer, dict) else answer[0][1]


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
