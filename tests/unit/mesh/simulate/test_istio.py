"""What the manifests in istio/ make of requests, over two regions as the supervisor writes them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.two_regions import ISSUER, ISTIO, mesh

from mesh.local.addresses import HTTPS
from mesh.local.names import DEFAULT_REGIONS
from mesh.manifests.read import Text
from mesh.simulate import graph
from mesh.simulate.filters import Assumptions
from mesh.simulate.question import OUTSIDE, Question, ask
from mesh.simulate.request import Request, Token, grpc_call
from mesh.simulate.traffic import Traffic
from mesh.simulate.walk import Result, Walk
from mesh.simulate.world import World
from mesh.xds.resources import CLUSTER

WEST, EAST = DEFAULT_REGIONS
TOKEN = Token(issuer=ISSUER, subject="ada", audiences=("causeway",), claims={"tenant": "acme"})
HOST = "api.causeway.local"

LIST_MESSAGES = "/causeway.session.v1.MessageService/ListMessages"
CONVERSATIONS = "/causeway.session.v1.ConversationService/ListConversations"
CHAT = "/causeway.gateway.v1.ChatService/Chat"
INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM_INFER = "/inference.GRPCInferenceService/ModelStreamInfer"
EXT_AUTHZ = "/envoy.service.auth.v3.Authorization/Check"


@pytest.fixture(scope="module")
def world() -> World:
    """As it is."""
    return mesh()


def call(
    world: World,
    client: str,
    server: str,
    path: str,
    *,
    region: str = WEST,
    down: tuple[str, ...] = (),
    noticed: bool = True,
    random: float | None = None,
    headers: dict[str, str] | None = None,
) -> Walk:
    """A gRPC call of an application."""
    return ask(
        world,
        Question(
            client=client,
            server=server,
            region=region,
            path=path,
            down=down,
            noticed=noticed,
            headers=headers or {},
            assumptions=Assumptions(random=random),
        ),
    )


def enter(
    world: World,
    path: str,
    token: Token | None = TOKEN,
    *,
    host: str = HOST,
    http: str = "",
    headers: dict[str, str] | None = None,
    down: tuple[str, ...] = (),
    assumptions: Assumptions | None = None,
) -> Walk:
    """A call of somebody outside, at the western ingress."""
    return ask(
        world,
        Question(
            client=OUTSIDE,
            server="ingress",
            region=WEST,
            path=path,
            authority=host,
            port=HTTPS,
            token=token,
            http_method=http,
            headers=headers or {},
            down=down,
            assumptions=assumptions or Assumptions(),
        ),
    )


@pytest.mark.parametrize("region", DEFAULT_REGIONS)
@pytest.mark.parametrize(
    "client, server, path",
    [
        ("gateway", "session", LIST_MESSAGES),
        ("gateway", "retrieval", "/causeway.retrieval.v1.SearchService/Search"),
        ("gateway", "policy", "/causeway.policy.v1.QuotaService/Reserve"),
        ("gateway", "triton", STREAM_INFER),
        ("retrieval", "triton", INFER),
        ("indexer", "triton", INFER),
    ],
)
def test_calls_stay_in_their_region(world: World, client: str, server: str, path: str, region: str) -> None:
    walk = call(world, client, server, path, region=region)
    assert walk.reached, walk.ending
    assert walk.region == region
    assert walk.proxies == (f"causeway/{client}-{region}", f"causeway/{server}-{region}")


@pytest.mark.parametrize(
    "server, path", [("session", LIST_MESSAGES), ("triton", INFER), ("triton", STREAM_INFER)]
)
def test_the_other_region_takes_over_at_once_and_before_it_is_noticed(
    world: World, server: str, path: str
) -> None:
    noticed = call(world, "gateway", server, path, down=(f"{WEST}/{server}",))
    assert noticed.region == EAST
    assert len(noticed.hops[0].attempts) == 1
    first = call(world, "gateway", server, path, down=(f"{WEST}/{server}",), noticed=False)
    assert first.region == EAST
    assert [attempt.number for attempt in first.hops[0].attempts] == [1, 2]


def test_nothing_is_left_when_both_are_down(world: World) -> None:
    walk = call(world, "gateway", "session", LIST_MESSAGES, down=("*/session",))
    assert walk.ending.result is Result.FAILED
    assert walk.ending.grpc == "UNAVAILABLE"


def test_a_draining_region_gets_no_new_calls() -> None:
    walk = call(mesh(draining=(WEST,)), "gateway", "session", LIST_MESSAGES)
    assert walk.reached
    assert walk.region == EAST


@pytest.mark.parametrize(
    "client, server, path",
    [
        ("gateway", "policy", EXT_AUTHZ),
        ("gateway", "session", CONVERSATIONS),
        ("gateway", "triton", "/inference.GRPCInferenceService/RepositoryModelLoad"),
        ("retrieval", "triton", STREAM_INFER),
    ],
)
def test_nobody_may_do_more_than_it_needs(world: World, client: str, server: str, path: str) -> None:
    walk = call(world, client, server, path)
    assert walk.ending.result in (Result.REFUSED, Result.FAILED), walk.ending
    # By the server's policy, or already because no route leads there.
    assert walk.ending.grpc in ("PERMISSION_DENIED", "UNIMPLEMENTED")


def test_envoys_own_interfaces_are_the_ingresss_alone(world: World) -> None:
    """Whoever could call them could ask for decisions in anybody's name."""
    may = {edge.client: edge.admission.targets for edge in graph.edges(world) if edge.server == "policy"}
    asks = f"POST {EXT_AUTHZ}"
    assert asks in may["ingress"]
    assert [client for client, targets in may.items() if asks in targets] == ["ingress"]


