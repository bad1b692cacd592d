"""Questions as people ask them, and the answers that they read."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from support.envoy_config import session_client, session_server

from mesh.simulate import graph
from mesh.simulate.question import Question, ask
from mesh.simulate.render import explain
from mesh.simulate.world import NoSuchProxyError, World

WEST, EAST = "127.66.1.7", "127.66.2.7"
METHOD = "/causeway.session.v1.MessageService/ListMessages"


def mesh() -> World:
    """Gateways and session servers in two regions; an indexer that session does not know."""
    west = [("us-west-2", 0, [WEST]), ("us-east-1", 1, [EAST])]
    east = [("us-east-1", 0, [EAST]), ("us-west-2", 1, [WEST])]
    return World.of(
        [
            session_client("gateway", "us-west-2", "127.66.1.2", west),
            session_client("gateway", "us-east-1", "127.66.2.2", east),
            session_client("indexer", "us-west-2", "127.66.1.3", west),
            session_server("us-west-2", WEST),
            session_server("us-east-1", EAST),
        ]
    )


def question(**more: Any) -> Question:
    """From the gateway in the west to session."""
    return replace(Question(client="gateway", server="session", region="us-west-2", path=METHOD), **more)


def test_a_service_is_found_by_its_first_label_and_its_port() -> None:
    walk = ask(mesh(), question())
    assert walk.reached
    assert walk.request.authority == "session.causeway.svc.cluster.local:8080"


@pytest.mark.parametrize(
    "down, region", [((), "us-west-2"), (("us-west-2/session",), "us-east-1"), (("us-west-2",), "us-east-1")]
)
def test_what_is_down_may_be_an_application_or_a_region(down: tuple[str, ...], region: str) -> None:
    assert ask(mesh(), question(down=down)).region == region


@pytest.mark.parametrize(
    "more, message",
    [
        ({"client": "nobody"}, "there are gateway"),
        ({"region": ""}, "say which with --region"),
        ({"server": "triton"}, "knows no service triton"),
        ({"port": 9}, "on port 8080, not on 9"),
        ({"down": ("eu-west-1/session",)}, "nothing runs at eu-west-1/session"),
    ],
)
def test_a_name_that_is_not_there_is_told_with_those_that_are(more: dict[str, Any], message: str) -> None:
    with pytest.raises(NoSuchProxyError, match=message):
        ask(mesh(), question(**more))


def test_the_explanation_reads_hop_by_hop_and_ends_with_the_outcome() -> None:
    lines = explain(ask(mesh(), question()))
    assert lines[0] == f"POST session.causeway.svc.cluster.local:8080{METHOD}"
    assert "1. causeway/gateway-us-west-2 in us-west-2 speaks for its application" in lines
    assert "2. causeway/session-us-west-2 in us-west-2 guards its application" in lines
    assert lines[-1].startswith("● reached")


def test_a_refusal_names_who_refuses_and_what_the_caller_gets() -> None:
    lines = explain(ask(mesh(), question(client="indexer")))
    assert lines[-1].startswith("✗ refused: causeway/session-us-west-2: denied")
    assert lines[-1].endswith("(the caller gets HTTP 403, gRPC PERMISSION_DENIED)")


def test_the_object_says_the_same() -> None:
    document = json.loads(json.dumps(ask(mesh(), question(down=("us-west-2/session",))).to_json()))
    assert document["ending"]["result"] == "reached"
    first = document["hops"][0]["attempts"][0]
    assert [item["load_percent"] for item in first["priorities"]] == [0, 100]
    assert first["chosen"] == f"{EAST}:9443"


def test_the_graph_tells_who_may_call_whom_and_in_which_order() -> None:
    edges = {edge.client: edge for edge in graph.edges(mesh())}
    gateway = edges["gateway"]
    assert gateway.admission.may is graph.May.SOME
    assert gateway.admission.targets == ("/causeway.session.v1.MessageService/*",)
    assert gateway.secured
    assert gateway.order == {
        "us-west-2": (("us-west-2",), ("us-east-1",)),
        "us-east-1": (("us-east-1",), ("us-west-2",)),
    }
    assert edges["indexer"].admission.may is graph.May.NONE


def test_the_graph_draws_only_what_is_allowed() -> None:
    drawn = "\n".join(graph.dot(graph.edges(mesh())))
    assert '"gateway" -> "session"' in drawn
    assert "indexer" not in drawn
    assert "✗ session.causeway.svc.cluster.local:8080" in "\n".join(graph.text(graph.edges(mesh())))
