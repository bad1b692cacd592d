"""What can be wrong with a view although every manifest was well formed."""

from __future__ import annotations

from mesh.ir.origin import Origin


class PatchError(ValueError):
    """An EnvoyFilter patch that cannot be applied. Its text names the manifest's file and line."""

    def __init__(self, origin: Origin, message: str) -> None:
        super().__init__(f"{origin}: {message}")
        self.origin = origin
        self.message = message
