"""One Triton for all these tests; those that harm it start their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from integration.triton.harness import Triton, start

from triton_models.build import build
from triton_models.client import triton_stub
from triton_models.options import BuildOptions

SMALL = BuildOptions(synthetic=True, slots=4, context=1024, queue=4)
"""Small enough to be filled quickly."""


@pytest.fixture(scope="session")
def models_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder in which the models are built once."""
    home = tmp_path_factory.mktemp("triton-models")
    build(home, options=SMALL)
    return home


@pytest.fixture(scope="session")
def triton(models_home: Path) -> Iterator[Triton]:
    """The shared server."""
    triton = start(models_home, SMALL)
    yield triton
    triton.kill()


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory, models_home: Path) -> Iterator[Triton]:
    """A server of our own, on the models already built, to be harmed."""
    home = tmp_path_factory.mktemp("victim")
    (home / "models").mkdir()
    (home / "models" / "files").symlink_to(models_home / "models" / "files")
    triton = start(home, SMALL)
    yield triton
    triton.kill()


@pytest.fixture
async def stub(triton: Triton) -> AsyncIterator[Any]:
    """Triton's service."""
    async with grpc.aio.insecure_channel(triton.target) as channel:
        yield triton_stub(channel)
