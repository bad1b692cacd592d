"""Configuration from the environment into frozen dataclasses.

``load(Config)`` reads one key for each field: ``CAUSEWAY_`` and the field's name in upper case. A field whose
type is itself a dataclass adds its name as a prefix; a Peer field ``session`` reads
``CAUSEWAY_SESSION_TARGET`` and ``CAUSEWAY_SESSION_AUTHORITY``; a Secret field ``password`` reads the file
that ``…_PASSWORD_FILE`` names, so that no secret stands in the environment or in argv. A key that no field
reads is an error: a mistyped setting must not be passed over.
"""

from __future__ import annotations

import dataclasses
import os
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from services.common.logs import LEVELS
from services.common.secret import Secret

T = TypeVar("T")

PREFIX = "CAUSEWAY_"
SHARED_KEYS = frozenset({"CAUSEWAY_HOME"})
"""Keys that belong to the tools; a service passes them over."""

_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class ConfigError(Exception):
    """A key is missing, unknown or malformed. The message names it and never shows a secret."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Where a service dials another, and under which name."""

    target: str
    """A gRPC target: ``host:port``, ``dns:///…`` or ``xds:///…``."""
    authority: str
    """The peer's Kubernetes name; it selects the route when a sidecar stands between."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """How bearer tokens are checked."""

    jwks_uri: str
    """Where the issuer's public keys are: ``file://`` or ``https://``; ``http://`` on loopback only."""
    issuer: str = "https://issuer.causeway.local"
    """The ``iss`` that tokens must carry."""
    audience: str = "causeway"
    """The ``aud`` that tokens must carry."""
    leeway: timedelta = timedelta(seconds=30)
    """How far the issuer's clock may be from ours."""


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """What every service has."""

    listen: Address
    """Address of the gRPC server."""
    auth: AuthConfig
    """How callers are known."""
    workers: int = 1
    """Processes that share the port by SO_REUSEPORT; 0 for one per core."""
    drain: timedelta = timedelta(seconds=10)
    """How long open calls may go on after SIGTERM."""
    log_level: str = "info"
    """debug, info, warning or error."""
    region: str = "local"
    """The region this process runs in."""

    def __post_init__(self) -> None:
        if self.log_level not in LEVELS:
            raise ConfigError(f"CAUSEWAY_LOG_LEVEL must be one of {', '.join(LEVELS)}")


def parse_duration(text: str) -> timedelta:
    """``500ms``, ``2s``, ``1.5m``, ``1h`` or ``1h30m``.

    Raises:
        ValueError: it is none of these.
    """
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration such as 500ms, 2s or 1h30m")
    return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))


def parse_address(text: str) -> Address:
    """``host:port`` or ``[ipv6]:port``.

    Raises:
        ValueError: it is neither.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise ValueError(f"{text!r} is not host:port")
    return Address(host, int(port))


def load(cls: type[T], environ: Mapping[str, str] | None = None) -> T:
    """Builds ``cls`` from the environment.

    Raises:
        ConfigError: a key is missing, unknown or malformed.
    """
    environ = os.environ if environ is None else environ
    reader = _Reader(environ)
    config = reader.dataclass(cls, PREFIX)
    unknown = sorted(
        key for key in environ if key.startswith(PREFIX) and key not in reader.read | SHARED_KEYS
    )
    if unknown:
        raise ConfigError(f"unknown setting{'s' if len(unknown) > 1 else ''}: {', '.join(unknown)}")
    return config


class _Reader:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.read: set[str] = set()

    def dataclass(self, cls: type[T], prefix: str) -> T:
        hints = typing.get_type_hints(cls)
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):  # type: ignore[arg-type]
            # The common part stands flat: its keys carry no "SERVICE_".
            inner = (
                prefix if field.type in ("ServiceConfig", ServiceConfig) else f"{prefix}{field.name.upper()}"
            )
            value = self.value(hints[field.name], inner, field)
            if value is not dataclasses.MISSING:
                values[field.name] = value
        return cls(**values)

    def value(self, kind: Any, key: str, field: dataclasses.Field[Any]) -> Any:
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if isinstance(kind, types.UnionType):
            kind = next(part for part in typing.get_args(kind) if part is not type(None))
        if kind is Peer:
            return self.peer(key, required)
        if kind is Secret:
            return self.secret(f"{key}_FILE", required)
        if dataclasses.is_dataclass(kind) and kind is not Address:
            prefix = key if key.endswith("_") else f"{key}_"
            if not required and not any(name.startswith(prefix) for name in self.environ):
                return dataclasses.MISSING
            return self.dataclass(typing.cast("type[Any]", kind), prefix)
        text = self.text(key, required)
        if text is None:
            return dataclasses.MISSING
        try:
            return _parse(kind, text)
        except ValueError as error:
            raise ConfigError(f"{key}: {error}") from error

    def text(self, key: str, required: bool) -> str | None:
        self.read.add(key)
        text = self.environ.get(key)
        if text is None and required:
            raise ConfigError(f"{key} is not set")
        return text

    def peer(self, key: str, required: bool) -> Any:
        target = self.text(f"{key}_TARGET", required)
        authority = self.text(f"{key}_AUTHORITY", required=target is not None)
        if target is None:
            return dataclasses.MISSING
        return Peer(target, authority or "")

    def secret(self, key: str, required: bool) -> Any:
        path = self.text(key, required)
        if path is None:
            return dataclasses.MISSING
        try:
            return Secret(Path(path).read_text().strip())
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{key}: cannot read the file it names: {type(error).__name__}") from error


def _parse(kind: Any, text: str) -> Any:
    if kind is bool:
        if text.lower() not in _BOOLEANS:
            raise ValueError(f"{text!r} is neither true nor false")
        return _BOOLEANS[text.lower()]
    if kind is timedelta:
        return parse_duration(text)
    if kind is Address:
        return parse_address(text)
    if kind in (int, float, Path):
        return kind(text)
    if kind is str:
        return text
    raise TypeError(f"no way to read a {kind!r} from a setting")
