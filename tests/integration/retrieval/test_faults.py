"""Faults: whatever is killed, lost or hung, documents are indexed once, and callers are told the truth."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from uuid import UUID, uuid4

import grpc
import numpy as np
import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pymilvus import AsyncMilvusClient, DataType
from support.platform import Platform, running

from causeway.retrieval.v1 import document_pb2
from causeway.retrieval.v1.search_service_pb2 import SearchResult
from fakes.retrieval_triton import FakeTriton
from services.common.secret import Secret
from services.common.status import from_call
from services.common.valkey import ValkeyConfig, open_valkey
from services.retrieval.adapters.milvus import MilvusConfig, MilvusIndex
from services.retrieval.errors import IndexMissing
from services.retrieval.model import Chunk, ChunkText, MediaType, chunk_id

from .harness import SUCCEEDED, Client, deployed

MANY = "\n\n".join(
    f"Paragraph {number}. " + f"The zebra number {number} has stripes and eats grass on the plain. " * 15
    for number in range(150)
).encode()
"""Several waves of passages."""
COLLECTION = MilvusIndex(MilvusConfig(uri="http://unused")).collection


async def indexed(platform: Platform, tenant: str, document_id: str) -> tuple[int, int]:
    """Passages in PostgreSQL, and chunks in the index."""
    conninfo = platform.postgres_conninfo("postgres")
    async with await psycopg.AsyncConnection.connect(conninfo) as connection:
        cursor = await connection.execute(
            "select count(*) from retrieval.chunks where document_id = %s", (document_id,)
        )
        row = await cursor.fetchone()
    async with MilvusIndex(MilvusConfig(uri=platform.milvus_uri)) as index:
        chunks = await index.for_tenant(tenant).count(UUID(document_id))
    assert row is not None
    return int(row[0]), chunks


async def found_or_nothing(client: Client) -> Sequence[SearchResult]:
    """What a search finds; nothing while the index is away."""
    try:
        return await client.search("zebra")
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return []


async def until_whole(platform: Platform) -> None:
    """Waits until the index is made and marked."""
    mark = f"{COLLECTION}_complete"
    async with AsyncMilvusClient(uri=platform.milvus_uri, dedicated=True) as milvus, asyncio.timeout(20):
        while not await milvus.has_collection(mark):
            await asyncio.sleep(0.1)


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.fixture
def servers() -> Iterator[Platform]:
    """Stores of this test's own, to be broken."""
    with running(["postgres", "valkey", "milvus", "migrations"]) as platform:
        yield platform


async def test_an_indexer_killed_in_the_middle_is_followed_by_another_that_finishes_once(
    data_servers: Platform, triton: FakeTriton, tenant: str
) -> None:
    async with deployed(data_servers, triton) as deployment:
        service, indexer = await deployment.service(), await deployment.indexer()
        async with grpc.aio.insecure_channel(service.address) as channel:
            client = Client(channel, data_servers, tenant)
            await until_whole(data_servers)
            triton.hold_after = 100
            created = await client.create("Long", MANY)
            await until(lambda: not triton.gate.is_set())
            assert await indexer.end(signal.SIGKILL) == -signal.SIGKILL
            before = triton.texts
            triton.gate.set()
            await deployment.indexer()
            operation = await client.finished(created.operation.id)
            assert operation.state == SUCCEEDED
            rows, chunks = await indexed(data_servers, tenant, created.document.id)
            assert rows == chunks == operation.chunks_total > 128
            again = triton.texts - before - (operation.chunks_total - 64)
            assert again <= 64, "it began anew instead of going on"


async def test_an_indexer_that_is_stopped_hands_its_work_over_at_once(
    data_servers: Platform, triton: FakeTriton, tenant: str
) -> None:
    async with deployed(data_servers, triton, CAUSEWAY_INDEXER_VISIBILITY="10m") as deployment:
        service, indexer = await deployment.service(), await deployment.indexer()
        async with grpc.aio.insecure_channel(service.address) as channel:
            client = Client(channel, data_servers, tenant)
            triton.hold_after = 0
            created = await client.create("Long", MANY)
            await until(lambda: not triton.gate.is_set())
            assert await indexer.end() == 0
            triton.gate.set()
            await deployment.indexer()
            assert (await client.finished(created.operation.id)).state == SUCCEEDED