def test_no_proxy_is_told_of_a_service_that_it_does_not_call(world: World) -> None:
    known = {
        (edge.client, edge.server) for edge in graph.edges(world) if edge.client in ("retrieval", "indexer")
    }
    assert known == {("retrieval", "triton"), ("indexer", "triton")}


def test_plaintext_is_refused_at_every_server(world: World) -> None:
    for node in world.nodes.values():
        if node.app in ("session", "policy", "retrieval", "gateway", "triton"):
            walk = ask(
                world,
                Question(
                    client=OUTSIDE,
                    server=node.name,
                    path=LIST_MESSAGES,
                    port=9443,
                    plaintext=True,
                    authority="x",
                ),
            )
            assert walk.ending.result is Result.REFUSED, node.name


def test_tls_without_an_identity_of_the_mesh_is_refused_at_every_server(world: World) -> None:
    walk = ask(world, Question(client=OUTSIDE, server="session", region=WEST, port=9443, authority="x"))
    assert walk.ending.result is Result.REFUSED
    assert "no certificate" in walk.ending.says


@pytest.mark.parametrize(
    "path, server",
    [
        (CHAT, "gateway"),
        (CONVERSATIONS, "session"),
        ("/causeway.retrieval.v1.SearchService/Search", "retrieval"),
        ("/causeway.policy.v1.QuotaService/GetQuota", "policy"),
    ],
)
def test_people_get_in_with_a_token_through_mutual_tls(world: World, path: str, server: str) -> None:
    walk = enter(world, path)
    assert walk.reached, walk.ending
    assert walk.proxies == (f"causeway-ingress/ingress-{WEST}", f"causeway/{server}-{WEST}")
    # The authorizer was asked, in this region, and could be.
    assert any(side.reached and side.region == WEST for side in walk.sides)
    assert not walk.sure


@pytest.mark.parametrize(
    "token, status",
    [
        (None, 403),
        (Token(issuer=ISSUER, audiences=("causeway",), genuine=False), 401),
        (Token(issuer="https://else.example", audiences=("causeway",)), 401),
        (Token(issuer=ISSUER, audiences=("another",)), 403),
    ],
)
def test_without_a_good_token_nobody_gets_in(world: World, token: Token | None, status: int) -> None:
    walk = enter(world, CHAT, token)
    assert (walk.ending.result, walk.ending.status) == (Result.REFUSED, status)


@pytest.mark.parametrize(
    "path", [EXT_AUTHZ, "/causeway.policy.v1.AuditService/Append", INFER, "/grpc.health.v1.Health/Check", "/"]
)
def test_what_is_not_for_people_is_refused_to_people(world: World, path: str) -> None:
    assert enter(world, path).ending.status in (403, 404)


def test_the_ingress_itself_answers_whether_it_is_alive(world: World) -> None:
    walk = enter(world, "/healthz", None, http="GET")
    assert (walk.ending.result, walk.ending.status) == (Result.ANSWERED, 200)


def test_a_browsers_preflight_needs_no_token(world: World) -> None:
    headers = {"origin": "https://app.causeway.local", "access-control-request-method": "POST"}
    walk = enter(world, CHAT, None, http="OPTIONS", headers=headers)
    assert (walk.ending.result, walk.ending.status) == (Result.ANSWERED, 200)


def test_an_authorizer_that_says_no_or_is_gone_lets_nobody_in(world: World) -> None:
    assert enter(world, CHAT, assumptions=Assumptions(authorizer=False)).ending.status == 403
    gone = enter(world, CHAT, down=("*/policy",))
    assert gone.ending.result is Result.REFUSED
    one = enter(world, CHAT, down=(f"{WEST}/policy",))
    assert one.reached
    assert any(side.region == EAST for side in one.sides)


