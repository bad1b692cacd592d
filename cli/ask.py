"""`causeway ask` and `causeway search`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import grpc

from causeway.gateway.v1 import chat_service_pb2, chat_service_pb2_grpc
from causeway.retrieval.v1 import search_service_pb2, search_service_pb2_grpc
from cli import client, exits, stream
from cli.answer import Answer, excerpt
from cli.client import Connection
from cli.lifecycle import layout

ASK_TIMEOUT = 300.0
PATIENCE = stream.Patience(attempts=8)
"""Three to four seconds of nobody answering: longer than a region takes to be replaced, and no more than a
person waits to be told that the platform is down."""
SEARCH_TIMEOUT = 30.0

_MODES = {
    "hybrid": search_service_pb2.SEARCH_MODE_HYBRID,
    "dense": search_service_pb2.SEARCH_MODE_DENSE,
    "lexical": search_service_pb2.SEARCH_MODE_LEXICAL,
}


def ask(options: argparse.Namespace) -> int:
    """Ask one question; the answer is printed as it arrives."""
    connection = client.connect(layout(), options.tenant, options.subject, ["reader"])
    answer = Answer()
    request = chat_service_pb2.ChatRequest(text=options.question)
    try:
        with connection.channel("gateway") as channel:
            stub = chat_service_pb2_grpc.ChatServiceStub(channel)
            for event in stream.read(caller(stub, connection), request, ASK_TIMEOUT, PATIENCE):
                text = answer.add(event)
                if text and not options.json:
                    print(text, end="", flush=True)
    except grpc.RpcError as error:
        if answer.text and not options.json:
            print(flush=True)
        raise client.explain(error) from error
    answer.require_finished()
    if options.json:
        print(json.dumps(answer.to_json(), ensure_ascii=False))
        return exits.OK
    print()
    if answer.citations:
        print("\n" + "\n".join(answer.source_lines()))
    print(f"({answer.footer()})", file=sys.stderr)
    return exits.OK


def caller(stub: chat_service_pb2_grpc.ChatServiceStub, connection: Connection) -> stream.Call:
    """Calls Chat with a token that is fresh at every attempt."""

    def call(request: chat_service_pb2.ChatRequest, timeout: float) -> Any:
        return stub.Chat(request, metadata=connection.metadata(), timeout=timeout)

    return call


def search(options: argparse.Namespace) -> int:
    """Find passages."""
    connection = client.connect(layout(), options.tenant, options.subject, ["reader"])
    request = search_service_pb2.SearchRequest(
        query=options.query, limit=options.limit, mode=_MODES[options.mode]
    )
    try:
        with connection.channel("retrieval") as channel:
            stub = search_service_pb2_grpc.SearchServiceStub(channel)
            found = stub.Search(request, metadata=connection.metadata(), timeout=SEARCH_TIMEOUT).results
    except grpc.RpcError as error:
        raise client.explain(error) from error
    if options.json:
        results = [
            {"document": item.document_id, "title": item.title, "text": item.text, "score": item.score}
            for item in found
        ]
        print(json.dumps({"results": results}, ensure_ascii=False))
    elif not found:
        print("nothing found; add documents with `causeway ingest`")
    else:
        for rank, item in enumerate(found, 1):
            print(f"{rank}. {item.title}  (score {item.score:.4f})\n   {excerpt(item.text, 200)}")
    return exits.OK
