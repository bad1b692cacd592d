"""A forward pass of all-MiniLM-L6-v2 in plain numpy, written from the paper and not from our graph."""

from __future__ import annotations

from collections.abc import Mapping
from math import erf, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
_gelu = np.vectorize(lambda x: 0.5 * x * (1 + erf(x / sqrt(2))))


def _norm(x: Array, weights: Mapping[str, Array], name: str) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
    result: Array = scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]
    return result


def _linear(x: Array, weights: Mapping[str, Array], name: str) -> Array:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def encode(weights: Mapping[str, Array], ids: Array, mask: Array) -> Array:
    """Sentence vectors in float64 of shape (batch, 384), each of length 1."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    x = w["embeddings.word_embeddings.weight"][ids]
    x = x + w["embeddings.position_embeddings.weight"][: ids.shape[1]]
    x = x + w["embeddings.token_type_embeddings.weight"][0]
    x = _norm(x, w, "embeddings.LayerNorm")
    for index in range(6):
        x = _layer(x, w, f"encoder.layer.{index}", mask)
    pooled = (x * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    result: Array = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    return result


def _layer(x: Array, w: Mapping[str, Array], name: str, mask: Array) -> Array:
    batch, length, width = x.shape

    def heads(part: str) -> Array:
        projected = _linear(x, w, f"{name}.attention.self.{part}")
        return projected.reshape(batch, length, 12, 32).transpose(0, 2, 1, 3)

    query, key, value = heads("query"), heads("key"), heads("value")
    scores = query @ key.transpose(0, 1, 3, 2) / sqrt(32)
    scores = np.where(mask[:, None, None, :] == 1, scores, -np.inf)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    attended = (shares @ value).transpose(0, 2, 1, 3).reshape(batch, length, width)
    x = _norm(
        _linear(attended, w, f"{name}.attention.output.dense") + x, w, f"{name}.attention.output.LayerNorm"
    )
    inner = _gelu(_linear(x, w, f"{name}.intermediate.dense"))
    return _norm(_linear(inner, w, f"{name}.output.dense") + x, w, f"{name}.output.LayerNorm")
