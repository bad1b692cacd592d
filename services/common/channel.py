"""Channels to peer services: they carry the caller's token, the request id and what is left of the deadline.

Every hop takes less time than it was given, so that an error reaches the caller before its deadline does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
from grpc.aio import ClientCallDetails, Metadata

from services.common.config import Peer
from services.common.context import REQUEST_ID_KEY, allotted, caller_ran_out, current_call
from services.common.errors import DeadlineExceeded, PeerUnavailable
from services.common.identity import caller_or_none
from services.common.status import from_call

XDS = "xds:///"
"""How a target begins that a control plane resolves."""

CHANNEL_OPTIONS: Sequence[tuple[str, Any]] = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.max_receive_message_length", 64 << 20),
)


def open_channel(peer: Peer) -> grpc.aio.Channel:
    """A channel to a peer; unary calls on it carry the context of the call being served.

    Streamed calls take ``call_options()`` explicitly: gRPC's interceptors for them get in the way of
    cancellation.
    """
    return dial(peer, CHANNEL_OPTIONS, interceptors=[_ContextInterceptor()])


def dial(
    peer: Peer,
    options: Sequence[tuple[str, Any]],
    *,
    interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
) -> grpc.aio.Channel:
    """A channel that says no more than it is told to.

    Plaintext to an address: what stands there is on this machine, the service itself or our own sidecar. A
    name (``xds:///``) is resolved by gRPC as its own proxy, which takes the way's security from the control
    plane.
    """
    named = [*options, ("grpc.default_authority", peer.authority)]
    if peer.target.startswith(XDS):
        credentials = grpc.xds_channel_credentials()
        return grpc.aio.secure_channel(peer.target, credentials, options=named, interceptors=interceptors)
    return grpc.aio.insecure_channel(peer.target, options=named, interceptors=interceptors)


def call_options(timeout: float | None = None) -> dict[str, Any]:
    """``metadata`` and ``timeout`` for a call made on behalf of the call being served.

    ``timeout`` in seconds bounds it further.
    """
    call = current_call()
    bounds = [bound for bound in (allotted(), timeout) if bound is not None]
    metadata: list[tuple[str, str]] = [(REQUEST_ID_KEY, call.request_id), *call.trace]
    caller = caller_or_none()
    if caller is not None and caller.token:
        metadata.append(("authorization", f"Bearer {caller.token.reveal()}"))
    return {"metadata": tuple(metadata), "timeout": min(bounds, default=None)}


class _ContextInterceptor(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self,
        continuation: Callable[[ClientCallDetails, Any], Any],
        client_call_details: ClientCallDetails,
        request: Any,
    ) -> Any:
        options = call_options(client_call_details.timeout)
        metadata = Metadata(*(client_call_details.metadata or ()))
        for key, value in options["metadata"]:
            if key not in metadata:
                metadata.add(key, value)
        details = ClientCallDetails(
            client_call_details.method,
            options["timeout"],
            metadata,
            client_call_details.credentials,
            client_call_details.wait_for_ready,
        )
        return await continuation(details, request)


@contextmanager
def peer_errors(peer: str) -> Iterator[None]:
    """Turns a failed call into a DomainError.

    Raises:
        RemoteError: the peer refused, for a reason of its own.
        DeadlineExceeded: it took longer than the caller waits.
        PeerUnavailable: it could not be reached, took longer than we wait, or failed without explaining.
    """
    try:
        yield
    except grpc.aio.AioRpcError as error:
        refusal = from_call(error)
        if refusal is not None:
            raise refusal from error
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and caller_ran_out():
            raise DeadlineExceeded(f"{peer} did not answer in time") from error
        raise PeerUnavailable(f"{peer} cannot be reached") from error
