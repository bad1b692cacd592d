"""Settings, and the composition of the service."""

from __future__ import annotations

import subprocess
import sys
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from causeway.policy.v1 import (
    audit_service_pb2,
    authorization_service_pb2,
    quota_service_pb2,
    redaction_service_pb2,
)
from services.common.config import ConfigError
from services.common.permissions import ACTIONS
from services.policy.app import PERMISSIONS, build
from services.policy.config import Config

FILES = (audit_service_pb2, authorization_service_pb2, quota_service_pb2, redaction_service_pb2)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The least a policy service is told."""
    password = tmp_path / "password"
    password.write_text("s3cret\n")
    return {
        "CAUSEWAY_LISTEN": "127.0.0.1:0",
        "CAUSEWAY_AUTH_JWKS_URI": "file:///nowhere/jwks.json",
        "CAUSEWAY_POSTGRES_DSN": "host=127.0.0.1 port=1 dbname=causeway user=policy",
        "CAUSEWAY_POSTGRES_PASSWORD_FILE": str(password),
        "CAUSEWAY_VALKEY_URL": "redis://policy@127.0.0.1:1/0",
        "CAUSEWAY_VALKEY_PASSWORD_FILE": str(password),
    }


def test_the_defaults_are_two_million_tokens_an_hour(environ: dict[str, str]) -> None:
    quota = Config.from_env(environ).quota
    assert (quota.tokens, quota.window) == (2_000_000, timedelta(hours=1))
    assert quota.lease == timedelta(minutes=5)


def test_quotas_are_configured(environ: dict[str, str]) -> None:
    environ |= {
        "CAUSEWAY_QUOTA_TOKENS": "5",
        "CAUSEWAY_QUOTA_WINDOW": "10m",
        "CAUSEWAY_QUOTA_LEASE": "30s",
    }
    quota = Config.from_env(environ).quota
    assert (quota.tokens, quota.window, quota.lease) == (5, timedelta(minutes=10), timedelta(seconds=30))


@pytest.mark.parametrize(
    "key, value",
    [
        ("CAUSEWAY_QUOTA_TOKENS", "0"),
        ("CAUSEWAY_QUOTA_TOKENS", "many"),
        ("CAUSEWAY_QUOTA_TOKENS", str(2**53)),
        ("CAUSEWAY_QUOTA_WINDOW", "1"),
        ("CAUSEWAY_QUOTA_WINDOW", "500ms"),
        ("CAUSEWAY_QUOTA_WINDOW", "367d"),
        ("CAUSEWAY_QUOTA_LEASE", "2h"),
        ("CAUSEWAY_QUOTA_LIMIT", "5"),
        ("CAUSEWAY_EDGE_ENABLED", "maybe"),
        ("CAUSEWAY_EDGE_CALLERS", "ingress"),
        ("CAUSEWAY_RATES_LIMITS", "tenant"),
    ],
)
def test_a_bad_setting_is_named(environ: dict[str, str], key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=key):
        Config.from_env({**environ, key: value})


def test_settings_do_not_show_passwords(environ: dict[str, str]) -> None:
    assert "s3cret" not in repr(Config.from_env(environ))


def test_the_process_says_which_setting_is_missing_and_ends(environ: dict[str, str]) -> None:
    del environ["CAUSEWAY_VALKEY_URL"]
    ended = subprocess.run(
        [sys.executable, "-m", "services.policy"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr == "policy: CAUSEWAY_VALKEY_URL is not set\n"


def test_every_method_has_an_action_that_exists() -> None:
    methods = {
        f"/{service.full_name}/{method.name}"
        for file in FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert set(PERMISSIONS) == methods
    assert set(PERMISSIONS.values()) <= set(ACTIONS)


async def test_everything_is_served_and_opens_without_its_stores(environ: dict[str, str]) -> None:
    async with AsyncExitStack() as stack:
        application = await build(Config.from_env(environ), stack)
        served = {binding.descriptor.full_name for binding in application.bindings}
        assert served == {
            service.full_name for file in FILES for service in file.DESCRIPTOR.services_by_name.values()
        }
        assert set(application.dependencies) == {"postgres", "valkey"}


def test_nobody_is_answered_without_a_token_unless_it_is_switched_on(environ: dict[str, str]) -> None:
    assert not Config.from_env(environ).edge.enabled


async def test_switched_on_it_serves_envoys_interfaces_too(environ: dict[str, str]) -> None:
    async with AsyncExitStack() as stack:
        application = await build(Config.from_env({**environ, "CAUSEWAY_EDGE_ENABLED": "true"}), stack)
    proxied = {"envoy.service.auth.v3.Authorization", "envoy.service.ratelimit.v3.RateLimitService"}
    assert application.proxied == proxied
    assert proxied < {binding.descriptor.full_name for binding in application.bindings}
    assert not any(method.startswith("/envoy.") for method in application.permissions)


def test_edge_and_rates_are_configured(environ: dict[str, str]) -> None:
    environ |= {
        "CAUSEWAY_EDGE_ENABLED": "true",
        "CAUSEWAY_EDGE_CALLERS": "spiffe://a/b, spiffe://c/d",
        "CAUSEWAY_RATES_LIMITS": "tenant=5/10 tenant:acme=7/8",
    }
    config = Config.from_env(environ)
    assert config.edge.principals == ("spiffe://a/b", "spiffe://c/d")
    assert len(config.rates.rules) == 2
