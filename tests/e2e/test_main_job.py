"""The main job, as a newcomer does it: ingest, search, ask, and read where the answer came from."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest
from support.platform import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

Command = Callable[..., subprocess.CompletedProcess[str]]


def document(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    assert done.returncode == 0, done.stderr
    parsed = json.loads(done.stdout)
    assert isinstance(parsed, dict)
    return parsed


def test_an_answer_cites_the_topic_it_came_from(causeway: Command) -> None:
    answer = document(causeway("ask", "What does the with statement do?", "--json"))
    assert set(answer) == {"answer", "citations", "usage", "region", "timing"}
    assert answer["answer"]
    citations = answer["citations"]
    assert isinstance(citations, list)
    assert {"document", "title", "text", "score"} <= set(citations[0])
    assert "with" in {citation["title"] for citation in citations}


def test_an_answer_is_printed_as_it_comes_with_its_sources(causeway: Command) -> None:
    done = causeway("ask", "What does the with statement do?")
    assert done.returncode == 0, done.stderr
    assert "[1] with" in done.stdout


def test_a_question_the_documents_cannot_answer_is_answered_as_such(causeway: Command) -> None:
    answer = document(causeway("ask", "Who won the football world cup in 1998?", "--json"))
    assert answer["citations"] == []
    assert "document" in str(answer["answer"]).lower()


def test_search_finds_the_topic(causeway: Command) -> None:
    found = document(causeway("search", "which values count as false in a condition", "--json"))
    results = found["results"]
    assert isinstance(results, list)
    assert set(results[0]) == {"document", "title", "text", "score"}
    assert "truth" in {result["title"] for result in results}


def test_a_second_ingestion_adds_nothing(causeway: Command) -> None:
    query = ("search", "with statement context manager", "-k", "20", "--json")
    before = document(causeway(*query))
    again = causeway("ingest", "pydoc:", timeout=300)
    assert again.returncode == 0, again.stderr
    assert document(causeway(*query)) == before


def test_another_tenant_finds_nothing_of_it(causeway: Command) -> None:
    found = document(causeway("search", "with statement", "--tenant", "stranger", "--json"))
    assert found["results"] == []


def test_status_names_every_process(causeway: Command, platform: Platform) -> None:
    status = document(causeway("status", "--json"))
    assert status["ready"] is True
    processes = status["processes"]
    assert isinstance(processes, list)
    assert {process["name"] for process in processes} == {p.name for p in platform.report().processes}
