"""The services to try, as processes of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.platform import Platform

from fuzz.messages import Known
from fuzz.probe import Metadata

NEEDS: Mapping[str, tuple[str, ...]] = {
    "session": ("postgres", "migrations"),
    "policy": ("postgres", "migrations", "valkey"),
    "retrieval": ("postgres", "migrations", "valkey", "milvus", "models", "triton", "indexer"),
    "gateway": ("session", "policy", "retrieval"),
}
"""What each service runs on, beside itself."""


@dataclass(frozen=True, repr=False)
class Target:
    """A service to try."""

    domain: str
    platform: Platform
    metadata: Metadata
    """Credentials of somebody who may do everything."""
    known: Known
    """Ids and page tokens that exist in it."""

    def __repr__(self) -> str:
        return f"Target({self.domain})"

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.platform.ports[self.domain]}"

    @property
    def pid(self) -> int | None:
        """The process; another one after a crash."""
        return self.platform.process(self.domain).pid

    def last_error(self) -> str:
        """The newest error in its log, for the report of a failure."""
        lines = self.platform.layout.log(self.domain).read_text("utf-8", "replace").splitlines()
        errors = [line for line in lines if '"level": "error"' in line]
        return errors[-1][-2000:] if errors else "nothing"


def processes_of(domain: str) -> set[str]:
    """The processes that a service takes, itself included."""
    return {domain}.union(*(processes_of(need) for need in NEEDS.get(domain, ())))


def metadata_of(platform: Platform, tenant: str = "fuzz") -> Metadata:
    """Credentials of somebody who may do everything."""
    token = platform.token(tenant, roles=("admin",), subject="fuzzer", ttl=7200)
    return (("authorization", f"Bearer {token}"),)


async def is_healthy(channel: grpc.aio.Channel) -> bool:
    """Whether the service says that it serves."""
    stub = health_pb2_grpc.HealthStub(channel)
    response = await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
    return bool(response.status == health_pb2.HealthCheckResponse.SERVING)
