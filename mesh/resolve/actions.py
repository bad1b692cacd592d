"""Parts of what a VirtualService does with a request that need nothing but what it says.

https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPRoute
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus

from mesh.ir.origin import Origin, default
from mesh.ir.route import (
    NO_CHANGES,
    Cors,
    DirectResponse,
    Fault,
    HeaderChanges,
    Redirect,
    Retries,
    Rewrite,
)
from mesh.manifests import virtual_service as api
from mesh.manifests.common import Percent
from mesh.resolve.matches import string_matcher

_DEFAULT_ATTEMPTS = 2
_RETRIABLE = "retriable-status-codes"
_DEFAULT_CONDITIONS = ("connect-failure", "refused-stream", "unavailable", "cancelled", _RETRIABLE)
_DEFAULT = default("retries: 2 for failures to connect, refused streams, UNAVAILABLE and CANCELLED")
_STATUSES = frozenset(status.value for status in HTTPStatus)
_PREFIX = "%PREFIX()%"
_GRPC_CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
    "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
"""https://grpc.io/docs/guides/status-codes/, by number."""


def retries(said: api.HTTPRetry | None, origin: Origin, *, hashed: bool) -> Retries:
    """What a route says, else the mesh (pilot/pkg/networking/core/route/retry/retry.go).

    HTTP's 503 is retried only by those who name it: a server may say it after it has begun on the request.

    `hashed`: hosts are chosen by a consistent hash, so a retry goes to the same host again.
    """
    if said is None:
        return Retries(
            attempts=_DEFAULT_ATTEMPTS,
            conditions=_DEFAULT_CONDITIONS,
            ignore_previous_hosts=not hashed,
            origin=_DEFAULT,
        )
    conditions, statuses = _conditions(said.retry_on)
    ignore = said.retry_ignore_previous_hosts
    return Retries(
        attempts=max(said.attempts or 0, 0),
        per_try_timeout=said.per_try_timeout,
        conditions=conditions,
        statuses=statuses,
        ignore_previous_hosts=not hashed if ignore is None else ignore,
        remote_localities=bool(said.retry_remote_localities),
        backoff=said.backoff,
        origin=origin,
    )


def _conditions(text: str | None) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Numbers among the conditions are HTTP status codes."""
    if not text:
        return _DEFAULT_CONDITIONS, ()
    words = [word.strip() for word in text.split(",") if word.strip()]
    statuses = tuple(int(word) for word in words if _is_status(word))
    conditions = [word for word in words if not _is_status(word)]
    if statuses and _RETRIABLE not in conditions:
        conditions.append(_RETRIABLE)
    return tuple(conditions), statuses


def _is_status(word: str) -> bool:
    return word.isdigit() and int(word) in _STATUSES


def fault(said: api.HTTPFaultInjection | None, origin: Origin) -> Fault | None:
    """A percentage that is not said is none at all."""
    if said is None:
        return None
    delay, abort = said.delay, said.abort
    grpc = None
    if abort and abort.grpc_status is not None:
        grpc = int(abort.grpc_status) if abort.grpc_status.isdigit() else _GRPC_CODES.index(abort.grpc_status)
    return Fault(
        delay=delay.fixed_delay if delay else None,
        delay_percent=percent(delay.percentage if delay else None, 0.0),
        abort_http=abort.http_status if abort else None,
        abort_grpc=grpc,
        abort_percent=percent(abort.percentage if abort else None, 0.0),
        origin=origin,
    )


def percent(said: Percent | None, otherwise: float) -> float:
    """A percentage; one that is there without a value is 0."""
    return otherwise if said is None else said.value or 0.0


def cors(said: api.CorsPolicy | None, origin: Origin) -> Cors | None:
    """Preflight requests from other origins are passed on unless it is said otherwise."""
    if said is None:
        return None
    found = (string_matcher(match) for match in said.allow_origins)
    return Cors(
        origins=tuple(match for match in found if match is not None),
        methods=said.allow_methods,
        headers=said.allow_headers,
        expose=said.expose_headers,
        max_age=said.max_age,
        credentials=said.allow_credentials,
        forward_unmatched_preflights=said.unmatched_preflights is not api.UnmatchedPreflights.IGNORE,
        origin=origin,
    )


def rewrite(said: api.HTTPRewrite | None, authority: str | None) -> Rewrite | None:
    """`authority` is one that header operations ask for; a rewrite's own comes first."""
    if said is None:
        return Rewrite(authority=authority) if authority else None
    regex = said.uri_regex_rewrite
    return Rewrite(
        path=None if regex else said.uri or None,
        regex=regex.match if regex else None,
        substitution=(regex.rewrite if regex else None) or "",
        authority=said.authority or authority,
    )


def redirect(said: api.HTTPRedirect, port: int, *, tls: bool) -> Redirect:
    """`port` is the one that the request came to, and `tls` whether it came over TLS."""
    uri = said.uri or None
    prefix = uri.removeprefix(_PREFIX) if uri and uri.startswith(_PREFIX) else None
    number = said.port
    if said.derive_port is api.RedirectPortSelection.FROM_REQUEST_PORT:
        number = port
    scheme = said.scheme or ("https" if tls else "http")
    if (scheme, number) in (("http", 80), ("https", 443)):
        number = None
    return Redirect(
        path=uri if prefix is None else None,
        prefix=prefix,
        authority=said.authority or None,
        port=number,
        scheme=said.scheme or None,
        code=said.redirect_code or HTTPStatus.MOVED_PERMANENTLY,
    )


def direct_response(said: api.HTTPDirectResponse) -> DirectResponse:
    """What the proxy answers by itself."""
    body = b""
    if said.body is not None:
        body = said.body.bytes_ if said.body.bytes_ is not None else (said.body.string or "").encode()
    return DirectResponse(status=said.status or 0, body=body)


def request_changes(said: api.Headers | None) -> tuple[HeaderChanges, str | None]:
    """What is done to a request's headers, and the authority that it gets instead, if any: setting `host` or
    `:authority` is a rewrite, and other names with a colon cannot be changed."""
    operations = said.request if said else None
    if operations is None:
        return NO_CHANGES, None
    authority = _authority(operations.set) or _authority(operations.add)
    return _changes(operations), authority


def response_changes(said: api.Headers | None) -> HeaderChanges:
    """What is done to a response's headers."""
    operations = said.response if said else None
    return NO_CHANGES if operations is None else _changes(operations)


def _changes(operations: api.HeaderOperations) -> HeaderChanges:
    return HeaderChanges(
        set=dict(_changeable(operations.set.items())),
        add=dict(_changeable(operations.add.items())),
        remove=tuple(name for name in operations.remove if not _is_internal(name)),
    )


def _changeable(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted((name, value) for name, value in headers if not _is_internal(name))


def _is_internal(name: str) -> bool:
    return name.startswith(":") or name.lower() == "host"


def _authority(headers: Mapping[str, str]) -> str | None:
    return next((value for name, value in headers.items() if name.lower() in (":authority", "host")), None)
