"""The gateway's peers as real gRPC servers in this process: policy, session, retrieval and Triton.

The first three run on the same server frame as the real services, so that tokens, deadlines and request ids
are really checked and carried. ``Peers`` holds what they answer, and what they were asked.
"""

from __future__ import annotations

import asyncio
import json
import struct
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from causeway.gateway.v1 import chat_service_pb2_grpc
from causeway.policy.v1 import (
    audit_service_pb2,
    audit_service_pb2_grpc,
    authorization_service_pb2,
    authorization_service_pb2_grpc,
    quota_service_pb2,
    quota_service_pb2_grpc,
)
from causeway.retrieval.v1 import search_service_pb2, search_service_pb2_grpc
from causeway.session.v1 import message_pb2, message_service_pb2, message_service_pb2_grpc
from fakes.gateway import ANSWER, KEY, PASS, WITH
from fakes.tokens import Issuer
from services.common.config import Address, Peer, ServiceConfig
from services.common.context import current_call
from services.common.errors import Code, Reason, RemoteError
from services.common.identity import current_caller
from services.common.secret import Secret
from services.common.server import Application, Binding, serving
from services.common.triton import REGION_KEY
from services.gateway.app import build
from services.gateway.config import Config, ResumeConfig
from services.gateway.settings import ChatSettings, ModelSettings

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass
class Peers:
    """What the peers answer, and what they were asked."""

    tokens: list[str] = field(default_factory=lambda: [f"{word} " for word in ANSWER[:-1].split()] + ["."])
    token_pause: float = 0.0
    model_error: str = ""
    """An error that Triton's stream reports instead of an answer."""
    breaks: list[int] = field(default_factory=list)
    """After how many tokens of the answer each of the next streams of Triton breaks off."""
    model_region: str = ""
    """Where the proxy in front of Triton says that it is."""
    dead: bool = False
    """Triton fails every call at once."""
    probes: int = 0
    """How often the generator was asked whether it works."""
    denied: bool = False
    quota: int = 1_000_000
    pauses: dict[str, float] = field(default_factory=dict)
    """Seconds that a call takes, by its name."""
    reserved: dict[str, int] = field(default_factory=dict)
    settled: dict[str, int] = field(default_factory=dict)
    entries: list[audit_service_pb2.AuditEntry] = field(default_factory=list)
    messages: list[message_service_pb2.AppendMessageRequest] = field(default_factory=list)
    searches: list[search_service_pb2.SearchRequest] = field(default_factory=list)
    params: list[Mapping[str, Any]] = field(default_factory=list)
    prompts: list[list[Mapping[str, str]]] = field(default_factory=list)
    callers: list[tuple[str, str, str]] = field(default_factory=list)
    """Call, tenant and request id, as the peers saw them."""
    deadlines: list[float] = field(default_factory=list)
    """Seconds that were left, as the peers saw them."""
    streaming: int = 0
    cancelled: bool = False
    """Whether Triton saw a stream cancelled."""
    sent: int = 0

    def begun(self) -> tuple[int, str]:
        """How many tokens the beginning of the answer in the last prompt has begun, and the rest of one."""
        if "continue_from" not in self.params[-1]:
            return 0, ""
        said, count, text = self.prompts[-1][-1]["content"], 0, ""
        while len(text) < len(said):
            text, count = text + self.tokens[count], count + 1
        assert text.startswith(said), "the answer does not begin so"
        return count, text[len(said) :]

    async def called(self, name: str) -> None:
        """Notes a call, and takes the time it is to take."""
        call = current_call()
        self.callers.append((name, current_caller().tenant, call.request_id))
        if call.deadline is not None:
            self.deadlines.append(call.deadline - time.monotonic())
        await asyncio.sleep(self.pauses.get(name, 0.0))


class PolicyPeer(
    authorization_service_pb2_grpc.AuthorizationServiceServicer,
    quota_service_pb2_grpc.QuotaServiceServicer,
    audit_service_pb2_grpc.AuditServiceServicer,
):
    """The policy service."""

    def __init__(self, peers: Peers) -> None:
        self.peers = peers

    async def Check(
        self, request: authorization_service_pb2.CheckRequest, context: Context
    ) -> authorization_service_pb2.CheckResponse:
        """Allows, unless told otherwise."""
        await self.peers.called("check")
        return authorization_service_pb2.CheckResponse(allowed=not self.peers.denied, reason="rule 7")

    async def Redact(self, request: Any, context: Context) -> Any:
        """Not called."""
        raise NotImplementedError

    async def Reserve(
        self, request: quota_service_pb2.ReserveRequest, context: Context
    ) -> quota_service_pb2.ReserveResponse:
        """Reserves."""
        await self.peers.called("reserve")
        if request.tokens > self.peers.quota:
            raise RemoteError(Code.RESOURCE_EXHAUSTED, Reason.QUOTA_EXCEEDED, "the quota is used up")
        self.peers.reserved[request.reservation_id] = request.tokens
        return quota_service_pb2.ReserveResponse()

    async def Settle(
        self, request: quota_service_pb2.SettleRequest, context: Context
    ) -> quota_service_pb2.SettleResponse:
        """Settles."""
        await self.peers.called("settle")
        if self.peers.reserved.pop(request.reservation_id, None) is None:
            raise RemoteError(Code.NOT_FOUND, Reason.RESERVATION_NOT_FOUND, "no such reservation")
        self.peers.settled[request.reservation_id] = request.used_tokens
        return quota_service_pb2.SettleResponse()

    async def GetQuota(self, request: Any, context: Context) -> quota_service_pb2.GetQuotaResponse:
        """Not called."""
        return quota_service_pb2.GetQuotaResponse()

    async def Append(
        self, request: audit_service_pb2.AppendRequest, context: Context
    ) -> audit_service_pb2.AppendResponse:
        """Keeps entries."""
        await self.peers.called("audit")
        self.peers.entries.extend(request.entries)
        return audit_service_pb2.AppendResponse(ids=[str(uuid.uuid4()) for _ in request.entries])

    async def Query(self, request: Any, context: Context) -> audit_service_pb2.QueryResponse:
        """Not called."""
        return audit_service_pb2.QueryResponse()


