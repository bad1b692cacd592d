"""Composition root of the indexer. It serves health only; its work is in the background loops."""

from __future__ import annotations

from contextlib import AsyncExitStack

from services.common.postgres import Database
from services.common.server import Application
from services.common.triton import TritonClient
from services.common.valkey import open_valkey
from services.retrieval.adapters.milvus import MilvusIndex
from services.retrieval.adapters.postgres_indexing import PostgresIndexing
from services.retrieval.adapters.postgres_outbox import PostgresOutbox
from services.retrieval.adapters.reader import ProcessReader
from services.retrieval.adapters.triton import TritonEmbedder
from services.retrieval.adapters.valkey import ValkeyQueue
from services.retrieval.config import Config
from services.retrieval.indexer.runner import Runner
from services.retrieval.indexer.upkeep import Upkeep
from services.retrieval.indexer.work import Worker


async def build(config: Config, stack: AsyncExitStack) -> Application:
    """Opens what the indexer needs; ``stack`` closes it."""
    database = await stack.enter_async_context(Database(config.postgres))
    relay_database = await stack.enter_async_context(Database(config.relay.postgres))
    valkey = open_valkey(config.valkey)
    stack.push_async_callback(valkey.aclose)
    index = await stack.enter_async_context(MilvusIndex(config.milvus))
    triton = await stack.enter_async_context(TritonClient(config.triton))
    pulse = await stack.enter_async_context(triton.pulse(triton.embedder))
    reader = await stack.enter_async_context(ProcessReader(config.reader))

    settings = config.indexer
    store = PostgresIndexing(database)
    queue = ValkeyQueue(valkey, settings.visibility)
    embedder = TritonEmbedder(
        triton, timeout=config.embedder.batch_timeout, requests=config.embedder.batch_requests
    )
    upkeep = Upkeep(index, PostgresOutbox(relay_database), store, settings.upkeep)
    runner = Runner(
        queue,
        Worker(store, reader, embedder, index, settings.wave),
        upkeep.ensure,
        documents=settings.documents,
        attempts=settings.attempts,
        visibility=settings.visibility,
    )
    return Application(
        bindings=[],
        permissions={},
        dependencies={
            "postgres": database.check,
            "valkey": queue.check,
            "milvus": index.check,
            "triton": pulse.check,
        },
        required={"postgres", "valkey", "milvus", "triton"},
        background=[upkeep.run, runner.run],
    )
