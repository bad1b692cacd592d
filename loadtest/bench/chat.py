"""`causeway bench chat`: what the platform adds over calling Triton directly.

Two models: `synthetic` sends its first piece at once and then one every 10 ms, so that only the platform's
own time shows; `generator` is the real one, which shares the cores with the platform. Both sides send the
same messages and parameters: those that the gateway's own prompt writer makes of the question.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from causeway.gateway.v1 import chat_service_pb2_grpc
from loadtest.bench import texts
from loadtest.bench.documents import ingest
from loadtest.bench.gateway import chat, crowd, question
from loadtest.bench.harness import Rounds, Run
from loadtest.bench.meter import Meter, Usage
from loadtest.bench.platform import Platform, configure, running, temporary_home
from loadtest.bench.stats import percentile
from loadtest.bench.triton import Stream, generate, open_channel
from mesh.local.layout import Layout
from services.gateway.prompt import PromptWriter
from services.gateway.settings import ChatSettings, ModelSettings
from triton_models.client import chat_request

TENANT = "bench"
STREAMS = 8
CROWD = 16
SHARE = 0.9
TOKENS = 64
"""Of an answer that is measured whole."""
FEW = 4
"""Of an answer of which only the first token is measured."""

Ask = Callable[[int, str, int, bool], Awaitable[Stream]]
"""Asks on connection number, the question, with so many tokens, grounded or not."""


@dataclass(slots=True)
class Sides:
    """The two ways to a model, and what came over them."""

    direct: Ask
    platform: Ask
    retrieval: list[float] = field(default_factory=list)
    """Seconds that the gateway took to find passages."""
    firsts: dict[str, list[float]] = field(default_factory=dict)
    """Seconds to the first text, by side and number of streams."""
    gaps: dict[str, list[float]] = field(default_factory=dict)
    """Seconds between pieces of text, by the same."""

    def note(self, key: str, streams: Sequence[Stream]) -> None:
        """Remembers when text came."""
        for stream in streams:
            self.firsts.setdefault(key, []).append(stream.first)
            self.gaps.setdefault(key, []).extend(stream.gaps)


def run(run: Run) -> None:
    """Starts a private platform twice: with the synthetic model in the generator's place, and as it is."""
    with temporary_home() as layout:
        _configure(layout, "synthetic")
        with running(run, layout) as platform:
            asyncio.run(_with_sides(run, platform, "synthetic", _synthetic))
        _configure(layout, "generator")
        with running(run, layout) as platform:
            asyncio.run(_with_sides(run, platform, "generator", _generator))


def _configure(layout: Layout, model: str) -> None:
    """Which model the gateway calls. A tenant's quota must not end the measurement."""
    configure(
        layout,
        {
            "models": {"CAUSEWAY_TRITON_SYNTHETIC": "1"},
            "policy": {"CAUSEWAY_QUOTA_TOKENS": "1000000000"},
            "gateway": {"CAUSEWAY_MODELS_GENERATOR": model},
        },
    )


async def _with_sides(
    run: Run, platform: Platform, model: str, measure: Callable[[Run, Platform, Sides], Awaitable[None]]
) -> None:
    """Opens a connection for each stream on both sides."""
    metadata = platform.metadata(TENANT, ["reader"])
    writer = PromptWriter(ChatSettings(), ModelSettings().context_tokens)
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(open_channel(platform.target("triton"))) for _ in range(CROWD)
        ]
        stubs = [
            chat_service_pb2_grpc.ChatServiceStub(
                await stack.enter_async_context(platform.channel("gateway"))
            )
            for _ in range(CROWD)
        ]

        async def direct(place: int, text: str, tokens: int, grounded: bool) -> Stream:
            return await generate(channels[place], direct_request(writer, text, tokens, model))

        async def through(place: int, text: str, tokens: int, grounded: bool) -> Stream:
            asked = question(text, max_tokens=tokens, grounded=grounded)
            answer = await chat(stubs[place], asked, metadata)
            if grounded:
                sides.retrieval.append(answer.retrieval)
            return answer.stream

        sides = Sides(direct, through)
        await measure(run, platform, sides)


def direct_request(writer: PromptWriter, text: str, tokens: int, model: str) -> Any:
    """What the gateway sends to Triton for an ungrounded question.

    The cache key is another one than the tenant's: the answers of one side must not warm the other's.
    """
    draft = writer.plain(text, (), max_tokens=tokens)
    params = {"max_tokens": draft.max_tokens, "temperature": 0.0, "cache_key": "bench-direct"}
    return chat_request(draft.messages, params, model)


async def _synthetic(run: Run, platform: Platform, sides: Sides) -> None:
    run.progress.stage("ingesting documents for the grounded questions")
    await ingest(platform, TENANT, texts.small_topics(5) if run.quick else texts.topics())
    questions = [item.text for item in texts.answerable()]
    await _warm(sides, questions)

    run.progress.stage("synthetic model, one stream")
    each = run.choose(20, 5)
    await run.interleave(
        "first text",
        {
            "direct": lambda number: _one_by_one(sides, "direct", questions, number, each),
            "platform": lambda number: _one_by_one(sides, "platform", questions, number, each),
            "grounded": lambda number: _one_by_one(sides, "grounded", questions, number, each),
        },
        run.choose(8, 2),
    )
    run.progress.stage(f"synthetic model, {CROWD} streams")
    seconds = 1.5 if run.quick else 3.0
    loads: list[Usage] = []
    busy = await run.interleave(
        "pace",
        {
            "direct": lambda number: _crowd(sides, "direct", questions, number, seconds),
            "platform": lambda number: _crowd(sides, "platform", questions, number, seconds, loads),
        },
        run.choose(6, 2),
    )
    _report_synthetic(run, sides, busy, loads)


