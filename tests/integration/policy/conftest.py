"""The policy service over its real stores, each behind a gate that a test can shut."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from support.gate import Gate
from support.platform import Platform
from support.policy_client import PolicyClient
from support.policy_valkey import PrivateValkey

from fakes.tokens import Issuer
from services.common.config import Address, ServiceConfig
from services.common.postgres import PostgresConfig
from services.common.secret import Secret
from services.common.server import serving
from services.common.valkey import ValkeyConfig
from services.policy.app import build
from services.policy.config import Config, QuotaConfig

LIMIT = 1000
"""Tokens of each tenant."""


@pytest.fixture
async def postgres_gate(data_servers: Platform) -> AsyncIterator[Gate]:
    """The way to PostgreSQL."""
    async with Gate(data_servers.ports["postgres"]) as gate:
        yield gate


@pytest.fixture
async def valkey_gate(data_servers: Platform) -> AsyncIterator[Gate]:
    """The way to Valkey."""
    async with Gate(data_servers.ports["valkey"]) as gate:
        yield gate


@pytest.fixture
async def client(
    data_servers: Platform, postgres_gate: Gate, valkey_gate: Gate
) -> AsyncIterator[PolicyClient]:
    """An admin of a new tenant at a running service."""
    issuer = Issuer()
    config = Config(
        service=ServiceConfig(listen=Address("127.0.0.1", 0), auth=issuer.config),
        postgres=PostgresConfig(
            f"host=127.0.0.1 port={postgres_gate.port} dbname=causeway user=policy",
            password_in(data_servers.postgres_password_file("policy")),
            connect_timeout=timedelta(seconds=1),
            statement_timeout=timedelta(seconds=2),
        ),
        valkey=ValkeyConfig(
            f"redis://policy@127.0.0.1:{valkey_gate.port}/0",
            password_in(data_servers.valkey_password_file("policy")),
            timeout=timedelta(milliseconds=300),
        ),
        quota=QuotaConfig(tokens=LIMIT, window=timedelta(days=366)),
    )
    async with AsyncExitStack() as stack:
        application = await build(config, stack)
        async with (
            serving(application, issuer.verifier()) as address,
            grpc.aio.insecure_channel(address) as channel,
        ):
            yield PolicyClient(channel, issuer)


def password_in(file: Path) -> Secret:
    """The password in a file."""
    return Secret(file.read_text().strip())


@pytest.fixture
def private_valkey(tmp_path: Path) -> Iterator[Callable[..., PrivateValkey]]:
    """Starts a Valkey with options; ends it after the test."""
    started: list[PrivateValkey] = []

    def start(*options: str) -> PrivateValkey:
        server = PrivateValkey(tmp_path, options)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.kill()
