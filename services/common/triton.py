"""Client of Triton's gRPC inference API (KServe v2 with Triton's streaming extension).

Sources: https://github.com/kserve/open-inference-protocol and Triton's ``grpc_service.proto``; the generated
modules come from ``tritonclient``. A stream is one generation: leaving the iterator cancels the RPC, which is
how a client that went away stops the model.
"""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2, service_pb2_grpc

from services.common.channel import CHANNEL_OPTIONS, dial
from services.common.config import Peer
from services.common.context import REQUEST_ID_KEY, current_call, remaining
from services.common.errors import (
    DeadlineExceeded,
    DomainError,
    InvalidRequest,
    ModelFailed,
    ModelUnavailable,
    Overloaded,
    PromptTooLong,
)
from services.common.pulse import Pulse

EMBED_BATCH = 16
"""Texts in one request. Small enough that several clients share a batch fairly, large enough that the cost of
a request does not show."""
RETRY_AFTER_OVERLOAD = timedelta(seconds=1)

REGION_KEY = "x-causeway-region"
"""Response header by which a proxy may tell the region that it is in."""
_LONGEST_REGION = 63

PROBE_TEXT = "ok"
"""What a model is given to see whether it works."""
_PROBE: Mapping[str, Any] = {"probe": True, "max_tokens": 1}

_DEAD = "healthy"
"""In all that Triton says of a model process that is gone: "is not healthy", "is unhealthy"."""
_FAULTS = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})
"""What a model's own exceptions arrive as."""

_END_LIMIT = 1.0
"""Seconds; as a rule the end of a stream is a tenth of a millisecond behind its last response."""
_FINAL = "triton_final_response"
_EMPTY_FINAL = "triton_enable_empty_final_response"


@dataclass(frozen=True, slots=True)
class GenerationChunk:
    """One response of the generator."""

    text: str
    """New text; empty in the last chunk."""
    finish_reason: str = ""
    """``stop`` or ``length`` in the last chunk, empty before."""
    usage: Mapping[str, Any] = field(default_factory=dict)
    """``prompt_tokens``, ``completion_tokens``, ``cached_tokens``, ``continued_tokens`` in the last chunk."""
    region: str = ""
    """Where the model is, if the mesh tells."""


