"""Documents that cannot be read: a clear refusal, and nothing of them half-ingested."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from support.platform import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

Command = Callable[..., subprocess.CompletedProcess[str]]

TENANT = "bad-documents"
WORD = "zyzzogeton"
"""A word that stands in every document, so that a search finds whatever got through."""


def broken(name: str, folder: Path) -> Path:
    """A document that cannot be ingested."""
    path = folder / name
    match name:
        case "corrupt.pdf":
            path.write_bytes(b"%PDF-1.7\n" + f"{WORD} ".encode() * 50 + b"\nxref broken")
        case "empty.txt":
            path.write_bytes(b"")
        case "blank.md":
            path.write_text(" \n\n\t\n")
        case "latin1.txt":
            path.write_bytes(f"{WORD} caf\xe9".encode("latin-1"))
        case "large.txt":
            path.write_bytes(f"{WORD} ".encode() * (50 * 2**20 // (len(WORD) + 1)))
    return path


def rows(platform: Platform, table: str) -> int:
    """How many rows the tenant has."""
    with psycopg.connect(platform.postgres_conninfo("postgres")) as connection:
        # The superuser passes the policies by, so the tenant is named.
        found = connection.execute(
            f"select count(*) from retrieval.{table} where tenant_id = %s",  # noqa: S608
            (TENANT,),
        ).fetchone()
        assert found is not None
        return int(found[0])


def failures(platform: Platform, file: str) -> list[tuple[str, str, str]]:
    """State of the documents that came from a file, and state and reason of their operations."""
    with psycopg.connect(platform.postgres_conninfo("postgres")) as connection:
        return connection.execute(
            "select d.state, o.state, o.failure ->> 'reason' from retrieval.documents d"
            " join retrieval.operations o on o.tenant_id = d.tenant_id and o.document_id = d.id"
            " where d.tenant_id = %s and d.source like %s",
            (TENANT, f"%{file}"),
        ).fetchall()


@pytest.mark.parametrize(
    "name,reason,words",
    [
        ("corrupt.pdf", "DOCUMENT_UNREADABLE", "damaged"),
        ("empty.txt", "DOCUMENT_EMPTY", "the document is empty"),
        ("blank.md", "DOCUMENT_EMPTY", "no text"),
        ("latin1.txt", "DOCUMENT_UNREADABLE", "not valid UTF-8 at byte 14"),
        ("large.txt", "DOCUMENT_TOO_LARGE", "at most 33554432 are taken"),
    ],
)
def test_a_bad_document_is_a_failed_operation_that_says_why_and_leaves_no_passages(
    name: str, reason: str, words: str, causeway: Command, platform: Platform, tmp_path: Path
) -> None:
    done = causeway("ingest", str(broken(name, tmp_path)), "--tenant", TENANT)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert Path(name).stem in said
    assert words in said
    assert failures(platform, name) == [("failed", "failed", reason)]
    assert "Traceback" not in said
    assert "internal" not in said.lower()
    assert rows(platform, "chunks") == 0
    found = causeway("search", WORD, "--tenant", TENANT, "--json")
    assert '"results": []' in found.stdout, found.stderr


def test_a_good_document_beside_a_bad_one_is_ingested(causeway: Command, tmp_path: Path) -> None:
    tenant = f"{TENANT}-mixed"
    (tmp_path / "good.txt").write_text(f"The word {WORD} names a genus of leafhoppers.")
    broken("latin1.txt", tmp_path)
    done = causeway("ingest", str(tmp_path), "--tenant", tenant)
    assert done.returncode == 1
    assert "latin1" in done.stdout + done.stderr
    found = causeway("search", WORD, "--tenant", tenant)
    assert "good" in found.stdout