def test_too_much_is_told_as_resource_exhausted(world: World) -> None:
    walk = enter(world, CHAT, assumptions=Assumptions(limited=True))
    assert (walk.ending.status, walk.ending.grpc) == (429, "RESOURCE_EXHAUSTED")


def test_an_ingress_goes_to_the_other_regions_gateway_when_its_own_is_down(world: World) -> None:
    walk = enter(world, CHAT, down=(f"{WEST}/gateway",))
    assert walk.reached
    assert walk.region == EAST


def test_a_stranger_of_a_host_is_not_served(world: World) -> None:
    assert not enter(world, CHAT, host="other.example").delivered


def test_every_health_check_is_let_in(world: World) -> None:
    """One that a server refuses would make every host ill."""
    checks = 0
    for node in world.nodes.values():
        clusters: Mapping[str, Any] = node.resources.of(CLUSTER)
        for name, cluster in clusters.items():
            for check in cluster.health_checks:
                walk = Traffic(world).through(node.name, name, _health(check))
                assert walk.delivered, (node.name, name, walk.ending)
                checks += 1
    assert checks >= 16


def _health(check: Any) -> Request:
    if check.WhichOneof("health_checker") == "http_health_check":
        asked = check.http_health_check
        return Request(authority=asked.host, path=asked.path)
    return grpc_call(check.grpc_health_check.authority, "/grpc.health.v1.Health/Check")


def test_people_get_from_the_one_address_to_a_region_that_is_well(world: World) -> None:
    question = Question(
        client=OUTSIDE, server="front", path=CHAT, authority=HOST, port=HTTPS, token=TOKEN, down=(WEST,)
    )
    walk = ask(world, question)
    assert walk.reached, walk.ending
    assert walk.proxies == (
        "causeway-front/front",
        f"causeway-ingress/ingress-{EAST}",
        f"causeway/gateway-{EAST}",
    )
    refused = ask(world, replace(question, token=None))
    assert refused.ending.status == 403


def test_each_decision_cites_a_line_of_a_manifest(world: World) -> None:
    walk = call(world, "gateway", "session", LIST_MESSAGES)
    cited = {
        step.kind: (Path(step.origin.file).name, step.origin.kind)
        for step in walk.hops[0].steps
        if step.origin is not None
    }
    assert cited["route"] == ("session.yaml", "VirtualService")
    assert cited["cluster"] == ("session.yaml", "DestinationRule")
    assert cited["endpoint"] == ("workloads-us-west-2.yaml", "WorkloadEntry")
    rules = [
        step.origin
        for step in walk.steps("filter")
        if step.origin and step.origin.kind == "AuthorizationPolicy"
    ]
    assert Path(rules[-1].file).name == "session.yaml"
    for step in walk.steps():
        if step.origin is not None and Path(step.origin.file).is_absolute():
            assert 0 < step.origin.line <= len(Path(step.origin.file).read_text("utf-8").splitlines())


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> World:
    """With the canary example's changes to Triton's routes, and a workload of the new version."""
    folder = tmp_path_factory.mktemp("canary")
    relative = os.path.relpath(ISTIO, folder)
    (folder / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
        f"resources: [{relative}/base]\npatches:\n  - path: triton.yaml\n"
    )
    shutil.copy(ISTIO / "examples" / "canary" / "triton.yaml", folder)
    second = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: triton-v2, namespace: causeway}
spec:
  address: 127.66.9.9
  ports: {grpc: 9443}
  labels: {app: triton, version: v2, security.istio.io/tlsMode: istio}
  serviceAccount: triton
  locality: us-west-2/us-west-2a
"""
    return mesh(Text("v2.yaml", second), base=folder)


def test_a_tenth_of_the_generations_goes_to_the_canary(canary: World) -> None:
    shares = dict(call(canary, "gateway", "triton", STREAM_INFER).hops[0].clusters)
    assert {name.split("|")[2]: share for name, share in shares.items()} == {"v1": 0.9, "v2": 0.1}
    drawn = [
        call(canary, "gateway", "triton", STREAM_INFER, random=number / 20).hops[0].cluster
        for number in range(20)
    ]
    assert sum("|v2|" in name for name in drawn) == 2


def test_who_asks_for_the_canary_gets_it(canary: World) -> None:
    walk = call(canary, "gateway", "triton", STREAM_INFER, headers={"x-causeway-canary": "always"})
    assert "|v2|" in walk.hops[0].cluster
    endpoint = walk.hops[0].attempts[0].endpoint
    assert endpoint is not None
    assert endpoint.address == "127.66.9.9"
