"""Connects to the running platform as a tenant's caller, and turns its refusals into messages for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import grpc
import grpc.aio

from cli import exits
from cli.exits import CommandError
from mesh.local import ports, report
from mesh.local.layout import Layout
from services.common.config import parse_duration

AUTHORITY = "{}.causeway.svc.cluster.local"
PLATFORM = "api.causeway.local"
"""The platform's name, for which the front's certificate is."""
HINT = "run `causeway up`"

_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


@dataclass(frozen=True, slots=True)
class Connection:
    """One caller's way into the platform."""

    layout: Layout
    tenant: str
    subject: str
    roles: tuple[str, ...]
    front: str = ""
    """Where the front takes calls, `address:port`; empty for a platform without a mesh."""

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """A fresh token, valid long enough for one call."""
        token = mint(self.layout, self.tenant, self.subject, self.roles, "15m")
        return (("authorization", f"Bearer {token}"),)

    @contextmanager
    def channel(self, service: str) -> Iterator[grpc.Channel]:
        """A blocking channel to `service`."""
        target, options = self.target(service), self.options(service)
        credentials = self._credentials()
        opened = (
            grpc.secure_channel(target, credentials, options=options)
            if credentials
            else grpc.insecure_channel(target, options=options)
        )
        with opened as channel:
            yield channel

    def channel_async(self, service: str) -> grpc.aio.Channel:
        """The same for asyncio."""
        target, options = self.target(service), self.options(service)
        credentials = self._credentials()
        if credentials:
            return grpc.aio.secure_channel(target, credentials, options=options)
        return grpc.aio.insecure_channel(target, options=options)

    def target(self, service: str) -> str:
        """Where `service` is called: at the front, or without a mesh where it listens itself."""
        return self.front or f"127.0.0.1:{ports.load(self.layout.ports)[service]}"

    def options(self, service: str) -> list[tuple[str, str | int]]:
        """Channel options: the name under which `service` is called, and limits."""
        if self.front:
            named = [("grpc.ssl_target_name_override", PLATFORM), ("grpc.default_authority", PLATFORM)]
        else:
            named = [("grpc.default_authority", AUTHORITY.format(service))]
        return [*_OPTIONS, *named]

    def _credentials(self) -> grpc.ChannelCredentials | None:
        """Belief in the platform's own root only; None for plaintext on loopback."""
        if not self.front:
            return None
        try:
            return grpc.ssl_channel_credentials(self.layout.ca.read_bytes())
        except OSError as error:
            raise CommandError(f"cannot read the platform's root certificate: {error}") from error


def connect(layout: Layout, tenant: str, subject: str, roles: Sequence[str]) -> Connection:
    """A connection for `subject` of `tenant`. Raises CommandError (not running) when there is no platform."""
    found = report.read(layout)
    names = {process.name for process in found.processes}
    if found.supervisor is None:
        raise CommandError(f"the platform is not running: {HINT}", exits.NOT_RUNNING)
    if names and not names & {"gateway", "front"}:
        raise CommandError(
            "the platform was started without its services: run `causeway down`, then `causeway up`"
        )
    return Connection(layout, tenant, subject, tuple(roles), found.front)


def mint(layout: Layout, tenant: str, subject: str, roles: Sequence[str], ttl: str) -> str:
    """A token of the platform's development issuer. Raises CommandError for bad input or a missing key."""
    from mesh.local.issuer import Issuer

    if not tenant or not subject:
        raise CommandError("tenant and subject may not be empty", exits.USAGE)
    try:
        seconds = parse_duration(ttl).total_seconds()
    except ValueError as error:
        raise CommandError(str(error), exits.USAGE) from error
    if seconds < 1:
        raise CommandError("a token must be valid for at least 1s", exits.USAGE)
    if not layout.jwks.exists():
        raise CommandError(f"{layout.home} has no issuer yet: {HINT}", exits.NOT_RUNNING)
    return Issuer(layout).mint(tenant, subject, roles, seconds)


def explain(error: grpc.RpcError) -> CommandError:
    """What a failed call means to a person: the server's words, the fields at fault, when to come back."""
    # Both the blocking and the asynchronous kind have these methods; neither type says so for both.
    call = cast("grpc.Call", error)
    code, details = call.code(), call.details() or ""
    if code is grpc.StatusCode.UNAVAILABLE and not _has_reason(call):
        return CommandError("the platform does not answer; see `causeway status`", exits.NOT_RUNNING)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return CommandError("no answer in time; see `causeway status`")
    # The services' own words often name the fields already.
    fields = [field for field in _fields(call) if field not in details]
    parts = [details or code.name.lower().replace("_", " "), *fields]
    return CommandError("; ".join(parts))


def _status_details(error: grpc.Call) -> Iterator[object]:
    from google.rpc import error_details_pb2, status_pb2

    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin" or not isinstance(value, bytes):
            continue
        for packed in status_pb2.Status.FromString(value).details:
            for kind in (
                error_details_pb2.ErrorInfo,
                error_details_pb2.BadRequest,
                error_details_pb2.RetryInfo,
            ):
                message = kind()
                if packed.Unpack(message):
                    yield message


def _has_reason(error: grpc.Call) -> bool:
    return any(True for _ in _status_details(error))


def _fields(error: grpc.Call) -> Iterator[str]:
    from google.rpc import error_details_pb2

    for message in _status_details(error):
        if isinstance(message, error_details_pb2.BadRequest):
            yield from (f"{item.field}: {item.description}" for item in message.field_violations)
        elif isinstance(message, error_details_pb2.RetryInfo):
            yield f"try again in {message.retry_delay.ToTimedelta().total_seconds():g} s"