class TritonClient:
    """``async with TritonClient(peer) as triton:``"""

    def __init__(self, peer: Peer, *, embedder: str = "embedder", generator: str = "generator") -> None:
        self._peer = peer
        self.embedder = embedder
        self.generator = generator
        self._channel: grpc.aio.Channel | None = None
        self._stub: Any = None
        self._answered: dict[str, float] = {}

    async def __aenter__(self) -> Self:
        self._channel = dial(self._peer, CHANNEL_OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._channel is not None:
            await self._channel.close()

    async def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Vectors of length 1, shape ``[len(texts), dimensions]``.

        Raises:
            InvalidRequest: the model refuses a text.
            ModelUnavailable, Overloaded, DeadlineExceeded: no answer.
        """
        batches = [texts[start : start + EMBED_BATCH] for start in range(0, len(texts), EMBED_BATCH)]
        if not batches:
            return np.empty((0, 0), np.float32)
        tasks = [asyncio.ensure_future(self._embed(batch)) for batch in batches]
        try:
            return np.concatenate(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def _embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        request = service_pb2.ModelInferRequest(model_name=self.embedder)
        _add_texts(request, "TEXT", texts)
        try:
            response = await self._stub.ModelInfer(request, **_options())
        except grpc.aio.AioRpcError as error:
            raise _domain_error(error.code(), error.details() or "", self.embedder) from error
        self._answered[self.embedder] = time.monotonic()
        shape = tuple(response.outputs[0].shape)
        return np.frombuffer(response.raw_output_contents[0], dtype="<f4").reshape(shape)

    async def generate(
        self,
        messages: Sequence[Mapping[str, str]],
        params: Mapping[str, Any],
        *,
        model: str | None = None,
    ) -> AsyncIterator[GenerationChunk]:
        """Streams an answer; the last chunk has a finish reason and the usage.

        Raises:
            InvalidRequest, PromptTooLong: the model refuses the prompt or a parameter.
            ModelUnavailable, Overloaded, DeadlineExceeded: no answer, or it broke off.
        """
        model = model or self.generator
        request = service_pb2.ModelInferRequest(model_name=model, id=current_call().request_id)
        request.parameters[_EMPTY_FINAL].bool_param = True
        _add_texts(request, "MESSAGES", [json.dumps(list(messages), ensure_ascii=False)])
        _add_texts(request, "PARAMS", [json.dumps(dict(params), ensure_ascii=False)])
        call = self._stub.ModelStreamInfer(_once(request), **_options())
        responses = aiter(call)
        finished, region = False, None
        try:
            async for response in responses:
                if response.error_message:
                    await ended(responses)
                    raise _stream_error(response.error_message, model)
                if region is None:
                    # They came before the first response.
                    region = _region(await call.initial_metadata())
                final = response.infer_response.parameters[_FINAL].bool_param
                if final:
                    # Before its text is handed on: whoever has the last chunk may close this.
                    await ended(responses)
                chunk = _chunk(response.infer_response, region)
                if chunk is not None:
                    finished = finished or bool(chunk.finish_reason)
                    self._answered[model] = time.monotonic()
                    yield chunk
                if final:
                    break
        except grpc.aio.AioRpcError as error:
            raise _domain_error(error.code(), error.details() or "", model) from error
        finally:
            call.cancel()
        if not finished:
            raise ModelUnavailable(f"the model {model} broke off its answer")

    def pulse(self, model: str) -> Pulse:
        """Tells whether the embedder, or a generator, works."""
        infer = self._probe_embedder if model == self.embedder else partial(self._probe_generator, model)
        return Pulse(infer, lambda: self._answered.get(model, float("-inf")))

    async def _probe_embedder(self) -> None:
        await self.embed([PROBE_TEXT])

    async def _probe_generator(self, model: str) -> None:
        """The generator answers a probe from beside its line. One that knows no probes writes one token."""
        async for _ in self.generate([{"role": "user", "content": PROBE_TEXT}], _PROBE, model=model):
            pass


def _options() -> dict[str, Any]:
    call = current_call()
    return {"metadata": ((REQUEST_ID_KEY, call.request_id), *call.trace), "timeout": remaining(call)}


async def ended(responses: AsyncIterator[Any]) -> None:
    """Reads a stream to its end, for a moment; its last response has come, and the end is right behind it.

    Triton 2.51 never frees a request whose stream is cancelled just behind its last response: each one costs
    memory for good, and the model cannot be unloaded any more.
    """
    with suppress(TimeoutError, grpc.aio.AioRpcError):
        async with asyncio.timeout(_END_LIMIT):
            async for _ in responses:
                pass


async def _once(request: Any) -> AsyncIterator[Any]:
    yield request


def _add_texts(request: Any, name: str, texts: Sequence[str]) -> None:
    """Adds a BYTES tensor of shape ``[len(texts), 1]``: each element a little-endian length and the bytes."""
    encoded = [text.encode() for text in texts]
    request.inputs.add(name=name, datatype="BYTES", shape=[len(encoded), 1])
    request.raw_input_contents.append(b"".join(struct.pack("<I", len(item)) + item for item in encoded))


def _bytes_tensor(raw: bytes) -> str:
    """The only element of a BYTES tensor."""
    (length,) = struct.unpack_from("<I", raw)
    return raw[4 : 4 + length].decode()


def _region(metadata: Any) -> str:
    """What the proxy in front of the model says where it is."""
    for key, value in metadata or ():
        if key == REGION_KEY and isinstance(value, str):
            return value[:_LONGEST_REGION]
    return ""


def _chunk(response: Any, region: str) -> GenerationChunk | None:
    """None for the empty response that only carries the final flag."""
    if not response.outputs:
        return None
    values = {
        output.name: _bytes_tensor(raw)
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }
    usage = values.get("USAGE", "")
    return GenerationChunk(
        values["TEXT"], values.get("FINISH_REASON", ""), json.loads(usage) if usage else {}, region
    )


def _stream_error(message: str, model: str) -> DomainError:
    """Triton reports errors of a stream as text, behind ``[request id: …] `` at times."""
    for token, code in (
        ("prompt_too_long: ", None),
        ("invalid_argument: ", grpc.StatusCode.INVALID_ARGUMENT),
        ("overloaded: ", grpc.StatusCode.UNAVAILABLE),
    ):
        if token in message:
            public = message.partition(token)[2]
            return PromptTooLong(public) if code is None else _domain_error(code, token + public, model)
    return _domain_error(grpc.StatusCode.UNAVAILABLE, message, model)


def _domain_error(code: grpc.StatusCode, details: str, model: str) -> DomainError:
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        # The generator's own words are safe to show; they name the parameter, never the prompt.
        return InvalidRequest.whole(
            details.partition("invalid_argument: ")[2] or f"the model {model} refuses the input"
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(f"the model {model} did not answer in time")
    if "overloaded: " in details:
        return Overloaded("every slot of the model is taken", retry_after=RETRY_AFTER_OVERLOAD)
    if code in _FAULTS and _DEAD not in details:
        return ModelFailed(f"the model {model} failed")
    return ModelUnavailable(f"the model {model} cannot be reached")