class SessionPeer(message_service_pb2_grpc.MessageServiceServicer):
    """The session service's messages."""

    def __init__(self, peers: Peers) -> None:
        self.peers = peers

    async def AppendMessage(
        self, request: message_service_pb2.AppendMessageRequest, context: Context
    ) -> message_service_pb2.AppendMessageResponse:
        """Keeps a message, once for each request id."""
        await self.peers.called("append")
        kept = [known.request_id for known in self.peers.messages]
        if request.request_id not in kept:
            self.peers.messages.append(request)
            kept.append(request.request_id)
        message = message_pb2.Message(sequence=kept.index(request.request_id) + 1)
        return message_service_pb2.AppendMessageResponse(message=message)

    async def ListMessages(
        self, request: message_service_pb2.ListMessagesRequest, context: Context
    ) -> message_service_pb2.ListMessagesResponse:
        """What was kept, newest first as the gateway asks."""
        await self.peers.called("history")
        kept = [
            message_pb2.Message(sequence=index, role=message.role, text=message.text, partial=message.partial)
            for index, message in enumerate(self.peers.messages, start=1)
        ]
        return message_service_pb2.ListMessagesResponse(messages=kept[::-1][: request.page_size])


class RetrievalPeer(search_service_pb2_grpc.SearchServiceServicer):
    """The retrieval service's search."""

    def __init__(self, peers: Peers) -> None:
        self.peers = peers

    async def Search(
        self, request: search_service_pb2.SearchRequest, context: Context
    ) -> search_service_pb2.SearchResponse:
        """Always the same two passages."""
        self.peers.searches.append(request)
        await self.peers.called("search")
        return search_service_pb2.SearchResponse(
            results=[
                search_service_pb2.SearchResult(
                    chunk_id=str(uuid.uuid4()),
                    document_id=passage.document_id,
                    title=passage.title,
                    text=passage.text,
                    score=passage.score,
                    cosine=passage.cosine,
                )
                for passage in (WITH, PASS)
            ]
        )


