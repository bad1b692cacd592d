"""A real Envoy before a real service, with the policy service deciding who comes in and how often."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from integration.policy.conftest import password_in
from support.envoy import cluster, envoy, http_filter
from support.gate import Gate
from support.platform import Platform

from causeway.gateway.v1 import chat_service_pb2, chat_service_pb2_grpc
from fakes.tokens import Issuer
from services.common.config import Address, ServiceConfig
from services.common.errors import Code, Reason, RemoteError
from services.common.postgres import PostgresConfig
from services.common.server import serving
from services.common.status import from_call
from services.common.valkey import ValkeyConfig
from services.policy.app import build
from services.policy.config import Config, EdgeConfig, RatesConfig

JWT = "envoy.filters.http.jwt_authn"


class Service(chat_service_pb2_grpc.ChatServiceServicer):
    """What stands behind the edge: tells which headers came in."""

    def __init__(self) -> None:
        self.seen: list[dict[str, str]] = []

    async def ListModels(
        self, request: chat_service_pb2.ListModelsRequest, context: Any
    ) -> chat_service_pb2.ListModelsResponse:
        """Answers."""
        self.seen.append({key: str(value) for key, value in context.invocation_metadata()})
        return chat_service_pb2.ListModelsResponse()

    async def Embed(self, request: Any, context: Any) -> Any:
        """Not called."""

    async def Complete(self, request: Any, context: Any) -> Any:
        """Not called."""

    def Chat(self, request: Any, context: Any) -> Any:
        """Not called."""


@dataclass
class Edge:
    """The edge as a client meets it."""

    address: str
    channel: grpc.aio.Channel
    issuer: Issuer
    service: Service
    policy: AsyncExitStack
    valkey: Gate
    tenant: str = field(default_factory=lambda: f"t-{uuid4().hex[:12]}")

    def metadata(self, *roles: str, **headers: str) -> tuple[tuple[str, str], ...]:
        """A caller's, with more headers."""
        extra = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        return (*self.issuer.metadata(self.tenant, "ada lovelace", roles or ("reader",)), *extra)

    async def models(self, metadata: Any = None) -> grpc.aio.UnaryUnaryCall[Any, Any]:
        """Calls; gives the call once it has succeeded."""
        stub = chat_service_pb2_grpc.ChatServiceStub(self.channel)
        call = stub.ListModels(
            chat_service_pb2.ListModelsRequest(),
            metadata=self.metadata() if metadata is None else metadata,
            timeout=10,
        )
        await call
        return call

    async def refused(self, metadata: Any = None) -> tuple[grpc.aio.AioRpcError, RemoteError | None]:
        """How a call is refused: as gRPC has it, and as our services say it."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.models(metadata)
        return caught.value, from_call(caught.value)

    async def http(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """A plain HTTP request."""
        return await asyncio.to_thread(self._http, path, headers)

    def _http(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        request = urllib.request.Request(f"http://{self.address}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - our own loopback URL
                return response.status, dict(response.headers), response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, {key.lower(): value for key, value in error.headers.items()}, error.read()


@pytest.fixture
async def edge(data_servers: Platform, tmp_path: Path) -> AsyncIterator[Edge]:
    """An Envoy as an ingress has it: token, decision, rate limit, service."""
    issuer, service = Issuer(), Service()
    async with AsyncExitStack() as stack:
        valkey = await stack.enter_async_context(Gate(data_servers.ports["valkey"]))
        config = Config(
            service=ServiceConfig(listen=Address("127.0.0.1", 0), auth=issuer.config),
            postgres=PostgresConfig("host=127.0.0.1 port=1 dbname=causeway user=policy"),
            valkey=ValkeyConfig(
                f"redis://policy@127.0.0.1:{valkey.port}/0",
                password_in(data_servers.valkey_password_file("policy")),
                timeout=timedelta(milliseconds=300),
            ),
            edge=EdgeConfig(enabled=True),
            rates=RatesConfig(limits="tenant=0.1/4 tenant,class:chat=1/1"),
        )
        application = await build(config, stack)
        policy = await stack.enter_async_context(AsyncExitStack())
        decides = await policy.enter_async_context(serving(application, issuer.verifier()))
        server = grpc.aio.server()
        chat_service_pb2_grpc.add_ChatServiceServicer_to_server(service, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        stack.push_async_callback(server.stop, None)
        jwks = (await issuer.fetch()).decode()
        filters = _filters(issuer, jwks)
        clusters = [cluster("service", f"127.0.0.1:{port}"), cluster("policy", decides)]
        address = await stack.enter_async_context(envoy(tmp_path, filters, _route(), clusters))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        yield Edge(address, channel, issuer, service, policy, valkey)


def _filters(issuer: Issuer, jwks: str) -> list[dict[str, Any]]:
    provider = {
        "issuer": issuer.issuer,
        "audiences": [issuer.audience],
        "local_jwks": {"inline_string": jwks},
        "payload_in_metadata": "payload",
        "forward": True,
    }
    # No token passes, a bad one does not: as Istio has it, the decision is left to whoever decides.
    requires = {"requires_any": {"requirements": [{"provider_name": "ours"}, {"allow_missing": {}}]}}
    policy = {"envoy_grpc": {"cluster_name": "policy"}, "timeout": "2s"}
    return [
        http_filter("grpc_web", "GrpcWeb"),
        http_filter(
            "jwt_authn",
            "JwtAuthentication",
            providers={"ours": provider},
            rules=[{"match": {"prefix": "/"}, "requires": requires}],
        ),
        http_filter(
            "ext_authz",
            "ExtAuthz",
            transport_api_version="V3",
            grpc_service=policy,
            failure_mode_allow=False,
            metadata_context_namespaces=[JWT],
        ),
        http_filter(
            "ratelimit",
            "RateLimit",
            domain="causeway",
            timeout="2s",
            failure_mode_deny=False,
            rate_limited_as_resource_exhausted=True,
            rate_limit_service={"transport_api_version": "V3", "grpc_service": policy},
        ),
    ]


def _route() -> dict[str, Any]:
    def header(name: str, key: str) -> dict[str, Any]:
        return {"request_headers": {"header_name": f"x-causeway-{name}", "descriptor_key": key}}

    limits = [
        {"actions": [header("tenant", "tenant")]},
        {"actions": [header("tenant", "tenant"), header("class", "class")]},
    ]
    return {"match": {"prefix": "/"}, "route": {"cluster": "service", "timeout": "0s", "rate_limits": limits}}


async def test_a_caller_comes_in_under_its_own_name_whatever_it_claims(edge: Edge) -> None:
    forged = {"x_causeway_tenant": "globex", "x_causeway_subject": "root", "x_causeway_admin": "yes"}
    await edge.models(edge.metadata(**forged))
    (seen,) = edge.service.seen
    ours = {key: value for key, value in seen.items() if key.startswith("x-causeway-")}
    assert ours == {
        "x-causeway-tenant": edge.tenant,
        "x-causeway-subject": "ada%20lovelace",
        "x-causeway-class": "read",
    }


async def test_refusals_reach_a_grpc_client_as_our_services_word_them(edge: Edge) -> None:
    error, told = await edge.refused(())
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert told is not None
    assert told.status == (Code.UNAUTHENTICATED, Reason.INVALID_CREDENTIALS)
    assert error.details() == told.message
    error, told = await edge.refused(edge.metadata("guest"))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert told is not None
    assert told.status == (Code.PERMISSION_DENIED, Reason.PERMISSION_DENIED)
    assert told.metadata["action"] == "models.list"
    assert edge.service.seen == []


async def test_a_token_of_another_issuer_is_refused_before_anybody_is_asked(edge: Edge) -> None:
    stranger = Issuer()
    error, _ = await edge.refused(stranger.metadata(edge.tenant))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_refusals_reach_any_other_client_as_json(edge: Edge) -> None:
    status, headers, body = await edge.http("/causeway.gateway.v1.ChatService/ListModels")
    assert (status, headers["www-authenticate"], headers["content-type"]) == (
        401,
        "Bearer",
        "application/json",
    )
    assert json.loads(body)["details"][0]["reason"] == "ERROR_REASON_INVALID_CREDENTIALS"
    token = dict(edge.metadata())["authorization"]
    status, _, body = await edge.http("/v1/nothing", authorization=token)
    assert status == 403
    assert json.loads(body)["code"] == 7


async def test_too_many_requests_are_told_when_to_come_back(edge: Edge) -> None:
    left = []
    for _ in range(4):
        call = await edge.models()
        left.append(
            {key: str(value) for key, value in await call.initial_metadata()}["x-ratelimit-remaining"]
        )
    assert left == ["3", "2", "1", "0"]
    error, told = await edge.refused()
    # UNAVAILABLE would make clients send again at once what was refused.
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert told is not None
    assert told.status == (Code.RESOURCE_EXHAUSTED, Reason.RATE_LIMITED)
    assert told.retry_after is not None
    assert timedelta(seconds=5) < told.retry_after <= timedelta(seconds=10)
    trailers = {key: str(value) for key, value in error.trailing_metadata() or ()}
    assert trailers["retry-after"] == "10"
    token = dict(edge.metadata())["authorization"]
    status, headers, body = await edge.http(
        "/causeway.gateway.v1.ChatService/ListModels", authorization=token
    )
    assert (status, headers["retry-after"], headers["x-ratelimit-limit"]) == (429, "10", "4")
    assert body == b"too many requests: the rate limit is reached"
    # Another tenant has its own.
    edge.tenant = f"t-{uuid4().hex[:12]}"
    await edge.models()


async def test_without_whoever_decides_nobody_comes_in(edge: Edge) -> None:
    await edge.policy.aclose()
    error, _ = await edge.refused()
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert edge.service.seen == []


async def test_without_the_store_of_the_limits_callers_still_come_in(edge: Edge) -> None:
    await edge.valkey.shut()
    for _ in range(6):
        await edge.models()


async def test_a_balancer_may_ask_for_health(edge: Edge) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health_pb2_grpc.HealthStub(edge.channel).Check(health_pb2.HealthCheckRequest())
    # It got as far as the service, which has no such method.
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
