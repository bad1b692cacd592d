"""Errors of the policy service, each with its reason."""

from __future__ import annotations

from datetime import timedelta

from services.common.errors import Code, DomainError, Reason


class QuotaExceeded(DomainError):
    """The tenant's quota does not hold what was asked for.

    ``retry_after`` says when it will, if nobody else takes the tokens first; it is None when waiting cannot
    help, because the quota is smaller than the request.
    """

    reason = Reason.QUOTA_EXCEEDED
    code = Code.RESOURCE_EXHAUSTED


class ReservationNotFound(DomainError):
    """No such reservation was made by the caller, or it was made too long ago to be remembered."""

    reason = Reason.RESERVATION_NOT_FOUND
    code = Code.NOT_FOUND

    def __init__(self) -> None:
        super().__init__("the caller has no such reservation")


class RateLimited(DomainError):
    """Too many requests in too short a time; ``retry_after`` says when there is room for this one."""

    reason = Reason.RATE_LIMITED
    code = Code.RESOURCE_EXHAUSTED

    def __init__(self, retry_after: timedelta | None) -> None:
        super().__init__("too many requests: the rate limit is reached", retry_after=retry_after)
