"""The gRPC face of the retrieval service: parse, call the core, convert. Requests come in validated."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from uuid import UUID

import grpc

from causeway.retrieval.v1 import (
    document_service_pb2 as documents_pb2,
)
from causeway.retrieval.v1 import (
    document_service_pb2_grpc as documents_grpc,
)
from causeway.retrieval.v1 import (
    operation_service_pb2 as operations_pb2,
)
from causeway.retrieval.v1 import (
    operation_service_pb2_grpc as operations_grpc,
)
from causeway.retrieval.v1 import (
    search_service_pb2 as search_pb2,
)
from causeway.retrieval.v1 import (
    search_service_pb2_grpc as search_grpc,
)
from services.common.identity import current_caller
from services.retrieval.convert import (
    document_filter_of,
    document_to_proto,
    header_of,
    mode_of,
    operation_to_proto,
    part_of,
    result_to_proto,
    search_filter_of,
)
from services.retrieval.documents import Documents
from services.retrieval.operations import Operations
from services.retrieval.search import Search
from services.retrieval.uploads import Uploads

Context = grpc.aio.ServicerContext[Any, Any]


class DocumentServicer(documents_grpc.DocumentServiceServicer):
    """causeway.retrieval.v1.DocumentService."""

    def __init__(self, documents: Documents, uploads: Uploads) -> None:
        self._documents = documents
        self._uploads = uploads

    async def CreateDocument(
        self, request: documents_pb2.CreateDocumentRequest, context: Context
    ) -> documents_pb2.CreateDocumentResponse:
        """Stores a document that came in one message."""
        stored = await self._documents.create(
            current_caller().tenant, header_of(request.header), request.content
        )
        return documents_pb2.CreateDocumentResponse(
            document=document_to_proto(stored.document), operation=operation_to_proto(stored.operation)
        )

    async def UploadDocument(
        self, request_iterator: AsyncIterator[documents_pb2.UploadDocumentRequest], context: Context
    ) -> documents_pb2.UploadDocumentResponse:
        """Stores a document that comes in pieces."""
        stored = await self._uploads.receive(
            current_caller().tenant, (part_of(request) async for request in request_iterator)
        )
        return documents_pb2.UploadDocumentResponse(
            document=document_to_proto(stored.document), operation=operation_to_proto(stored.operation)
        )

    async def GetDocument(
        self, request: documents_pb2.GetDocumentRequest, context: Context
    ) -> documents_pb2.GetDocumentResponse:
        """Reads one."""
        document = await self._documents.get(current_caller().tenant, UUID(request.id))
        return documents_pb2.GetDocumentResponse(document=document_to_proto(document))

    async def ListDocuments(
        self, request: documents_pb2.ListDocumentsRequest, context: Context
    ) -> documents_pb2.ListDocumentsResponse:
        """A page of the tenant's."""
        page = await self._documents.list_page(
            current_caller().tenant, document_filter_of(request), request.page_size, request.page_token
        )
        return documents_pb2.ListDocumentsResponse(
            documents=[document_to_proto(item) for item in page.items], next_page_token=page.next_token
        )

    async def DeleteDocument(
        self, request: documents_pb2.DeleteDocumentRequest, context: Context
    ) -> documents_pb2.DeleteDocumentResponse:
        """Deletes one."""
        await self._documents.delete(current_caller().tenant, UUID(request.id))
        return documents_pb2.DeleteDocumentResponse()


class OperationServicer(operations_grpc.OperationServiceServicer):
    """causeway.retrieval.v1.OperationService."""

    def __init__(self, documents: Documents, operations: Operations) -> None:
        self._documents = documents
        self._operations = operations

    async def GetOperation(
        self, request: operations_pb2.GetOperationRequest, context: Context
    ) -> operations_pb2.GetOperationResponse:
        """Reads one."""
        operation = await self._documents.get_operation(current_caller().tenant, UUID(request.id))
        return operations_pb2.GetOperationResponse(operation=operation_to_proto(operation))

    async def ListOperations(
        self, request: operations_pb2.ListOperationsRequest, context: Context
    ) -> operations_pb2.ListOperationsResponse:
        """A page of the tenant's."""
        page = await self._documents.list_operations(
            current_caller().tenant, request.unfinished_only, request.page_size, request.page_token
        )
        return operations_pb2.ListOperationsResponse(
            operations=[operation_to_proto(item) for item in page.items], next_page_token=page.next_token
        )

    async def WatchOperation(
        self, request: operations_pb2.WatchOperationRequest, context: Context
    ) -> AsyncIterator[operations_pb2.WatchOperationResponse]:
        """Its states, until the last."""
        states = self._operations.watch(current_caller().tenant, UUID(request.id))
        async with aclosing(states) as operations:
            async for operation in operations:
                yield operations_pb2.WatchOperationResponse(operation=operation_to_proto(operation))


class SearchServicer(search_grpc.SearchServiceServicer):
    """causeway.retrieval.v1.SearchService."""

    def __init__(self, search: Search) -> None:
        self._search = search

    async def Search(self, request: search_pb2.SearchRequest, context: Context) -> search_pb2.SearchResponse:
        """The passages that match best."""
        results = await self._search.search(
            current_caller().tenant,
            request.query,
            mode_of(request.mode),
            search_filter_of(request.filter),
            request.limit,
        )
        return search_pb2.SearchResponse(results=[result_to_proto(result) for result in results])
