"""Sends one request, however malformed, and says what is wrong with the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import protovalidate
from google.protobuf.message import Message

from fuzz.methods import Method
from services.common.errors import RemoteError
from services.common.status import from_call

Metadata = Sequence[tuple[str, str | bytes]]

REFUSALS = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.PERMISSION_DENIED,
    }
)
"""What a service that is well may answer to an authorised caller; the fault is the request's."""
LEAKS = (
    "traceback",
    "psycopg",
    "sqlstate",
    "select ",
    "insert into",
    "redis",
    "valkey",
    "pymilvus",
    "milvus",
    "triton",
    "protobuf",
    "site-packages",
    ".py",
    "127.0.0.1",
    "0x",
)
"""What a message for the public does not hold: the insides of a server."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    code: grpc.StatusCode
    details: str
    error: RemoteError | None
    """The refusal in our own terms; None when it did not come from a service of ours."""
    responses: tuple[Message, ...]


async def send(
    channel: grpc.aio.Channel,
    method: Method,
    payloads: Sequence[bytes],
    metadata: Metadata,
    timeout_seconds: float,
) -> Answer:
    """Calls a method with raw bytes: the first of ``payloads``, or all where it takes a stream."""
    kind = getattr(channel, method.arity)
    caller: Any = kind(method.path, response_deserializer=method.response.FromString)
    request = _stream(payloads) if method.arity.startswith("stream") else payloads[0]
    responses: list[Message] = []
    began = time.monotonic()
    call = caller(request, metadata=tuple(metadata), timeout=timeout_seconds)
    try:
        if method.arity.endswith("stream"):
            async for response in call:
                responses.append(response)
        else:
            responses.append(await call)
    except grpc.aio.AioRpcError as error:
        return Answer(error.code(), error.details() or "", from_call(error), tuple(responses))
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # grpc.aio ends a streamed request so when the deadline passes between two of its own steps, and may
        # then call it cancelled by us, who cancel nothing.
        code, details = await call.code(), await call.details() or ""
        if code is grpc.StatusCode.CANCELLED and time.monotonic() - began >= timeout_seconds:
            code = grpc.StatusCode.DEADLINE_EXCEEDED
        return Answer(code, details, None, tuple(responses))
    return Answer(grpc.StatusCode.OK, "", None, tuple(responses))


async def _stream(payloads: Sequence[bytes]) -> AsyncIterator[bytes]:
    for payload in payloads:
        yield payload


def complaint(answer: Answer, *, slow: bool = False) -> str:
    """Why an answer to an authorised caller is not one that a good service gives; empty when it is.

    ``slow``: the method may use up its time.
    """
    for response in answer.responses:
        broken = protovalidate.collect_violations(response)
        if broken:
            return f"the response breaks its own limits: {broken[0].proto}"
    if answer.code is grpc.StatusCode.OK:
        return ""
    if slow and answer.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ""
    if answer.code not in REFUSALS:
        return f"the code is {answer.code.name}: {answer.details}"
    if answer.error is None:
        return f"{answer.code.name} without a reason of ours: {answer.details}"
    if answer.code is grpc.StatusCode.INVALID_ARGUMENT and not answer.error.violations:
        return f"INVALID_ARGUMENT without a field: {answer.details}"
    leaked = [leak for leak in LEAKS if leak in answer.details.lower()]
    if leaked:
        return f"the message tells of {leaked}: {answer.details}"
    return ""