async def test_losing_the_whole_queue_loses_no_document(
    data_servers: Platform, triton: FakeTriton, tenant: str
) -> None:
    async with deployed(data_servers, triton) as deployment:
        service = await deployment.service()
        async with grpc.aio.insecure_channel(service.address) as channel:
            client = Client(channel, data_servers, tenant)
            created = [await client.create(f"D{number}", b"zebra") for number in range(5)]
            password = Secret(data_servers.valkey_password_file("retrieval").read_text().strip())
            valkey = open_valkey(ValkeyConfig(data_servers.valkey_url("retrieval"), password))
            await asyncio.sleep(0.3)
            lost = [key async for key in valkey.scan_iter("retrieval:*")]
            assert lost
            await valkey.delete(*lost)
            await valkey.aclose()
            await deployment.indexer()
            for response in created:
                assert (await client.finished(response.operation.id)).state == SUCCEEDED


async def test_a_deletion_that_races_with_indexing_leaves_no_orphans(
    data_servers: Platform, triton: FakeTriton, tenant: str
) -> None:
    async with deployed(data_servers, triton) as deployment:
        service = await deployment.service()
        await deployment.indexer()
        async with grpc.aio.insecure_channel(service.address) as channel:
            client = Client(channel, data_servers, tenant)
            triton.hold_after = 100
            created = await client.create("Long", MANY)
            await until(lambda: not triton.gate.is_set())
            await client.delete(created.document.id)
            assert not await client.search("zebra", mode=3)
            # Time for the deletion's own job, before the indexing goes on.
            await asyncio.sleep(0.5)
            triton.gate.set()
            async with asyncio.timeout(20):
                while await indexed(data_servers, tenant, created.document.id) != (0, 0):
                    await asyncio.sleep(0.1)
            await asyncio.sleep(0.5)
            assert await indexed(data_servers, tenant, created.document.id) == (0, 0)


async def test_a_lost_index_is_rebuilt_from_the_documents(
    servers: Platform, triton: FakeTriton, tenant: str
) -> None:
    async with deployed(servers, triton) as deployment:
        service = await deployment.service()
        await deployment.indexer()
        async with grpc.aio.insecure_channel(service.address) as channel:
            client = Client(channel, servers, tenant)
            document = await client.ingest("Plain", b"The zebra has stripes.")
            await until_whole(servers)
            async with AsyncMilvusClient(uri=servers.milvus_uri, dedicated=True) as milvus:
                await milvus.drop_collection(COLLECTION)
            async with asyncio.timeout(30):
                while True:
                    state = (await client.get(document.id)).state
                    found = await found_or_nothing(client)
                    if found and state == document_pb2.DOCUMENT_STATE_READY:
                        break
                    await asyncio.sleep(0.05)
            assert [result.document_id for result in found] == [document.id]


async def test_an_index_that_was_left_half_made_is_made_anew(
    servers: Platform, triton: FakeTriton, tenant: str
) -> None:
    schema = AsyncMilvusClient.create_schema(auto_id=False)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=36)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=384)
    async with AsyncMilvusClient(uri=servers.milvus_uri, dedicated=True) as milvus:
        await milvus.create_collection(COLLECTION, schema=schema)
    async with deployed(servers, triton) as deployment:
        service = await deployment.service()
        await deployment.indexer()
        async with grpc.aio.insecure_channel(service.address) as channel:
            client = Client(channel, servers, tenant)
            await client.ingest("Plain", b"The zebra has stripes.")
            async with asyncio.timeout(20):
                while not await found_or_nothing(client):
                    await asyncio.sleep(0.05)


async def test_an_index_that_is_still_being_made_takes_nothing(data_servers: Platform, tenant: str) -> None:
    """A document would be ready that no search finds: Milvus takes rows before there is an index of them."""
    config = MilvusConfig(uri=data_servers.milvus_uri, collection=f"making_{tenant.replace('-', '_')}")
    async with MilvusIndex(config) as index, AsyncMilvusClient(uri=config.uri, dedicated=True) as milvus:
        await index.prepare()
        await milvus.release_collection(index.collection)
        await milvus.drop_index(index.collection, "lexical")
        document = uuid4()
        chunk = Chunk(chunk_id(document, 0), 0, ChunkText("The zebra has stripes.", ""))
        view = index.for_tenant(tenant)
        with pytest.raises(IndexMissing):
            await view.upsert(document, MediaType.TEXT, {}, [chunk], np.ones((1, 384), np.float32))
        assert await index.prepare(), "it is made anew"
        await view.upsert(document, MediaType.TEXT, {}, [chunk], np.ones((1, 384), np.float32))
        assert await view.count(document) == 1
        await milvus.drop_collection(index.collection)


