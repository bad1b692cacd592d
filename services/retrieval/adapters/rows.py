"""Rows of PostgreSQL as the domain's objects, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from services.common.errors import Code, Reason
from services.retrieval.model import (
    Document,
    DocumentState,
    Failure,
    MediaType,
    Operation,
    OperationState,
)


def document(row: Mapping[str, Any]) -> Document:
    """A row of retrieval.documents, without its content."""
    return Document(
        id=row["id"],
        title=row["title"],
        media_type=MediaType(row["media_type"]),
        source=row["source"],
        labels=row["labels"],
        state=DocumentState(row["state"]),
        size_bytes=row["size_bytes"],
        chunk_count=row["chunk_count"],
        sha256=row["sha256"],
        create_time=row["create_time"],
    )


def operation(row: Mapping[str, Any]) -> Operation:
    """A row of retrieval.operations."""
    return Operation(
        id=row["id"],
        document_id=row["document_id"],
        state=OperationState(row["state"]),
        chunks_total=row["chunks_total"],
        chunks_indexed=row["chunks_indexed"],
        failure=None if row["failure"] is None else _failure(row["failure"]),
        create_time=row["create_time"],
        update_time=row["update_time"],
    )


def failure_json(failure: Failure) -> Jsonb:
    """As it is stored: codes and reasons by name, so that their numbers may change."""
    return Jsonb(
        {
            "code": failure.code.name,
            "reason": failure.reason.name,
            "message": failure.message,
            "metadata": dict(failure.metadata),
        }
    )


def _failure(stored: Mapping[str, Any]) -> Failure:
    return Failure(
        code=Code[stored["code"]],
        reason=Reason[stored["reason"]],
        message=stored["message"],
        metadata=stored["metadata"],
    )
