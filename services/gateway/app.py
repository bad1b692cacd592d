"""Composition root of the gateway."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial

from causeway.gateway.v1 import chat_service_pb2, chat_service_pb2_grpc
from services.common.channel import open_channel
from services.common.server import Application, Binding
from services.common.triton import TritonClient
from services.gateway.adapters.health import serving
from services.gateway.adapters.policy import PolicyService
from services.gateway.adapters.retrieval import RetrievalService
from services.gateway.adapters.session import SessionService
from services.gateway.adapters.triton import TritonEmbedder, TritonGenerator
from services.gateway.background import Background
from services.gateway.catalogue import Catalogue
from services.gateway.chat import ChatEngine
from services.gateway.config import Config
from services.gateway.embedding import EmbeddingEngine
from services.gateway.ending import Endings
from services.gateway.prompt import PromptWriter
from services.gateway.resumption import Tickets
from services.gateway.run import Parts
from services.gateway.servicer import ChatServicer

_CHAT = chat_service_pb2.DESCRIPTOR.services_by_name["ChatService"]

PERMISSIONS = {
    f"/{_CHAT.full_name}/Chat": "chat.complete",
    f"/{_CHAT.full_name}/Complete": "chat.complete",
    f"/{_CHAT.full_name}/ListModels": "models.list",
    f"/{_CHAT.full_name}/Embed": "models.embed",
}
"""The action that each method takes."""

FLUSH = timedelta(seconds=4)
"""How long settling, storing and auditing may go on after the last call has ended; within what a supervisor
allows beyond the drain."""


async def build(config: Config, stack: AsyncExitStack) -> Application:
    """Opens what the gateway needs; ``stack`` closes it, what is under way in the background first."""
    policy_channel = await stack.enter_async_context(open_channel(config.policy))
    session_channel = await stack.enter_async_context(open_channel(config.session))
    retrieval_channel = await stack.enter_async_context(open_channel(config.retrieval))
    triton = await stack.enter_async_context(
        TritonClient(config.triton, embedder=config.models.embedder, generator=config.models.generator)
    )
    background = await stack.enter_async_context(Background(FLUSH))
    policy = PolicyService(policy_channel)
    conversations = SessionService(session_channel)
    generator_pulse = await stack.enter_async_context(triton.pulse(config.models.generator))
    embedder_pulse = await stack.enter_async_context(triton.pulse(config.models.embedder))
    generator = TritonGenerator(triton, generator_pulse)
    embedder = TritonEmbedder(triton, embedder_pulse)
    endings = Endings(background, policy, conversations, config.chat.finish_timeout)
    engine = ChatEngine(
        Parts(
            policy=policy,
            conversations=conversations,
            passages=RetrievalService(retrieval_channel),
            generator=generator,
            endings=endings,
            writer=PromptWriter(config.chat, config.models.context_tokens),
            settings=config.chat,
            tickets=Tickets(config.resume.keys, config.resume.lifetime),
            model=config.models.generator,
            region=config.service.region,
        )
    )
    embedding = EmbeddingEngine(
        policy,
        embedder,
        endings,
        model=config.models.embedder,
        longest=config.models.embedder_tokens,
    )
    catalogue = Catalogue(config.models, generator, embedder)
    return Application(
        bindings=[
            Binding(
                chat_service_pb2_grpc.add_ChatServiceServicer_to_server,
                ChatServicer(engine, embedding, catalogue),
                _CHAT,
            )
        ],
        permissions=PERMISSIONS,
        dependencies={
            "policy": partial(serving, policy_channel),
            "session": partial(serving, session_channel),
            "retrieval": partial(serving, retrieval_channel),
            "generator": generator_pulse.check,
            "embedder": embedder_pulse.check,
        },
        # Without policy nothing may be done, without the generator no question is answered. The loss of the
        # others leaves chats without a conversation, or without documents.
        required={"policy", "generator"},
    )
