"""What can be ingested."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli import corpus
from cli.corpus import CorpusError


def test_the_language_reference_is_one_document_for_each_topic() -> None:
    from pydoc_data.topics import topics

    items = corpus.pydoc_topics()
    assert {item.title for item in items} == set(topics)
    statement = next(item for item in items if item.title == "with")
    assert b"".join(statement.pieces()).decode() == topics["with"]
    assert statement.size == len(topics["with"].encode())


def test_a_folder_gives_its_known_files_in_order_and_names_the_others(tmp_path: Path) -> None:
    for name in ("b.md", "a.txt", "c.bin", ".hidden.md", "sub/d.HTML", ".git/e.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    items, passed = corpus.collect([str(tmp_path)])
    assert [(item.title, item.media_type) for item in items] == [
        ("a.txt", "text"),
        ("b.md", "markdown"),
        ("sub/d.HTML", "html"),
    ]
    assert sorted(Path(path).name for path in passed) == [".hidden.md", "c.bin"]


def test_a_file_named_outright_is_taken_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "NOTES").write_text("x")
    items, _ = corpus.collect([str(tmp_path / "NOTES")])
    assert items[0].media_type == "text"


@pytest.mark.parametrize("name", ["", "missing.txt", "pipe"])
def test_what_is_not_there_or_not_a_file_is_refused(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CorpusError):
        corpus.collect([str(tmp_path / name)])


def test_the_request_id_follows_everything_that_makes_the_document(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"

    def request_id(content: str, labels: dict[str, str], path: Path = file) -> str:
        path.write_text(content)
        return corpus.collect([str(path)])[0][0].request_id(labels)

    first = request_id("one", {})
    assert request_id("one", {}) == first
    others = {request_id("two", {}), request_id("one", {"a": "b"}), request_id("one", {}, tmp_path / "a.md")}
    assert len(others | {first}) == 4


def test_a_file_name_that_is_not_utf_8_still_has_a_title(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.txt"
    with open(path, "wb") as file:  # noqa: PTH123 - a name that is not text
        file.write(b"x")
    items, _ = corpus.collect([str(tmp_path)])
    assert items[0].title == "caf?.txt"
    assert items[0].request_id({})
