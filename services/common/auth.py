"""Checks bearer tokens: JWTs (RFC 7519), signed with ES256 (RFC 7518, §3.4) by keys of a JWKS (RFC 7517).

Only ES256 is accepted, whatever a token's header asks for. Keys are read again when a token names a key that
is not known, at most once in a while, so that a key can be rotated without a restart and a flood of made-up
key ids costs one read.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import ssl
import time
import urllib.parse
import urllib.request
from collections import OrderedDict
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from joserfc import jwk, jwt
from joserfc.errors import JoseError

from services.common.config import AuthConfig, ConfigError
from services.common.errors import InvalidCredentials, StoreUnavailable
from services.common.identity import Caller
from services.common.secret import Secret

ALGORITHM = "ES256"
_TENANT = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_MAX_TOKEN = 8192
_MAX_HEADER = 512
"""Characters of a token's first part: as many as joserfc takes. It is read before anything vouches for it,
and a longer one can nest deeper than a parser of JSON goes."""
_MAX_SUBJECT = 256
_CACHE_SIZE = 4096
_REFRESH_AFTER = timedelta(seconds=10)
_FETCH_TIMEOUT = timedelta(seconds=5)


class KeySource(Protocol):
    """Where public keys come from."""

    async def fetch(self) -> bytes:
        """The JWKS document."""


class FileKeys:
    """A JWKS file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def fetch(self) -> bytes:
        """Reads the file."""
        return await asyncio.to_thread(self._path.read_bytes)


class HttpKeys:
    """A JWKS document of an OpenID provider."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def fetch(self) -> bytes:
        """Gets the document."""
        return await asyncio.to_thread(self._get)

    def _get(self) -> bytes:
        context = ssl.create_default_context() if self._url.startswith("https://") else None
        # The scheme was checked by key_source.
        with urllib.request.urlopen(  # noqa: S310
            self._url, timeout=_FETCH_TIMEOUT.total_seconds(), context=context
        ) as response:
            return bytes(response.read(1 << 20))


def key_source(uri: str) -> KeySource:
    """The source that a URI names.

    Raises:
        ConfigError: neither ``file://``, nor ``https://``, nor ``http://`` on loopback.
    """
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme == "file":
        return FileKeys(Path(urllib.parse.unquote(parts.path)))
    if parts.scheme == "https" or (
        parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
    ):
        return HttpKeys(uri)
    raise ConfigError("CAUSEWAY_AUTH_JWKS_URI must be file:// or https:// (http:// on loopback only)")


class TokenVerifier:
    """Turns a bearer token into a Caller."""

    def __init__(self, config: AuthConfig, source: KeySource | None = None) -> None:
        self._source = source or key_source(config.jwks_uri)
        self._leeway = config.leeway.total_seconds()
        self._claims = jwt.JWTClaimsRegistry(
            leeway=int(self._leeway),
            iss={"essential": True, "value": config.issuer},
            aud={"essential": True, "value": config.audience},
            sub={"essential": True},
            exp={"essential": True},
        )
        self._keys: jwk.KeySet | None = None
        self._fetched_at = float("-inf")
        self._cache: OrderedDict[str, tuple[float, Caller]] = OrderedDict()

    async def verify(self, token: str) -> Caller:
        """The caller that the token speaks for.

        Raises:
            InvalidCredentials: malformed, expired, not yet valid, wrongly signed, or without a tenant.
            StoreUnavailable: the issuer's keys have never been read.
        """
        cached = self._cache.get(token)
        if cached is not None and time.time() < cached[0]:
            self._cache.move_to_end(token)
            return cached[1]
        if len(token) > _MAX_TOKEN or len(token.partition(".")[0]) > _MAX_HEADER:
            raise InvalidCredentials("the token is too long")
        claims = await self._decode(token)
        caller = caller_of(claims, token)
        self._cache[token] = (float(claims["exp"]) + self._leeway, caller)
        if len(self._cache) > _CACHE_SIZE:
            self._cache.popitem(last=False)
        return caller

    async def _decode(self, token: str) -> dict[str, Any]:
        keys = await self._current_keys(token)
        try:
            decoded = jwt.decode(token, keys, algorithms=[ALGORITHM])
            self._claims.validate(decoded.claims)
        except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise InvalidCredentials(_public(error)) from error
        return decoded.claims

    async def _current_keys(self, token: str) -> jwk.KeySet:
        stale = time.monotonic() - self._fetched_at > _REFRESH_AFTER.total_seconds()
        if self._keys is None or (stale and not _names_a_key_of(self._keys, token)):
            self._fetched_at = time.monotonic()
            try:
                self._keys = jwk.KeySet.import_key_set(json.loads(await self._source.fetch()))
            except (OSError, ValueError, JoseError) as error:
                if self._keys is None:
                    raise StoreUnavailable(
                        "tokens cannot be checked: the issuer's keys are out of reach"
                    ) from error
        return self._keys


def _names_a_key_of(keys: jwk.KeySet, token: str) -> bool:
    try:
        part = token.split(".", 1)[0]
        header = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        return True
    # A list, so that a kid of any type can be looked for.
    return not isinstance(header, dict) or header.get("kid") in [key.kid for key in keys.keys]


def _public(error: Exception) -> str:
    """What a client may know of why its token was refused."""
    name = type(error).__name__
    if name == "ExpiredTokenError":
        return "the token has expired"
    if name in ("InvalidClaimError", "MissingClaimError"):
        return f"the token's claims do not hold: {getattr(error, 'claim', 'unknown')}"
    return "the token is malformed or its signature does not hold"


def caller_of(claims: Mapping[str, Any], token: str = "") -> Caller:
    """Whom the claims of a token speak for, once its signature, issuer and time have been checked.

    Raises:
        InvalidCredentials: no tenant, no subject, or roles that are none.
    """
    tenant, subject, roles = claims.get("tenant"), claims.get("sub"), claims.get("roles", [])
    if not isinstance(tenant, str) or not _TENANT.fullmatch(tenant):
        raise InvalidCredentials("the token names no tenant")
    if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT or not _storable(subject):
        raise InvalidCredentials("the token names no subject")
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        raise InvalidCredentials("the token's roles are not a list of names")
    return Caller(tenant, subject, frozenset(roles), Secret(token))


def _storable(text: str) -> bool:
    """Whether databases take it: JSON can escape NUL and lone surrogates, UTF-8 text columns hold neither."""
    return not any(char == "\0" or "\ud800" <= char <= "\udfff" for char in text)
