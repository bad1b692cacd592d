"""Errors that clients see: a reason, a canonical code, a public message, and nothing of the cause.

Services raise subclasses of DomainError; one interceptor turns them into a gRPC status with
google.rpc.ErrorInfo and, where apt, BadRequest, QuotaFailure or RetryInfo (AIP-193). The cause travels as
``raise … from error`` and reaches the log only. Nothing here imports grpc, so that cores may raise freely.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar


class Code(enum.IntEnum):
    """The canonical gRPC codes (https://grpc.io/docs/guides/status-codes/)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Reason(enum.IntEnum):
    """``causeway.errors.v1.ErrorReason``; a test holds the two together."""

    UNSPECIFIED = 0
    INVALID_REQUEST = 1
    INVALID_CREDENTIALS = 2
    PERMISSION_DENIED = 3
    CONVERSATION_NOT_FOUND = 4
    DOCUMENT_NOT_FOUND = 5
    OPERATION_NOT_FOUND = 6
    MODEL_NOT_FOUND = 7
    RESERVATION_NOT_FOUND = 8
    REQUEST_ID_REUSED = 9
    INVALID_PAGE_TOKEN = 10
    DOCUMENT_UNREADABLE = 11
    DOCUMENT_EMPTY = 12
    DOCUMENT_TOO_LARGE = 13
    QUOTA_EXCEEDED = 14
    STORE_UNAVAILABLE = 15
    MODEL_UNAVAILABLE = 16
    PEER_UNAVAILABLE = 17
    OVERLOADED = 18
    CONFLICT = 19
    PROMPT_TOO_LONG = 20
    INTERNAL = 21
    DEADLINE_EXCEEDED = 22
    LIMIT_REACHED = 23
    RATE_LIMITED = 24
    NOT_RESUMABLE = 25


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that breaks a rule."""

    field: str
    """Path of the field, such as ``header.title`` or ``texts[3]``."""
    description: str
    """What is wrong with it, for people."""


class DomainError(Exception):
    """An error with a meaning to clients. ``message`` is public: it never holds driver text."""

    reason: ClassVar[Reason] = Reason.UNSPECIFIED
    code: ClassVar[Code] = Code.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after = retry_after

    @property
    def status(self) -> tuple[Code, Reason]:
        """Code and reason that go to the client."""
        return self.code, self.reason


class InvalidRequest(DomainError):
    """The request breaks a limit or a format."""

    reason = Reason.INVALID_REQUEST
    code = Code.INVALID_ARGUMENT

    @classmethod
    def field(cls, field: str, description: str) -> InvalidRequest:
        """For a single field."""
        return cls(f"{field}: {description}", violations=[FieldViolation(field, description)])

    @classmethod
    def whole(cls, description: str) -> InvalidRequest:
        """For the request as a whole."""
        return cls(description, violations=[FieldViolation("", description)])


class InvalidPageToken(InvalidRequest):
    """The page token was not issued for this query."""

    reason = Reason.INVALID_PAGE_TOKEN

    def __init__(self) -> None:
        description = "was not issued by this server for this query"
        super().__init__(f"page_token {description}", violations=[FieldViolation("page_token", description)])


class InvalidCredentials(DomainError):
    """No credentials, or credentials that do not hold."""

    reason = Reason.INVALID_CREDENTIALS
    code = Code.UNAUTHENTICATED


class PermissionDenied(DomainError):
    """The caller's roles do not allow this."""

    reason = Reason.PERMISSION_DENIED
    code = Code.PERMISSION_DENIED


class RequestIdReused(DomainError):
    """The same request_id came before with another request."""

    reason = Reason.REQUEST_ID_REUSED
    code = Code.ALREADY_EXISTS


class StoreUnavailable(DomainError):
    """PostgreSQL, Valkey or Milvus cannot be reached; the call may be retried."""

    reason = Reason.STORE_UNAVAILABLE
    code = Code.UNAVAILABLE


class ModelUnavailable(DomainError):
    """Triton, or a model in it, cannot be reached; the call may be retried."""

    reason = Reason.MODEL_UNAVAILABLE
    code = Code.UNAVAILABLE


class ModelFailed(ModelUnavailable):
    """A model was reached and failed over its input. To clients it is as good as away: another try may go
    well. Whoever would wait for it to come back must know that it is there."""


class PeerUnavailable(DomainError):
    """Another service cannot be reached; the call may be retried."""

    reason = Reason.PEER_UNAVAILABLE
    code = Code.UNAVAILABLE


class Overloaded(DomainError):
    """Every slot is taken and the queue is full; ``retry_after`` says when to come back."""

    reason = Reason.OVERLOADED
    code = Code.RESOURCE_EXHAUSTED


class PromptTooLong(DomainError):
    """The prompt does not fit the model's context."""

    reason = Reason.PROMPT_TOO_LONG
    code = Code.INVALID_ARGUMENT


class DeadlineExceeded(DomainError):
    """The caller's deadline passed first."""

    reason = Reason.DEADLINE_EXCEEDED
    code = Code.DEADLINE_EXCEEDED


class RemoteError(DomainError):
    """A refusal by a peer service, passed on as it came: same code, reason, message and details."""

    def __init__(
        self,
        code: Code,
        reason: Reason,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message, metadata=metadata, violations=violations, retry_after=retry_after)
        self._status = (code, reason)

    @property
    def status(self) -> tuple[Code, Reason]:
        """Code and reason of the peer's answer."""
        return self._status
