"""The session service as its clients see it: a real server over a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from support.platform import Platform
from support.session import Client, client_of


@pytest.fixture
async def client(data_servers: Platform) -> AsyncIterator[Client]:
    """Somebody of a new tenant."""
    async with client_of(data_servers) as made:
        yield made
