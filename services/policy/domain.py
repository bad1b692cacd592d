"""What the policy service speaks of: decisions, findings, quotas, reservations, audit records."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to "may this caller do this?"."""

    allowed: bool
    """Whether it may."""
    rule: str
    """Which rule decided, for people; at most 256 characters."""


class EntityKind(enum.Enum):
    """A kind of personal data; the value is what stands in its place, inside ``<…>``."""

    EMAIL_ADDRESS = "EMAIL_ADDRESS"
    CREDIT_CARD = "CREDIT_CARD"
    PHONE_NUMBER = "PHONE_NUMBER"
    IP_ADDRESS = "IP_ADDRESS"
    IBAN = "IBAN"
    US_SSN = "US_SSN"


@dataclass(frozen=True, slots=True)
class Finding:
    """One piece of personal data in a text."""

    kind: EntityKind
    """What it is."""
    start: int
    """Where it begins, in code points."""
    end: int
    """Where it ends, exclusive, in code points."""


@dataclass(frozen=True, slots=True)
class RedactedText:
    """A text without its findings."""

    text: str
    """The text, each finding replaced by ``<KIND>``."""
    findings: tuple[Finding, ...]
    """What was found, in order; offsets are those of the original."""


@dataclass(frozen=True, slots=True)
class QuotaPlan:
    """What a tenant may use."""

    tokens: int
    """Tokens a window allows."""
    window: timedelta
    """Length of a window. Windows are aligned: they begin at multiples of their length since 1970."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What a tenant has in the present window."""

    limit: int
    """Tokens the window allows."""
    used: int
    """Tokens settled in it; above the limit after over-use."""
    reserved: int
    """Tokens held by open reservations."""
    reset_time: datetime
    """When the window ends, by the clock of the ledger."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """Tokens to hold."""

    id: UUID
    """Names it; the same id reserves once."""
    owner: str
    """The subject that makes it; nobody else can settle it."""
    tokens: int
    """The most that will be used."""
    lease: timedelta
    """How long to hold them without a settlement."""


class Outcome(enum.Enum):
    """How an action ended. The values are stored."""

    SUCCEEDED = 1
    DENIED = 2
    FAILED = 3


@dataclass(frozen=True, slots=True)
class AuditDraft:
    """Something that was done, not yet stored."""

    action: str
    """What was done, such as ``chat.complete``."""
    outcome: Outcome
    """How it ended."""
    resource: str = ""
    """What it was done to."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Particulars; never the text of a conversation or document."""
    request_id: UUID | None = None
    """Makes a retry harmless; None stores it every time."""
    subject: str = ""
    """Who the client says did it: empty, or the caller."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A draft with its id and its author, ready to be stored."""

    id: UUID
    """Its id. Drafts with a request id get the same one at every retry."""
    subject: str
    """Who did it."""
    draft: AuditDraft
    """What was done."""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """A stored entry."""

    entry: AuditEntry
    """What was stored."""
    create_time: datetime
    """When it was stored."""
    sequence: int
    """Its place among the entries of the same instant."""


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries to list; None lists all."""

    action: str | None = None
    """Only this action."""
    subject: str | None = None
    """Only what this subject did."""
    start_time: datetime | None = None
    """Not before."""
    end_time: datetime | None = None
    """Before."""


@dataclass(frozen=True, slots=True)
class AuditCursor:
    """Where a page ended: the next one holds what is older."""

    create_time: datetime
    """Of the last entry."""
    sequence: int
    """Of the last entry."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How many requests are allowed."""

    per_second: float
    """In the long run."""
    burst: int
    """At once."""


@dataclass(frozen=True, slots=True)
class Charge:
    """A request that counts in one bucket."""

    bucket: str
    """Which; a short name."""
    rate: Rate
    """Its limit."""
    hits: int
    """How much the request counts; 0 only looks."""


@dataclass(frozen=True, slots=True)
class Level:
    """Where a bucket stands after a request."""

    allowed: bool
    """Whether it had room for the request."""
    remaining: int
    """How many more it has room for at once."""
    wait: timedelta | None
    """How long until it has room for this request, if nobody else comes first; zero when it had. None when it
    never will, because the request counts more than the limit allows at once."""
    full: timedelta
    """How long until it has room for a whole burst again."""
