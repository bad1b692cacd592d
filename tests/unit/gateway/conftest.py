"""What the gateway's unit tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fakes.gateway import CALLER, FakePeers
from services.common.identity import acting_as


@pytest.fixture
def peers() -> FakePeers:
    """Peers that do their work."""
    return FakePeers()


@pytest.fixture(autouse=True)
def caller() -> Iterator[None]:
    """Every test asks as ada of acme."""
    with acting_as(CALLER):
        yield
