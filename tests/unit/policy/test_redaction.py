"""Redaction: overlaps, offsets, bounds, and time that grows no faster than the text."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.common.errors import InvalidRequest
from services.policy.domain import EntityKind, Finding, RedactedText
from services.policy.recognizers import Recognizer
from services.policy.redaction import MAX_TOTAL, PatternRedactor, Redaction

ALL = frozenset(EntityKind)
MAX_TEXT = 16_384
MAX_REDACTED = 65_536
MAX_FINDINGS = 4096


def redact(text: str, *kinds: EntityKind) -> RedactedText:
    """A text redacted by the real recognizers."""
    return PatternRedactor().redact(text, kinds or ALL)


def test_each_finding_is_replaced_by_its_kind() -> None:
    redacted = redact("Ada (ada@example.org) pays by 4111 1111 1111 1111 from 10.0.0.1.")
    assert redacted.text == "Ada (<EMAIL_ADDRESS>) pays by <CREDIT_CARD> from <IP_ADDRESS>."


def test_a_text_without_findings_comes_back_as_it_was() -> None:
    text = "What does the with statement do? See section 8.5, PEP 343 (2005-05-13)."
    assert redact(text) == RedactedText(text, ())


def test_offsets_count_code_points() -> None:
    text = "🧀é漢 ada@example.org"
    (finding,) = redact(text).findings
    assert text[finding.start : finding.end] == "ada@example.org"
    assert finding.start == 4


def test_only_the_kinds_asked_for_are_taken() -> None:
    text = "ada@example.org 10.0.0.1"
    assert redact(text, EntityKind.IP_ADDRESS).text == "ada@example.org <IP_ADDRESS>"


def table(**spans: Sequence[tuple[int, int]]) -> PatternRedactor:
    """A redactor whose recognizers find fixed spans."""

    def fixed(found: Sequence[tuple[int, int]]) -> Recognizer:
        return lambda _: found

    return PatternRedactor({EntityKind[name]: fixed(found) for name, found in spans.items()})


def test_overlapping_findings_become_one_named_by_the_longest() -> None:
    redactor = table(IBAN=[(0, 4)], PHONE_NUMBER=[(3, 9)], US_SSN=[(8, 10)])
    redacted = redactor.redact("0123456789x", ALL)
    assert redacted == RedactedText("<PHONE_NUMBER>x", (Finding(EntityKind.PHONE_NUMBER, 0, 10),))


def test_of_equally_long_findings_the_surer_one_gives_the_name() -> None:
    redactor = table(US_SSN=[(2, 6)], PHONE_NUMBER=[(0, 4)])
    assert redactor.redact("0123456789", ALL).text == "<US_SSN>6789"


def test_findings_that_touch_stay_apart() -> None:
    redactor = table(US_SSN=[(4, 8)], PHONE_NUMBER=[(0, 4)])
    assert redactor.redact("0123456789", ALL).text == "<PHONE_NUMBER><US_SSN>89"


FRAGMENTS = st.sampled_from(
    [
        "ada@example.org",
        "4111 1111 1111 1111",
        "+1 212-555-0123",
        "10.0.0.1",
        "fe80::1",
        "GB29NWBK60161331926819",
        "123-45-6789",
        "@",
        ".",
        "-",
        " ",
        ":",
        "+",
        "(",
        "0",
        "1",
        "a",
        "é",
        "漢",
        "🧀",
        "\n",
        "DE89",
    ]
)


@given(st.one_of(st.lists(FRAGMENTS, max_size=40).map("".join), st.text(max_size=200)))
def test_a_redacted_text_is_the_original_with_its_findings_replaced(text: str) -> None:
    redacted = redact(text)
    rebuilt, position = "", 0
    for finding in redacted.findings:
        assert position <= finding.start < finding.end <= len(text)
        rebuilt += text[position : finding.start] + f"<{finding.kind.value}>"
        position = finding.end
    assert redacted.text == rebuilt + text[position:]


UNITS = [
    *("1", "1 ", "4111 ", "4111-1111-", "138", "123-45-", "0123 ", "1.", "1.1.1.1 "),
    *("@", "a@", "a.b@", "a@b.co ", "a@b.", "a.", ".", "é@é.", "a-@-", "_", "A", "\n"),
    *("a:", "::1 ", ":", "fe80::1%a", "%"),
    *("+1", "+4 ", "+", "(0", "(", "0-", "020-"),
    *("DE89 ", "DE89", "AB12CD34"),
]


@pytest.mark.parametrize("unit", UNITS)
def test_no_text_takes_much_longer_than_its_length_explains(unit: str) -> None:
    """At four times the length a quadratic recognizer would take 16 times as long."""
    short, long = (unit * (size // len(unit)) for size in (MAX_TEXT // 4, MAX_TEXT))
    quickest = min(measure(short) for _ in range(3))
    slowest = min(measure(long) for _ in range(3))
    assert slowest < 10 * quickest + 0.02


def measure(text: str) -> float:
    """CPU seconds that a redaction takes."""
    started = time.thread_time()
    redact(text)
    return time.thread_time() - started


@pytest.mark.parametrize("unit", UNITS)
def test_an_answer_stays_within_the_bounds_of_its_proto(unit: str) -> None:
    redacted = redact((unit * MAX_TEXT)[:MAX_TEXT])
    assert len(redacted.text) <= MAX_REDACTED
    assert len(redacted.findings) <= MAX_FINDINGS


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(UNITS), min_size=1, max_size=6).map("".join))
@example("a" * 64 + "@")
@example("1" * 19 + " ")
def test_no_mixture_is_slow(unit: str) -> None:
    text = (unit * MAX_TEXT)[:MAX_TEXT]
    assert measure(text) < 1
    assert len(redact(text).text) <= MAX_REDACTED


async def test_texts_are_redacted_in_order() -> None:
    texts = ["a@b.co", "", "nothing", "10.0.0.1"]
    redacted = await Redaction(PatternRedactor()).redact(texts, [])
    assert [one.text for one in redacted] == ["<EMAIL_ADDRESS>", "", "nothing", "<IP_ADDRESS>"]


async def test_texts_that_are_too_long_together_are_refused() -> None:
    redaction = Redaction(PatternRedactor())
    half = ["x" * (MAX_TEXT // 2)] * (MAX_TOTAL // (MAX_TEXT // 2))
    assert len(await redaction.redact(half, ALL)) == 32
    with pytest.raises(InvalidRequest, match=re.escape("texts")) as refused:
        await redaction.redact([*half, "x"], ALL)
    assert refused.value.violations[0].field == "texts"
