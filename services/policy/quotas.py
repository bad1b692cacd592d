"""Quotas: which plan a tenant has, and how long a reservation is held."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from services.common.identity import Caller
from services.policy.domain import Quota, QuotaPlan, Reservation
from services.policy.ports import QuotaLedger


class Quotas:
    """Meters the tokens of tenants. Every tenant has the same plan."""

    def __init__(self, ledger: QuotaLedger, plan: QuotaPlan, lease: timedelta) -> None:
        """``lease``: how long a reservation is held when its maker does not say."""
        self._ledger = ledger
        self._plan = plan
        self._lease = lease

    async def reserve(self, caller: Caller, reservation: UUID, tokens: int, lease: timedelta | None) -> Quota:
        """Holds tokens for the caller; see QuotaLedger.reserve for what it raises."""
        wanted = Reservation(reservation, caller.subject, tokens, lease or self._lease)
        return await self._ledger.reserve(caller.tenant, self._plan, wanted)

    async def settle(self, caller: Caller, reservation: UUID, used_tokens: int) -> Quota:
        """Ends a reservation of the caller; see QuotaLedger.settle for what it raises."""
        return await self._ledger.settle(caller.tenant, self._plan, caller.subject, reservation, used_tokens)

    async def read(self, caller: Caller) -> Quota:
        """What the caller's tenant has."""
        return await self._ledger.read(caller.tenant, self._plan)
