"""Which failures of Milvus are waited for, and which are not."""

from __future__ import annotations

import grpc
import pytest
from pymilvus.exceptions import ConnectError, DataNotMatchException, MilvusException, ParamError

from services.common.errors import StoreUnavailable
from services.retrieval.adapters.milvus_errors import meaning
from services.retrieval.errors import IndexMissing, IndexRefusal


def rpc(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata())


def wrapped(inner: MilvusException) -> MilvusException:
    """As pymilvus raises it after its last try."""
    outer = MilvusException(inner.code, f"Retry run out of 0 retry times, message={inner.message}")
    outer.__cause__ = inner
    return outer


@pytest.mark.parametrize(
    "error",
    [
        ConnectError(code=2, message="Fail connecting to server"),
        MilvusException(grpc.StatusCode.UNAVAILABLE, "Retry timeout: 2.0s"),
        wrapped(MilvusException(1, "service not ready", retriable=True)),
        MilvusException(8, "rate limit exceeded"),
        MilvusException(12, "service resource insufficient"),
        MilvusException(101, "collection not loaded"),
        MilvusException(700, "No index found in field [lexical]"),
        MilvusException(503, "channel not available"),
        MilvusException(902, "node offline"),
        MilvusException(1401, "privilege not permitted"),
        rpc(grpc.StatusCode.UNAVAILABLE),
        rpc(grpc.StatusCode.DEADLINE_EXCEEDED),
        rpc(grpc.StatusCode.UNAUTHENTICATED),
        TimeoutError(),
        ConnectionResetError(),
    ],
    ids=repr,
)
def test_a_server_that_is_away_or_not_well_is_waited_for(error: Exception) -> None:
    assert isinstance(meaning(error), StoreUnavailable)


@pytest.mark.parametrize(
    "error",
    [
        DataNotMatchException(message="a field is missing"),
        ParamError(message="wrong type"),
        wrapped(DataNotMatchException(message="a field is missing")),
        MilvusException(65535, "the length(3) of float data should divide the dim(384)"),
        MilvusException(1100, "Invalid expr"),
        MilvusException(2000, "segcore error"),
        MilvusException(105, "illegal collection schema"),
        MilvusException(grpc.StatusCode.UNKNOWN, "Retry run out"),
        rpc(grpc.StatusCode.INVALID_ARGUMENT),
        rpc(grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
    ids=repr,
)
def test_what_a_server_says_of_the_request_is_a_refusal(error: Exception) -> None:
    refusal = meaning(error)
    assert isinstance(refusal, IndexRefusal)
    assert str(error) not in refusal.message


def test_a_lost_collection_is_a_lost_index() -> None:
    assert isinstance(meaning(wrapped(MilvusException(100, "collection not found"))), IndexMissing)
