"""What a failed call of pymilvus means: a lost index, a server that is away, or one that refuses.

The difference is whether waiting helps. What is away comes back, for every caller alike; a refusal is about
what was asked, and will be said again however often it is asked. Codes:
https://github.com/milvus-io/milvus/blob/master/pkg/util/merr/errors.go.
"""

from __future__ import annotations

import grpc
from pymilvus.exceptions import MilvusException

from services.common.errors import StoreUnavailable
from services.retrieval.errors import IndexMissing, IndexRefusal

_COLLECTION_MISSING = 100
_AWAY = (
    range(2, 5),  # cannot be connected to (pymilvus' own 2, too), out of memory, too many requests
    range(6, 10),  # the wrong cluster, out of disk, rate and quota
    range(11, 13),  # behind the time, out of resources
    (101, 103, 106),  # the collection is not loaded, or not all of it, or is being recovered
    (201, 202),  # a partition is not
    range(400, 700),  # replicas, channels and segments that are not where they should be
    (700,),  # the collection is there, and its index not yet: it is made in several steps
    range(900, 1100),  # nodes and storage
    range(1300, 1500),  # the message queue; who we are, which is for the settings to say
    (1800, 10_000, 10_001),  # who we are, again; cancelled and timed out inside
)
_REFUSALS = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,  # a message that is too large
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""What gRPC says of a server that was reached."""


def meaning(error: Exception) -> StoreUnavailable | IndexMissing | IndexRefusal:
    """What to raise for a failure of pymilvus, of gRPC below it, or of the time that it had."""
    match error:
        case MilvusException() if error.code == _COLLECTION_MISSING:
            return IndexMissing()
        case MilvusException() if _refuses(error):
            return IndexRefusal("the index refuses what it was asked")
        case grpc.RpcError() if error.code() in _REFUSALS:
            return IndexRefusal("the index refuses what it was asked")
        case _:
            return StoreUnavailable("the index cannot be reached")


def _refuses(error: MilvusException) -> bool:
    if isinstance(error.code, grpc.StatusCode):
        return error.code in _REFUSALS
    # The server's own word, where it gives one, stands in the error that pymilvus' trying again has wrapped.
    inner = error.__cause__ if isinstance(error.__cause__, MilvusException) else error
    return not inner.retriable and not any(error.code in codes for codes in _AWAY)
