"""What each recognizer takes, and what it leaves."""

from __future__ import annotations

import pytest

from services.policy.domain import EntityKind
from services.policy.redaction import PatternRedactor

E, C, P, I, B, S = (  # noqa: E741
    EntityKind.EMAIL_ADDRESS,
    EntityKind.CREDIT_CARD,
    EntityKind.PHONE_NUMBER,
    EntityKind.IP_ADDRESS,
    EntityKind.IBAN,
    EntityKind.US_SSN,
)


def found(kind: EntityKind, text: str) -> list[str]:
    """What is found of a kind."""
    findings = PatternRedactor().redact(text, [kind]).findings
    return [text[finding.start : finding.end] for finding in findings]


@pytest.mark.parametrize(
    "kind, text, expected",
    [
        (E, "write to john.doe@example.com.", "john.doe@example.com"),
        (E, "mailto:o'neil+tag@sub.example.co.uk?subject=x", "o'neil+tag@sub.example.co.uk"),
        (E, "*ada@example.org*, please", "ada@example.org"),
        (E, "<ada@example.org>", "ada@example.org"),
        (E, "https://ada@example.org/path", "ada@example.org"),
        (E, "jürgen@example.de", "jürgen@example.de"),
        (E, "info@münchen.de", "info@münchen.de"),
        (E, "我的邮箱是john@example.com或者", "john@example.com"),
        (E, "a@xn--bcher-kva.example", "a@xn--bcher-kva.example"),
        (E, "mail a@b.com- or call", "a@b.com"),
        (E, "wait...ada@example.org", "ada@example.org"),
        (E, "a" * 64 + "@example.com", "a" * 64 + "@example.com"),
        (C, "card 4111111111111111.", "4111111111111111"),
        (C, "5500 0000 0000 0004", "5500 0000 0000 0004"),
        (C, "3400-000000-00009", "3400-000000-00009"),
        (C, "3600 000000 0008", "3600 000000 0008"),
        (C, "卡号6011000000000004号", "6011000000000004"),
        (C, "2223000048400011", "2223000048400011"),
        (C, "1234 4111 1111 1111 1111", "4111 1111 1111 1111"),
        (P, "call +1 212-555-0123 now", "+1 212-555-0123"),
        (P, "+44 (0)20 7946 0958", "+44 (0)20 7946 0958"),
        (P, "tel:+4930123456", "+4930123456"),
        (P, "(212) 555-0123", "(212) 555-0123"),
        (P, "212.555.0123,", "212.555.0123"),
        (P, "1-212-555-0123", "1-212-555-0123"),
        (P, "01 23 45 67 89", "01 23 45 67 89"),
        (P, "020 7946 0958", "020 7946 0958"),
        (P, "0171/1234567", "0171/1234567"),
        (P, "03-1234-5678", "03-1234-5678"),
        (P, "电话13812345678。", "13812345678"),
        (P, "138-1234-5678", "138-1234-5678"),
        (P, "0412 345 678", "0412 345 678"),
        (I, "at 10.2.3.4:8080", "10.2.3.4"),
        (I, "from 192.168.0.255/24.", "192.168.0.255"),
        (I, "see 8.8.8.8.", "8.8.8.8"),
        (I, "[2001:db8::1]:443", "2001:db8::1"),
        (I, "fe80::1%eth0 is up", "fe80::1%eth0"),
        (I, "host:2001:db8:0:0:0:0:0:1.", "2001:db8:0:0:0:0:0:1"),
        (I, "::1", "::1"),
        (B, "GB29NWBK60161331926819", "GB29NWBK60161331926819"),
        (B, "DE89 3704 0044 0532 0130 00,", "DE89 3704 0044 0532 0130 00"),
        (B, "NO93 8601 1117 947 is", "NO93 8601 1117 947"),
        (B, "MT84MALT011000012345MTLCAST001S", "MT84MALT011000012345MTLCAST001S"),
        (S, "SSN 123-45-6789.", "123-45-6789"),
        (S, "123 45 6789", "123 45 6789"),
    ],
)
def test_personal_data_is_found_to_its_exact_bounds(kind: EntityKind, text: str, expected: str) -> None:
    assert found(kind, text) == [expected]


@pytest.mark.parametrize(
    "kind, text",
    [
        (E, "@decorator and user@localhost"),
        (E, "a@b.c, a@-b.com, a@b..com, @b.com, a@.com"),
        (E, "git@github"),
        (C, "4111111111111112"),
        (C, "0.4111111111111111"),
        (C, "41111111111111111111"),
        (C, "4111 1111-1111 1111"),
        (C, "ORD4111111111111111"),
        (C, "1700000000000 1700000000000000"),
        (C, "0000000000000000"),
        (C, "340000000000009x"),
        (P, "2024-01-15 10:30:45, 15.01.2024, 01/02/2023"),
        (P, "1700000000 and 1700000000000"),
        (P, "192.168.100.100 and 10.0.0.1"),
        (P, "555-0123"),
        (P, "2125550123"),
        (P, "1.2125550123"),
        (P, "+1 112-555-0123 and +0123456789 and +999"),
        (P, "a+12125550123"),
        (P, "3+12345678"),
        (P, "911-911-0000"),
        (P, "5f13812345678ab"),
        (P, "123-45-6789"),
        (I, "256.1.1.1 and 1.2.3 and 01.2.3.4"),
        (I, "1.2.3.4.5 and v1.2.3.4 and 3.1.4.1a"),
        (I, "std::vector<int>, dead::beef, a::b, ::"),
        (I, "12:30:45 and 00:1a:2b:3c:4d:5e"),
        (I, "1:2:3:4:5:6:7:8:9"),
        (B, "GB29NWBK60161331926818"),
        (B, "GB29NWBK6016133192681"),
        (B, "XX29NWBK60161331926819"),
        (B, "GB2 9NWB K601 6133 1926 819"),
        (B, "xGB29NWBK60161331926819"),
        (B, "GB29NWBK601613319268199"),
        (S, "000-12-3456 666-12-3456 900-12-3456 999-12-3456"),
        (S, "123-00-4567 123-45-0000"),
        (S, "123-45 6789, 123456789, 123-456-789"),
        (S, "1123-45-6789 and 123-45-67890 and 123-45-6789-1"),
    ],
)
def test_what_only_looks_like_it_is_left_alone(kind: EntityKind, text: str) -> None:
    assert found(kind, text) == []
