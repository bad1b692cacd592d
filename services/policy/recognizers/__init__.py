"""Recognizers of personal data, written for this service.

Each is a function from a text to the spans it finds. The ready-made choice, presidio-analyzer, depends on
spaCy even when only its patterns are wanted, imports for over a second, and asks the network for a list of
domain suffixes on first use; six patterns with their check digits are less than what it takes to tame it. A
deployment that wants names and addresses found, which takes a language model, puts another Redactor behind
the port.

They aim at precision: text that merely looks like a number must survive, as a redacted question cannot be
answered. What each accepts is written at its head. All of them are linear in the length of the text: every
pattern has bounded or possessive quantifiers and can begin at most once a character.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from services.policy.domain import EntityKind
from services.policy.recognizers.bank import find_credit_cards, find_ibans
from services.policy.recognizers.internet import find_email_addresses, find_ip_addresses
from services.policy.recognizers.people import find_us_ssns
from services.policy.recognizers.phone import find_phone_numbers

Span = tuple[int, int]
"""Start and end (exclusive) in code points."""
Recognizer = Callable[[str], Iterable[Span]]

RECOGNIZERS: Mapping[EntityKind, Recognizer] = {
    EntityKind.IBAN: find_ibans,
    EntityKind.CREDIT_CARD: find_credit_cards,
    EntityKind.US_SSN: find_us_ssns,
    EntityKind.EMAIL_ADDRESS: find_email_addresses,
    EntityKind.IP_ADDRESS: find_ip_addresses,
    EntityKind.PHONE_NUMBER: find_phone_numbers,
}
"""Every recognizer, the surest first: of two findings of the same length, the surer one names the kind."""
