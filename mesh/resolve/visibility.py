"""To which namespaces a manifest is exported (`exportTo`).

https://istio.io/latest/docs/reference/config/networking/virtual-service/#VirtualService (`exportTo`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Visibility:
    """Who may see something. Its own namespace is named when it may."""

    everywhere: bool
    namespaces: frozenset[str]

    def to(self, namespace: str) -> bool:
        """Whether clients in `namespace` see it."""
        return self.everywhere or namespace in self.namespaces

    def only(self, namespace: str) -> bool:
        """Whether nobody outside `namespace` sees it."""
        return not self.everywhere and self.namespaces <= {namespace}


def visibility(export_to: Iterable[str], namespace: str) -> Visibility:
    """`*` everywhere, `.` the manifest's own namespace, `~` nowhere, else a namespace; nothing said:
    everywhere."""
    words = tuple(export_to) or ("*",)
    if "~" in words:
        return Visibility(False, frozenset())
    return Visibility(
        "*" in words, frozenset(namespace if word == "." else word for word in words if word != "*")
    )
