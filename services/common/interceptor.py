"""The one server interceptor: request id, credentials, permission, validation, errors, access log.

It wraps all four kinds of RPC and sees the end of a stream, not only its start. Streaming handlers are async
generators. Order for every call:

1. request id and deadline are put into the context;
2. the bearer token becomes a Caller, unless the method is public (health, reflection, channelz) or its
   service is called by proxies, which the mesh authenticates;
3. the method's action must be allowed to one of the caller's roles; a method without an action is refused;
4. every request message is decoded and validated;
5. the handler runs; a DomainError becomes its status, anything else INTERNAL with the request id only.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from types import TracebackType
from typing import Any, Protocol, cast

import grpc

from services.common.auth import TokenVerifier
from services.common.context import REQUEST_ID_KEY, CallContext, request_id_from, set_current_call, trace_from
from services.common.errors import Code, DomainError, InvalidCredentials, PermissionDenied, Reason
from services.common.identity import Caller, become
from services.common.permissions import is_allowed
from services.common.status import CODES, DETAILS_KEY, to_status
from services.common.validation import decode

PUBLIC_SERVICES = (
    "grpc.health.v1.Health",
    "grpc.reflection.v1alpha.ServerReflection",
    "grpc.channelz.v1.Channelz",
)
"""Infrastructure that answers without credentials; in a mesh, AuthorizationPolicies guard it."""

access_log = logging.getLogger("causeway.access")
log = logging.getLogger(__name__)


class Verifier(Protocol):
    """Turns a bearer token into a Caller, or raises InvalidCredentials."""

    async def verify(self, token: str) -> Caller:
        """See services.common.auth.TokenVerifier."""


class _InternalError(DomainError):
    reason = Reason.INTERNAL
    code = Code.INTERNAL


class CallInterceptor(grpc.aio.ServerInterceptor):
    """See the module's docstring."""

    def __init__(
        self,
        verifier: Verifier | TokenVerifier,
        permissions: Mapping[str, str],
        proxied: Collection[str] = (),
    ) -> None:
        """``permissions`` maps full method names (``/package.Service/Method``) to actions; ``proxied`` names
        the services that are called by proxies, without a token."""
        self._verifier = verifier
        self._permissions = permissions
        self._proxied = frozenset(proxied)
        # By method: only methods that are served get in.
        self._wrapped: dict[str, tuple[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wraps the handler of the method."""
        # None for a method that nobody serves; gRPC answers UNIMPLEMENTED.
        handler: Any = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        known = self._wrapped.get(method)
        if known is None or known[0] is not handler:
            service = method.lstrip("/").partition("/")[0]
            known = (
                handler,
                handler if service in PUBLIC_SERVICES else self._guarded(handler, method, service),
            )
            self._wrapped[method] = known
        return known[1]

    def _guarded(self, handler: Any, method: str, service: str) -> Any:
        proxied = service in self._proxied
        return _wrap(handler, lambda context: _Guard(self, method, context, proxied=proxied))

    async def authorize(self, method: str, metadata: Any) -> Caller:
        """Who calls.

        Raises:
            InvalidCredentials: no token, or none that holds.
            PermissionDenied: the caller may not call this.
        """
        values = [value for key, value in metadata if key == "authorization"]
        if len(values) != 1:
            raise InvalidCredentials("the call must carry one authorization header")
        scheme, _, token = str(values[0]).partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise InvalidCredentials("the authorization header must hold a bearer token")
        caller = await self._verifier.verify(token)
        action = self._permissions.get(method)
        if action is None or not is_allowed(caller.roles, action):
            raise PermissionDenied(
                "the caller's roles do not allow this", metadata={"action": action or "unknown"}
            )
        return caller


class _Guard:
    """Around the handler of one call. A class, since a generator's context manager costs twice as much."""

    __slots__ = ("_call", "_context", "_interceptor", "_method", "_proxied", "_started", "_tenant")

    def __init__(
        self,
        interceptor: CallInterceptor,
        method: str,
        context: grpc.aio.ServicerContext[Any, Any],
        *,
        proxied: bool,
    ) -> None:
        self._interceptor = interceptor
        self._method = method
        self._context = context
        self._proxied = proxied
        self._tenant = ""

    async def __aenter__(self) -> None:
        metadata = self._context.invocation_metadata() or ()
        # None without a deadline, which the published types do not say.
        time_left = cast("float | None", self._context.time_remaining())
        self._started = time.monotonic()
        self._call = CallContext(
            request_id=request_id_from(metadata),
            deadline=None if time_left is None else self._started + time_left,
            trace=trace_from(metadata),
        )
        set_current_call(self._call)
        if self._proxied:
            return
        try:
            caller = await self._interceptor.authorize(self._method, metadata)
        except BaseException as error:
            await self._end(error)
            raise
        self._tenant = caller.tenant
        # Every RPC has a task, and so a context, of its own: there is nothing to undo afterwards, and a
        # stream that is closed by the garbage collector is closed in another context.
        become(caller)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end(error)

    async def _end(self, error: BaseException | None) -> None:
        """Says how the call ended, in the log and to the caller; raises what ``error`` must become."""
        code, failure = Code.OK, None
        cancelled = False
        match error:
            case None | grpc.aio.AbortError() | GeneratorExit():
                pass
            case DomainError():
                code, failure = error.status[0], error
            case asyncio.CancelledError():
                # The client went away, or its deadline passed: gRPC tells it, there is nobody to tell here.
                code = Code.CANCELLED
            case Exception() if self._context.done():
                # The call ended under the handler, whose next read or write then fails in some way.
                code, cancelled = Code.CANCELLED, True
            case Exception():
                extra = {"method": self._method, "request_id": self._call.request_id}
                log.error("unexpected error", exc_info=error, extra=extra)
                code = Code.INTERNAL
                failure = _InternalError("internal error; the request id finds it in the server's log")
                failure.__cause__ = error
            case _:
                # The process ends: the log says what it said before.
                pass
        self._log(code, failure)
        if cancelled:
            raise asyncio.CancelledError from error
        if failure is not None:
            await _abort(self._context, failure, self._call.request_id)

    def _log(self, code: Code, failure: DomainError | None) -> None:
        # The proxies ask twice for every call from outside, and log that call themselves.
        level = logging.DEBUG if self._proxied and code is Code.OK else logging.INFO
        if not access_log.isEnabledFor(level):
            return
        fields: dict[str, object] = {
            "method": self._method,
            "request_id": self._call.request_id,
            "tenant": self._tenant,
            "code": code.name,
            "duration_ms": round((time.monotonic() - self._started) * 1e3, 3),
        }
        if failure is not None:
            fields["reason"] = failure.status[1].name
            if failure.__cause__ is not None and code in (
                Code.UNAVAILABLE,
                Code.INTERNAL,
                Code.DEADLINE_EXCEEDED,
            ):
                fields["cause"] = f"{type(failure.__cause__).__name__}: {failure.__cause__}"[:500]
        access_log.log(level, "call", extra=fields)


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: DomainError, request_id: str) -> None:
    status = to_status(error, request_id)
    await context.abort(
        CODES[Code(status.code)],
        status.message,
        ((DETAILS_KEY, status.SerializeToString()), (REQUEST_ID_KEY, request_id)),
    )


Guarding = Callable[[Any], AbstractAsyncContextManager[None]]


def _wrap(handler: Any, guard: Guarding) -> Any:
    """The same handler, with raw bytes coming in and ``guard`` around it."""
    deserialize, serialize = handler.request_deserializer, handler.response_serializer

    if handler.unary_unary is not None:

        async def unary_unary(data: bytes, context: Any) -> Any:
            async with guard(context):
                return await handler.unary_unary(decode(deserialize, data), context)

        return grpc.unary_unary_rpc_method_handler(unary_unary, None, serialize)

    async def requests(stream: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for data in stream:
            yield decode(deserialize, data)

    if handler.stream_unary is not None:

        async def stream_unary(stream: AsyncIterator[bytes], context: Any) -> Any:
            async with guard(context):
                return await handler.stream_unary(requests(stream), context)

        return grpc.stream_unary_rpc_method_handler(stream_unary, None, serialize)

    if handler.unary_stream is not None:
        start = handler.unary_stream

        async def unary_stream(data: bytes, context: Any) -> AsyncIterator[Any]:
            async with guard(context), aclosing(start(decode(deserialize, data), context)) as responses:
                async for response in responses:
                    yield response

        return grpc.unary_stream_rpc_method_handler(unary_stream, None, serialize)

    converse = handler.stream_stream

    async def stream_stream(stream: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
        async with guard(context), aclosing(converse(requests(stream), context)) as responses:
            async for response in responses:
                yield response

    return grpc.stream_stream_rpc_method_handler(stream_stream, None, serialize)
