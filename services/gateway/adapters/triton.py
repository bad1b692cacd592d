"""The models in Triton."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, cast

from services.common.pulse import Pulse
from services.common.triton import GenerationChunk, TritonClient
from services.gateway.model import Usage
from services.gateway.ports import Piece, Prompt

_LARGEST_SEED = 2**32 - 2
"""The engine takes the next number for "choose one"."""
_MOST_CONTINUED = 32_768
"""The generator's limit."""


class TritonGenerator:
    """services.gateway.ports.Generator."""

    def __init__(self, triton: TritonClient, pulse: Pulse) -> None:
        self._triton = triton
        self._pulse = pulse

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        """Streams an answer; closing it cancels Triton's RPC, and so the model's work."""
        stream = self._triton.generate(_messages(prompt), _params(prompt))
        async with aclosing(cast("AsyncGenerator[GenerationChunk, None]", stream)) as chunks:
            async for chunk in chunks:
                usage = _usage(chunk.usage) if chunk.usage else None
                yield Piece(chunk.text, chunk.finish_reason, usage, chunk.region)

    async def ready(self) -> bool:
        """Whether it works."""
        return await self._pulse.works()


class TritonEmbedder:
    """services.gateway.ports.Embedder."""

    def __init__(self, triton: TritonClient, pulse: Pulse) -> None:
        self._triton = triton
        self._pulse = pulse

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """A vector for each text; batches go to Triton beside one another."""
        vectors: Sequence[Sequence[float]] = (await self._triton.embed(texts)).tolist()
        return vectors

    async def ready(self) -> bool:
        """Whether it works."""
        return await self._pulse.works()


def _messages(prompt: Prompt) -> Sequence[Mapping[str, str]]:
    """The prompt, and behind it the beginning of the answer when there is one."""
    return (
        [*prompt.messages, {"role": "assistant", "content": prompt.said}] if prompt.said else prompt.messages
    )


def _params(prompt: Prompt) -> Mapping[str, Any]:
    params: dict[str, Any] = {
        "max_tokens": prompt.max_tokens,
        "temperature": prompt.temperature,
        "stop": list(prompt.stop),
        "cache_key": prompt.cache_key,
    }
    if prompt.said:
        params["continue_from"] = min(prompt.said_tokens, _MOST_CONTINUED)
    if prompt.top_p is not None:
        params["top_p"] = prompt.top_p
    if prompt.seed is not None:
        params["seed"] = min(prompt.seed, _LARGEST_SEED)
    return params


def _usage(usage: Mapping[str, Any]) -> Usage:
    """Of the whole answer: its beginning was part of the prompt, and is counted as answer all the same."""
    continued = int(usage.get("continued_tokens", 0))
    return Usage(
        prompt_tokens=int(usage.get("prompt_tokens", 0)) - continued,
        completion_tokens=int(usage.get("completion_tokens", 0)) + continued,
        cached_tokens=int(usage.get("cached_tokens", 0)),
    )