class TritonPeer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Triton's inference service, as far as it is used."""

    def __init__(self, peers: Peers) -> None:
        self.peers = peers

    async def ModelInfer(self, request: Any, context: Context) -> Any:
        """Embeds: each text becomes (1, 0)."""
        if self.peers.dead:
            await context.abort(grpc.StatusCode.INTERNAL, "Stub process 'embedder' is not healthy")
        count = request.inputs[0].shape[0]
        response = service_pb2.ModelInferResponse(model_name=request.model_name)
        response.outputs.add(name="EMBEDDING", datatype="FP32", shape=[count, 2])
        response.raw_output_contents.append(struct.pack("<2f", 1.0, 0.0) * count)
        return response

    async def ModelStreamInfer(self, requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        """Writes the tokens, then finish reason and usage."""
        peers = self.peers
        request = await anext(requests)
        if peers.dead:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Stub process 'generator' is not healthy")
        inputs = {
            item.name: raw[4:].decode()
            for item, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        if json.loads(inputs["PARAMS"]).get("probe"):
            # Answered from beside the line: an overloaded generator answers it, too.
            peers.probes += 1
            yield _piece("", "probe", "{}", final=True)
            return
        peers.prompts.append(json.loads(inputs["MESSAGES"]))
        peers.params.append(json.loads(inputs["PARAMS"]))
        if peers.model_error:
            yield service_pb2.ModelStreamInferResponse(error_message=peers.model_error)
            return
        if peers.model_region:
            await context.send_initial_metadata(((REGION_KEY, peers.model_region),))
        continued, rest = peers.begun()
        end = peers.breaks.pop(0) if peers.breaks else len(peers.tokens) + 1
        peers.streaming += 1
        try:
            for index, token in enumerate(peers.tokens[continued:], continued):
                await asyncio.sleep(peers.token_pause)
                if index >= end:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "connection reset")
                peers.sent += 1
                yield _piece(rest + token)
                rest = ""
            usage = {
                "prompt_tokens": 100 + continued,
                "completion_tokens": len(peers.tokens) - continued,
                "cached_tokens": 7,
                "continued_tokens": continued,
            }
            yield _piece("", "stop", json.dumps(usage), final=True)
        except asyncio.CancelledError:
            peers.cancelled = True
            raise
        finally:
            peers.streaming -= 1


def _piece(text: str, finish_reason: str = "", usage: str = "", *, final: bool = False) -> Any:
    response = service_pb2.ModelInferResponse(model_name="generator")
    response.parameters["triton_final_response"].bool_param = final
    for name, value in (("TEXT", text), ("FINISH_REASON", finish_reason), ("USAGE", usage)):
        response.outputs.add(name=name, datatype="BYTES", shape=[1])
        raw = value.encode()
        response.raw_output_contents.append(struct.pack("<I", len(raw)) + raw)
    return service_pb2.ModelStreamInferResponse(infer_response=response)


_POLICY = [
    (authorization_service_pb2_grpc.add_AuthorizationServiceServicer_to_server, authorization_service_pb2),
    (quota_service_pb2_grpc.add_QuotaServiceServicer_to_server, quota_service_pb2),
    (audit_service_pb2_grpc.add_AuditServiceServicer_to_server, audit_service_pb2),
]
_SESSION = [(message_service_pb2_grpc.add_MessageServiceServicer_to_server, message_service_pb2)]
_RETRIEVAL = [(search_service_pb2_grpc.add_SearchServiceServicer_to_server, search_service_pb2)]


def _application(servicer: object, services: list[tuple[Any, Any]]) -> Application:
    """A peer; every caller with a token may do everything."""
    bindings: list[Binding] = []
    permissions: dict[str, str] = {}
    for register, module in services:
        (descriptor,) = module.DESCRIPTOR.services_by_name.values()
        bindings.append(Binding(register, servicer, descriptor))
        permissions |= {
            f"/{descriptor.full_name}/{name}": "chat.complete" for name in descriptor.methods_by_name
        }
    return Application(bindings=bindings, permissions=permissions)


@dataclass
class Stage:
    """A gateway with its peers, all serving."""

    peers: Peers
    issuer: Issuer
    stub: chat_service_pb2_grpc.ChatServiceAsyncStub
    channel: grpc.aio.Channel
    address: str
    stops: Mapping[str, AsyncExitStack]
    stack: AsyncExitStack

    async def reader(self, **http2: int) -> Stage:
        """The same, seen through a channel with these HTTP/2 settings."""
        options = [(f"grpc.http2.{name}", value) for name, value in http2.items()]
        channel = await self.stack.enter_async_context(grpc.aio.insecure_channel(self.address, options))
        return replace(self, channel=channel, stub=chat_service_pb2_grpc.ChatServiceStub(channel))

    async def stop(self, name: str) -> None:
        """Takes a peer away: policy, session, retrieval or triton."""
        await self.stops[name].aclose()

    async def eventually(self, done: Any, seconds: float = 2.0) -> None:
        """Waits until ``done()`` holds."""
        async with asyncio.timeout(seconds):
            while not done():
                await asyncio.sleep(0.005)


@asynccontextmanager
async def _triton(peers: Peers) -> AsyncIterator[str]:
    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(TritonPeer(peers), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@asynccontextmanager
async def stage(
    peers: Peers | None = None,
    chat: ChatSettings | None = None,
    *,
    region: str = "eu-test-1",
    issuer: Issuer | None = None,
    triton: str = "",
    models: ModelSettings | None = None,
) -> AsyncIterator[Stage]:
    """The real gateway, built by its own composition root, in front of these peers.

    ``triton``: the address of another Triton than the one of the peers.
    """
    peers = peers or Peers()
    issuer = issuer or Issuer()
    async with AsyncExitStack() as stack:
        stops = {
            name: await stack.enter_async_context(AsyncExitStack())
            for name in ("policy", "session", "retrieval", "triton")
        }
        targets: dict[str, Peer] = {}
        for name, servicer, services in (
            ("policy", PolicyPeer(peers), _POLICY),
            ("session", SessionPeer(peers), _SESSION),
            ("retrieval", RetrievalPeer(peers), _RETRIEVAL),
        ):
            application = _application(servicer, services)
            address = await stops[name].enter_async_context(serving(application, issuer.verifier()))
            targets[name] = Peer(address, f"{name}.test")
        targets["triton"] = Peer(await stops["triton"].enter_async_context(_triton(peers)), "triton.test")
        if triton:
            targets["triton"] = Peer(triton, "triton.test")
        config = Config(
            service=ServiceConfig(listen=Address("127.0.0.1", 0), auth=issuer.config, region=region),
            chat=chat or ChatSettings(),
            models=models or ModelSettings(),
            resume=ResumeConfig(key=Secret(KEY)),
            policy=targets["policy"],
            session=targets["session"],
            retrieval=targets["retrieval"],
            triton=targets["triton"],
        )
        application = await build(config, stack)
        address = await stack.enter_async_context(serving(application, issuer.verifier()))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        yield Stage(peers, issuer, stub, channel, address, stops, stack)
