"""Which tokens make a caller, and which do not."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from joserfc import jwk, jwt

from fakes.tokens import Issuer
from services.common import auth
from services.common.auth import key_source
from services.common.config import ConfigError
from services.common.errors import InvalidCredentials, StoreUnavailable


async def test_a_good_token_gives_tenant_subject_and_roles() -> None:
    issuer = Issuer()
    caller = await issuer.verifier().verify(issuer.token("acme", "ada", ["reader", "editor"]))
    assert (caller.tenant, caller.subject, caller.roles) == ("acme", "ada", {"reader", "editor"})


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": int(time.time()) - 120},
        {"exp": None},
        {"nbf": int(time.time()) + 3600},
        {"iss": "https://somebody.else"},
        {"iss": None},
        {"aud": "another-api"},
        {"aud": None},
        {"sub": None},
        {"sub": ""},
        {"sub": "a\0b"},
        {"sub": "x" * 257},
        {"tenant": None},
        {"tenant": ""},
        {"tenant": "UPPER"},
        {"tenant": "a/b"},
        {"tenant": 'x" or "1" == "1'},
        {"tenant": ["acme"]},
        {"tenant": "x" * 64},
        {"roles": "admin"},
        {"roles": [1]},
    ],
)
async def test_a_claim_that_does_not_hold_is_refused(claims: dict[str, Any]) -> None:
    issuer = Issuer()
    with pytest.raises(InvalidCredentials):
        await issuer.verifier().verify(issuer.token(**claims))


@pytest.mark.parametrize("subject", ["a\0b", "a\ud800", "\udfff"])
def test_a_subject_that_no_database_takes_is_refused(subject: str) -> None:
    claims = {"sub": subject, "tenant": "acme", "roles": []}
    with pytest.raises(InvalidCredentials):
        auth.caller_of(claims, "token")


async def test_no_roles_is_a_caller_who_may_do_nothing() -> None:
    issuer = Issuer()
    assert (await issuer.verifier().verify(issuer.token(roles=None))).roles == frozenset()  # type: ignore[arg-type]


async def test_another_issuers_signature_is_refused() -> None:
    issuer, other = Issuer(), Issuer()
    forged = other.token()
    verifier = issuer.verifier()
    with pytest.raises(InvalidCredentials):
        await verifier.verify(forged)


async def test_only_es256_is_accepted_whatever_the_header_says() -> None:
    issuer = Issuer()
    verifier = issuer.verifier()
    header, body, _ = issuer.token().split(".")
    none = (
        base64.urlsafe_b64encode(json.dumps({"alg": "none", "kid": issuer.key.kid}).encode())
        .decode()
        .rstrip("=")
    )
    public = json.dumps(issuer.key.as_dict(private=False)).encode()
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    hmac = jwt.encode(
        {"alg": "HS256", "kid": issuer.key.kid}, claims, jwk.OctKey.import_key(public), algorithms=["HS256"]
    )
    for forged in (f"{none}.{body}.", f"{header}.{body}.", hmac):
        with pytest.raises(InvalidCredentials):
            await verifier.verify(forged)


@pytest.mark.parametrize("token", ["", "a.b", "a.b.c", "....", "é.é.é", "x" * 10_000])
async def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidCredentials):
        await Issuer().verifier().verify(token)


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 1500,
        b"[" * 380,
        b'{"alg":"ES256","kid":' + b"[" * 1100,
        b'{"alg":"ES256","kid":[]}',
        b'{"alg":"ES256","kid":{"a":1}}',
        b"\xff\xfe",
        b'{"alg":"ES256","kid":"' + b"x" * 500 + b'"}',
    ],
)
async def test_no_header_however_odd_is_more_than_a_token_that_is_refused(
    header: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = Issuer()
    verifier = issuer.verifier()
    await verifier.verify(issuer.token())
    # From now on a key that is not known is looked for, for which the header has to be read.
    later = time.monotonic() + 60
    monkeypatch.setattr(time, "monotonic", lambda: later)
    token = f"{base64.urlsafe_b64encode(header).decode().rstrip('=')}.e30.AA"
    with pytest.raises(InvalidCredentials):
        await verifier.verify(token)


async def test_a_header_that_is_too_long_is_not_worth_reading_the_keys() -> None:
    issuer = Issuer()
    with pytest.raises(InvalidCredentials, match="too long"):
        await issuer.verifier().verify(f"{'A' * 513}.e30.AA")
    assert issuer.fetches == 0


async def test_a_rotated_key_is_found_without_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    issuer = Issuer()
    verifier = issuer.verifier()
    await verifier.verify(issuer.token())
    issuer.key = jwk.ECKey.generate_key("P-256", {"kid": "new"})
    clock = time.monotonic() + 60
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    await verifier.verify(issuer.token())
    assert issuer.fetches == 2


async def test_a_flood_of_unknown_key_ids_reads_the_keys_once() -> None:
    issuer = Issuer()
    verifier = issuer.verifier()
    await verifier.verify(issuer.token())
    for _ in range(20):
        with pytest.raises(InvalidCredentials):
            await verifier.verify(Issuer().token())
    assert issuer.fetches == 1


async def test_a_cached_token_still_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    issuer = Issuer()
    verifier = issuer.verifier()
    token = issuer.token()
    await verifier.verify(token)
    later = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(InvalidCredentials):
        await verifier.verify(token)


async def test_keys_out_of_reach_is_not_the_callers_fault(tmp_path: Any) -> None:
    issuer = Issuer()
    verifier = issuer.verifier()
    verifier._source = key_source(f"file://{tmp_path}/missing.json")
    with pytest.raises(StoreUnavailable):
        await verifier.verify(issuer.token())


@pytest.mark.parametrize("uri", ["http://issuer.example/jwks", "ftp://127.0.0.1/jwks", "jwks.json", ""])
def test_keys_come_over_a_safe_way_only(uri: str) -> None:
    with pytest.raises(ConfigError):
        key_source(uri)
