"""Redacts texts: runs the recognizers, settles overlaps, puts placeholders in.

Findings that overlap become one, over all that they cover, so that nothing that was found stays visible; the
longest of them gives it its kind, and of equally long ones the one whose recognizer is surest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence

from services.common.errors import InvalidRequest
from services.policy.domain import EntityKind, Finding, RedactedText
from services.policy.ports import Redactor
from services.policy.recognizers import RECOGNIZERS, Recognizer

MAX_TOTAL = 1 << 18
"""Code points that one request may hold in all its texts: keeps the answer, whose placeholders may be longer
than what they replace, within what clients accept (4 MiB)."""


class PatternRedactor:
    """A Redactor over a set of recognizers."""

    def __init__(self, recognizers: Mapping[EntityKind, Recognizer] = RECOGNIZERS) -> None:
        """``recognizers`` come in the order of their sureness."""
        self._recognizers = recognizers
        self._rank = {kind: -place for place, kind in enumerate(recognizers)}

    def redact(self, text: str, kinds: Collection[EntityKind]) -> RedactedText:
        """See Redactor."""
        found = [
            Finding(kind, start, end)
            for kind, recognize in self._recognizers.items()
            if kind in kinds
            for start, end in recognize(text)
        ]
        findings = tuple(self._merge(found))
        return RedactedText(_replace(text, findings), findings)

    def _merge(self, found: Iterable[Finding]) -> Iterable[Finding]:
        cluster: list[Finding] = []
        end = 0
        for finding in sorted(found, key=lambda finding: finding.start):
            if cluster and finding.start >= end:
                yield self._union(cluster, end)
                cluster = []
            cluster.append(finding)
            end = max(end, finding.end)
        if cluster:
            yield self._union(cluster, end)

    def _union(self, cluster: Sequence[Finding], end: int) -> Finding:
        best = max(cluster, key=lambda finding: (finding.end - finding.start, self._rank[finding.kind]))
        return Finding(best.kind, cluster[0].start, end)


class Redaction:
    """Redacts the texts of a request."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    async def redact(self, texts: Sequence[str], kinds: Collection[EntityKind]) -> Sequence[RedactedText]:
        """One redacted text for each, in order; every kind when ``kinds`` is empty.

        Raises:
            InvalidRequest: the texts are longer than ``MAX_TOTAL`` together.
        """
        if sum(map(len, texts)) > MAX_TOTAL:
            raise InvalidRequest.field("texts", f"hold more than {MAX_TOTAL} characters together")
        wanted = frozenset(kinds or EntityKind)
        redacted = []
        for text in texts:
            redacted.append(self._redactor.redact(text, wanted))
            # Other calls on this event loop get their turn between two texts.
            await asyncio.sleep(0)
        return redacted


def _replace(text: str, findings: Sequence[Finding]) -> str:
    parts, position = [], 0
    for finding in findings:
        parts += [text[position : finding.start], f"<{finding.kind.value}>"]
        position = finding.end
    return "".join([*parts, text[position:]])
