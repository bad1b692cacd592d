"""How the session service is put together."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from google.protobuf.descriptor import FileDescriptor

from causeway.session.v1 import conversation_service_pb2, message_service_pb2
from services.common.config import ConfigError
from services.common.permissions import ACTIONS
from services.session.app import PERMISSIONS
from services.session.config import Config
from services.session.core import Limits


def methods_of(file: FileDescriptor) -> set[str]:
    """Full names of all methods."""
    return {
        f"/{service.full_name}/{method.name}"
        for service in file.services_by_name.values()
        for method in service.methods
    }


def test_every_method_takes_an_action_that_exists() -> None:
    files = (conversation_service_pb2.DESCRIPTOR, message_service_pb2.DESCRIPTOR)
    assert set(PERMISSIONS) == set().union(*(methods_of(file) for file in files))
    assert set(PERMISSIONS.values()) <= set(ACTIONS)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The least that the service needs."""
    password = tmp_path / "password"
    password.write_text("secret\n")
    return {
        "CAUSEWAY_LISTEN": "127.0.0.1:0",
        "CAUSEWAY_AUTH_JWKS_URI": "file:///jwks.json",
        "CAUSEWAY_POSTGRES_DSN": "host=127.0.0.1 dbname=causeway user=session",
        "CAUSEWAY_POSTGRES_PASSWORD_FILE": str(password),
    }


def test_the_settings_have_sane_defaults(environ: dict[str, str]) -> None:
    config = Config.from_env(environ)
    assert config.limits == Limits()
    assert config.service.drain == timedelta(seconds=10)
    assert config.postgres.password.reveal() == "secret"
    assert "secret" not in repr(config)


def test_limits_can_be_set(environ: dict[str, str]) -> None:
    config = Config.from_env(environ | {"CAUSEWAY_LIMITS_CONVERSATIONS": "7"})
    assert config.limits == Limits(conversations=7)


def test_a_mistyped_limit_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"CAUSEWAY_LIMITS_MESSAGE\b"):
        Config.from_env(environ | {"CAUSEWAY_LIMITS_MESSAGE": "7"})
    with pytest.raises(ConfigError, match="CAUSEWAY_LIMITS_MESSAGES"):
        Config.from_env(environ | {"CAUSEWAY_LIMITS_MESSAGES": "many"})
