"""Who is calling: set once by the auth interceptor, read anywhere below it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from services.common.errors import InvalidCredentials
from services.common.secret import Secret


@dataclass(frozen=True, slots=True)
class Caller:
    """A verified caller. The tenant is never taken from anywhere else."""

    tenant: str
    """The tenant whose data the caller may touch."""
    subject: str
    """The person or service, unique within the issuer."""
    roles: frozenset[str] = frozenset()
    """Roles of services.common.permissions; unknown ones grant nothing."""
    token: Secret = field(default=Secret(""), compare=False)
    """The bearer token, forwarded to peers."""


_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)


def current_caller() -> Caller:
    """The caller of the RPC being served.

    Raises:
        InvalidCredentials: outside an authenticated RPC.
    """
    caller = _caller.get()
    if caller is None:
        raise InvalidCredentials("the call carries no credentials")
    return caller


def caller_or_none() -> Caller | None:
    """The caller, or None outside an authenticated RPC."""
    return _caller.get()


def become(caller: Caller) -> None:
    """Makes ``caller`` the current one for the rest of this context."""
    _caller.set(caller)


@contextmanager
def acting_as(caller: Caller) -> Iterator[None]:
    """Makes ``caller`` the current one inside a with block."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)
