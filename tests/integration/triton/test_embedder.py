"""The embedder as its callers meet it."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import numpy as np
import pytest
from integration.triton.harness import Triton

from triton_models.client import embed_request, embeddings
from triton_models.runtime.embedder import Embedder
from triton_models.runtime.settings import EmbedderSettings, read_settings

TEXTS = [
    "a",
    "What does the with statement do?",
    "The quick brown fox. " * 40,
    "Ünïcode 日本語 🎉",
    "x " * 500,
]


@pytest.fixture(scope="module")
def raw(triton: Triton) -> Embedder:
    """The same encoder without Triton."""
    settings = read_settings(triton.repository.path / "embedder" / "1", EmbedderSettings)
    return Embedder(settings.model, settings.tokenizer, threads=1)


async def embed(stub: Any, texts: list[str]) -> list[tuple[float, ...]]:
    return embeddings(await stub.ModelInfer(embed_request(texts), timeout=30))


async def test_vectors_are_those_of_the_encoder_itself(stub: Any, raw: Embedder) -> None:
    assert np.abs(np.array(await embed(stub, TEXTS)) - raw.embed(TEXTS)).max() < 1e-5


async def test_texts_of_all_lengths_from_many_callers_at_once_keep_their_own_vectors(
    stub: Any, raw: Embedder
) -> None:
    requests = [[TEXTS[index % 5] + str(index), f"second {index}"][: 1 + index % 2] for index in range(60)]
    answers = await asyncio.gather(*(embed(stub, texts) for texts in requests))
    for texts, vectors in zip(requests, answers, strict=True):
        assert np.abs(np.array(vectors) - raw.embed(texts)).max() < 1e-5


@pytest.mark.parametrize(
    "bad, reason",
    [(b"\xff\xfe", "UTF-8"), (b"", "empty"), (b"   ", "empty"), (b"x" * 65_537, "limit of 65536")],
)
async def test_a_bad_text_fails_only_its_own_request(
    stub: Any, raw: Embedder, bad: bytes, reason: str
) -> None:
    async def refused() -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ModelInfer(embed_request([bad]), timeout=30)
        return caught.value

    good = asyncio.gather(*(embed(stub, ["good"]) for _ in range(20)))
    error = await refused()
    answers = await good
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "invalid_argument: TEXT" in (error.details() or "")
    assert reason in (error.details() or "")
    expected = raw.embed(["good"])
    assert all(np.abs(np.array(vectors) - expected).max() < 1e-5 for vectors in answers)


async def test_more_texts_than_a_batch_holds_are_refused_clearly(stub: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ModelInfer(embed_request(["x"] * 17), timeout=30)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
