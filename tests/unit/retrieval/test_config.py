"""The settings of the service and of its indexer."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from services.common.config import ConfigError
from services.retrieval.config import Config


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    return {
        "CAUSEWAY_LISTEN": "127.0.0.1:0",
        "CAUSEWAY_AUTH_JWKS_URI": "file:///jwks.json",
        "CAUSEWAY_POSTGRES_DSN": "host=127.0.0.1 user=retrieval",
        "CAUSEWAY_POSTGRES_PASSWORD_FILE": str(secret),
        "CAUSEWAY_RELAY_POSTGRES_DSN": "host=127.0.0.1 user=retrieval_relay",
        "CAUSEWAY_RELAY_POSTGRES_PASSWORD_FILE": str(secret),
        "CAUSEWAY_VALKEY_URL": "redis://retrieval@127.0.0.1:1/0",
        "CAUSEWAY_VALKEY_PASSWORD_FILE": str(secret),
        "CAUSEWAY_MILVUS_URI": "http://127.0.0.1:2",
        "CAUSEWAY_TRITON_TARGET": "127.0.0.1:3",
        "CAUSEWAY_TRITON_AUTHORITY": "triton",
    }


def test_the_platforms_keys_are_enough(environ: dict[str, str]) -> None:
    config = Config.from_env(environ)
    assert config.relay.postgres.dsn.endswith("retrieval_relay")
    assert config.limits.upload_bytes == 32 * 1024 * 1024
    assert "s3cret" not in repr(config)


def test_every_part_can_be_set(environ: dict[str, str]) -> None:
    config = Config.from_env(
        environ
        | {
            "CAUSEWAY_LIMITS_UPLOAD_BYTES": "1000",
            "CAUSEWAY_READER_TIMEOUT": "3s",
            "CAUSEWAY_INDEXER_DOCUMENTS": "2",
            "CAUSEWAY_RELAY_SWEEP": "1s",
            "CAUSEWAY_EMBEDDER_BATCH_REQUESTS": "9",
            "CAUSEWAY_MILVUS_COLLECTION": "mine",
        }
    )
    assert config.limits.upload_bytes == 1000
    assert config.reader.timeout == timedelta(seconds=3)
    assert (config.indexer.documents, config.embedder.batch_requests) == (2, 9)
    assert (config.relay.sweep, config.milvus.collection) == (timedelta(seconds=1), "mine")


@pytest.mark.parametrize("key", ["CAUSEWAY_MILVUS_URL", "CAUSEWAY_INDEXER_TYPO", "CAUSEWAY_REDIS_URL"])
def test_an_unknown_key_is_an_error(environ: dict[str, str], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        Config.from_env(environ | {key: "1"})
