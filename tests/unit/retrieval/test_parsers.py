"""What is read out of each kind of document, and what is done with hostile and broken ones."""

from __future__ import annotations

import io
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfWriter

from fakes.retrieval_pdf import pdf_with_text
from services.retrieval.model import MediaType
from services.retrieval.reading import html, markdown, pdf, plain
from services.retrieval.reading.blocks import Block, Kind
from services.retrieval.reading.chunker import Chunker
from services.retrieval.reading.decode import utf8
from services.retrieval.reading.failures import Empty, TooLong, Unreadable
from services.retrieval.reading.limits import ReadLimits
from services.retrieval.reading.read import read

LIMITS = ReadLimits()


def texts(blocks: list[Block]) -> list[str]:
    return [block.text for block in blocks]


def by_words(some: object) -> list[int]:
    assert isinstance(some, list)
    return [len(text.split()) for text in some]


# UTF-8


@pytest.mark.parametrize(
    "content,offset",
    [
        (b"abc\xff", 3),
        ("caf\u00e9".encode("latin-1"), 3),
        (b"\xff\xfea\x00", 0),
        (b"ok\xed\xa0\x80", 2),
        (b"x" * 70_000 + b"\xc3", 70_000),
    ],
    ids=["stray", "latin-1", "utf-16", "surrogate", "cut off"],
)
def test_what_is_not_utf8_is_refused_with_the_place(content: bytes, offset: int) -> None:
    with pytest.raises(Unreadable) as caught:
        utf8(content)
    assert caught.value.metadata == {"byte_offset": str(offset)}


def test_a_zero_byte_is_not_text() -> None:
    with pytest.raises(Unreadable) as caught:
        utf8("ä\0".encode())
    assert caught.value.metadata == {"byte_offset": "2"}


def test_a_byte_order_mark_and_other_line_ends_are_taken_off() -> None:
    assert utf8(b"\xef\xbb\xbfa\r\nb\rc") == "a\nb\nc"


# Plain text


def test_underlined_lines_are_headings_by_the_order_of_their_marks() -> None:
    text = "Title\n*****\n\nText.\n\nPart\n====\n\nMore.\n\nNext\n****\n"
    headings = [(block.text, block.level) for block in plain.parse(text) if block.kind is Kind.HEADING]
    assert headings == [("Title", 1), ("Part", 2), ("Next", 1)]


def test_rules_and_drawings_are_not_headings() -> None:
    text = "A paragraph of two\nlines here\n----------\n\n-----\n=====\n\n   code\n   ----\n"
    assert all(block.kind is not Kind.HEADING for block in plain.parse(text))


def test_indented_paragraphs_keep_their_lines() -> None:
    (prose, code) = plain.parse("Say:\n\n   a = 1\n     b = 2")
    assert prose.kind is Kind.TEXT
    assert code == Block(Kind.LINES, "   a = 1\n     b = 2")


@given(st.text())
def test_plain_text_loses_nothing_but_underlines(text: str) -> None:
    text = text.replace("\r", "")
    kept = "".join("".join(texts(plain.parse(text))).split())
    marks = set('=-*~^#"+`')
    assert [c for c in kept if c not in marks] == [c for c in "".join(text.split()) if c not in marks]


# Markdown