async def test_a_hung_index_is_told_within_the_deadline_and_documents_can_still_be_stored(
    servers: Platform, triton: FakeTriton, tenant: str
) -> None:
    async with deployed(servers, triton) as deployment:
        service = await deployment.service()
        await deployment.indexer()
        async with grpc.aio.insecure_channel(service.address) as channel:
            client = Client(channel, servers, tenant)
            await client.ingest("Plain", b"The zebra has stripes.")
            pid = servers.process("milvus").pid
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
            try:
                hurried, patient = grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE
                for deadline, code in ((20.0, patient), (1.0, hurried)):
                    started = time.monotonic()
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await client.search("zebra", timeout=deadline)
                    assert caught.value.code() is code
                    assert from_call(caught.value) is not None, "the client's own clock said so"
                    assert time.monotonic() - started < min(deadline, 4.0)
                created = await client.create("Later", b"The okapi has stripes, too.")
                await until_health(channel, "dependency:milvus", serving=False)
                await until_health(channel, "", serving=True)
            finally:
                os.kill(pid, signal.SIGCONT)
            assert (await client.finished(created.operation.id)).state == SUCCEEDED
            assert await client.search("okapi")
            await until_health(channel, "dependency:milvus", serving=True)


async def test_a_killed_index_comes_back_and_searches_go_on(
    servers: Platform, triton: FakeTriton, tenant: str
) -> None:
    async with deployed(servers, triton) as deployment:
        service = await deployment.service()
        await deployment.indexer()
        async with grpc.aio.insecure_channel(service.address) as channel:
            client = Client(channel, servers, tenant)
            document = await client.ingest("Plain", b"The zebra has stripes.")
            pid = servers.process("milvus").pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            created = await client.create("Later", b"The zebra and the okapi have stripes.")
            async with asyncio.timeout(30):
                while len(await found_or_nothing(client)) < 2:
                    await asyncio.sleep(0.05)
            assert (await client.finished(created.operation.id)).state == SUCCEEDED
            assert (await client.get(document.id)).state == document_pb2.DOCUMENT_STATE_READY


async def test_a_hung_model_is_told_and_nothing_is_lost(
    data_servers: Platform, triton: FakeTriton, tenant: str
) -> None:
    settings = {"CAUSEWAY_EMBEDDER_QUERY_TIMEOUT": "500ms", "CAUSEWAY_EMBEDDER_BATCH_TIMEOUT": "500ms"}
    async with deployed(data_servers, triton, **settings) as deployment:
        service = await deployment.service()
        await deployment.indexer()
        async with grpc.aio.insecure_channel(service.address) as channel:
            client = Client(channel, data_servers, tenant)
            await client.ingest("Plain", b"The zebra has stripes.")
            triton.gate.clear()
            created = await client.create("Later", b"The okapi has stripes, too.")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.search("zebra")
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert await client.search("zebra", mode=3)
            await asyncio.sleep(1)
            triton.gate.set()
            assert (await client.finished(created.operation.id)).state == SUCCEEDED


async def until_health(channel: grpc.aio.Channel, service: str, *, serving: bool) -> None:
    """Waits until health says so."""
    stub = health_pb2_grpc.HealthStub(channel)
    wanted = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
    async with asyncio.timeout(15):
        while (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status != wanted:
            await asyncio.sleep(0.1)


async def test_two_indexers_share_the_work(data_servers: Platform, triton: FakeTriton, tenant: str) -> None:
    async with deployed(data_servers, triton) as deployment:
        service = await deployment.service()
        await asyncio.gather(deployment.indexer(), deployment.indexer())
        async with grpc.aio.insecure_channel(service.address) as channel:
            client = Client(channel, data_servers, tenant)
            created = [await client.create(f"D{number}", b"zebra\n\nokapi") for number in range(20)]
            for response in created:
                assert (await client.finished(response.operation.id)).state == SUCCEEDED
                rows, chunks = await indexed(data_servers, tenant, response.document.id)
                assert rows == chunks == 1


async def test_the_service_stops_with_watches_open(
    data_servers: Platform, triton: FakeTriton, tenant: str
) -> None:
    async with deployed(data_servers, triton) as deployment:
        service = await deployment.service()
        async with grpc.aio.insecure_channel(service.address) as channel:
            client = Client(channel, data_servers, tenant)
            created = await client.create("T", b"zebra")
            watch = asyncio.create_task(client.finished(created.operation.id))
            await asyncio.sleep(0.3)
            started = time.monotonic()
            assert await service.end() == 0
            assert time.monotonic() - started < 6
            await asyncio.gather(watch, return_exceptions=True)
