"""The quota ledger in Valkey (or Redis 7 and newer): one script a method, so that each is atomic.

The state that the scripts keep is described in ``valkey_scripts/ledger.lua``. A retry of the client library
after a lost answer is harmless, as reservations and settlements are idempotent by their id.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import redis.asyncio
from redis.exceptions import OutOfMemoryError

from services.common.errors import RequestIdReused, StoreUnavailable
from services.common.valkey import store_errors
from services.policy.adapters import scripts
from services.policy.adapters.scripts import Script
from services.policy.domain import Quota, QuotaPlan, Reservation
from services.policy.errors import QuotaExceeded, ReservationNotFound

MAX_OPEN = 4096
"""Reservations that a tenant may have open at once: bounds what a script walks and what Valkey holds."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: bytes
    quota: Quota
    wait: timedelta | None


def read_script(name: str, flags: str) -> Script:
    """A script of ``valkey_scripts/`` behind the part that all of the ledger's share."""
    return scripts.read(("ledger", name), flags)


def keys_of(tenant: str, reservation: UUID | None = None) -> tuple[str, ...]:
    """The keys of a tenant's ledger, and of one reservation in it; in a cluster all are on one node.

    Raises:
        ValueError: the tenant's name would move the hash tag.
    """
    if not tenant or "{" in tenant or "}" in tenant:
        raise ValueError("the tenant's name cannot be a hash tag")
    prefix = f"policy:{{{tenant}}}:quota"
    keys = (f"{prefix}:state", f"{prefix}:leases")
    return keys if reservation is None else (*keys, f"{prefix}:reservation:{reservation}")


class ValkeyQuotaLedger:
    """A QuotaLedger in Valkey."""

    def __init__(self, client: redis.asyncio.Redis, max_open: int = MAX_OPEN) -> None:
        """``client`` answers in bytes; it stays the caller's to close."""
        self._client = client
        self._max_open = max_open
        self._reserve = read_script("reserve", "")
        # A settlement needs no room that its reservation has not taken, and must get through a full server.
        self._settle = read_script("settle", "allow-oom")
        self._read = read_script("read", "no-writes")

    async def check(self) -> None:
        """Raises StoreUnavailable unless the server answers."""
        with store_errors():
            await self._client.ping()

    async def reserve(self, tenant: str, plan: QuotaPlan, reservation: Reservation) -> Quota:
        """See QuotaLedger."""
        answer = await self._run(
            self._reserve,
            keys_of(tenant, reservation.id),
            plan,
            plan.tokens,
            str(reservation.id),
            reservation.owner,
            reservation.tokens,
            _milliseconds(reservation.lease),
            self._max_open,
        )
        if answer.status == b"reused":
            raise RequestIdReused("this reservation_id was used before for another or a settled reservation")
        if answer.status == b"exceeded":
            raise _exceeded(tenant, reservation, answer)
        return answer.quota

    async def settle(
        self, tenant: str, plan: QuotaPlan, owner: str, reservation: UUID, used_tokens: int
    ) -> Quota:
        """See QuotaLedger."""
        keys = keys_of(tenant, reservation)
        answer = await self._run(self._settle, keys, plan, str(reservation), owner, used_tokens)
        if answer.status == b"missing":
            raise ReservationNotFound
        return answer.quota

    async def read(self, tenant: str, plan: QuotaPlan) -> Quota:
        """See QuotaLedger."""
        return (await self._run(self._read, keys_of(tenant), plan)).quota

    async def _run(self, script: Script, keys: tuple[str, ...], plan: QuotaPlan, *args: str | int) -> _Answer:
        values = [_milliseconds(plan.window), *args]
        with store_errors():
            try:
                found = await scripts.run(self._client, script, keys, values)
            except OutOfMemoryError as error:
                raise StoreUnavailable("the quota store is full") from error
        status, used, reserved, window, wait = found
        quota = Quota(plan.tokens, used, reserved, _EPOCH + window * _MILLISECOND)
        return _Answer(status, quota, None if wait < 0 else wait * _MILLISECOND)


def _exceeded(tenant: str, reservation: Reservation, answer: _Answer) -> QuotaExceeded:
    quota = answer.quota
    return QuotaExceeded(
        f"{reservation.tokens} tokens were asked for; of {quota.limit} a window, {quota.used} are used and "
        f"{quota.reserved} reserved",
        metadata={
            "tenant": tenant,
            "limit": str(quota.limit),
            "used": str(quota.used),
            "reserved": str(quota.reserved),
            "reset_time": quota.reset_time.isoformat(),
        },
        retry_after=answer.wait,
    )


def _milliseconds(duration: timedelta) -> int:
    return math.ceil(duration / _MILLISECOND)
