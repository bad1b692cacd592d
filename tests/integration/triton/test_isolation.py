"""What one tenant has asked never makes another tenant's answer faster."""

from __future__ import annotations

import asyncio
from typing import Any

from integration.triton.harness import ask

DOCUMENT = "Context: " + " ".join(f"Fact {index} costs {index * 7 % 53} dollars." for index in range(12))


async def cached(stub: Any, key: str | None, question: str = "How much?") -> tuple[int, int]:
    """Prompt tokens reused, and all prompt tokens."""
    turns = [{"role": "system", "content": DOCUMENT}, {"role": "user", "content": question}]
    params = {"max_tokens": 1} if key is None else {"max_tokens": 1, "cache_key": key}
    reply = await ask(stub, turns, params)
    assert reply.error == ""
    return reply.usage["cached_tokens"], reply.usage["prompt_tokens"]


async def test_the_same_key_reuses_its_prompt(stub: Any) -> None:
    await cached(stub, "isolation-a")
    reused, total = await cached(stub, "isolation-a", "And how many?")
    assert reused > total * 0.9


async def test_another_key_reuses_nothing_in_any_slot(stub: Any) -> None:
    # Every slot holds this document under the first key.
    await asyncio.gather(*(cached(stub, "isolation-b") for _ in range(4)))
    for turn in range(6):
        assert (await cached(stub, f"isolation-c{turn}"))[0] == 0


async def test_without_a_key_nothing_is_ever_reused(stub: Any) -> None:
    for _ in range(6):
        assert (await cached(stub, None))[0] == 0


async def test_keys_mixed_under_load_never_cross(stub: Any) -> None:
    async def tenant(name: str) -> list[int]:
        # Each request of a tenant has a new key, so any reuse at all would be another's.
        return [(await cached(stub, f"isolation-{name}-{turn}"))[0] for turn in range(3)]

    results = await asyncio.gather(*(tenant(name) for name in "xyz"))
    assert {count for counts in results for count in counts} == {0}
