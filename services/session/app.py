"""Composition root of the session service."""

from __future__ import annotations

from contextlib import AsyncExitStack

from causeway.session.v1 import (
    conversation_service_pb2,
    conversation_service_pb2_grpc,
    message_service_pb2,
    message_service_pb2_grpc,
)
from services.common.postgres import Database
from services.common.server import Application, Binding
from services.session.adapters.postgres import PostgresStore
from services.session.config import Config
from services.session.core import Conversations, Limits, Messages
from services.session.servicer import ConversationServicer, MessageServicer

_CONVERSATIONS = conversation_service_pb2.DESCRIPTOR.services_by_name["ConversationService"]
_MESSAGES = message_service_pb2.DESCRIPTOR.services_by_name["MessageService"]

PERMISSIONS = {
    f"/{_CONVERSATIONS.full_name}/CreateConversation": "conversations.write",
    f"/{_CONVERSATIONS.full_name}/GetConversation": "conversations.read",
    f"/{_CONVERSATIONS.full_name}/ListConversations": "conversations.read",
    f"/{_CONVERSATIONS.full_name}/UpdateConversation": "conversations.write",
    f"/{_CONVERSATIONS.full_name}/DeleteConversation": "conversations.write",
    f"/{_MESSAGES.full_name}/AppendMessage": "conversations.write",
    f"/{_MESSAGES.full_name}/ListMessages": "conversations.read",
}
"""The action that each method takes."""


async def build(config: Config, stack: AsyncExitStack) -> Application:
    """Opens what the service needs; ``stack`` closes it."""
    database = await stack.enter_async_context(Database(config.postgres))
    return application(database, config.limits)


def application(database: Database, limits: Limits) -> Application:
    """The service on top of an open database."""
    store = PostgresStore(database)
    return Application(
        bindings=[
            Binding(
                conversation_service_pb2_grpc.add_ConversationServiceServicer_to_server,
                ConversationServicer(Conversations(store, limits)),
                _CONVERSATIONS,
            ),
            Binding(
                message_service_pb2_grpc.add_MessageServiceServicer_to_server,
                MessageServicer(Messages(store, limits)),
                _MESSAGES,
            ),
        ],
        permissions=PERMISSIONS,
        dependencies={"postgres": database.check},
        required={"postgres"},
    )
