"""The rate meter in Valkey (or Redis 7 and newer): one script for all buckets of a request."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import redis.asyncio
from redis.exceptions import OutOfMemoryError

from services.common.errors import StoreUnavailable
from services.common.valkey import store_errors
from services.policy.adapters import scripts
from services.policy.domain import Charge, Level

_MICROSECOND = timedelta(microseconds=1)


def key_of(owner: str, bucket: str) -> str:
    """The key of a bucket; in a cluster all of an owner's are on one node.

    Raises:
        ValueError: the owner's name would move the hash tag.
    """
    if "{" in owner or "}" in owner:
        raise ValueError("the owner's name cannot be a hash tag")
    # An empty hash tag would be none. A tenant's name cannot be an asterisk.
    return f"policy:{{{owner or '*'}}}:rate:{bucket}"


class ValkeyRateMeter:
    """A RateMeter in Valkey."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        """``client`` stays the caller's to close."""
        self._client = client
        self._script = scripts.read(["gcra"], "")

    async def take(self, owner: str, charges: Sequence[Charge]) -> Sequence[Level]:
        """See RateMeter. A call that is sent again by the client library, because its answer was lost, may be
        counted twice."""
        if not charges:
            return ()
        keys = [key_of(owner, charge.bucket) for charge in charges]
        values: list[str | int] = []
        for charge in charges:
            values += [repr(1_000_000 / charge.rate.per_second), charge.rate.burst, charge.hits]
        with store_errors():
            try:
                found: list[int] = await scripts.run(self._client, self._script, keys, values)
            except OutOfMemoryError as error:
                raise StoreUnavailable("the store of the rate limits is full") from error
        return [_level(found[start : start + 4]) for start in range(0, len(found), 4)]


def _level(numbers: Sequence[int]) -> Level:
    allowed, remaining, wait, full = numbers
    return Level(
        allowed=bool(allowed),
        remaining=max(0, remaining),
        wait=None if wait < 0 else wait * _MICROSECOND,
        full=max(0, full) * _MICROSECOND,
    )
