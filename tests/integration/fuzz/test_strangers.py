"""What one tenant has is out of another's reach in every method of every service.

The ids and page tokens of a tenant are harvested through the API itself; another tenant then puts them
wherever a request has room for them. A new service is covered as soon as its methods are.
"""

from __future__ import annotations

import uuid

import grpc
import pytest

from fuzz.harvest import simplest
from fuzz.methods import Method, all_methods
from fuzz.probe import complaint, send
from fuzz.target import Target, metadata_of

SECONDS = 20.0
METHODS = [
    pytest.param(method.domain, method, id=str(method))
    for method in all_methods()
    if not method.arity.startswith("stream")
]


@pytest.mark.parametrize("target, method", METHODS, indirect=["target"], scope="session")
async def test_a_stranger_finds_nothing_by_anothers_ids(
    target: Target, channel: grpc.aio.Channel, method: Method
) -> None:
    request = simplest(method.request, target.known)
    assert request is not None
    theirs = {
        value
        for name, values in target.known.items()
        if _holds_ids(name)
        for value in values
        if _is_uuid(value)
    }
    asked = {text for text in theirs if text in str(request)}
    stranger = metadata_of(target.platform, "fuzz-stranger")
    answer = await send(channel, method, [request.SerializeToString()], stranger, SECONDS)
    assert not complaint(answer, slow=True)
    # A filter by ids finds nothing, which is no error.
    if asked and not any(field.name == "filter" for field in method.request.fields):
        assert answer.code is grpc.StatusCode.NOT_FOUND, f"{asked}: {answer}"
    seen = str(answer.responses)
    assert [text for text in theirs - asked if text in seen] == []


def _holds_ids(field: str) -> bool:
    return field in ("id", "ids") or field.endswith(("_id", "_ids"))


def _is_uuid(value: object) -> bool:
    """What belongs to a tenant has a UUID; other ids, such as models' names, are everybody's."""
    try:
        return bool(uuid.UUID(str(value)))
    except ValueError:
        return False
