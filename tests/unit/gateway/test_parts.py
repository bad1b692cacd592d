"""The smaller parts: delivery, relevance, background, embedding, catalogue, settings, conversion."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from causeway.gateway.v1 import chat_pb2, chat_service_pb2
from fakes.gateway import PASS, WITH, FakePeers, gateway
from services.common.config import ConfigError
from services.common.errors import InvalidRequest, PeerUnavailable, PermissionDenied
from services.gateway.background import Background
from services.gateway.catalogue import FRESH, Catalogue
from services.gateway.config import Config
from services.gateway.convert import answer_to_proto, event_to_proto, question_of
from services.gateway.delivery import LONGEST_DELTA, Delivery
from services.gateway.embedding import EmbeddingEngine
from services.gateway.errors import ModelNotFound
from services.gateway.model import (
    Accepted,
    Answer,
    Citation,
    Event,
    Finished,
    FinishReason,
    Grounding,
    Parameters,
    Question,
    Role,
    TextDelta,
    Timing,
    Turn,
    Usage,
)
from services.gateway.relevance import by_relevance
from services.gateway.sentences import split
from services.gateway.settings import ModelSettings


async def all_of(delivery: Delivery) -> list[Event]:
    """What a reader gets."""
    return [event async for event in delivery.events()]


async def test_waiting_text_is_merged_and_citations_keep_their_place() -> None:
    delivery = Delivery(1000)
    for event in (TextDelta(0, "a"), TextDelta(1, "b"), Citation(1, WITH, 2), TextDelta(2, "c")):
        await delivery.put(event)
    delivery.close()
    assert await all_of(delivery) == [TextDelta(0, "ab"), Citation(1, WITH, 2), TextDelta(2, "c")]


async def test_what_was_put_before_an_error_is_delivered_first() -> None:
    delivery = Delivery(1000)
    await delivery.put(TextDelta(0, "a"))
    delivery.close(PeerUnavailable("gone"))
    got = []
    with pytest.raises(PeerUnavailable):
        async for event in delivery.events():
            got.append(event)
    assert got == [TextDelta(0, "a")]


async def test_a_writer_waits_for_a_reader_who_is_too_far_behind() -> None:
    delivery = Delivery(10)
    writing = asyncio.create_task(delivery.put(TextDelta(0, "x" * 10)))
    await asyncio.sleep(0.01)
    assert not writing.done()
    events = delivery.events()
    await anext(events)
    async with asyncio.timeout(1):
        await writing
    await events.aclose()


async def test_no_delta_is_longer_than_the_wire_allows() -> None:
    delivery = Delivery(10 * LONGEST_DELTA)
    for index in range(3):
        await delivery.put(TextDelta(index * 40_000, "x" * 40_000))
    delivery.close()
    assert [len(event.text) for event in await all_of(delivery) if isinstance(event, TextDelta)] == [
        40_000
    ] * 3


def test_the_passage_with_the_best_evidence_goes_first() -> None:
    lexical_luck = replace(PASS, score=0.05, cosine=0.2)
    assert by_relevance("What does the with statement do?", [lexical_luck, WITH]) == [WITH, lexical_luck]


def test_without_cosines_the_order_of_the_search_stands() -> None:
    found = [replace(PASS, cosine=None), WITH]
    assert by_relevance("What does the with statement do?", found) == found


async def test_work_that_never_ends_is_given_up_at_the_end() -> None:
    async def for_ever() -> None:
        await asyncio.Event().wait()

    async with asyncio.timeout(1), Background(timedelta(milliseconds=20)) as background:
        task = background.spawn(for_ever(), "stuck")
    assert task.cancelled()


def embedding(peers: FakePeers) -> tuple[EmbeddingEngine, Background]:
    """An embedding engine on top of fakes."""
    built = gateway(peers)
    return EmbeddingEngine(peers, peers, built.endings, model="embedder", longest=256), built.background


async def test_texts_are_embedded_and_charged() -> None:
    peers = FakePeers()
    engine, background = embedding(peers)
    assert list(await engine.embed(["one", "two words"])) == [[1.0, 0.0], [1.0, 0.0]]
    await background.drain()
    assert list(peers.settled.values()) == [3]


async def test_no_text_is_charged_beyond_what_the_model_reads() -> None:
    peers = FakePeers()
    engine, background = embedding(peers)
    await engine.embed(["word " * 1600])
    await background.drain()
    assert list(peers.settled.values()) == [256]


async def test_a_failed_or_denied_embedding_costs_nothing() -> None:
    peers = FakePeers()
    engine, background = embedding(peers)
    peers.fail("embed", PeerUnavailable("gone"))
    with pytest.raises(PeerUnavailable):
        await engine.embed(["one"])
    peers.denied.add("models.embed")
    with pytest.raises(PermissionDenied):
        await engine.embed(["one"])
    await background.drain()
    assert list(peers.settled.values()) == [0, 0]
    assert peers.open_reservations == {}


async def test_embedding_refuses_blank_texts_and_unknown_models() -> None:
    engine, _ = embedding(FakePeers())
    with pytest.raises(InvalidRequest):
        await engine.embed(["one", "  "])
    with pytest.raises(ModelNotFound):
        await engine.embed(["one"], "generator")


async def test_the_catalogue_tells_which_model_is_up() -> None:
    up, down = FakePeers(), FakePeers()
    down.fail("ready", RuntimeError("down"))
    generator, embedder = await Catalogue(ModelSettings(), up, down).models()
    assert (generator.name, generator.ready, generator.context_tokens) == ("generator", True, 3072)
    assert (embedder.name, embedder.ready, embedder.dimensions) == ("embedder", False, 384)


async def test_triton_is_asked_once_a_second_however_many_ask_for_the_models() -> None:
    peers, now = FakePeers(), [100.0]
    catalogue = Catalogue(ModelSettings(), peers, peers, lambda: now[0])
    await asyncio.gather(*(catalogue.models() for _ in range(20)))
    peers.fail("ready", RuntimeError("down"))
    now[0] += FRESH / 2
    assert [model.ready for model in await catalogue.models()] == [True, True]
    now[0] += FRESH
    assert [model.ready for model in await catalogue.models()] == [False, False]


ENVIRONMENT = {
    "CAUSEWAY_LISTEN": "127.0.0.1:0",
    "CAUSEWAY_AUTH_JWKS_URI": "file:///jwks.json",
    **{
        f"CAUSEWAY_{peer}_{key}": value
        for peer in ("SESSION", "RETRIEVAL", "POLICY", "TRITON")
        for key, value in (("TARGET", "127.0.0.1:1"), ("AUTHORITY", "peer.test"))
    },
}


def test_settings_are_read_with_defaults_and_overrides() -> None:
    config = Config.from_env({**ENVIRONMENT, "CAUSEWAY_CHAT_MAX_TOKENS": "50", "CAUSEWAY_CHAT_LEASE": "2m"})
    assert config.chat.max_tokens == 50
    assert config.chat.lease == timedelta(minutes=2)
    assert config.models.generator == "generator"
    assert config.retrieval.authority == "peer.test"


@pytest.mark.parametrize("key", ["CAUSEWAY_CHAT_MAXTOKENS", "CAUSEWAY_POSTGRES_DSN"])
def test_an_unknown_setting_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        Config.from_env({**ENVIRONMENT, key: "1"})


def test_a_question_comes_whole_out_of_its_proto() -> None:
    request = chat_service_pb2.ChatRequest(
        text="What?",
        history=[chat_pb2.Turn(role=chat_pb2.TURN_ROLE_USER, text="Hello.")],
        model="generator",
        parameters=chat_pb2.GenerationParameters(max_tokens=5, temperature=0, seed=0, stop=["x"]),
        grounding=chat_pb2.Grounding(passages=2, labels={"a": "b"}),
        request_id="r",
    )
    assert question_of(request) == Question(
        text="What?",
        history=(Turn(Role.USER, "Hello."),),
        model="generator",
        parameters=Parameters(max_tokens=5, temperature=0.0, seed=0, stop=("x",)),
        grounding=Grounding(passages=2, labels={"a": "b"}),
        request_id="r",
    )
    assert question_of(chat_service_pb2.ChatRequest(text="What?")) == Question(text="What?")


def test_an_answer_goes_whole_into_its_proto() -> None:
    accepted = Accepted(answer_id="a", model="m", region="r", passages=1)
    finished = Finished(FinishReason.NOT_IN_DOCUMENTS, Timing(retrieval=0.001, first_text=0.002, total=1.5))
    citation = Citation(1, WITH, 4)
    usage = Usage(prompt_tokens=1, completion_tokens=2, cached_tokens=3)
    proto = answer_to_proto(
        Answer(accepted=accepted, text="text", citations=(citation,), usage=usage, finished=finished)
    )
    assert (proto.answer_id, proto.model, proto.region, proto.text) == ("a", "m", "r", "text")
    assert (proto.timing.retrieval_us, proto.timing.total_us) == (1000, 1_500_000)
    assert proto.reason == chat_pb2.FINISH_REASON_NOT_IN_DOCUMENTS
    assert event_to_proto(citation).citation == proto.citations[0]
    assert event_to_proto(usage).usage == proto.usage
    assert event_to_proto(finished).finished.timing == proto.timing
    assert event_to_proto(TextDelta(3, "x")).text_delta.offset == 3
    assert event_to_proto(accepted).accepted.passages == 1


@pytest.mark.parametrize(
    "text,count",
    [
        ("One. Two! Three?", 3),
        ("See e.g. this. And i.e. that.", 2),
        ("1. A list item.\n2. Another.", 2),
        ("Version 3.12 is out. Use a.b.c for it.", 2),
        ('He said "no." Then he left.', 2),
        ("Cited [1]. Again. [2] Done.", 3),
        ("", 0),
    ],
)
def test_sentences_end_where_they_end(text: str, count: int) -> None:
    found = list(split(text))
    assert "".join(found) == text
    assert len(found) == count


def test_the_core_knows_no_driver() -> None:
    folder = Path(__file__).parents[3] / "services/gateway"
    outer = {"servicer.py", "app.py"}
    for path in folder.glob("*.py"):
        if path.name not in outer:
            source = path.read_text()
            for driver in ("import grpc", "psycopg", "pymilvus", "tritonclient"):
                assert driver not in source, f"{path.name} imports {driver}"
