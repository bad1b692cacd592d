"""Where a decision came from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """The place in a manifest that decided something; what `causeway mesh explain` cites."""

    file: str
    """Path of the manifest, as it was given; empty for a default of ours."""
    line: int
    """1-based; 0 for a default."""
    kind: str
    """For example "VirtualService"; for a default, what it is a default of."""
    namespace: str
    name: str
    path: str = ""
    """The field, as in `spec.http[0].retries.attempts`; empty for the whole manifest."""

    def __str__(self) -> str:
        if not self.file:
            return f"default: {self.kind}"
        named = f"{self.kind} {self.namespace}/{self.name}"
        return f"{self.file}:{self.line} {named}" + (f" {self.path}" if self.path else "")


def default(what: str) -> Origin:
    """The origin of something no manifest says; `what` names the rule, with its source where there is one."""
    return Origin("", 0, what, "", "")
