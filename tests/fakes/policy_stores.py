"""The policy service's stores in memory, with a clock and failures at the test's command."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from services.common.errors import DomainError, RequestIdReused
from services.policy.domain import (
    AuditCursor,
    AuditEntry,
    AuditFilter,
    AuditRecord,
    Charge,
    Level,
    Quota,
    QuotaPlan,
    Reservation,
)
from services.policy.errors import QuotaExceeded, ReservationNotFound
from services.policy.ports import QuotaLedger, RateMeter

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST_OPEN = 60
"""Reservations that a ledger under test allows a tenant at once."""
_REMEMBERED = timedelta(hours=1)


class ManualClock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def advance(self, duration: timedelta) -> None:
        """Goes on."""
        self.now += duration


@dataclass(frozen=True, slots=True)
class TimedLedger:
    """A ledger, and a way to let its time pass: the same for one in memory and for a real one."""

    ledger: QuotaLedger
    advance: Callable[[timedelta], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class TimedMeter:
    """A rate meter, and a way to let its time pass."""

    meter: RateMeter
    advance: Callable[[timedelta], Awaitable[None]]


class FailureInjection:
    """Lets a test say how the next calls end."""

    def __init__(self) -> None:
        self._failures: list[DomainError] = []

    def fail_next(self, *errors: DomainError) -> None:
        """The next calls raise these, in order."""
        self._failures.extend(errors)

    async def _checkpoint(self) -> None:
        await asyncio.sleep(0)
        if self._failures:
            raise self._failures.pop(0)


@dataclass
class _Held:
    reservation: Reservation
    ends: datetime
    settled: bool = False
    forgotten: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.forgotten = self.ends + _REMEMBERED


@dataclass
class _Account:
    used: int = 0
    window: datetime = _EPOCH
    held: dict[UUID, _Held] = field(default_factory=dict)


class FakeQuotaLedger(FailureInjection):
    """A QuotaLedger in memory."""

    def __init__(self, clock: ManualClock, max_open: int = 4096) -> None:
        super().__init__()
        self._clock = clock
        self._max_open = max_open
        self._accounts: dict[str, _Account] = defaultdict(_Account)

    async def reserve(self, tenant: str, plan: QuotaPlan, reservation: Reservation) -> Quota:
        """See QuotaLedger."""
        await self._checkpoint()
        account, now = self._account(tenant, plan), self._clock.now
        known = account.held.get(reservation.id)
        if known is not None:
            first = known.reservation
            if known.settled or (first.owner, first.tokens) != (reservation.owner, reservation.tokens):
                raise RequestIdReused("used before")
            if known.ends > now:
                return self._quota(account, plan)
        quota = self._quota(account, plan)
        if quota.used + quota.reserved + reservation.tokens > plan.tokens:
            raise QuotaExceeded("used up", retry_after=self._wait(account, plan, reservation.tokens))
        open_now = self._open(account)
        if len(open_now) >= self._max_open:
            raise QuotaExceeded("too many", retry_after=min(held.ends for held in open_now) - now)
        account.held[reservation.id] = _Held(reservation, now + reservation.lease)
        return self._quota(account, plan)

    async def settle(
        self, tenant: str, plan: QuotaPlan, owner: str, reservation: UUID, used_tokens: int
    ) -> Quota:
        """See QuotaLedger."""
        await self._checkpoint()
        account = self._account(tenant, plan)
        held = account.held.get(reservation)
        if held is None or held.reservation.owner != owner:
            raise ReservationNotFound
        if not held.settled:
            held.settled = True
            held.forgotten = self._clock.now + _REMEMBERED
            account.used += used_tokens
        return self._quota(account, plan)

    async def read(self, tenant: str, plan: QuotaPlan) -> Quota:
        """See QuotaLedger."""
        await self._checkpoint()
        return self._quota(self._account(tenant, plan), plan)

    def _account(self, tenant: str, plan: QuotaPlan) -> _Account:
        account, now = self._accounts[tenant], self._clock.now
        window = now - (now - _EPOCH) % plan.window + plan.window
        if account.window <= now:
            account.used, account.window = 0, window
        account.window = min(account.window, window)
        account.held = {key: held for key, held in account.held.items() if held.forgotten > now}
        return account

    def _open(self, account: _Account) -> list[_Held]:
        return [held for held in account.held.values() if not held.settled and held.ends > self._clock.now]

    def _quota(self, account: _Account, plan: QuotaPlan) -> Quota:
        reserved = sum(held.reservation.tokens for held in self._open(account))
        return Quota(plan.tokens, account.used, reserved, account.window)

    def _wait(self, account: _Account, plan: QuotaPlan, tokens: int) -> timedelta | None:
        moments = [account.window, *(held.ends for held in self._open(account))]
        for moment in sorted(moments):
            used = 0 if account.window <= moment else account.used
            reserved = sum(held.reservation.tokens for held in self._open(account) if held.ends > moment)
            if used + reserved + tokens <= plan.tokens:
                return moment - self._clock.now
        return None


class FakeRateMeter(FailureInjection):
    """A RateMeter in memory: leaky buckets, which is the same algorithm told the other way round."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock
        self._water: dict[tuple[str, str], tuple[float, datetime]] = {}

    async def take(self, owner: str, charges: Sequence[Charge]) -> Sequence[Level]:
        """See RateMeter."""
        await self._checkpoint()
        levels = [self._level(owner, charge) for charge in charges]
        if not all(level.allowed for level in levels):
            return levels
        for charge in charges:
            water = self._water_in(owner, charge) + charge.hits
            self._water[owner, charge.bucket] = (water, self._clock.now)
        looks = [Charge(charge.bucket, charge.rate, 0) for charge in charges]
        return [self._level(owner, look) for look in looks]

    def _water_in(self, owner: str, charge: Charge) -> float:
        water, since = self._water.get((owner, charge.bucket), (0.0, self._clock.now))
        leaked = (self._clock.now - since).total_seconds() * charge.rate.per_second
        return min(max(0.0, water - leaked), charge.rate.burst)

    def _level(self, owner: str, charge: Charge) -> Level:
        water, rate = self._water_in(owner, charge), charge.rate
        over = water + charge.hits - rate.burst
        allowed = over < 1e-6
        wait = timedelta(0) if allowed else timedelta(seconds=over / rate.per_second)
        return Level(
            allowed=allowed,
            remaining=int(rate.burst - water + 1e-6),
            wait=None if charge.hits > rate.burst else wait,
            full=timedelta(seconds=water / rate.per_second),
        )


