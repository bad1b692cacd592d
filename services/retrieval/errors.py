"""This domain's errors, each with its reason."""

from __future__ import annotations

from uuid import UUID

from services.common.errors import Code, DomainError, FieldViolation, Reason
from services.retrieval.model import Failure


class DocumentNotFound(DomainError):
    """No such document is visible to the caller."""

    reason = Reason.DOCUMENT_NOT_FOUND
    code = Code.NOT_FOUND

    def __init__(self, document_id: UUID) -> None:
        super().__init__("no such document", metadata={"document": str(document_id)})


class OperationNotFound(DomainError):
    """No such operation is visible to the caller."""

    reason = Reason.OPERATION_NOT_FOUND
    code = Code.NOT_FOUND

    def __init__(self, operation_id: UUID) -> None:
        super().__init__("no such operation", metadata={"operation": str(operation_id)})


class DocumentTooLarge(DomainError):
    """The document is larger than one that comes in a single message may be."""

    reason = Reason.DOCUMENT_TOO_LARGE
    code = Code.INVALID_ARGUMENT

    def __init__(self, field: str, size: int, limit: int) -> None:
        description = f"must be at most {limit} bytes, is {size}"
        super().__init__(
            f"the document is too large: {field} {description}",
            metadata={"limit_bytes": str(limit), "size_bytes": str(size)},
            violations=[FieldViolation(field, description)],
        )


class IngestionError(DomainError):
    """A document that cannot be indexed, however often it is tried; its operation fails with this."""

    code = Code.FAILED_PRECONDITION

    def failure(self) -> Failure:
        """What the operation keeps of it."""
        return Failure(code=self.code, reason=self.reason, message=self.message, metadata=self.metadata)


class DocumentUnreadable(IngestionError):
    """The bytes are not what the media type says."""

    reason = Reason.DOCUMENT_UNREADABLE


class DocumentEmpty(IngestionError):
    """There is no text in it."""

    reason = Reason.DOCUMENT_EMPTY


class UploadTooLarge(IngestionError):
    """It has more bytes than are taken at all; none of them was read."""

    reason = Reason.DOCUMENT_TOO_LARGE

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            f"the document is too large: it has {size} bytes, and at most {limit} are taken",
            metadata={"limit_bytes": str(limit), "size_bytes": str(size)},
        )


class DocumentTooLong(IngestionError):
    """There is more text in it than is indexed."""

    reason = Reason.DOCUMENT_TOO_LARGE


class IngestionAbandoned(IngestionError):
    """Indexing it failed again and again, for no reason of the document's that we know."""

    reason = Reason.INTERNAL

    @classmethod
    def after(cls, cause: Exception | None) -> IngestionAbandoned:
        """``cause``: the last failure. Its words are shown only where they were made for the public."""
        if isinstance(cause, DomainError):
            return cls(
                f"indexing the document failed repeatedly, the last time because {cause.message};"
                " upload it again",
                metadata={"cause": cause.status[1].name},
            )
        return cls("indexing the document failed repeatedly; upload it again")


class IndexRefusal(DomainError):
    """The index was reached and refuses what was asked of it: our fault, or the document's, and no reason to
    ask again and again."""

    reason = Reason.INTERNAL
    code = Code.INTERNAL


class IndexMissing(Exception):
    """The index has no collection, or not the one that was written to: it has to be rebuilt."""


class IndexingOvertaken(Exception):
    """The index was lost while an indexer filled it, and everything is queued anew: what it did is void."""


class DocumentGone(Exception):
    """The document was deleted while an indexer worked on it."""
