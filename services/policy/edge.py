"""Decides at the edge of the platform who may come in, before a request has reached any service.

Rules:

- Who calls is known from the claims that the proxy has verified, and from nothing else. Headers say nothing.
- The action is that of the method. A path that is no method of the platform is refused.
- Whatever is missing, unreadable or unknown is refused.
- A request that passes carries who sends it in headers of ours, for logs and rate limits. Those that the
  client sent under such names are replaced or taken out: nobody can pass for another.

The services check the token and the action again: the edge saves them work, it does not stand in for them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from services.common.auth import caller_of
from services.common.errors import InvalidCredentials, PermissionDenied
from services.common.identity import Caller
from services.common.permissions import METHODS, PUBLIC_METHODS
from services.policy.ports import DecisionEngine

HEADERS = "x-causeway-"
"""What the names of our headers begin with."""
TENANT_HEADER = "x-causeway-tenant"
SUBJECT_HEADER = "x-causeway-subject"
CLASS_HEADER = "x-causeway-class"

_CLASSES = {"chat.complete": "chat", "models.embed": "embed"}
"""Actions whose calls cost more than reading or writing a row, and are limited by themselves."""
READ = "read"
"""The class whose calls the policy service does not count: asking it would cost more than most of them do, so
each ingress limits them for itself."""
_SAFE = "!#$&'()*+/:;=?@[]^_`{|}~.-"
"""Printable characters that stand in a header as they are; a comma and a quote would look like syntax."""
_METHOD = re.compile(r"/[A-Za-z0-9_.]{1,256}/[A-Za-z0-9_]{1,128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeRequest:
    """A request as the proxy describes it."""

    path: str
    """The path, with the query."""
    claims: Mapping[str, object] | None
    """Claims of the token that the proxy has verified; None when there was no token."""
    headers: Collection[str] = ()
    """Names of the headers that the client sent, in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A request that may pass."""

    method: str
    """The full name of the gRPC method."""
    action: str = ""
    """What it does; empty for a public method."""
    caller: Caller | None = None
    """Who calls; None for a public method."""
    counted: bool = False
    """Whether the call counts against the limits that hold over all ingresses together."""
    set_headers: Mapping[str, str] = field(default_factory=dict)
    """Headers that say who calls; they replace what the client sent."""
    remove_headers: tuple[str, ...] = ()
    """Headers that the client had no business to send."""


class Edge:
    """Admits requests."""

    def __init__(self, engine: DecisionEngine, issuer: str, audience: str) -> None:
        """``issuer`` and ``audience``: what the claims must name. A proxy may know other issuers, too."""
        self._engine = engine
        self._issuer = issuer
        self._audience = audience

    def admit(self, request: EdgeRequest) -> Admission:
        """Lets the request in.

        Raises:
            InvalidCredentials: no verified token, or one that does not speak for anybody here.
            PermissionDenied: the caller may not do this, or there is nothing at this path.
        """
        method = _method_of(request.path)
        foreign = [name for name in request.headers if name.startswith(HEADERS)]
        if method in PUBLIC_METHODS:
            return Admission(method=method, remove_headers=tuple(sorted(foreign)))
        caller = self._caller(request.claims)
        action = METHODS.get(method)
        if action is None:
            raise PermissionDenied("there is no such method here", metadata={"action": "unknown"})
        if not self._engine.decide(caller, action, "").allowed:
            raise PermissionDenied("the caller's roles do not allow this", metadata={"action": action})
        kind = class_of(action)
        ours = {
            TENANT_HEADER: caller.tenant,
            SUBJECT_HEADER: header_value(caller.subject),
            CLASS_HEADER: kind,
        }
        return Admission(
            method=method,
            action=action,
            caller=caller,
            counted=kind != READ,
            set_headers=ours,
            remove_headers=tuple(sorted(name for name in foreign if name not in ours)),
        )

    def _caller(self, claims: Mapping[str, object] | None) -> Caller:
        if claims is None:
            raise InvalidCredentials("the call must carry a bearer token")
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if claims.get("iss") != self._issuer or self._audience not in audiences:
            raise InvalidCredentials("the token is not for this platform")
        return caller_of(claims)


def class_of(action: str) -> str:
    """What kind of work an action is, for rate limits: ``chat``, ``embed``, ``write`` or READ."""
    known = _CLASSES.get(action)
    if known is not None:
        return known
    return READ if action.endswith((".read", ".list", ".search", ".query", ".check")) else "write"


def header_value(text: str) -> str:
    """``text`` as a header can carry it: percent-encoded but for printable ASCII (RFC 3986)."""
    return quote(text, safe=_SAFE)


def _method_of(path: str) -> str:
    """The method that a path names; empty when it names none."""
    plain = path.partition("?")[0]
    return plain if _METHOD.fullmatch(plain) else ""
