"""Requests to our models in Triton's gRPC protocol (KServe v2), and what comes back.

BYTES tensors travel as raw content: each element is its length (4 bytes, little endian) and then its bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from services.common.triton import ended


class ModelFailedError(Exception):
    """A model answered a streamed request with an error; the text is the model's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One response of a generator stream."""

    text: str
    finish_reason: str
    """Empty until the last response."""
    usage: Mapping[str, Any]
    """Empty until the last response."""


def embed_request(texts: Sequence[str | bytes], model: str = "embedder") -> Any:
    """A request for the vectors of ``texts``."""
    values = [text if isinstance(text, bytes) else text.encode() for text in texts]
    request = service_pb2.ModelInferRequest(model_name=model)
    _add_bytes(request, "TEXT", values)
    return request


def embeddings(response: Any) -> list[tuple[float, ...]]:
    """The vectors in the response to ``embed_request``, in order."""
    count, width = response.outputs[0].shape
    flat = struct.unpack(f"<{count * width}f", response.raw_output_contents[0])
    return [flat[row * width : (row + 1) * width] for row in range(count)]


def chat_request(
    messages: Sequence[Mapping[str, str]], params: Mapping[str, Any] | None = None, model: str = "generator"
) -> Any:
    """A request for one answer."""
    return raw_chat_request(json.dumps(messages).encode(), json.dumps(params or {}).encode(), model)


def raw_chat_request(messages: bytes | None, params: bytes | None, model: str = "generator") -> Any:
    """The same from bytes, whatever they hold; ``None`` leaves an input out."""
    request = service_pb2.ModelInferRequest(model_name=model)
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    for name, value in (("MESSAGES", messages), ("PARAMS", params)):
        if value is not None:
            _add_bytes(request, name, [value])
    return request


async def stream(
    stub: Any, request: Any, *, timeout: float | None = None, metadata: Sequence[tuple[str, str]] = ()
) -> AsyncGenerator[Piece, None]:
    """The responses to one streamed request.

    Ending the iteration early (``aclose``) or cancelling the task cancels the call, and so the generation.
    Raises ``ModelFailedError`` for the model's errors and ``grpc.aio.AioRpcError`` for everything else.
    """
    call = stub.ModelStreamInfer(_one(request), timeout=timeout, metadata=metadata)
    responses = aiter(call)
    try:
        async for response in responses:
            if response.error_message:
                await ended(responses)
                raise ModelFailedError(response.error_message)
            final = response.infer_response.parameters["triton_final_response"].bool_param
            if final:
                # Before its text is handed on: whoever has the last piece may close this.
                await ended(responses)
            if response.infer_response.outputs:
                yield _piece(response.infer_response)
            if final:
                return
    finally:
        call.cancel()


def triton_stub(channel: grpc.aio.Channel) -> Any:
    """Triton's service over an open channel."""
    return service_pb2_grpc.GRPCInferenceServiceStub(channel)


async def _one(request: Any) -> AsyncIterator[Any]:
    yield request


def _piece(response: Any) -> Piece:
    values = {
        output.name: _first_bytes(raw)
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }
    usage = values.get("USAGE")
    return Piece(
        text=values["TEXT"].decode(),
        finish_reason=values.get("FINISH_REASON", b"").decode(),
        usage=json.loads(usage) if usage else {},
    )


def _first_bytes(raw: bytes) -> bytes:
    (length,) = struct.unpack_from("<I", raw)
    return raw[4 : 4 + length]


def _add_bytes(request: Any, name: str, values: Sequence[bytes]) -> None:
    tensor = request.inputs.add(name=name, datatype="BYTES")
    tensor.shape.extend([len(values), 1])
    request.raw_input_contents.append(b"".join(struct.pack("<I", len(value)) + value for value in values))
