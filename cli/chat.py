"""`causeway chat`: question after question in one stored conversation."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing

import grpc

from causeway.gateway.v1 import chat_service_pb2, chat_service_pb2_grpc
from causeway.session.v1 import conversation_service_pb2, conversation_service_pb2_grpc
from cli import client, exits, stream
from cli.answer import Answer
from cli.ask import ASK_TIMEOUT, PATIENCE, caller
from cli.client import Connection
from cli.exits import CommandError
from cli.lifecycle import layout

HELP = "/new starts another conversation, /sources shows the passages last cited, /quit (or Ctrl-D) ends."


def run(options: argparse.Namespace) -> int:
    """Talk until the end of input. Ctrl-C stops an answer; at the prompt it ends the chat."""
    connection = client.connect(layout(), options.tenant, options.subject, ["reader"])
    interactive = sys.stdin.isatty()
    if interactive:
        _edit_lines()
        print(f"Ask away. {HELP}")
    with connection.channel("gateway") as channel:
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        conversation, last = "", Answer()
        while True:
            try:
                line = input("\n> " if interactive else "").strip()
            except (EOFError, KeyboardInterrupt):
                print()
                return exits.OK
            match line:
                case "":
                    continue
                case "/quit":
                    return exits.OK
                case "/new":
                    conversation = ""
                    print("a new conversation")
                    continue
                case "/sources":
                    print("\n".join(last.source_lines()) or "nothing was cited")
                    continue
                case _ if line.startswith("/"):
                    print(HELP)
                    continue
            try:
                conversation = conversation or _create(connection, line)
                last = _answer(stub, connection, line, conversation)
            except CommandError as error:
                print(f"causeway: {error}", file=sys.stderr)
                if not interactive:
                    return error.code


def _create(connection: Connection, question: str) -> str:
    request = conversation_service_pb2.CreateConversationRequest(title=question[:256])
    try:
        with connection.channel("session") as channel:
            stub = conversation_service_pb2_grpc.ConversationServiceStub(channel)
            made = stub.CreateConversation(request, metadata=connection.metadata(), timeout=30)
    except grpc.RpcError as error:
        raise client.explain(error) from error
    return made.conversation.id


def _answer(
    stub: chat_service_pb2_grpc.ChatServiceStub, connection: Connection, question: str, conversation: str
) -> Answer:
    answer = Answer()
    request = chat_service_pb2.ChatRequest(text=question, conversation_id=conversation)
    try:
        # Closing the events cancels the call, which reaches the model: nothing goes on generating for nobody.
        with closing(stream.read(caller(stub, connection), request, ASK_TIMEOUT, PATIENCE)) as events:
            for event in events:
                print(answer.add(event), end="", flush=True)
    except KeyboardInterrupt:
        print("\n(stopped)")
        return answer
    except grpc.RpcError as error:
        print()
        raise client.explain(error) from error
    print()
    answer.require_finished()
    if answer.citations:
        print("\n" + "\n".join(answer.source_lines()))
    return answer


def _edit_lines() -> None:
    try:
        import readline  # noqa: F401 - importing it gives input() editing and history
    except ImportError:
        pass
