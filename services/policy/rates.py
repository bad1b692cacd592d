"""Rate limits: which limit a descriptor falls under, and whether a request may go on.

A descriptor is a list of keys with values, such as ``tenant=acme, class=chat``. A rule names keys, some of
them with a value: ``tenant,class:chat``. It fits a descriptor that has its keys, in its order, and no others.
Of several rules that fit, the one with most values wins, so that a tenant gets limits of its own by
``tenant:acme,class:chat``. A descriptor that no rule fits is not limited.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from services.common.errors import InvalidRequest
from services.policy.domain import Charge, Level, Rate
from services.policy.ports import RateMeter

MOST_RATE = 100_000.0
"""Requests a second: beyond it, the meter's microseconds are too coarse."""
MOST_BURST = 10_000_000
MOST_DESCRIPTORS = 16
"""Of one request: bounds what the meter does at once."""
TENANT_KEY = "tenant"

_RULE = re.compile(r"(?P<keys>[^=\s]+)=(?P<rate>\d+(?:\.\d+)?)/(?P<burst>\d+)")
_KEY = re.compile(r"(?P<key>[a-z0-9_.-]{1,64})(?::(?P<value>[^,:\s]{1,256}))?")
_TENANT = re.compile(r"[a-z0-9-]{1,63}")

Entries = tuple[tuple[str, str], ...]
"""Keys and values of a descriptor, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What a request is counted under."""

    entries: Entries
    hits: int = 1
    """How much the request counts."""
    limit: Rate | None = None
    """A limit that the proxy's configuration names; it goes before the rules."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A limit for descriptors of one form."""

    keys: tuple[tuple[str, str | None], ...]
    """Key and value; None fits every value, and counts each by itself."""
    rate: Rate

    def fits(self, entries: Entries) -> bool:
        """Whether a descriptor has this form."""
        return len(entries) == len(self.keys) and all(
            key == name and wanted in (None, value)
            for (key, wanted), (name, value) in zip(self.keys, entries, strict=True)
        )

    @property
    def values(self) -> int:
        """How many values it names."""
        return sum(value is not None for _, value in self.keys)


@dataclass(frozen=True, slots=True)
class Counted:
    """What became of one descriptor."""

    rate: Rate | None
    """The limit it fell under; None when it is not limited."""
    level: Level | None
    """Where it stands; None when it is not limited, or when another limit had refused the request before."""


def parse_rules(text: str) -> tuple[Rule, ...]:
    """Rules such as ``tenant=500/1000 tenant,class:chat=50/100``: requests a second, and how many at once.

    Raises:
        ValueError: a rule is none, is out of bounds, or is there twice.
    """
    rules = tuple(_rule(part) for part in text.split())
    forms = [rule.keys for rule in rules]
    for rule in rules:
        if forms.count(rule.keys) > 1:
            raise ValueError(f"there are two limits for {_shown(rule.keys)}")
    return rules


def _rule(text: str) -> Rule:
    match = _RULE.fullmatch(text)
    keys = [_KEY.fullmatch(part) for part in match["keys"].split(",")] if match else []
    if match is None or not all(keys):
        raise ValueError(f"{text[:100]!r} is not a limit such as tenant,class:chat=50/100")
    rate = Rate(float(match["rate"]), int(match["burst"]))
    if not 0 < rate.per_second <= MOST_RATE or not 1 <= rate.burst <= MOST_BURST:
        raise ValueError(f"{text[:100]!r}: more than 0 a second, at least 1 at once, and not beyond measure")
    return Rule(tuple((key["key"], key["value"]) for key in keys if key is not None), rate)


def _shown(keys: Sequence[tuple[str, str | None]]) -> str:
    return ",".join(key if value is None else f"{key}:{value}" for key, value in keys)


class RateLimiter:
    """Counts requests against the rules."""

    def __init__(self, meter: RateMeter, rules: Sequence[Rule], domain: str) -> None:
        """``domain``: the one that is served; the same descriptor of another domain is another one."""
        self._meter = meter
        # The first that fits is the one with most values.
        self._rules = sorted(rules, key=lambda rule: -rule.values)
        self._domain = domain

    async def take(self, domain: str, descriptors: Sequence[Descriptor]) -> list[Counted]:
        """Counts a request under all its descriptors; when one of a tenant's is used up, under none of them.

        Raises:
            InvalidRequest: another domain, or descriptors without end.
            StoreUnavailable: the meter cannot be reached.
        """
        if domain != self._domain:
            raise InvalidRequest.field("domain", "is not one that is served here")
        if len(descriptors) > MOST_DESCRIPTORS:
            raise InvalidRequest.field("descriptors", f"are more than {MOST_DESCRIPTORS}")
        counted = [
            Counted(descriptor.limit or self._rate(descriptor.entries), None) for descriptor in descriptors
        ]
        for owner, places in _by_owner(descriptors).items():
            limited = [place for place in places if counted[place].rate is not None]
            levels = await self._meter.take(
                owner, [_charge(domain, descriptors[at], counted[at]) for at in limited]
            )
            for place, level in zip(limited, levels, strict=True):
                counted[place] = Counted(counted[place].rate, level)
            if not all(level.allowed for level in levels):
                break
        return counted

    def _rate(self, entries: Entries) -> Rate | None:
        return next((rule.rate for rule in self._rules if rule.fits(entries)), None)


def _charge(domain: str, descriptor: Descriptor, counted: Counted) -> Charge:
    if counted.rate is None:
        raise AssertionError("only what is limited is charged")
    return Charge(
        _bucket(domain, descriptor.entries), counted.rate, min(descriptor.hits, counted.rate.burst + 1)
    )


def _bucket(domain: str, entries: Entries) -> str:
    """A name of bounded length: values come from requests."""
    text = json.dumps([domain, entries])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _by_owner(descriptors: Sequence[Descriptor]) -> dict[str, list[int]]:
    """The places of the descriptors of each owner, tenants first.

    A tenant's buckets are counted together or not at all. Those that belong to nobody come after them: they
    may be on another node, so a request that they refuse has been counted for the tenant.
    """
    places: dict[str, list[int]] = {}
    for place, descriptor in enumerate(descriptors):
        places.setdefault(_owner(descriptor.entries), []).append(place)
    return dict(sorted(places.items(), reverse=True))


def _owner(entries: Entries) -> str:
    """The tenant that a descriptor names; empty when it names none."""
    tenant = next((value for key, value in entries if key == TENANT_KEY), "")
    return tenant if _TENANT.fullmatch(tenant) else ""
