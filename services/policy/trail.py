"""The audit trail: who may write what into it, and how it is paged.

The id of an entry with a request id is computed from tenant, subject and request id. A retry therefore names
the same row, and the answer to it needs no look into the table. The subject is part of it, so that nobody can
keep another's entry out by using its request id first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4, uuid5

from services.common.errors import FieldViolation, InvalidPageToken, InvalidRequest, PermissionDenied
from services.common.identity import Caller
from services.common.pagination import decode_page_token, encode_page_token, page_limit
from services.policy.domain import AuditCursor, AuditDraft, AuditEntry, AuditFilter, AuditRecord
from services.policy.ports import AuditLog

_IDS = UUID("3b0e4d0a-6f0e-4a37-9a0f-0c6a7f6f4d55")
"""Name space of the ids that come from request ids."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MAX_SEQUENCE = 2**63 - 1
_NUL = "holds a NUL character"


class Trail:
    """Writes and reads the audit trail of the caller's tenant."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    async def append(self, caller: Caller, drafts: Sequence[AuditDraft]) -> Sequence[UUID]:
        """Stores drafts as done by the caller, all or none; returns their ids in order.

        Raises:
            InvalidRequest: a text holds a NUL character, which no store keeps.
            PermissionDenied: a draft names another subject.
            RequestIdReused: a request id came before with another draft.
            StoreUnavailable: the log cannot be reached.
        """
        _reject(violation for index, draft in enumerate(drafts) for violation in _nul_fields(index, draft))
        for index, draft in enumerate(drafts):
            if draft.subject not in ("", caller.subject):
                raise PermissionDenied(f"entries[{index}].subject: entries are stored as the caller's own")
        entries = [AuditEntry(_entry_id(caller, draft), caller.subject, draft) for draft in drafts]
        await self._log.append(caller.tenant, entries)
        return [entry.id for entry in entries]

    async def query(
        self, caller: Caller, wanted: AuditFilter, page_size: int, page_token: str
    ) -> tuple[Sequence[AuditRecord], str]:
        """A page of the tenant's records, newest first, and the token of the next page ("" at the end).

        Raises:
            InvalidRequest: the filter cannot match anything.
            InvalidPageToken: the token belongs to another filter, or is none.
            StoreUnavailable: the log cannot be reached.
        """
        _check_filter(wanted)
        kind = token_kind(wanted)
        after = _cursor(decode_page_token(kind, page_token)) if page_token else None
        limit = page_limit(page_size)
        found = await self._log.query(caller.tenant, wanted, after, limit + 1)
        page = found[:limit]
        if len(found) <= limit:
            return page, ""
        return page, encode_page_token(kind, [_micros(page[-1].create_time), page[-1].sequence])


def token_kind(wanted: AuditFilter) -> str:
    """The kind of the page tokens of a filter: tells it from others, so that they refuse its tokens."""
    parts = [wanted.action, wanted.subject, str(wanted.start_time), str(wanted.end_time)]
    return f"audit:{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}"


def _entry_id(caller: Caller, draft: AuditDraft) -> UUID:
    if draft.request_id is None:
        return uuid4()
    # Neither a tenant nor a UUID can hold the separator.
    return uuid5(_IDS, f"{caller.tenant}\n{draft.request_id}\n{caller.subject}")


def _nul_fields(index: int, draft: AuditDraft) -> Sequence[FieldViolation]:
    texts: Mapping[str, str] = {
        "resource": draft.resource,
        "attributes": "".join(draft.attributes) + "".join(draft.attributes.values()),
    }
    return [FieldViolation(f"entries[{index}].{name}", _NUL) for name, text in texts.items() if "\0" in text]


def _check_filter(wanted: AuditFilter) -> None:
    violations = [
        FieldViolation(name, _NUL)
        for name, text in (("action", wanted.action), ("subject", wanted.subject))
        if "\0" in (text or "")
    ]
    if wanted.start_time and wanted.end_time and wanted.start_time >= wanted.end_time:
        violations.append(FieldViolation("end_time", "must be after start_time"))
    _reject(violations)


def _reject(violations: Iterable[FieldViolation]) -> None:
    found = list(violations)
    if found:
        raise InvalidRequest(f"{found[0].field}: {found[0].description}", violations=found)


def _micros(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND


def _cursor(parts: tuple[str | int, ...]) -> AuditCursor:
    # A token has a checksum but no signature: whoever makes one up gets an error, never a fault.
    match parts:
        case (int(micros), int(sequence)) if 0 <= sequence <= _MAX_SEQUENCE:
            try:
                return AuditCursor(_EPOCH + micros * _MICROSECOND, sequence)
            except OverflowError as error:
                raise InvalidPageToken from error
    raise InvalidPageToken