class FakeAuditLog(FailureInjection):
    """An AuditLog in memory."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock
        self._records: dict[str, dict[UUID, AuditRecord]] = defaultdict(dict)
        self._sequence = 0

    async def append(self, tenant: str, entries: Sequence[AuditEntry]) -> None:
        """See AuditLog."""
        await self._checkpoint()
        records = dict(self._records[tenant])
        for entry in entries:
            self._sequence += 1
            record = records.setdefault(entry.id, AuditRecord(entry, self._clock.now, self._sequence))
            if record.entry != entry:
                raise RequestIdReused("used before")
        self._records[tenant] = records

    async def query(
        self, tenant: str, wanted: AuditFilter, after: AuditCursor | None, limit: int
    ) -> Sequence[AuditRecord]:
        """See AuditLog."""
        await self._checkpoint()
        records = sorted(self._records[tenant].values(), key=_place, reverse=True)
        return [record for record in records if _matches(record, wanted) and _is_older(record, after)][:limit]


def _place(record: AuditRecord) -> tuple[datetime, int]:
    return record.create_time, record.sequence


def _is_older(record: AuditRecord, after: AuditCursor | None) -> bool:
    return after is None or _place(record) < (after.create_time, after.sequence)


def _matches(record: AuditRecord, wanted: AuditFilter) -> bool:
    return (
        wanted.action in (None, record.entry.draft.action)
        and wanted.subject in (None, record.entry.subject)
        and (wanted.start_time is None or wanted.start_time <= record.create_time)
        and (wanted.end_time is None or record.create_time < wanted.end_time)
    )
