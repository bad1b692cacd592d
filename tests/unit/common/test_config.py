"""Configuration: every key is read, and what is not understood is an error that names it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.config import (
    Address,
    AuthConfig,
    ConfigError,
    Peer,
    ServiceConfig,
    load,
    parse_address,
    parse_duration,
)
from services.common.secret import Secret


@dataclass(frozen=True)
class Store:
    dsn: str
    password: Secret = field(default_factory=lambda: Secret(""))
    pool: int = 8


@dataclass(frozen=True)
class Config:
    service: ServiceConfig
    store: Store
    session: Peer
    window: timedelta = timedelta(hours=1)
    strict: bool = True
    mirror: Peer | None = None


BASE = {
    "CAUSEWAY_LISTEN": "127.0.0.1:41000",
    "CAUSEWAY_AUTH_JWKS_URI": "file:///keys.json",
    "CAUSEWAY_STORE_DSN": "host=127.0.0.1",
    "CAUSEWAY_SESSION_TARGET": "127.0.0.1:1",
    "CAUSEWAY_SESSION_AUTHORITY": "session.causeway.svc.cluster.local",
}


def test_every_kind_of_field_is_read(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    config = load(
        Config,
        BASE
        | {
            "CAUSEWAY_STORE_PASSWORD_FILE": str(tmp_path / "password"),
            "CAUSEWAY_STORE_POOL": "3",
            "CAUSEWAY_WINDOW": "1h30m",
            "CAUSEWAY_STRICT": "false",
            "CAUSEWAY_MIRROR_TARGET": "dns:///m",
            "CAUSEWAY_MIRROR_AUTHORITY": "m",
            "CAUSEWAY_DRAIN": "500ms",
            "CAUSEWAY_HOME": "/anywhere",
            "PATH": "/bin",
        },
    )
    assert config == Config(
        ServiceConfig(
            Address("127.0.0.1", 41000), AuthConfig("file:///keys.json"), drain=timedelta(milliseconds=500)
        ),
        Store("host=127.0.0.1", Secret("s3cret"), 3),
        Peer("127.0.0.1:1", "session.causeway.svc.cluster.local"),
        timedelta(minutes=90),
        strict=False,
        mirror=Peer("dns:///m", "m"),
    )


@pytest.mark.parametrize("key", BASE)
def test_a_missing_key_is_named(key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        load(Config, {name: value for name, value in BASE.items() if name != key})


@pytest.mark.parametrize(
    "key,value",
    [
        ("CAUSEWAY_LISTEN", "nowhere"),
        ("CAUSEWAY_LISTEN", "127.0.0.1:99999"),
        ("CAUSEWAY_STORE_POOL", "many"),
        ("CAUSEWAY_WINDOW", "5"),
        ("CAUSEWAY_WINDOW", "5 minutes"),
        ("CAUSEWAY_STRICT", "maybe"),
        ("CAUSEWAY_STORE_PASSWORD_FILE", "/does/not/exist"),
        ("CAUSEWAY_STORE_PASSWORD", "plain"),
        ("CAUSEWAY_DRIAN", "1s"),
    ],
)
def test_a_malformed_or_unknown_key_is_named(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=key):
        load(Config, BASE | {key: value})


def test_a_secret_does_not_print_itself() -> None:
    store = Store("dsn", Secret("s3cret"))
    assert "s3cret" not in f"{store} {store!r} {store.password} {[store.password]}"


@given(st.integers(0, 10**6), st.sampled_from(["ms", "s", "m", "h"]))
def test_durations_read_back(number: int, unit: str) -> None:
    seconds = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit] * number
    assert parse_duration(f"{number}{unit}").total_seconds() == pytest.approx(seconds)


@given(st.sampled_from(["127.0.0.1", "localhost", "::1"]), st.integers(0, 65535))
def test_addresses_read_back(host: str, port: int) -> None:
    address = Address(host, port)
    assert parse_address(str(address)) == address
