"""Envoy's interfaces over real gRPC: what is answered to whom, and never INTERNAL."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf import struct_pb2
from google.rpc import status_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.policy_stores import FakeRateMeter, ManualClock
from fakes.tokens import Issuer
from services.common.envoy_api import module
from services.common.errors import Code, Reason, StoreUnavailable
from services.common.server import Application, serving
from services.common.status import from_status
from services.policy.config import EdgeConfig, RatesConfig
from services.policy.decisions import RoleTable
from services.policy.domain import Rate
from services.policy.envoy.app import bindings
from services.policy.envoy.callers import uris_of_last
from services.policy.envoy.ratelimit import response_of
from services.policy.rates import Counted

auth = module("envoy.service.auth.v3.external_auth_pb2")
auth_grpc = module("envoy.service.auth.v3.external_auth_pb2_grpc")
rls = module("envoy.service.ratelimit.v3.rls_pb2")
rls_grpc = module("envoy.service.ratelimit.v3.rls_pb2_grpc")

CHAT = "/causeway.gateway.v1.ChatService/Chat"
JWT = "envoy.filters.http.jwt_authn"
INGRESS = "spiffe://cluster.local/ns/causeway-ingress/sa/ingress"
OK, OVER = 1, 2


@asynccontextmanager
async def served(edge: EdgeConfig | None = None, limits: str = "tenant=1/2") -> AsyncIterator[Any]:
    """The two services: a channel, and the meter behind them."""
    issuer, meter = Issuer(), FakeRateMeter(ManualClock())
    made = bindings(
        edge or EdgeConfig(enabled=True), RatesConfig(limits=limits), issuer.config, RoleTable(), meter
    )
    application = Application(
        bindings=made,
        permissions={},
        proxied={binding.descriptor.full_name for binding in made},
        dependencies={"valkey": lambda: asyncio.sleep(0)},
    )
    async with (
        serving(application, issuer.verifier()) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield channel, meter


def claims(**changed: Any) -> dict[str, Any]:
    """Of a reader of acme."""
    return {
        "iss": "https://issuer.test",
        "aud": "causeway",
        "sub": "ada lovelace",
        "tenant": "acme",
        "roles": ["reader"],
    } | changed


def asked(path: str = CHAT, payload: Any = None, /, **headers: str) -> Any:
    """A CheckRequest as Envoy sends it."""
    request = auth.CheckRequest()
    request.attributes.request.http.path = path
    sent = {"content-type": "application/grpc"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    request.attributes.request.http.headers.update(sent)
    if payload is not None:
        metadata = struct_pb2.Struct()
        metadata.update({"payload": payload})
        request.attributes.metadata_context.filter_metadata[JWT].CopyFrom(metadata)
    return request


async def check(channel: Any, request: Any, metadata: Any = ()) -> Any:
    """Asks ext_authz."""
    return await auth_grpc.AuthorizationStub(channel).Check(request, metadata=metadata)


def headers_of(answer: Any) -> dict[str, str]:
    """Headers that Envoy is to set."""
    return {item.header.key: item.header.value for item in answer.headers}


def limited(*entries: tuple[str, str], hits: int = 0) -> Any:
    """A RateLimitRequest with one descriptor."""
    request = rls.RateLimitRequest(domain="causeway", hits_addend=hits)
    descriptor = request.descriptors.add()
    for key, value in entries:
        descriptor.entries.add(key=key, value=value)
    return request


async def should(channel: Any, request: Any, metadata: Any = ()) -> Any:
    """Asks the rate limit service."""
    return await rls_grpc.RateLimitServiceStub(channel).ShouldRateLimit(request, metadata=metadata)


async def test_a_caller_with_the_role_passes_under_its_name_without_a_token_of_the_proxys() -> None:
    async with served() as (channel, _):
        answer = await check(channel, asked(CHAT, claims(), x_causeway_tenant="globex", x_causeway_x="y"))
    assert answer.status.code == 0
    assert headers_of(answer.ok_response) == {
        "x-causeway-tenant": "acme",
        "x-causeway-subject": "ada%20lovelace",
        "x-causeway-class": "chat",
    }
    assert all(item.append_action == 2 for item in answer.ok_response.headers)  # overwrite
    assert list(answer.ok_response.headers_to_remove) == ["x-causeway-x"]
    assert dict(answer.dynamic_metadata)["tenant"] == "acme"
    counted = answer.dynamic_metadata["counted"]
    assert dict(counted) == {"tenant": "acme", "subject": "ada lovelace"}


async def test_of_a_read_no_rate_limit_finds_whom_to_count() -> None:
    async with served() as (channel, _):
        answer = await check(channel, asked("/causeway.gateway.v1.ChatService/ListModels", claims()))
    assert answer.status.code == 0
    assert headers_of(answer.ok_response)["x-causeway-class"] == "read"
    assert "counted" not in answer.dynamic_metadata


async def test_claims_in_headers_count_for_nothing() -> None:
    payload = base64.b64encode(json.dumps(claims()).encode()).decode()
    forged = {"x_jwt_payload": payload, "x_causeway_tenant": "acme", "authorization": f"Bearer x.{payload}.x"}
    async with served() as (channel, _):
        answer = await check(channel, asked(**forged))
    assert answer.status.code == Code.UNAUTHENTICATED


async def test_a_grpc_client_is_refused_with_our_status() -> None:
    async with served() as (channel, _):
        answer = await check(channel, asked(CHAT, claims(roles=["guest"]), x_request_id="r-7"))
    denied = answer.denied_response
    headers = headers_of(denied)
    assert denied.status.code == 403
    assert headers["grpc-status"] == "7"
    blob = headers["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(base64.b64decode(blob + "=" * (-len(blob) % 4)))
    told = from_status(status)
    assert told is not None
    assert told.status == (Code.PERMISSION_DENIED, Reason.PERMISSION_DENIED)
    assert status.message == denied.body
    assert headers["x-request-id"] == "r-7"


async def test_any_other_client_is_refused_over_http() -> None:
    async with served() as (channel, _):
        answer = await check(channel, asked("/v1/models", None, content_type="application/json"))
    denied = answer.denied_response
    assert (answer.status.code, denied.status.code) == (16, 401)
    assert headers_of(denied)["www-authenticate"] == "Bearer"
    body = json.loads(denied.body)
    assert body["code"] == 16
    assert body["details"][0]["reason"] == "ERROR_REASON_INVALID_CREDENTIALS"


async def test_headers_may_also_come_as_a_list() -> None:
    request = asked(CHAT, claims())
    request.attributes.request.http.ClearField("headers")
    request.attributes.request.http.header_map.headers.add(key="X-Causeway-Evil", raw_value=b"\xff")
    async with served() as (channel, _):
        answer = await check(channel, request)
    assert list(answer.ok_response.headers_to_remove) == ["x-causeway-evil"]


async def test_a_refused_request_says_when_to_come_back() -> None:
    async with served() as (channel, _):
        first, second, third = [await should(channel, limited(("tenant", "acme"))) for _ in range(3)]
    assert (first.overall_code, second.overall_code, third.overall_code) == (OK, OK, OVER)
    headers = {item.key: item.value for item in first.response_headers_to_add}
    assert headers == {"x-ratelimit-limit": "2", "x-ratelimit-remaining": "1", "x-ratelimit-reset": "1"}
    headers = {item.key: item.value for item in third.response_headers_to_add}
    assert headers["retry-after"] == "1"
    assert headers["x-ratelimit-remaining"] == "0"
    blob = headers["grpc-status-details-bin"]
    told = from_status(status_pb2.Status.FromString(base64.b64decode(blob + "=" * (-len(blob) % 4))))
    assert told is not None
    assert told.status == (Code.RESOURCE_EXHAUSTED, Reason.RATE_LIMITED)
    assert told.retry_after == timedelta(seconds=1)
    status = third.statuses[0]
    assert (status.code, status.limit_remaining) == (OVER, 0)
    assert (status.current_limit.requests_per_unit, status.current_limit.unit) == (1, 1)
    assert third.raw_body == b"too many requests: the rate limit is reached"


def test_a_limit_that_the_protocol_has_no_number_for_is_told_roughly() -> None:
    counted = Counted(Rate(77777.7765, 7), None)
    (status,) = response_of([counted], "").statuses
    assert status.current_limit.requests_per_unit == 2**32 - 1


async def test_hits_are_counted_as_the_request_or_its_descriptor_says() -> None:
    async with served(limits="tenant=1/5") as (channel, _):
        answer = await should(channel, limited(("tenant", "acme"), hits=3))
        assert answer.statuses[0].limit_remaining == 2
        request = limited(("tenant", "acme"), hits=3)
        request.descriptors[0].hits_addend.value = 2
        assert (await should(channel, request)).statuses[0].limit_remaining == 0
        request.descriptors[0].hits_addend.value = 0
        assert (await should(channel, request)).overall_code == OK
        request.descriptors[0].hits_addend.value = 6
        refused = await should(channel, request)
        assert refused.overall_code == OVER
        assert "retry-after" not in {item.key for item in refused.response_headers_to_add}


async def test_what_no_rule_fits_passes_without_a_word() -> None:
    async with served() as (channel, _):
        answer = await should(channel, limited(("path", "/")))
    assert answer.overall_code == OK
    assert not answer.response_headers_to_add
    assert not answer.statuses[0].HasField("current_limit")


async def test_a_limit_that_a_route_names_holds() -> None:
    request = limited(("path", "/"))
    request.descriptors[0].limit.requests_per_unit = 1
    request.descriptors[0].limit.unit = 3  # an hour
    async with served() as (channel, _):
        first, second = await should(channel, request), await should(channel, request)
    assert (first.overall_code, second.overall_code) == (OK, OVER)
    assert second.statuses[0].current_limit.unit == first.statuses[0].current_limit.unit == 3


async def test_without_its_store_the_limit_cannot_be_told_and_decisions_go_on() -> None:
    async with served() as (channel, meter):
        meter.fail_next(StoreUnavailable("down"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await should(channel, limited(("tenant", "acme")))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert (await check(channel, asked(CHAT, claims()))).status.code == 0


@pytest.mark.parametrize(
    "header, passes",
    [
        (f"By=spiffe://x/policy;Hash=ab;URI={INGRESS}", True),
        (f'By=x;Subject="CN=\\"a,b\\";O=c";URI={INGRESS};DNS=x', True),
        (f"URI=spiffe://evil,By=x;URI={INGRESS}", True),
        (f"URI={INGRESS},By=x;URI=spiffe://evil", False),
        (f'Subject="URI={INGRESS}";URI=spiffe://evil', False),
        (f'Subject="URI={INGRESS}', False),
        ("", False),
        (None, False),
    ],
)
async def test_only_the_named_proxies_may_ask(header: str | None, passes: bool) -> None:
    metadata = () if header is None else (("x-forwarded-client-cert", header),)
    async with served(EdgeConfig(enabled=True, callers=INGRESS)) as (channel, _):
        for call in (
            check(channel, asked(CHAT, claims()), metadata),
            should(channel, limited(("a", "b")), metadata),
        ):
            if passes:
                await call
                continue
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


@given(st.text(alphabet='URI=spiffe:/,;"\\ab', max_size=60))
def test_any_header_is_read_or_not_believed(header: str) -> None:
    assert all(isinstance(uri, str) for uri in uris_of_last(header))


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
CLAIM_SETS = st.dictionaries(st.sampled_from([*claims(), "x"]), VALUES, max_size=6) | st.builds(
    lambda changed: claims(**changed), st.dictionaries(st.sampled_from([*claims()]), VALUES, max_size=2)
)


@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_a_proxy_sends_the_answer_is_never_internal(data: st.DataObject) -> None:
    checks = data.draw(
        st.lists(
            st.builds(
                lambda path, payload, headers: asked(path, payload, **headers),
                st.text(max_size=40) | st.just(CHAT),
                st.none() | CLAIM_SETS,
                st.dictionaries(st.from_regex(r"\A[a-z_]{1,12}\Z"), st.text(max_size=12), max_size=3),
            ),
            max_size=12,
        )
    )
    entry = st.tuples(
        st.sampled_from(["tenant", "subject", "class"]) | st.text(max_size=8), st.text(max_size=12)
    )
    limits = data.draw(
        st.lists(
            st.builds(
                lambda entries, hits: limited(*entries, hits=hits),
                st.lists(entry, max_size=4),
                st.integers(0, 2**32 - 1),
            ),
            max_size=12,
        )
    )
    raw = data.draw(st.lists(st.binary(max_size=40), max_size=12))

    async def scenario() -> None:
        async with served() as (channel, _):
            for request in checks:
                answer = await check(channel, request)
                assert answer.status.code in (0, 7, 16)
                assert answer.WhichOneof("http_response") == (
                    "denied_response" if answer.status.code else "ok_response"
                )
            for request in limits:
                assert (await should(channel, request)).overall_code in (OK, OVER)
            for path in ("auth.v3.Authorization/Check", "ratelimit.v3.RateLimitService/ShouldRateLimit"):
                for body in raw:
                    call = channel.unary_unary(f"/envoy.service.{path}")(body)
                    assert await call.code() in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT)

    asyncio.run(scenario())