async def _generator(run: Run, platform: Platform, sides: Sides) -> None:
    questions = [item.text for item in texts.answerable()]
    await _warm(sides, questions)
    run.progress.stage(f"generator, {STREAMS} streams")
    tokens = run.choose(TOKENS, 16)
    produced: dict[str, list[int]] = {"direct": [], "platform": []}

    async def together(side: str, number: int) -> float:
        """Tokens in a second, from the first request to the last answer's end."""
        ask = _ask(sides, side)
        chosen = [_prompt(questions, number * STREAMS + place) for place in range(STREAMS)]
        began = asyncio.get_running_loop().time()
        streams = await asyncio.gather(
            *[ask(place, text, tokens, False) for place, text in enumerate(chosen)]
        )
        spent = asyncio.get_running_loop().time() - began
        sides.note(f"{side} {STREAMS}", streams)
        produced[side].append(sum(stream.tokens for stream in streams))
        return sum(stream.tokens for stream in streams) / spent

    rounds = await run.interleave(
        "tokens/s",
        {
            "direct": lambda number: together("direct", number),
            "platform": lambda number: together("platform", number),
        },
        run.choose(8, 2),
    )
    _report_generator(run, sides, rounds, produced)


async def _warm(sides: Sides, questions: Sequence[str]) -> None:
    """The first call on a connection pays for the connection."""
    for ask in (sides.direct, sides.platform):
        await asyncio.gather(*[ask(place, questions[0], FEW, False) for place in range(CROWD)])


async def _one_by_one(sides: Sides, side: str, questions: Sequence[str], number: int, count: int) -> float:
    """One question after another on one connection; milliseconds to the first text in the middle."""
    ask = _ask(sides, "platform" if side == "grounded" else side)
    streams = [
        await ask(0, _prompt(questions, number * count + index), FEW, side == "grounded")
        for index in range(count)
    ]
    sides.note(f"{side} 1", streams)
    return percentile([stream.first for stream in streams], 0.5) * 1e3


async def _crowd(
    sides: Sides,
    side: str,
    questions: Sequence[str],
    number: int,
    seconds: float,
    loads: list[Usage] | None = None,
) -> float:
    """Tokens in a second of one stream, while as many as the crowd is large are open."""
    ask = _ask(sides, side)

    async def one(place: int, turn: int) -> Stream:
        return await ask(place, _prompt(questions, number * 1000 + turn * CROWD + place), TOKENS, False)

    with Meter() as meter:
        streams = await crowd(CROWD, seconds, one)
    if loads is not None:
        loads.append(meter.usage)
    sides.note(f"{side} {CROWD}", streams)
    return percentile([stream.tokens / stream.total for stream in streams], 0.5)


def _ask(sides: Sides, side: str) -> Ask:
    return sides.direct if side == "direct" else sides.platform


def _prompt(questions: Sequence[str], number: int) -> str:
    """A question that was not asked before."""
    return f"{questions[number % len(questions)]} Explain it in detail. ({number})"


def _report_synthetic(run: Run, sides: Sides, busy: Rounds, loads: Sequence[Usage]) -> None:
    for streams in (1, CROWD):
        _report_added(run, sides.firsts, streams, "synthetic model")
    grounded, plain = sides.firsts["grounded 1"], sides.firsts["platform 1"]
    add = run.report.add
    for share in (0.5, 0.99):
        add(
            f"added time to first text by grounding, 1 stream, p{share * 100:.0f}",
            (percentile(grounded, share) - percentile(plain, share)) * 1e3,
            "ms",
        )
    add(
        "retrieval within it, p50",
        percentile(sides.retrieval, 0.5) * 1e3,
        "ms",
        note="as the gateway says itself",
    )
    add(
        f"pace of a stream through the gateway over direct, {CROWD} streams, synthetic model",
        busy.ratio("platform", "direct"),
        "ratio",
        note=f"{busy.note}; {busy.values('direct').median:.0f} tokens/s a stream direct",
    )
    for side, name in (("platform", "through the gateway"), ("direct", "Triton direct")):
        add(
            f"time between pieces {name}, {CROWD} streams, p99, synthetic model",
            percentile(sides.gaps[f"{side} {CROWD}"], 0.99) * 1e3,
            "ms",
        )
    add(
        f"CPU at {CROWD} streams of the synthetic model through the platform",
        max(load.ours for load in loads),
        "cores",
        note="platform, Triton and load generator together",
    )


def _report_generator(run: Run, sides: Sides, rounds: Rounds, produced: Mapping[str, Sequence[int]]) -> None:
    add = run.report.add
    direct, through = sum(produced["direct"]), sum(produced["platform"])
    add(
        f"tokens/s through the gateway over Triton direct, {STREAMS} streams",
        rounds.ratio("platform", "direct"),
        "ratio",
        minimum=SHARE,
        note=f"generator; {rounds.note}; {through} tokens through the gateway, {direct} direct",
    )
    add(f"through the gateway, {STREAMS} streams", rounds.values("platform"), "tokens/s")
    add(f"Triton direct, {STREAMS} streams", rounds.values("direct"), "tokens/s")
    _report_added(run, sides.firsts, STREAMS, "generator")


def _report_added(run: Run, firsts: Mapping[str, Sequence[float]], streams: int, model: str) -> None:
    direct, through = firsts[f"direct {streams}"], firsts[f"platform {streams}"]
    plural = "stream" if streams == 1 else "streams"
    for share in (0.5, 0.99):
        base = percentile(direct, share) * 1e3
        run.report.add(
            f"added time to first text, {streams} {plural}, p{share * 100:.0f}, {model}",
            percentile(through, share) * 1e3 - base,
            "ms",
            note=f"{base:.1f} ms direct; {len(through)} answers through the platform, {len(direct)} direct",
        )
