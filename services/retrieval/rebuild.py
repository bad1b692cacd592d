"""Queues every document for the index anew: ``python -m services.retrieval.rebuild``.

The indexer does this by itself when the index is gone. This is for an index that is there and not trusted,
and after a change of how documents are cut. Documents are PENDING until they are indexed again.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack

from services.common import logs
from services.common.postgres import Database
from services.retrieval.adapters.milvus import MilvusIndex
from services.retrieval.adapters.postgres_indexing import PostgresIndexing
from services.retrieval.adapters.postgres_outbox import PostgresOutbox
from services.retrieval.config import Config
from services.retrieval.indexer.upkeep import Upkeep


async def rebuild(config: Config) -> int:
    """Gives how many documents were queued."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(config.postgres))
        relay_database = await stack.enter_async_context(Database(config.relay.postgres))
        index = await stack.enter_async_context(MilvusIndex(config.milvus))
        upkeep = Upkeep(
            index, PostgresOutbox(relay_database), PostgresIndexing(database), config.indexer.upkeep
        )
        return await upkeep.rebuild()


def main() -> int:
    """Rebuilds; returns the exit code."""
    config = Config.from_env()
    logs.configure("rebuild", config.service.log_level)
    queued = asyncio.run(rebuild(config))
    sys.stdout.write(f"{queued} documents queued\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
