"""Composition root of the retrieval service."""

from __future__ import annotations

from contextlib import AsyncExitStack

from causeway.retrieval.v1 import (
    document_service_pb2,
    document_service_pb2_grpc,
    operation_service_pb2,
    operation_service_pb2_grpc,
    search_service_pb2,
    search_service_pb2_grpc,
)
from services.common.postgres import Database
from services.common.server import Application, Binding
from services.common.triton import TritonClient
from services.common.valkey import open_valkey
from services.retrieval.adapters.listener import OUTBOX, Listener
from services.retrieval.adapters.milvus import MilvusIndex
from services.retrieval.adapters.postgres_documents import PostgresDocuments
from services.retrieval.adapters.postgres_outbox import PostgresOutbox
from services.retrieval.adapters.triton import TritonEmbedder
from services.retrieval.adapters.valkey import ValkeyQueue
from services.retrieval.config import Config
from services.retrieval.documents import Documents
from services.retrieval.operations import Operations
from services.retrieval.relay import Relay
from services.retrieval.search import Search
from services.retrieval.servicer import DocumentServicer, OperationServicer, SearchServicer
from services.retrieval.uploads import Uploads

_DOCUMENTS = document_service_pb2.DESCRIPTOR.services_by_name["DocumentService"]
_OPERATIONS = operation_service_pb2.DESCRIPTOR.services_by_name["OperationService"]
_SEARCH = search_service_pb2.DESCRIPTOR.services_by_name["SearchService"]

PERMISSIONS = {
    f"/{_DOCUMENTS.full_name}/CreateDocument": "documents.write",
    f"/{_DOCUMENTS.full_name}/UploadDocument": "documents.write",
    f"/{_DOCUMENTS.full_name}/GetDocument": "documents.read",
    f"/{_DOCUMENTS.full_name}/ListDocuments": "documents.read",
    f"/{_DOCUMENTS.full_name}/DeleteDocument": "documents.write",
    f"/{_OPERATIONS.full_name}/GetOperation": "operations.read",
    f"/{_OPERATIONS.full_name}/ListOperations": "operations.read",
    f"/{_OPERATIONS.full_name}/WatchOperation": "operations.read",
    f"/{_SEARCH.full_name}/Search": "documents.search",
}
"""The action that each method takes."""


async def build(config: Config, stack: AsyncExitStack) -> Application:
    """Opens what the service needs; ``stack`` closes it."""
    database = await stack.enter_async_context(Database(config.postgres))
    relay_database = await stack.enter_async_context(Database(config.relay.postgres))
    valkey = open_valkey(config.valkey)
    stack.push_async_callback(valkey.aclose)
    index = await stack.enter_async_context(MilvusIndex(config.milvus))
    triton = await stack.enter_async_context(TritonClient(config.triton))
    pulse = await stack.enter_async_context(triton.pulse(triton.embedder))

    store = PostgresDocuments(database)
    queue = ValkeyQueue(valkey)
    embedder = TritonEmbedder(
        triton, timeout=config.embedder.query_timeout, requests=config.embedder.query_requests
    )
    listener = Listener(config.postgres)
    relay = Relay(
        PostgresOutbox(relay_database),
        queue,
        lambda: listener.waiting(OUTBOX),
        sweep=config.relay.sweep,
        again=config.relay.again,
    )
    documents = Documents(store, config.limits)
    return Application(
        bindings=[
            Binding(
                document_service_pb2_grpc.add_DocumentServiceServicer_to_server,
                DocumentServicer(documents, Uploads(documents, config.limits)),
                _DOCUMENTS,
            ),
            Binding(
                operation_service_pb2_grpc.add_OperationServiceServicer_to_server,
                OperationServicer(documents, Operations(store, listener)),
                _OPERATIONS,
            ),
            Binding(
                search_service_pb2_grpc.add_SearchServiceServicer_to_server,
                SearchServicer(Search(index, embedder, store)),
                _SEARCH,
                required={"milvus", "triton"},
            ),
        ],
        permissions=PERMISSIONS,
        dependencies={
            "postgres": database.check,
            "valkey": queue.check,
            "milvus": index.check,
            "triton": pulse.check,
        },
        required={"postgres"},
        background=[listener.run, relay.run],
    )
