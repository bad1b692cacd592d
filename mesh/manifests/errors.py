"""What is wrong with manifests, all of it at once."""

from __future__ import annotations

from collections.abc import Iterable

from mesh.manifests.message import Position


class ManifestError(ValueError):
    """One thing that is wrong, and where."""

    def __init__(self, at: Position, message: str) -> None:
        """`message` is a sentence without the place."""
        super().__init__(f"{at}: {message}")
        self.at = at
        self.message = message

    @property
    def file(self) -> str:
        """As it was given."""
        return self.at.file

    @property
    def line(self) -> int:
        """1-based; 0 for the whole file."""
        return self.at.line

    @property
    def path(self) -> str:
        """The field; empty for the whole document."""
        return self.at.path


class ManifestErrors(ValueError):
    """Everything that is wrong, in the order of the input."""

    def __init__(self, errors: Iterable[ManifestError]) -> None:
        """`errors` is not empty."""
        self.errors = tuple(errors)
        super().__init__("\n".join(str(error) for error in self.errors))