def test_markdown_gives_headings_paragraphs_code_and_tables() -> None:
    text = (
        "# One\n\nSome *text* with `code` and a [link](https://example.org).\n\n"
        "```python\nx = 1\n```\n\n- first\n- second\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    )
    assert markdown.parse(text) == [
        Block(Kind.HEADING, "One", 1),
        Block(Kind.TEXT, "Some text with code and a link."),
        Block(Kind.LINES, "x = 1"),
        Block(Kind.TEXT, "first"),
        Block(Kind.TEXT, "second"),
        Block(Kind.LINES, "a | b"),
        Block(Kind.LINES, "1 | 2"),
    ]


def test_markdown_reads_raw_html_as_html() -> None:
    text = "<div><script>steal()</script><p hidden>no</p><p>yes</p></div>\n\nAnd <b>this</b>.\n"
    assert texts(markdown.parse(text)) == ["yes", "And this."]


def test_images_give_their_alternative_text() -> None:
    assert texts(markdown.parse("![a *cat*](cat.png)")) == ["a cat"]


def test_deeply_nested_quotes_keep_their_text() -> None:
    assert texts(markdown.parse("> " * 60 + "deep")) == ["deep"]


# HTML


def test_html_gives_what_a_reader_sees() -> None:
    page = """<!doctype html><html><head><title>t</title><style>p{}</style></head><body>
    <nav>menu</nav><h1>Head <em>line</em></h1><p>One
    two<br>three</p><script>x()</script><!-- comment -->
    <ul><li>a</li><li>b</li></ul><pre>  code
    more</pre><table><tr><th>k</th><td>v</td></tr></table>
    <p hidden>h1</p><p style="color:red;DISPLAY : none">h2</p><p aria-hidden=true>h3</p>
    <div role=navigation>h4</div><template>h5</template><button>h6</button><noscript>h7</noscript></body>"""
    assert html.parse(page) == [
        Block(Kind.HEADING, "Head line", 1),
        Block(Kind.TEXT, "One two\nthree"),
        Block(Kind.TEXT, "a"),
        Block(Kind.TEXT, "b"),
        Block(Kind.LINES, "  code\n    more"),
        Block(Kind.TEXT, "k | v"),
    ]


def test_entities_are_characters() -> None:
    assert texts(html.parse("<p>a &amp; b &#x20AC;</p>")) == ["a & b €"]


@pytest.mark.parametrize("page", ["", "<", "<p", "</p></p>", "<table><p>x", "<svg><p>", "\u0000<p>\u0000"])
def test_broken_html_is_read_without_complaint(page: str) -> None:
    html.parse(page)


def test_deeply_nested_html_does_not_run_out_of_stack() -> None:
    assert texts(html.parse("<div>" * 3_000 + "deep")) == ["deep"]


@settings(max_examples=200)
@given(st.text(alphabet="<>/ab =\"'!-&;#x0pdivscript", max_size=200))
def test_no_html_breaks_the_parser(page: str) -> None:
    for block in html.parse(page):
        assert block.text.strip()


@settings(max_examples=200)
@given(st.text(alphabet="#*_`>[]()!|-+ \n\tab1.<&;\\~=", max_size=200))
def test_no_markdown_breaks_the_parser(text: str) -> None:
    for block in markdown.parse(text):
        assert block.text.strip()


# PDF


def test_a_pdf_gives_its_text() -> None:
    blocks = pdf.parse(pdf_with_text("Hello from a page."), LIMITS)
    assert "Hello from a page." in " ".join(texts(blocks))


@pytest.mark.parametrize(
    "content",
    [b"%PDF-", b"%PDF-1.7\n%%EOF", b"%PDF-1.4\n" + b"\xff" * 1000, b"hello", b"PK\x03\x04"],
    ids=["header", "hollow", "noise", "text", "zip"],
)
def test_what_is_no_whole_pdf_is_unreadable(content: bytes) -> None:
    with pytest.raises(Unreadable):
        pdf.parse(content, LIMITS)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_pdf_that_breaks_off_fails_cleanly_or_gives_text(share: float) -> None:
    whole = pdf_with_text("Hello from a page.")
    with suppress(Unreadable):
        assert "Hello" in " ".join(texts(pdf.parse(whole[: int(len(whole) * share)], LIMITS)))


def test_an_encrypted_pdf_is_unreadable_and_says_so() -> None:
    writer = PdfWriter(clone_from=io.BytesIO(pdf_with_text("secret")))
    writer.encrypt("password", algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    with pytest.raises(Unreadable, match="encrypted"):
        pdf.parse(out.getvalue(), LIMITS)


def test_a_pdf_that_only_restricts_printing_is_read() -> None:
    writer = PdfWriter(clone_from=io.BytesIO(pdf_with_text("open to read")))
    writer.encrypt("", owner_password="owner", algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    assert "open to read" in " ".join(texts(pdf.parse(out.getvalue(), LIMITS)))


def test_a_pdf_with_too_many_pages_is_refused_before_it_is_read() -> None:
    with pytest.raises(TooLong, match="pages"):
        pdf.parse(pdf_with_text("x", pages=3), ReadLimits(pages=2))


# All of it


@pytest.mark.parametrize(
    "media_type,content",
    [
        (MediaType.TEXT, b""),
        (MediaType.TEXT, b" \n\t\n"),
        (MediaType.MARKDOWN, b"<!-- nothing -->"),
        (MediaType.HTML, b"<script>x()</script>"),
        (MediaType.PDF, b""),
        (MediaType.PDF, pdf_with_text("")),
    ],
)
def test_a_document_without_text_is_empty(media_type: MediaType, content: bytes) -> None:
    with pytest.raises(Empty):
        read(media_type, "t", content, Chunker(by_words), LIMITS)


def test_a_document_of_too_many_passages_is_refused() -> None:
    with pytest.raises(TooLong, match="passages"):
        read(MediaType.TEXT, "t", b"word " * 5_000, Chunker(by_words), ReadLimits(chunks=3))


def test_a_document_of_too_much_text_is_refused() -> None:
    with pytest.raises(TooLong, match="characters"):
        read(MediaType.TEXT, "t", b"word " * 50, Chunker(by_words), ReadLimits(characters=100))
