"""The gateway's own errors. Those of its peers pass through as they came."""

from __future__ import annotations

from services.common.errors import Code, DomainError, Reason


class ModelNotFound(DomainError):
    """No such model is served."""

    reason = Reason.MODEL_NOT_FOUND
    code = Code.NOT_FOUND


class NotResumable(DomainError):
    """A broken answer cannot be gone on with; the question has to be asked anew."""

    reason = Reason.NOT_RESUMABLE
    code = Code.FAILED_PRECONDITION
