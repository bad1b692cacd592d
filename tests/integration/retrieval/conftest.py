"""What the tests of the whole retrieval service share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from fakes.retrieval_triton import FakeTriton, fake_triton


@pytest.fixture
def tenant() -> str:
    """A tenant that no other test uses."""
    return f"t-{uuid4().hex[:12]}"


@pytest.fixture
async def triton() -> AsyncIterator[FakeTriton]:
    """A Triton without a model."""
    async with fake_triton() as server:
        yield server
