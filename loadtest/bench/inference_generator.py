"""The generator through Triton against the raw engine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import grpc.aio

from loadtest.bench import texts
from loadtest.bench.harness import Rounds, Run
from loadtest.bench.inference_site import Site
from loadtest.bench.peers.process import Peer
from loadtest.bench.report import BenchError
from loadtest.bench.stats import percentile
from loadtest.bench.triton import Messages, Stream, generate, open_channel
from triton_models.client import chat_request
from triton_models.runtime.openmp import SPIN_COUNT

STREAMS = 8
SHARE = 0.9
FEW = 4
"""Tokens of an answer of which only the first one is timed."""
RAW, SPIN = "raw", "raw, threads that spin longer"
"""The engine set as in Triton, and with OpenMP's own way to wait: faster alone, and a collapse beside other
processes (triton_models/runtime/openmp.py), so that a platform cannot use it."""
SPINS = {RAW: SPIN_COUNT, SPIN: "default"}


@dataclass(slots=True)
class Contest:
    """Triton and the raw engines, asked alike."""

    channels: Sequence[grpc.aio.Channel]
    """To Triton, one for each stream."""
    peers: dict[str, Peer]
    questions: Sequence[str]
    tokens: int
    """Of each answer."""
    firsts: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    """Seconds to the first token, by side and the number of streams at once."""

    async def triton(self, number: int, streams: int = STREAMS, tokens: int = 0) -> float:
        """Tokens a second through Triton, all streams at once."""
        asked = prompts(self.questions, number, streams)
        answers, seconds = await together(self.channels[:streams], asked, tokens or self.tokens)
        self._note("triton", [answer.first for answer in answers])
        return sum(answer.tokens for answer in answers) / seconds

    async def raw(self, side: str, number: int, streams: int = STREAMS, tokens: int = 0) -> float:
        """The same from an engine alone in its process."""
        asked = prompts(self.questions, number, streams)
        reply = await self.peers[side].ask({"prompts": asked, "tokens": tokens or self.tokens})
        answers = reply["answers"]
        problems = [answer["error"] for answer in answers if "error" in answer]
        if problems:
            raise BenchError(f"the raw engine refused: {problems[0]}")
        self._note(side, [answer["first"] for answer in answers])
        total: int = sum(answer["tokens"] for answer in answers)
        return total / float(reply["seconds"])

    async def in_turn(self, number: int) -> float:
        """Through Triton with nothing to batch: one stream after another."""
        spent, total = 0.0, 0
        for prompt in prompts(self.questions, number, STREAMS):
            answers, seconds = await together(self.channels[:1], [prompt], self.tokens)
            spent += seconds
            total += answers[0].tokens
        return total / spent

    def _note(self, side: str, firsts: Sequence[float]) -> None:
        self.firsts.setdefault((side, len(firsts)), []).extend(firsts)


async def measure_generator(run: Run, site: Site) -> None:
    """At 8 streams, then one, then with and without batching."""
    run.progress.stage(f"generator at {STREAMS} streams")
    questions = [question.text for question in texts.answerable()]
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(open_channel(site.target)) for _ in range(STREAMS)]
        peers = {}
        for side, spin in SPINS.items():
            folder, socket = str(site.settings("generator")), str(site.scratch / f"{spin}.sock")
            peer = Peer("loadtest.bench.peers.generator", folder, socket, spin)
            peers[side] = await stack.enter_async_context(peer)
        contest = Contest(channels, peers, questions, run.choose(64, 16))
        # The first request of each pays for memory that later ones find ready.
        await contest.triton(997, tokens=FEW)
        for side in peers:
            await contest.raw(side, 997, tokens=FEW)
        contest.firsts.clear()
        await _contest(run, contest)


async def _contest(run: Run, contest: Contest) -> None:
    eight = await run.interleave(
        "tokens/s",
        {
            "triton": contest.triton,
            RAW: lambda number: contest.raw(RAW, number),
            SPIN: lambda number: contest.raw(SPIN, number),
        },
        run.choose(7, 2),
    )
    run.progress.stage("generator, first token of a single stream")
    await run.interleave(
        "one stream",
        {
            "triton": lambda number: contest.triton(1000 + number, 1, FEW),
            RAW: lambda number: contest.raw(RAW, 1000 + number, 1, FEW),
        },
        run.choose(50, 4),
        extra=0,
        seconds=25,
    )
    firsts = {key: list(moments) for key, moments in contest.firsts.items()}
    run.progress.stage("generator, batching on and off")
    batching = await run.interleave(
        "tokens/s",
        {"on": lambda number: contest.triton(500 + number), "off": contest.in_turn},
        run.choose(3, 1),
        extra=0,
        seconds=30,
    )
    _report(run, eight, batching, firsts)


def _report(run: Run, eight: Rounds, batching: Rounds, firsts: dict[tuple[str, int], list[float]]) -> None:
    add = run.report.add
    add(
        f"generator through Triton over the raw engine, {STREAMS} streams",
        eight.ratio("triton", RAW),
        "ratio",
        minimum=SHARE,
        note=f"{eight.note}; the engine with the same settings; the same prompts, every token counted from "
        "the first request to the last answer",
    )
    add(
        f"generator through Triton over the raw engine with threads that spin longer, {STREAMS} streams",
        eight.ratio("triton", SPIN),
        "ratio",
        note="the price of getting on with other processes",
    )
    for side in ("triton", RAW, SPIN):
        name = "through Triton" if side == "triton" else side
        add(f"generator, {name}, {STREAMS} streams", eight.values(side), "tokens/s")
    for streams in (1, STREAMS):
        for side in ("triton", RAW):
            moments = firsts[side, streams]
            for share in (0.5, 0.99):
                add(
                    f"first token {'through Triton' if side == 'triton' else side}, "
                    f"{streams} {'stream' if streams == 1 else 'streams'}, p{share * 100:.0f}",
                    percentile(moments, share) * 1e3,
                    "ms",
                    note=f"{len(moments)} answers" if share == 0.99 else "",
                )
    add("generator, batching on over off", batching.ratio("on", "off"), "ratio")


async def together(
    channels: Sequence[grpc.aio.Channel], asked: Sequence[Messages], tokens: int
) -> tuple[list[Stream], float]:
    """All prompts at once, each on a connection of its own; the streams, and seconds until the last ended."""
    params = {"max_tokens": tokens, "temperature": 0.0, "ignore_eos": True}
    requests = [chat_request(messages, params) for messages in asked]
    began = asyncio.get_running_loop().time()
    streams = await asyncio.gather(
        *[generate(channel, request) for channel, request in zip(channels, requests, strict=True)]
    )
    return list(streams), asyncio.get_running_loop().time() - began


def prompts(questions: Sequence[str], number: int, count: int) -> list[Messages]:
    """`count` prompts for one round, different in every round: nothing can be answered from memory."""
    chosen = [questions[(number * count + index) % len(questions)] for index in range(count)]
    return [
        [{"role": "user", "content": f"Note {number}.{index}: {question}"}]
        for index, question in enumerate(chosen)
    ]
