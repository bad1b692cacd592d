"""What the policy service's logic needs from outside. Adapters implement these; tests have fakes of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol
from uuid import UUID

from services.common.identity import Caller
from services.policy.domain import (
    AuditCursor,
    AuditEntry,
    AuditFilter,
    AuditRecord,
    Charge,
    Decision,
    EntityKind,
    Level,
    Quota,
    QuotaPlan,
    RedactedText,
    Reservation,
)


class DecisionEngine(Protocol):
    """Decides what callers may do."""

    def decide(self, caller: Caller, action: str, resource: str) -> Decision:
        """Whether ``caller`` may do ``action`` to ``resource`` (the whole tenant when empty).

        Raises:
            InvalidRequest: there is no such action.
        """


class Redactor(Protocol):
    """Takes personal data out of a text."""

    def redact(self, text: str, kinds: Collection[EntityKind]) -> RedactedText:
        """Replaces each finding of ``kinds``. Its time grows no faster than the text's length."""


class QuotaLedger(Protocol):
    """Counts what tenants use. Every method is atomic, and measures time by the ledger's own clock.

    A settlement counts in the window in which it comes. Open reservations count in every window, so that
    ``used + reserved`` never passes the limit by reservations; only a settlement of more than was reserved
    can pass it.
    """

    async def reserve(self, tenant: str, plan: QuotaPlan, reservation: Reservation) -> Quota:
        """Holds tokens until they are settled or the lease ends.

        The same reservation again changes nothing while it is open, and takes the tokens anew when its lease
        has ended.

        Raises:
            QuotaExceeded: the tokens are not there.
            RequestIdReused: the id was reserved for other tokens or by another owner, or is settled.
            StoreUnavailable: the ledger cannot be reached.
        """

    async def settle(
        self, tenant: str, plan: QuotaPlan, owner: str, reservation: UUID, used_tokens: int
    ) -> Quota:
        """Charges what was used and gives back the rest. Again, it changes nothing.

        What was used is charged even when the lease has ended: it was used.

        Raises:
            ReservationNotFound: ``owner`` made no such reservation, or made it too long ago.
            StoreUnavailable: the ledger cannot be reached.
        """

    async def read(self, tenant: str, plan: QuotaPlan) -> Quota:
        """What the tenant has.

        Raises:
            StoreUnavailable: the ledger cannot be reached.
        """


class AuditLog(Protocol):
    """Keeps what was done. Nothing in it is ever changed."""

    async def append(self, tenant: str, entries: Sequence[AuditEntry]) -> None:
        """Stores all entries or none; those whose id is there already, with the same content, once.

        Raises:
            RequestIdReused: an id is there already with other content.
            StoreUnavailable: the log cannot be reached.
        """

    async def query(
        self, tenant: str, wanted: AuditFilter, after: AuditCursor | None, limit: int
    ) -> Sequence[AuditRecord]:
        """At most ``limit`` records older than ``after``, the newest first.

        Raises:
            StoreUnavailable: the log cannot be reached.
        """


class RateMeter(Protocol):
    """Counts requests by the generic cell rate algorithm (ITU-T I.371): no window whose end lets two bursts
    through. Time is the meter's own clock."""

    async def take(self, owner: str, charges: Sequence[Charge]) -> Sequence[Level]:
        """Counts all charges, or none of them when one has no room. Atomic; one level for each charge.

        Raises:
            StoreUnavailable: the meter cannot be reached.
        """
