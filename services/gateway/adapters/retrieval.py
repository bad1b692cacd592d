"""The retrieval service over gRPC."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from causeway.retrieval.v1 import search_service_pb2, search_service_pb2_grpc
from services.common.channel import peer_errors
from services.gateway.model import Grounding, Passage

_NAME = "the retrieval service"
_TIMEOUT = 10.0


class RetrievalService:
    """services.gateway.ports.Passages."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._search = search_service_pb2_grpc.SearchServiceStub(channel)

    async def search(self, query: str, limit: int, grounding: Grounding) -> Sequence[Passage]:
        """The best passages, best first."""
        request = search_service_pb2.SearchRequest(
            query=query,
            limit=limit,
            mode=search_service_pb2.SEARCH_MODE_HYBRID,
            filter=search_service_pb2.SearchFilter(
                document_ids=grounding.document_ids, labels=grounding.labels
            ),
        )
        with peer_errors(_NAME):
            response = await self._search.Search(request, timeout=_TIMEOUT)
        return [
            Passage(
                document_id=result.document_id,
                title=result.title,
                text=result.text,
                score=result.score,
                cosine=result.cosine if result.HasField("cosine") else None,
            )
            for result in response.results
        ]
