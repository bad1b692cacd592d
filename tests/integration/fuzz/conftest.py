"""Services to try, each with all it runs on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import grpc
import pytest
from support.platform import running

from fuzz.harvest import harvest
from fuzz.messages import Known
from fuzz.methods import all_methods
from fuzz.target import Target, is_healthy, metadata_of, processes_of


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """The service that the test names as this fixture's parameter."""
    domain: str = request.param
    methods = [method for method in all_methods() if method.domain == domain]
    with running(sorted(processes_of(domain)), limit=180) as platform:
        metadata = metadata_of(platform)
        stranger = Target(domain, platform, metadata, known={})

        async def learn() -> Known:
            async with grpc.aio.insecure_channel(stranger.address) as channel:
                return await harvest(channel, methods, metadata, 10)

        yield replace(stranger, known=asyncio.run(learn()))


@pytest.fixture
async def channel(target: Target) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the service, which must be the same process and well when the test has ended."""
    pid = target.pid
    async with grpc.aio.insecure_channel(target.address) as opened:
        yield opened
        assert await is_healthy(opened)
    assert target.pid == pid
