"""The reader's processes: what a hostile document can do to them, and that it does no more."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from fakes.retrieval_pdf import pdf_with_text
from services.retrieval.adapters.reader import ProcessReader, ReaderConfig
from services.retrieval.errors import DocumentEmpty, DocumentUnreadable
from services.retrieval.model import MediaType

TEXT = b"Some words that can be read."


@pytest.fixture
async def reader(others: set[int]) -> AsyncIterator[ProcessReader]:
    async with ProcessReader(ReaderConfig(timeout=timedelta(seconds=30))) as opened:
        yield opened


def children() -> set[int]:
    """Processes that this one has started and that still run."""
    return {
        int(pid)
        for task in Path("/proc/self/task").iterdir()
        for pid in (task / "children").read_text().split()
    }


@pytest.fixture
def others() -> set[int]:
    """Processes that other tests of this run have started: none of the reader's."""
    return children()


async def test_every_kind_of_document_is_read(reader: ProcessReader) -> None:
    for media_type, content in (
        (MediaType.TEXT, TEXT),
        (MediaType.MARKDOWN, b"# Head\n\n" + TEXT),
        (MediaType.HTML, b"<p>" + TEXT + b"</p>"),
        (MediaType.PDF, pdf_with_text(TEXT.decode())),
    ):
        chunks = await reader.read(media_type, "Title", content)
        assert TEXT.decode() in chunks[0].text
        assert chunks[0].context == "Title"


async def test_failures_keep_their_kind_and_what_they_tell(reader: ProcessReader) -> None:
    with pytest.raises(DocumentEmpty):
        await reader.read(MediaType.TEXT, "T", b" ")
    with pytest.raises(DocumentUnreadable) as caught:
        await reader.read(MediaType.TEXT, "T", b"ok\xff")
    assert caught.value.metadata == {"byte_offset": "2"}
    assert await reader.read(MediaType.TEXT, "T", TEXT)


async def test_one_process_reads_many_documents(reader: ProcessReader, others: set[int]) -> None:
    await reader.read(MediaType.TEXT, "T", TEXT)
    (pid,) = children() - others
    await asyncio.gather(*(reader.read(MediaType.TEXT, "T", TEXT) for _ in range(5)))
    assert children() - others == {pid}


async def test_a_document_that_takes_too_long_fails_and_the_next_is_read() -> None:
    async with ProcessReader(ReaderConfig(timeout=timedelta(seconds=5))) as reader:
        await reader.read(MediaType.TEXT, "T", TEXT)
    async with ProcessReader(ReaderConfig(timeout=timedelta(milliseconds=1))) as hasty:
        with pytest.raises(DocumentUnreadable, match="longer than"):
            await hasty.read(MediaType.TEXT, "T", b"word " * 200_000)
        with pytest.raises(DocumentUnreadable, match="longer than"):
            await hasty.read(MediaType.TEXT, "T", b"word " * 200_000)


async def test_a_document_that_needs_too_much_memory_fails_and_the_next_is_read() -> None:
    async with ProcessReader(ReaderConfig(memory_mib=700)) as reader:
        await reader.read(MediaType.TEXT, "T", TEXT)
        with pytest.raises(DocumentUnreadable):
            await reader.read(MediaType.HTML, "T", b"<p>x" * 8_000_000)
        assert await reader.read(MediaType.TEXT, "T", TEXT)


async def test_a_reader_that_dies_fails_its_document_only(reader: ProcessReader, others: set[int]) -> None:
    await reader.read(MediaType.TEXT, "T", TEXT)
    (pid,) = children() - others
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(DocumentUnreadable, match="brings its reader down"):
        await reader.read(MediaType.TEXT, "T", TEXT)
    assert await reader.read(MediaType.TEXT, "T", TEXT)


async def test_a_cancelled_reading_leaves_no_process_with_half_an_answer(
    reader: ProcessReader, others: set[int]
) -> None:
    task = asyncio.create_task(reader.read(MediaType.TEXT, "T", b"word " * 400_000))
    await asyncio.sleep(0.3)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not children() - others
    (chunk,) = await reader.read(MediaType.TEXT, "T", TEXT)
    assert chunk.text == TEXT.decode()


async def test_no_process_is_left_behind(others: set[int]) -> None:
    async with ProcessReader(ReaderConfig()) as reader:
        await reader.read(MediaType.TEXT, "T", TEXT)
        assert children() - others
    left = children() - others
    assert not left, [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left]
