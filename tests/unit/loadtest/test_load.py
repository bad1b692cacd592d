"""The load generators, against servers whose speed is known."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest
from tritonclient.grpc import service_pb2

from loadtest.bench.gateway import crowd, gather
from loadtest.bench.peers.process import Peer
from loadtest.bench.report import BenchError
from loadtest.bench.triton import EmbedLoad, Stream, generate, open_channel
from triton_models.client import chat_request

SERVICE = "inference.GRPCInferenceService"


class FakeTriton:
    """Answers in batches: every `pause` seconds everybody who is waiting."""

    def __init__(self, pause: float, *, refuse: bool = False) -> None:
        self._pause = pause
        self._refuse = refuse
        self._tick = asyncio.Event()
        self.served = 0

    async def infer(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        """One embedding, at the next tick."""
        if self._refuse:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "TEXT: must not be empty")
        await self._tick.wait()
        self.served += 1
        return b""

    async def stream(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> AsyncIterator[bytes]:
        """Three pieces, one at a tick, and the usage."""
        if self._refuse:
            yield service_pb2.ModelStreamInferResponse(error_message="overloaded: 8").SerializeToString()
            return
        async for _ in requests:
            for piece in ("a", "b", "c"):
                await asyncio.sleep(self._pause)
                yield _piece(piece, "")
            yield _piece("", '{"completion_tokens": 3}', final=True)
            return

    async def tick(self) -> None:
        """Lets a batch through every `pause` seconds."""
        while True:
            await asyncio.sleep(self._pause)
            self._tick.set()
            self._tick = asyncio.Event()


def _piece(text: str, usage: str, *, final: bool = False) -> bytes:
    response = service_pb2.ModelStreamInferResponse()
    inner = response.infer_response
    inner.parameters["triton_final_response"].bool_param = final
    for name, value in (("TEXT", text), ("FINISH_REASON", ""), ("USAGE", usage)):
        inner.outputs.add(name=name, datatype="BYTES", shape=[1, 1])
        inner.raw_output_contents.append(len(value).to_bytes(4, "little") + value.encode())
    return bytes(response.SerializeToString())


@asynccontextmanager
async def served(triton: FakeTriton) -> AsyncIterator[str]:
    """Where it listens."""
    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "ModelInfer": grpc.unary_unary_rpc_method_handler(triton.infer),
        "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(
            triton.stream, request_deserializer=None, response_serializer=None
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    ticking = asyncio.create_task(triton.tick())
    try:
        yield f"127.0.0.1:{port}"
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
        await server.stop(0)


async def test_the_rate_of_a_server_that_answers_in_batches_is_not_rounded_to_whole_batches() -> None:
    # 8 clients, a batch every 0.15 s: 53.3 a second. Counting within 0.5 s would give 48 or 64.
    triton = FakeTriton(0.15)
    latencies: list[float] = []
    async with served(triton) as target, EmbedLoad(target, [b"x"], 8) as load:
        rate = await load.rate(0.5, latencies)
    assert rate == pytest.approx(8 / 0.15, rel=0.12)
    assert min(latencies) > 0.05
    assert triton.served > len(latencies)


async def test_a_refusal_ends_the_load() -> None:
    async with (
        served(FakeTriton(0.01, refuse=True)) as target,
        EmbedLoad(target, [b"x"], 4) as load,
    ):
        with pytest.raises(BenchError, match="must not be empty"):
            await load.rate(0.2)


async def test_a_stream_is_timed_to_its_first_text_and_its_tokens_are_the_models_own_count() -> None:
    async with served(FakeTriton(0.1)) as target, open_channel(target) as channel:
        stream = await generate(channel, chat_request([{"role": "user", "content": "Hi"}]))
    assert 0.09 < stream.first < 0.25
    assert 0.29 < stream.total < 0.6
    assert stream.tokens == 3
    assert len(stream.gaps) == 2


async def test_a_model_that_refuses_is_told_in_its_words() -> None:
    async with served(FakeTriton(0.1, refuse=True)) as target, open_channel(target) as channel:
        with pytest.raises(BenchError, match="overloaded: 8"):
            await generate(channel, chat_request([{"role": "user", "content": "Hi"}]))


async def test_a_crowd_keeps_its_size_until_the_end() -> None:
    now, most = 0, 0

    async def ask(place: int, number: int) -> Stream:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        return Stream(0.01, 0.02, 1, ())

    began = time.perf_counter()
    streams = await crowd(4, 0.4, ask)
    assert time.perf_counter() - began < 1.5
    assert most == 4
    assert now == 0
    assert len(streams) >= 4


async def test_when_one_caller_fails_the_others_are_stopped_and_its_error_is_kept() -> None:
    stopped = []

    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped.append(True)
            raise

    async def fails() -> None:
        await asyncio.sleep(0.01)
        raise BenchError("refused")

    with pytest.raises(BenchError, match="refused"):
        await gather([waits(), fails()])
    assert stopped == [True]


async def test_a_peer_that_does_not_start_is_told_and_not_waited_for() -> None:
    with pytest.raises(BenchError, match="ended before it answered"):
        async with Peer("loadtest.bench.peers.nothing"):
            pass
