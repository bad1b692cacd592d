"""What can be wrong with keys and certificates."""

from __future__ import annotations


class PkiError(Exception):
    """The authority cannot be used as it is. The message names the file and what to do; it holds no
    secret."""


class MissingError(PkiError):
    """A file is not there."""


class DamagedError(PkiError):
    """A file is not what was written: unreadable, cut short, key and certificate that do not belong
    together."""


class ForeignError(PkiError):
    """A file belongs to another authority or another trust domain."""


class ExpiredError(PkiError):
    """A certificate's time is over."""


class ExposedError(PkiError):
    """Others than the owner may read a private key."""


class StageError(PkiError):
    """A step of the rotation of the root at the wrong time."""
