"""Claims of a token in the place of a header: how a gateway's routes ask for them.

https://istio.io/latest/docs/tasks/security/authentication/jwt-route/
"""

from __future__ import annotations

PREFIX = "@request.auth.claims"


def is_claim(header: str) -> bool:
    """Whether what stands where a header's name is expected means a claim."""
    return header.lower().startswith(PREFIX)


def claim_of(header: str) -> tuple[str, ...]:
    """The names on the way to the claim, of `@request.auth.claims.group.id` or the same as
    `@request.auth.claims[group][id]`, which names with dots need; empty when it is neither form."""
    rest = header[len(PREFIX) :]
    names: list[str] = []
    if rest.startswith("."):
        names = rest[1:].split(".")
    elif rest.startswith("[") and rest.endswith("]"):
        names = rest[1:-1].split("][")
    return tuple(names) if all(names) else ()
