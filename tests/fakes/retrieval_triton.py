"""A Triton with an embedder and no model: the vectors of fakes.retrieval_models, over real gRPC."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from fakes.retrieval_models import vector_of
from services.common.triton import PROBE_TEXT


class FakeTriton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """KServe's ModelInfer. ``gate`` holds answers while it is clear, but not to health; ``hold_after`` clears
    it once so many texts were embedded; ``refusal`` is what every inference fails with."""

    def __init__(self) -> None:
        self.address = ""
        self.texts = 0
        self.hold_after: int | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.refusal: tuple[grpc.StatusCode, str] | None = None

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        """Embeds the texts."""
        if self.refusal is not None:
            await context.abort(*self.refusal)
        texts = list(_texts(request.raw_input_contents[0]))
        if texts == [PROBE_TEXT]:
            return _answer(request, texts)
        if self.hold_after is not None and self.texts >= self.hold_after:
            self.hold_after = None
            self.gate.clear()
        await self.gate.wait()
        self.texts += len(texts)
        return _answer(request, texts)


def _answer(request: Any, texts: Sequence[str]) -> Any:
    vectors = np.stack([vector_of(text) for text in texts]).astype("<f4")
    response = service_pb2.ModelInferResponse(model_name=request.model_name)
    response.outputs.add(name="EMBEDDING", datatype="FP32", shape=list(vectors.shape))
    response.raw_output_contents.append(vectors.tobytes())
    return response


def _texts(raw: bytes) -> list[str]:
    texts, offset = [], 0
    while offset < len(raw):
        (length,) = struct.unpack_from("<I", raw, offset)
        texts.append(raw[offset + 4 : offset + 4 + length].decode())
        offset += 4 + length
    return texts


@asynccontextmanager
async def fake_triton() -> AsyncIterator[FakeTriton]:
    """One on a free port of the loopback interface."""
    triton = FakeTriton()
    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(triton, server)
    triton.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield triton
    finally:
        triton.gate.set()
        await server.stop(None)
