"""What Triton's errors mean, over real gRPC to a Triton that is none."""

from __future__ import annotations

import grpc
import pytest

from fakes.retrieval_triton import fake_triton
from services.common.config import Peer
from services.common.errors import (
    DeadlineExceeded,
    DomainError,
    InvalidRequest,
    ModelFailed,
    ModelUnavailable,
    Overloaded,
)
from services.common.triton import TritonClient

STUB = "Failed to process the request(s) for model instance 'embedder_0_0', message: "


@pytest.mark.parametrize(
    "code, details, kind",
    [
        (
            grpc.StatusCode.INVALID_ARGUMENT,
            f"{STUB}invalid_argument: TEXT: must not be empty",
            InvalidRequest,
        ),
        (grpc.StatusCode.UNAVAILABLE, "overloaded: 100 requests wait", Overloaded),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", DeadlineExceeded),
        (grpc.StatusCode.UNAVAILABLE, "failed to connect", ModelUnavailable),
        (grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'embedder' is not found", ModelUnavailable),
        (grpc.StatusCode.INTERNAL, f"{STUB}Stub process 'embedder_0_0' is not healthy.", ModelUnavailable),
        (
            grpc.StatusCode.INTERNAL,
            f"{STUB}Stub process is unhealthy and will be restarted",
            ModelUnavailable,
        ),
        (grpc.StatusCode.INTERNAL, f"{STUB}RuntimeError: bad node", ModelFailed),
        (grpc.StatusCode.UNKNOWN, "something", ModelFailed),
    ],
)
async def test_a_model_that_failed_is_told_from_one_that_is_away(
    code: grpc.StatusCode, details: str, kind: type[DomainError]
) -> None:
    async with fake_triton() as server, TritonClient(Peer(server.address, "triton.test")) as triton:
        server.refusal = code, details
        with pytest.raises(DomainError) as caught:
            await triton.embed(["text"])
        assert type(caught.value) is kind
        assert "RuntimeError" not in caught.value.message
