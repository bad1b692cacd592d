"""Real servers for the tests that need them."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings
from support.platform import DATA, Platform, running

# A shell starts what it runs in the background with SIGINT ignored, and children inherit that; the tests
# press Ctrl-C on theirs.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says more about the machine than about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def data_servers() -> Iterator[Platform]:
    """PostgreSQL with the schema applied, Valkey and Milvus, shared by the whole run.

    Tests keep apart by using tenants of their own. A test that kills or fills a server starts a private one
    with `support.platform.running`.
    """
    with running([*DATA, "migrations"]) as platform:
        yield platform


@pytest.fixture
def platform_home(data_servers: Platform) -> Platform:
    """The shared platform, under the name that says what it stands for: its state folder."""
    return data_servers
