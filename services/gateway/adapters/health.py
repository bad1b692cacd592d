"""Asks peers whether they serve (https://github.com/grpc/grpc/blob/master/doc/health-checking.md)."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.common.channel import peer_errors
from services.common.errors import PeerUnavailable

_TIMEOUT = 1.5


async def serving(channel: grpc.aio.Channel) -> None:
    """Raises a DomainError unless the peer says that it serves."""
    stub = health_pb2_grpc.HealthStub(channel)
    with peer_errors("the peer"):
        reply = await stub.Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT)
    if reply.status != health_pb2.HealthCheckResponse.SERVING:
        raise PeerUnavailable("the peer does not serve")
