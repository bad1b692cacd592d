"""What istio/ does to requests, by simulation over the configuration that Envoys would get."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import pytest

from mesh.manifests import Manifests
from mesh.simulate.load import world_of
from mesh.simulate.question import OUTSIDE, Question, ask
from mesh.simulate.request import Token
from mesh.simulate.walk import Result
from mesh.simulate.world import World

ISSUER = "https://issuer.causeway.local"
SESSION = "/causeway.session.v1.MessageService/ListMessages"
MODELS = "/causeway.gateway.v1.ChatService/ListModels"
GENERATE = "/inference.GRPCInferenceService/ModelStreamInfer"
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
TOKEN = Token(issuer=ISSUER, subject="ann", audiences=("causeway",), claims={"tenant": "acme"})


@pytest.fixture(scope="module")
def world(local: Callable[[str], Manifests]) -> World:
    return world_of(local("us-west-2"))


def outside(
    path: str, token: Token | None = None, verb: str = "", headers: Mapping[str, str] = NO_HEADERS
) -> Question:
    return Question(
        client=OUTSIDE,
        server="ingress",
        region="us-west-2",
        authority="api.causeway.local",
        path=path,
        token=token,
        http_method=verb,
        headers=headers,
    )


@pytest.mark.parametrize(
    "client,server,path,result",
    [
        ("gateway", "session", SESSION, Result.REACHED),
        ("gateway", "policy", "/causeway.policy.v1.QuotaService/Reserve", Result.REACHED),
        ("gateway", "triton", GENERATE, Result.REACHED),
        ("retrieval", "triton", "/inference.GRPCInferenceService/ModelInfer", Result.REACHED),
        ("indexer", "triton", "/inference.GRPCInferenceService/ModelInfer", Result.REACHED),
        ("gateway", "session", "/grpc.health.v1.Health/Check", Result.REACHED),
        ("gateway", "session", "/causeway.session.v1.ConversationService/DeleteConversation", Result.REFUSED),
        ("gateway", "retrieval", "/causeway.retrieval.v1.DocumentService/DeleteDocument", Result.REFUSED),
        ("gateway", "policy", "/causeway.policy.v1.AuditService/Query", Result.REFUSED),
        ("retrieval", "triton", GENERATE, Result.REFUSED),
    ],
)
def test_services_reach_each_other_for_what_they_need_and_nothing_else(
    world: World, client: str, server: str, path: str, result: Result
) -> None:
    walk = ask(world, Question(client=client, server=server, region="us-west-2", path=path))
    assert walk.ending.result is result, walk.ending.says


def test_calls_stay_in_their_region_until_it_has_nobody_left(world: World) -> None:
    call = Question(client="gateway", server="session", region="us-west-2", path=SESSION)
    assert ask(world, call).region == "us-west-2"
    for noticed in (True, False):
        lost = Question(
            client="gateway",
            server="session",
            region="us-west-2",
            path=SESSION,
            down=("us-west-2/session",),
            noticed=noticed,
        )
        walk = ask(world, lost)
        assert (walk.ending.result, walk.region) == (Result.REACHED, "us-east-1")


def test_people_with_a_token_reach_what_people_call_and_the_policy_service_is_asked(world: World) -> None:
    walk = ask(world, outside(MODELS, TOKEN))
    assert walk.ending.result is Result.REACHED
    asked = [side.request.path for side in walk.sides]
    assert asked == [
        "/envoy.service.auth.v3.Authorization/Check",
        "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit",
    ]
    assert all(side.reached for side in walk.sides)


@pytest.mark.parametrize(
    "path,token",
    [
        (MODELS, None),
        (MODELS, Token(issuer="https://elsewhere.example", subject="ann", audiences=("causeway",))),
        (MODELS, Token(issuer=ISSUER, subject="ann", audiences=("another",))),
        ("/causeway.policy.v1.QuotaService/Reserve", TOKEN),
        ("/causeway.policy.v1.AuthorizationService/Check", TOKEN),
        ("/envoy.service.auth.v3.Authorization/Check", TOKEN),
        (GENERATE, TOKEN),
    ],
)
def test_everybody_else_is_refused_before_the_policy_service_is_asked(
    world: World, path: str, token: Token | None
) -> None:
    walk = ask(world, outside(path, token))
    assert not walk.delivered
    assert walk.sides == ()


def test_the_ingress_says_by_itself_that_it_is_alive(world: World) -> None:
    walk = ask(world, outside("/healthz", verb="GET"))
    assert (walk.ending.result, walk.ending.status) == (Result.ANSWERED, 200)
    assert walk.sides == ()


def test_a_browser_may_ask_before_it_calls(world: World) -> None:
    asking = {"origin": "https://app.causeway.local", "access-control-request-method": "POST"}
    walk = ask(world, outside(MODELS, verb="OPTIONS", headers=asking))
    assert walk.ending.result is Result.ANSWERED, walk.ending.says


def test_a_canary_takes_a_tenth_of_the_generations_and_all_that_ask_for_it(
    local: Callable[[str], Manifests],
) -> None:
    canary = world_of(local("canary"))
    call = Question(client="gateway", server="triton", region="us-west-2", path=GENERATE)
    shares = dict(ask(canary, call).hops[0].clusters)
    triton = "triton.causeway.svc.cluster.local"
    assert shares == pytest.approx({f"outbound|8001|v1|{triton}": 0.9, f"outbound|8001|v2|{triton}": 0.1})
    wanted = Question(
        client="gateway",
        server="triton",
        region="us-west-2",
        path=GENERATE,
        headers={"x-causeway-canary": "always"},
    )
    assert ask(canary, wanted).hops[0].cluster == f"outbound|8001|v2|{triton}"
