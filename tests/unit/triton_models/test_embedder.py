"""The sentence encoder's graph and the grouping around it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file
from tokenizers import Tokenizer
from unit.triton_models.reference_encoder import encode

from triton_models.embedder_onnx import HIDDEN, sentence_encoder
from triton_models.errors import InvalidInputError
from triton_models.manifest import sources
from triton_models.runtime.embedder import MAX_TEXT_BYTES, MAX_TOKENS, Embedder, decode_text, groups_by_length

TEXTS = [
    "How do I reset my password?",
    "cat",
    "The with statement wraps the execution of a block with methods defined by a context manager. " * 3,
    "I forgot my login credentials",
    "Ünïcode, 日本語 and 🎉",
]


def test_nobody_is_told_that_the_engine_is_used(tmp_path: Path) -> None:
    """ONNX Runtime's official builds keep an identity in the home folder and report, unless told not to."""
    folders = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")}
    for folder in folders.values():
        Path(folder).mkdir()
    code = "import triton_models.runtime.embedder"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **folders}, timeout=60)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    model = tmp_path_factory.mktemp("encoder") / "model.onnx"
    weights = load_file(sources()["sentence-encoder-weights"].locate())
    model.write_bytes(sentence_encoder(weights, lambda done, total: None))
    return Embedder(model, sources()["sentence-encoder-tokenizer"].locate(), threads=1)


def test_the_graph_computes_what_an_independent_forward_pass_computes(embedder: Embedder) -> None:
    tokenizer = Tokenizer.from_file(str(sources()["sentence-encoder-tokenizer"].locate()))
    tokenizer.no_padding()
    tokenizer.enable_padding()
    encodings = tokenizer.encode_batch(TEXTS)
    ids = np.array([encoding.ids for encoding in encodings])
    mask = np.array([encoding.attention_mask for encoding in encodings])
    weights = load_file(sources()["sentence-encoder-weights"].locate())
    expected = encode(weights, ids, mask)

    assert np.abs(embedder.embed(TEXTS) - expected).max() < 1e-5


def test_a_text_has_the_same_vector_alone_and_in_any_company(embedder: Embedder) -> None:
    together = embedder.embed(TEXTS * 4)
    for index, text in enumerate(TEXTS):
        assert np.abs(embedder.embed([text])[0] - together[index]).max() < 1e-5


def test_vectors_have_length_one_and_similar_texts_are_close(embedder: Embedder) -> None:
    vectors = embedder.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), HIDDEN)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[3] > 0.5 > vectors[0] @ vectors[1]


def test_a_text_longer_than_the_model_reads_is_cut_and_not_refused(embedder: Embedder) -> None:
    long = "word " * (MAX_TOKENS * 3)
    longer = long + "and something else entirely"
    assert np.array_equal(embedder.embed([long]), embedder.embed([longer]))


def test_no_texts_give_no_vectors(embedder: Embedder) -> None:
    assert embedder.embed([]).shape[0] == 0


@given(st.lists(st.integers(1, MAX_TOKENS), max_size=80), st.integers(1, 2048))
def test_grouping_keeps_every_text_once_within_the_budget(lengths: list[int], budget: int) -> None:
    groups = groups_by_length(lengths, budget)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        padded = len(group) * max(lengths[index] for index in group)
        assert padded <= budget or len(group) == 1


@pytest.mark.parametrize(
    "raw, problem",
    [
        (b"", "empty"),
        (b" \n\t ", "empty"),
        (b"\xff\xfe", "UTF-8 at byte 0"),
        (b"ok \xe6\x97", "UTF-8 at byte 3"),
        (b"x" * (MAX_TEXT_BYTES + 1), "limit"),
    ],
)
def test_text_that_cannot_be_embedded_is_refused_with_the_reason(raw: bytes, problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        decode_text(raw)


def test_the_longest_allowed_text_is_accepted() -> None:
    assert decode_text(b"x" * MAX_TEXT_BYTES) == "x" * MAX_TEXT_BYTES


def test_source_files_are_found_without_importing_their_packages() -> None:
    assert all(isinstance(source.locate(), Path) for source in sources().values())
