"""`causeway bench answers`: whether answers rest on the documents, and say so when they do not hold any.

Everything goes through the whole platform, with the bundled model. The questions were written by hand; each
answerable one names the topics that answer it.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

import grpc.aio

from causeway.gateway.v1 import chat_pb2, chat_service_pb2, chat_service_pb2_grpc
from loadtest.bench import texts
from loadtest.bench.documents import ingest
from loadtest.bench.gateway import gather
from loadtest.bench.harness import Run
from loadtest.bench.platform import Platform, running, temporary_home
from loadtest.bench.report import BenchError
from loadtest.bench.stats import percentile
from loadtest.bench.texts import Question

TENANT = "bench"
AT_ONCE = 4
CALL_LIMIT = 90.0
LEAST_UNANSWERABLE = 20
SUPPORT = 0.5
"""Share of a sentence's longer words that a passage must hold to support it."""

_WORD = re.compile(r"[a-z_][a-z_0-9]{3,}")
_SENTENCE_END = re.compile(r"[.!?](?:\s|$)|\n")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One question and what came of it."""

    question: Question
    answer: chat_service_pb2.CompleteResponse
    seconds: float

    @property
    def refused(self) -> bool:
        """Whether the answer says that the documents do not hold it."""
        return self.answer.reason == chat_pb2.FINISH_REASON_NOT_IN_DOCUMENTS

    @property
    def cites_right_topic(self) -> bool:
        """Whether a cited document is one that answers the question."""
        return any(citation.title in self.question.topics for citation in self.answer.citations)


def run(run: Run) -> None:
    """Asks every question of a private platform."""
    with temporary_home() as layout, running(run, layout) as platform:
        asyncio.run(_measure(run, platform))


async def _measure(run: Run, platform: Platform) -> None:
    run.progress.stage("ingesting the language reference")
    corpus = texts.small_topics(8) if run.quick else texts.topics()
    await ingest(platform, TENANT, corpus)
    unanswerable = texts.spread(texts.unanswerable(), run.choose(1000, 4))
    if not run.quick and len(unanswerable) < LEAST_UNANSWERABLE:
        raise BenchError(f"{LEAST_UNANSWERABLE} unanswerable questions are needed, not {len(unanswerable)}")
    answerable = texts.spread(texts.answerable(corpus), run.choose(40, 4))
    run.progress.stage("questions that the corpus does not answer")
    refused = await _ask_all(run, platform, unanswerable)
    run.progress.stage("questions that it answers")
    answered = await _ask_all(run, platform, answerable)
    _report(run, refused, answered)


async def _ask_all(run: Run, platform: Platform, questions: Sequence[Question]) -> list[Outcome]:
    metadata = platform.metadata(TENANT, ["reader"])
    outcomes: list[Outcome] = []
    waiting = list(questions)
    async with platform.channel("gateway") as channel:
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)

        async def work() -> None:
            while waiting:
                asked = waiting.pop()
                began = time.perf_counter()
                request = chat_service_pb2.CompleteRequest(chat=chat_service_pb2.ChatRequest(text=asked.text))
                try:
                    answer = await stub.Complete(request, metadata=metadata, timeout=CALL_LIMIT)
                except grpc.aio.AioRpcError as error:
                    raise BenchError(f"the gateway refused: {error.code().name} {error.details()}") from error
                outcomes.append(Outcome(asked, answer, time.perf_counter() - began))
                run.progress.step(f"{len(outcomes)} of {len(questions)}")

        await gather([work() for _ in range(AT_ONCE)])
    return outcomes


def _report(run: Run, unanswerable: Sequence[Outcome], answerable: Sequence[Outcome]) -> None:
    add = run.report.add
    told = [outcome.refused for outcome in unanswerable]
    add(
        "unanswerable questions answered as such",
        sum(told) / len(told),
        "share",
        note=f"{sum(told)} of {len(told)}; missed: {_listed([o for o in unanswerable if not o.refused])}",
    )
    false = [outcome for outcome in answerable if outcome.refused]
    add(
        "answerable questions refused",
        len(false) / len(answerable),
        "share",
        note=f"{len(false)} of {len(answerable)}: {_listed(false)}",
    )
    given = [outcome for outcome in answerable if not outcome.refused]
    if not given:
        raise BenchError("no question was answered at all")
    right = [outcome.cites_right_topic for outcome in given]
    add(
        "answers that cite a right topic",
        sum(right) / len(given),
        "share",
        note=f"{sum(right)} of {len(given)}",
    )
    uncited = [outcome for outcome in given if not outcome.answer.citations]
    add(
        "answers without a citation",
        len(uncited) / len(given),
        "share",
        note=f"{len(uncited)} of {len(given)}",
    )
    held = [
        supports(citation.text, sentence_before(outcome.answer.text, citation.offset))
        for outcome in given
        for citation in outcome.answer.citations
    ]
    if held:
        add(
            "citations whose passage supports the sentence",
            sum(held) / len(held),
            "share",
            note=f"{sum(held)} of {len(held)}; at least half of the sentence's longer words are in it",
        )
    seconds = [outcome.seconds for outcome in given]
    for share in (0.5, 0.99):
        add(
            f"seconds for a whole answer, {AT_ONCE} at once, p{share * 100:.0f}",
            percentile(seconds, share),
            "s",
        )


def sentence_before(text: str, offset: int) -> str:
    """The sentence that ends at, or just before, an offset in code points."""
    head = text[:offset].rstrip()
    head = re.sub(r"(?:\s*\[\d+\])+$", "", head).rstrip(" .!?\n")
    ends = [match.end() for match in _SENTENCE_END.finditer(head)]
    return head[ends[-1] if ends else 0 :].strip()


def supports(passage: str, sentence: str) -> bool:
    """Whether enough of the sentence's longer words are in the passage, by their first letters.

    A lexical check cannot tell a wrong statement in the passage's words from a right one: it finds citations
    that have nothing to do with the sentence.
    """
    wanted = {word[:5] for word in _WORD.findall(sentence.lower())}
    if not wanted:
        return True
    there = {word[:5] for word in _WORD.findall(passage.lower())}
    return len(wanted & there) >= SUPPORT * len(wanted)


def _listed(outcomes: Sequence[Outcome]) -> str:
    return "; ".join(outcome.question.text for outcome in outcomes) or "none"
