"""No method of any service answers somebody without valid credentials, nor a role that may not call it."""

from __future__ import annotations

import grpc
import pytest

from fuzz.credentials import hopeless, issuer_of
from fuzz.harvest import simplest
from fuzz.methods import Method, all_methods
from fuzz.probe import Metadata, complaint, send
from fuzz.target import Target
from services.common.errors import Code, Reason

SECONDS = 20.0
METHODS = [pytest.param(method.domain, method, id=str(method)) for method in all_methods()]
CASES = pytest.mark.parametrize("target, method", METHODS, indirect=["target"], scope="session")


def request_for(target: Target, method: Method) -> bytes:
    """A request that would be answered if the caller were allowed."""
    message = simplest(method.request, target.known)
    return message.SerializeToString() if message is not None else b""


@CASES
async def test_bad_credentials_are_refused_everywhere(
    target: Target, channel: grpc.aio.Channel, method: Method
) -> None:
    request = request_for(target, method)
    for what, metadata in hopeless(target.platform).items():
        answer = await send(channel, method, [request], metadata, SECONDS)
        assert answer.code is grpc.StatusCode.UNAUTHENTICATED, f"{what}: {answer}\n{target.last_error()}"
        assert answer.error is not None, what
        assert answer.error.status == (Code.UNAUTHENTICATED, Reason.INVALID_CREDENTIALS), what


@CASES
async def test_a_caller_without_a_role_is_refused_everywhere(
    target: Target, channel: grpc.aio.Channel, method: Method
) -> None:
    issuer = issuer_of(target.platform)
    for roles in ((), ("Admin",), ("reader ",), ("root", "*", "")):
        answer = await send(
            channel, method, [request_for(target, method)], issuer.metadata("fuzz", roles=roles), SECONDS
        )
        assert answer.code is grpc.StatusCode.PERMISSION_DENIED, f"{roles}: {answer}"


ODD_METADATA: tuple[Metadata, ...] = (
    (("x-request-id", ""),),
    (("x-request-id", "x" * 4000),),
    (("x-request-id", 'a"}{"b'),),
    (("x-request-id", "a"), ("x-request-id", "b")),
    (("x-request-id-bin", b"\xff\x00"),),
    (("grpc-status-details-bin", b"\xff\x00"),),
    (("traceparent", "00-" + "z" * 32),),
    tuple((f"x-{number}", "y" * 50) for number in range(50)),
)


@CASES
async def test_odd_metadata_changes_nothing(
    target: Target, channel: grpc.aio.Channel, method: Method
) -> None:
    for metadata in ODD_METADATA:
        answer = await send(channel, method, [b"\xff"], (*target.metadata, *metadata), SECONDS)
        assert not complaint(answer), metadata
        assert answer.code is grpc.StatusCode.INVALID_ARGUMENT, f"{metadata}: {answer}"


@CASES
async def test_no_time_at_all_is_told_as_such(
    target: Target, channel: grpc.aio.Channel, method: Method
) -> None:
    request = request_for(target, method)
    for seconds in (0.000_001, 0.001):
        answer = await send(channel, method, [request], target.metadata, seconds)
        assert answer.code is grpc.StatusCode.DEADLINE_EXCEEDED or not complaint(answer), (
            f"{seconds}: {answer}"
        )
