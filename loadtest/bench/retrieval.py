"""`causeway bench retrieval`: ingestion against the embedder's limit, search at size, quality of results."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

import grpc.aio

from causeway.retrieval.v1 import search_service_pb2, search_service_pb2_grpc
from loadtest.bench import texts
from loadtest.bench.documents import indexed_texts, ingest
from loadtest.bench.fill import fill
from loadtest.bench.gateway import gather
from loadtest.bench.harness import Rounds, Run
from loadtest.bench.platform import Platform, running, temporary_home
from loadtest.bench.report import BenchError
from loadtest.bench.stats import growth, percentile
from loadtest.bench.texts import Question
from loadtest.bench.triton import EmbedLoad
from loadtest.corpora.metrics import hit_at, mean, reciprocal_rank
from services.common.triton import EMBED_BATCH
from triton_models.client import embed_request

PROCESSES = (
    "postgres",
    "valkey",
    "milvus",
    "models",
    "migrations",
    "triton",
    "retrieval",
    "indexer",
)
INGESTION_SHARE = 0.85
RECALL = 0.9
DEPTH = 5
SIZES = (1_000, 10_000, 50_000)
SIZED = "sized"
HELD_OUT = ", held-out questions"
LIMIT_CLIENTS = 8
QUICK_TOPICS = 8
CALL_LIMIT = 30.0

_MODES: Mapping[str, search_service_pb2.SearchMode.ValueType] = {
    "dense": search_service_pb2.SEARCH_MODE_DENSE,
    "BM25": search_service_pb2.SEARCH_MODE_LEXICAL,
    "hybrid": search_service_pb2.SEARCH_MODE_HYBRID,
}


def run(run: Run) -> None:
    """Starts what retrieval needs, and measures."""
    with temporary_home() as layout, running(run, layout, PROCESSES) as platform:
        asyncio.run(_measure(run, platform))


async def _measure(run: Run, platform: Platform) -> None:
    await _ingestion(run, platform)
    await _quality(run, platform)
    await _sizes(run, platform)


async def _ingestion(run: Run, platform: Platform) -> None:
    run.progress.stage("ingesting the language reference")
    topics = _corpus(run)
    seconds = 0.5 if run.quick else 4.0
    counts: list[int] = []
    # Once to warm up everything; its texts are what the embedder's limit is measured with.
    await ingest(platform, tenant_of(0), topics)
    embedded = indexed_texts(platform, tenant_of(0))
    random.Random(3).shuffle(embedded)
    requests = [
        embed_request(embedded[start : start + EMBED_BATCH]).SerializeToString()
        for start in range(0, len(embedded) - EMBED_BATCH + 1, EMBED_BATCH)
    ]
    if not requests:
        raise BenchError("the corpus made too few chunks to measure with")
    async with EmbedLoad(platform.target("triton"), requests, LIMIT_CLIENTS) as load:

        async def limit(_: int) -> float:
            return await load.rate(seconds) * EMBED_BATCH

        async def ingestion(number: int) -> float:
            done = await ingest(platform, tenant_of(number + 1), topics)
            counts.append(done.chunks)
            return done.chunks / done.seconds

        rounds = await run.interleave(
            "chunks/s", {"ingestion": ingestion, "limit": limit}, run.choose(4, 1), extra=2, seconds=160
        )
    _report_ingestion(run, rounds, counts)


def _corpus(run: Run) -> dict[str, str]:
    return texts.small_topics(QUICK_TOPICS) if run.quick else texts.topics()


def tenant_of(number: int) -> str:
    """A tenant whose documents are the corpus; one for each time that it was ingested."""
    return f"corpus-{number}"


def _report_ingestion(run: Run, rounds: Rounds, counts: Sequence[int]) -> None:
    add = run.report.add
    add(
        "ingestion over the embedder's limit",
        rounds.ratio("ingestion", "limit"),
        "ratio",
        minimum=INGESTION_SHARE,
        note=f"{rounds.note}; the same {counts[0]} chunks through Triton alone, {EMBED_BATCH} a request",
    )
    add(
        "ingestion",
        rounds.values("ingestion"),
        "chunks/s",
        note="from the first request until all can be found",
    )
    add("embedder's limit", rounds.values("limit"), "chunks/s")


async def _quality(run: Run, platform: Platform) -> None:
    run.progress.stage("asking the corpus every question")
    corpus = _corpus(run)
    sets = {"": texts.answerable(corpus), HELD_OUT: texts.answerable(corpus, held_out=True)}
    metadata = platform.metadata(tenant_of(0), ["reader"])
    async with platform.channel("retrieval") as channel:
        stub = search_service_pb2_grpc.SearchServiceStub(channel)
        for which, questions in sets.items():
            for name, mode in _MODES.items():
                ranked = [await _titles(stub, metadata, question.text, mode) for question in questions]
                _report_quality(run, name + which, questions, ranked)


def _report_quality(
    run: Run, name: str, questions: Sequence[Question], ranked: Sequence[Sequence[str]]
) -> None:
    pairs = list(zip(ranked, [set(question.topics) for question in questions], strict=True))
    missed = [
        question.text
        for question, (titles, right) in zip(questions, pairs, strict=True)
        if not hit_at(titles, right, DEPTH)
    ]
    note = f"{len(questions)} questions"
    if name.startswith("hybrid"):
        note += f"; missed: {'; '.join(missed) or 'none'}"
    run.report.add(
        f"recall@{DEPTH}, {name}",
        mean([hit_at(titles, right, DEPTH) for titles, right in pairs]),
        "share",
        minimum=RECALL if name == "hybrid" else None,
        note=note,
    )
    run.report.add(f"MRR, {name}", mean([reciprocal_rank(titles, right) for titles, right in pairs]), "share")


async def _titles(
    stub: search_service_pb2_grpc.SearchServiceAsyncStub,
    metadata: tuple[tuple[str, str], ...],
    query: str,
    mode: search_service_pb2.SearchMode.ValueType,
    limit: int = 2 * DEPTH,
) -> list[str]:
    """Titles of the passages found, best first. Raises BenchError when the search is refused."""
    request = search_service_pb2.SearchRequest(query=query, mode=mode, limit=limit)
    try:
        response = await stub.Search(request, metadata=metadata, timeout=CALL_LIMIT)
    except grpc.aio.AioRpcError as error:
        raise BenchError(f"the search was refused: {error.code().name} {error.details()}") from error
    return [result.title for result in response.results]


async def _sizes(run: Run, platform: Platform) -> None:
    sizes = SIZES[: run.choose(len(SIZES), 1)]
    queries = [question.text for question in texts.answerable()]
    each = run.choose(100, 20)
    middles: list[float] = []
    before = 0
    async with AsyncExitStack() as stack:
        # Callers of their own have connections of their own.
        stubs = [
            search_service_pb2_grpc.SearchServiceStub(
                await stack.enter_async_context(platform.channel("retrieval"))
            )
            for _ in range(8)
        ]
        metadata = platform.metadata(SIZED, ["reader"])

        async def spent(
            stub: search_service_pb2_grpc.SearchServiceAsyncStub, number: int, mode: str
        ) -> float:
            began = time.perf_counter()
            found = await _titles(stub, metadata, queries[number % len(queries)], _MODES[mode], DEPTH)
            if not found:
                raise BenchError("a search found nothing")
            return time.perf_counter() - began

        for size in sizes:
            run.progress.stage(f"filling up to {size} made-up chunks")
            await fill(run, platform, SIZED, before, size)
            before = size
            run.progress.stage(f"searching {size} chunks")
            await spent(stubs[0], 0, "hybrid")
            seconds = [await spent(stubs[0], number, "hybrid") for number in range(each)]
            middles.append(percentile(seconds, 0.5))
            for share in (0.5, 0.99):
                run.report.add(
                    f"hybrid search of {size} chunks, p{share * 100:.0f}",
                    percentile(seconds, share) * 1e3,
                    "ms",
                    note=f"{each} questions, one at a time, the question's embedding included"
                    if share == 0.99
                    else "",
                )
        for mode in ("dense", "BM25"):
            seconds = [await spent(stubs[0], number, mode) for number in range(each)]
            run.report.add(f"{mode} search of {before} chunks, p50", percentile(seconds, 0.5) * 1e3, "ms")
        crowded: list[float] = []

        async def caller(place: int) -> None:
            crowded.extend(
                [await spent(stubs[place], place * each + number, "hybrid") for number in range(each // 4)]
            )

        began = time.perf_counter()
        await gather([caller(place) for place in range(len(stubs))])
        rate = len(crowded) / (time.perf_counter() - began)
        run.report.add(f"hybrid searches of {before} chunks, {len(stubs)} callers", rate, "1/s")
        run.report.add(
            f"hybrid search of {before} chunks, {len(stubs)} callers, p99",
            percentile(crowded, 0.99) * 1e3,
            "ms",
        )
    if len(middles) > 1:
        run.report.add(
            "growth of the hybrid search's p50 with the number of chunks",
            growth(sizes, middles),
            "exponent",
            note="0: none; 1: in proportion. The chunks are made up, their vectors random",
        )
