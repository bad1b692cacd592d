"""Text to unit-length vectors with ONNX Runtime: the embedder without Triton.

Transformers on a CPU pay for every padded position, so texts are sorted by length and run in small groups,
each padded only to its own longest text.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from triton_models.errors import InvalidInputError

# Its official builds tell their makers how they are used, unless this is set before the import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

MAX_TEXT_BYTES = 64 * 1024
"""Longest text accepted, in bytes of UTF-8: tokenising costs time long before truncation helps."""

MAX_TOKENS = 256
"""Where a text is cut, the length this model was trained for (its ``sentence_bert_config.json``)."""

GROUP_TOKENS = 256
"""Most padded positions run at once. Larger groups pad more and fall out of the CPU's cache (README.md)."""


def decode_text(raw: bytes) -> str:
    """The text of one TEXT element; raises ``InvalidInputError`` for anything that is not usable text."""
    if len(raw) > MAX_TEXT_BYTES:
        raise InvalidInputError("TEXT", f"{len(raw)} bytes are more than the limit of {MAX_TEXT_BYTES}")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInputError("TEXT", f"not valid UTF-8 at byte {error.start}") from None
    if not text.strip():
        raise InvalidInputError("TEXT", "must not be empty")
    return text


def groups_by_length(lengths: Sequence[int], budget: int = GROUP_TOKENS) -> list[list[int]]:
    """Indices of ``lengths``, shortest first, cut so that a group's padded size is at most ``budget``.

    A text longer than the budget is a group of its own. Every index appears exactly once.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        # Sorted upwards, so the newcomer is the longest of its group and sets the padded width.
        if groups and (len(groups[-1]) + 1) * lengths[index] <= budget:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


class Embedder:
    """The sentence encoder and its tokenizer. Not for use from several threads at once."""

    def __init__(self, model: Path, tokenizer: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning threads would take the core the other instance needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(str(model), options, providers=providers)
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        # The file on disk pads everything to 128 positions; padding is done per group instead.
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Vectors of shape (len(texts), 384), each of length 1, in the order of ``texts``."""
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]
        vectors: npt.NDArray[np.float32] | None = None
        for group in groups_by_length([len(ids) for ids in tokens]):
            part = self._run([tokens[index] for index in group])
            if vectors is None:
                vectors = np.empty((len(tokens), part.shape[1]), np.float32)
            vectors[group] = part
        return vectors if vectors is not None else np.empty((0, 0), np.float32)

    def _run(self, tokens: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        width = max(len(ids) for ids in tokens)
        input_ids = np.zeros((len(tokens), width), np.int32)
        attention_mask = np.zeros((len(tokens), width), np.int32)
        for row, ids in enumerate(tokens):
            input_ids[row, : len(ids)] = ids
            attention_mask[row, : len(ids)] = 1
        feed = {"input_ids": input_ids, "attention_mask": attention_mask}
        vectors: npt.NDArray[np.float32] = self._session.run(None, feed)[0]
        return vectors
