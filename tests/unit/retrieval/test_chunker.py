"""How documents are cut. The real tokenizer counts, so that the sizes are those the embedder sees."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.retrieval.model import ChunkText
from services.retrieval.reading.blocks import Block, Kind
from services.retrieval.reading.chunker import Chunker, ChunkSize
from services.retrieval.reading.wordpieces import WordPieces, packaged

SMALL = ChunkSize(pieces=40, context=12, characters=300, short=8)

words = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1, max_size=30).filter(
    lambda text: bool(text.strip())
)
sentences = st.lists(words, min_size=1, max_size=25).map(" ".join)
blocks = st.builds(
    Block,
    st.sampled_from([Kind.TEXT, Kind.TEXT, Kind.LINES]),
    st.lists(sentences, min_size=1, max_size=4).map(". ".join).filter(lambda text: bool(text.strip())),
)
headings = st.builds(Block, st.just(Kind.HEADING), sentences, st.integers(1, 6))
documents = st.lists(blocks | headings, max_size=10)


@cache
def pieces() -> WordPieces:
    return WordPieces(packaged())


def cut(content: list[Block], size: ChunkSize = SMALL, title: str = "A title") -> list[ChunkText]:
    return list(Chunker(pieces().count, size).cut(title, content))


def without_spaces(texts: list[str]) -> str:
    return "".join("".join(texts).split())


@settings(max_examples=150, deadline=None)
@given(documents)
def test_nothing_is_lost_repeated_or_moved(content: list[Block]) -> None:
    chunks = cut(content)
    assert without_spaces([chunk.text for chunk in chunks]) == without_spaces([b.text for b in content])


@settings(max_examples=150, deadline=None)
@given(documents, sentences)
def test_every_passage_fits_the_embedder(content: list[Block], title: str) -> None:
    chunks = cut(content, title=title)
    counts = pieces().count([chunk.indexed for chunk in chunks])
    assert all(count <= SMALL.pieces for count in counts)
    assert all(0 < len(chunk.text) <= SMALL.characters for chunk in chunks)
    assert all(chunk.text.strip() for chunk in chunks)


@settings(max_examples=30, deadline=None)
@given(documents)
def test_cutting_again_gives_the_same(content: list[Block]) -> None:
    assert cut(content) == cut(content)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 5_000,
        "!" * 2_000,
        "漢" * 2_000,
        "한국어" * 700,
        "é" * 3_000,
        "a/" * 2_000,
        "x" * 99 + " " * 3_000 + "y",
    ],
    ids=["word", "marks", "han", "hangul", "accents", "path", "spaces"],
)
def test_what_has_no_place_to_cut_is_cut_all_the_same(text: str) -> None:
    chunks = cut([Block(Kind.TEXT, text)])
    assert without_spaces([chunk.text for chunk in chunks]) == without_spaces([text])
    assert max(pieces().count([chunk.indexed for chunk in chunks])) <= SMALL.pieces


def test_a_document_that_fits_is_one_passage() -> None:
    (chunk,) = cut([Block(Kind.TEXT, "One."), Block(Kind.TEXT, "Two.")])
    assert chunk.text == "One.\n\nTwo."
    assert chunk.context == "A title"


def test_paragraphs_are_cut_between_sentences() -> None:
    text = " ".join(f"This is the sentence with the number {number}." for number in range(12))
    for chunk in cut([Block(Kind.TEXT, text)]):
        assert chunk.text.startswith("This")
        assert chunk.text.endswith(".")


def test_code_is_cut_between_lines_and_keeps_its_indentation() -> None:
    code = "\n".join(f"    value_{number} = compute({number})" for number in range(20))
    chunks = cut([Block(Kind.LINES, code)])
    assert len(chunks) > 1
    assert all(line.startswith("    value_") for chunk in chunks for line in chunk.text.split("\n"))


def test_a_section_begins_a_passage_and_stands_under_its_headings() -> None:
    body = "Some words about it that are more than a few, so that it is not short."
    chunks = cut(
        [
            Block(Kind.HEADING, "Top", 1),
            Block(Kind.TEXT, body),
            Block(Kind.HEADING, "Below", 2),
            Block(Kind.TEXT, body),
            Block(Kind.HEADING, "Next", 1),
            Block(Kind.TEXT, body),
        ]
    )
    assert [chunk.text.split("\n")[0] for chunk in chunks] == ["Top", "Below", "Next"]
    assert [chunk.context for chunk in chunks] == ["A title", "A title > Top", "A title"]


def test_a_heading_stays_with_what_it_heads() -> None:
    fill = "word " * 20
    content = [Block(Kind.TEXT, fill), Block(Kind.HEADING, "Head", 1), Block(Kind.TEXT, fill)] * 4
    for chunk in cut(content, ChunkSize(pieces=40, context=12, characters=300, short=64)):
        assert not chunk.text.rstrip().endswith("Head")


def test_the_rest_of_a_section_stands_under_its_heading() -> None:
    text = " ".join(f"This is the sentence with the number {number}." for number in range(12))
    chunks = cut([Block(Kind.HEADING, "Section", 1), Block(Kind.TEXT, text)])
    assert chunks[0].text.startswith("Section\n\n")
    assert {chunk.context for chunk in chunks[1:]} == {"A title > Section"}


def test_a_long_title_leaves_room_for_the_text() -> None:
    (chunk,) = cut([Block(Kind.TEXT, "Short text.")], title="title " * 100)
    assert 0 < len(chunk.context) < 100


def test_short_sections_share_a_passage() -> None:
    content = [
        block
        for number in range(3)
        for block in (Block(Kind.HEADING, f"H{number}", 1), Block(Kind.TEXT, "Tiny."))
    ]
    assert len(cut(content, ChunkSize(pieces=40, context=12, characters=300, short=32))) == 1


def test_no_blocks_make_no_passages() -> None:
    assert cut([]) == []
