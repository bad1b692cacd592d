"""Watching an operation until it is done."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from uuid import UUID

from services.retrieval.model import Operation
from services.retrieval.ports import Changes, DocumentStore


class Operations:
    """Streams of one operation's states."""

    def __init__(self, store: DocumentStore, changes: Changes) -> None:
        self._store = store
        self._changes = changes

    async def watch(self, tenant: str, operation_id: UUID) -> AsyncGenerator[Operation, None]:
        """The operation as it is, then again whenever it is another; ends behind its last state.

        Raises:
            OperationNotFound: there is none, or its document is deleted while it is watched.
        """
        # Listening begins before the first look, so that no change falls in between.
        async with self._changes.watch(operation_id) as ticks:
            operation = await self._store.get_operation(tenant, operation_id)
            yield operation
            if operation.state.finished:
                return
            async for _ in ticks:
                current = await self._store.get_operation(tenant, operation_id)
                if current != operation:
                    operation = current
                    yield operation
                if operation.state.finished:
                    return
