"""Lua scripts in Valkey (or Redis 7 and newer), sent by their digest.

A server that does not know a script, because it was restarted, gets its text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import redis.asyncio
from redis.exceptions import NoScriptError


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script, and the digest that names it on the server."""

    text: str
    digest: str


def read(parts: Sequence[str], flags: str) -> Script:
    """Files of ``valkey_scripts/``, one behind the other.

    ``flags`` are those of https://valkey.io/topics/eval-intro: without ``allow-oom`` a server whose memory is
    full refuses the script before it begins, instead of stopping it half way.
    """
    folder = resources.files("services.policy.adapters").joinpath("valkey_scripts")
    text = f"#!lua flags={flags}\n" if flags else "#!lua\n"
    text += "\n".join(folder.joinpath(f"{part}.lua").read_text("utf-8") for part in parts)
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


async def run(
    client: redis.asyncio.Redis, script: Script, keys: Sequence[str], values: Sequence[str | int | float]
) -> Any:
    """What the script answers. Raises the driver's errors."""
    arguments: list[Any] = [*keys, *values]
    try:
        return await client.evalsha(script.digest, len(keys), *arguments)
    except NoScriptError:
        return await client.eval(script.text, len(keys), *arguments)
