"""Which limit a request falls under."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.policy_stores import FakeRateMeter, ManualClock
from services.common.errors import InvalidRequest
from services.policy.domain import Charge, Level, Rate
from services.policy.rates import Counted, Descriptor, RateLimiter, parse_rules

RULES = parse_rules(
    "tenant=10/20 tenant,subject=5/5 tenant,class:chat=1/2 tenant:vip=100/200 tenant:vip,class:chat=9/9"
)


@dataclass
class Watched:
    """A meter that tells what was charged."""

    meter: FakeRateMeter = field(default_factory=lambda: FakeRateMeter(ManualClock()))
    calls: list[tuple[str, Sequence[Charge]]] = field(default_factory=list)

    async def take(self, owner: str, charges: Sequence[Charge]) -> Sequence[Level]:
        self.calls.append((owner, charges))
        return await self.meter.take(owner, charges)


def under(_hits: int = 1, _limit: Rate | None = None, /, **entries: str) -> Descriptor:
    """A descriptor."""
    return Descriptor(entries=tuple(entries.items()), hits=_hits, limit=_limit)


async def rate_of(**entries: str) -> Rate | None:
    """The limit that a descriptor falls under."""
    (counted,) = await RateLimiter(Watched(), RULES, "causeway").take("causeway", [under(**entries)])
    return counted.rate


async def test_the_rule_with_the_same_keys_holds() -> None:
    assert await rate_of(tenant="acme") == Rate(10, 20)
    assert await rate_of(tenant="acme", subject="ada") == Rate(5, 5)


async def test_a_rule_for_a_value_goes_before_one_for_all() -> None:
    assert await rate_of(tenant="vip") == Rate(100, 200)
    assert await rate_of(tenant="acme", **{"class": "chat"}) == Rate(1, 2)
    assert await rate_of(tenant="vip", **{"class": "chat"}) == Rate(9, 9)


async def test_what_no_rule_fits_is_not_limited() -> None:
    assert await rate_of(tenant="acme", **{"class": "read"}) is None
    assert await rate_of(subject="ada", tenant="acme") is None
    assert await rate_of(path="/") is None


async def test_a_limit_that_the_proxy_names_goes_before_the_rules() -> None:
    limiter = RateLimiter(Watched(), RULES, "causeway")
    (counted,) = await limiter.take("causeway", [under(1, Rate(3, 4), tenant="acme")])
    assert counted.rate == Rate(3, 4)


async def test_all_of_a_tenants_descriptors_are_counted_at_once_and_together() -> None:
    watched = Watched()
    limiter = RateLimiter(watched, RULES, "causeway")
    wanted = [under(tenant="acme"), under(tenant="acme", **{"class": "chat"}), under(tenant="acme", x="y")]
    for allowed in (True, True, False):
        counted = await limiter.take("causeway", wanted)
        assert [one.level.allowed for one in counted if one.level] == [True, allowed]
    assert [owner for owner, _ in watched.calls] == ["acme"] * 3
    # The refused request has taken nothing out of the other bucket.
    (whole,) = await limiter.take("causeway", [under(0, tenant="acme")])
    assert whole.level is not None
    assert whole.level.remaining == 18


async def test_a_limit_for_everybody_counts_everybody() -> None:
    watched = Watched()
    limiter = RateLimiter(watched, parse_rules("path=1/2 tenant=10/10"), "causeway")
    for tenant, allowed in (("a", True), ("b", True), ("c", False)):
        counted = await limiter.take("causeway", [under(path="/"), under(tenant=tenant)])
        assert counted[0].level is not None
        assert counted[0].level.allowed is allowed


async def test_a_tenant_over_its_limit_uses_up_nothing_of_everybodys() -> None:
    watched = Watched()
    limiter = RateLimiter(watched, parse_rules("path=1/2 tenant=1/1"), "causeway")
    await limiter.take("causeway", [under(path="/"), under(tenant="a")])
    counted = await limiter.take("causeway", [under(path="/"), under(tenant="a")])
    assert counted[0] == Counted(Rate(1, 2), None)
    assert counted[1].level is not None
    assert not counted[1].level.allowed
    assert [owner for owner, _ in watched.calls] == ["a", "", "a"]


async def test_tenants_and_values_do_not_share_a_bucket() -> None:
    limiter = RateLimiter(Watched(), parse_rules("tenant=1/1 tenant,subject=1/1"), "causeway")
    for descriptor in (under(tenant="a"), under(tenant="b"), under(tenant="a", subject="b")):
        (counted,) = await limiter.take("causeway", [descriptor])
        assert counted.level is not None
        assert counted.level.allowed


async def test_a_value_that_is_no_tenants_name_is_no_key_of_the_store() -> None:
    watched = Watched()
    limiter = RateLimiter(watched, parse_rules("tenant=1/1"), "causeway")
    for value in ("{x}", "a b", "", "x" * 5000, "é"):
        await limiter.take("causeway", [under(tenant=value)])
    assert {owner for owner, _ in watched.calls} == {""}
    assert all(len(charge.bucket) == 32 for _, charges in watched.calls for charge in charges)


async def test_another_domain_and_endless_descriptors_are_refused() -> None:
    limiter = RateLimiter(Watched(), RULES, "causeway")
    with pytest.raises(InvalidRequest, match="domain"):
        await limiter.take("another", [under(tenant="a")])
    with pytest.raises(InvalidRequest, match="descriptors"):
        await limiter.take("causeway", [under(tenant="a")] * 17)


async def test_a_request_that_counts_more_than_fits_is_never_let_through() -> None:
    limiter = RateLimiter(Watched(), parse_rules("tenant=1/5"), "causeway")
    (counted,) = await limiter.take("causeway", [under(2**64 - 1, tenant="a")])
    assert counted.level == Level(allowed=False, remaining=5, wait=None, full=timedelta(0))


@pytest.mark.parametrize(
    "text",
    [
        "tenant",
        "tenant=5",
        "tenant=0/5",
        "tenant=5/0",
        "tenant=-1/5",
        "tenant=1e9/5",
        "tenant=200000/5",
        "tenant=5/99999999",
        "=5/5",
        "tenant,=5/5",
        "ten ant=5/5",
        "tenant:=5/5",
        "tenant=5/5 tenant=6/6",
        "TENANT=5/5",
    ],
)
def test_a_rule_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"limit|second"):
        parse_rules(text)


@given(st.text(max_size=40))
def test_any_text_is_rules_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert all(rule.rate.burst for rule in parse_rules(text))
