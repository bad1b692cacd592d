"""Private files: only the owner reads them, and a crash leaves the old content or the new."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from mesh.pki.errors import DamagedError, ExposedError, MissingError

PRIVATE = 0o600
_OTHERS = 0o077


def write(path: Path, data: bytes) -> None:
    """Replace `path` in one step; folders on the way are made, for the owner alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            # The name must not be on disk before the content is: a key cut short is a key lost.
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read(path: Path, *, private: bool) -> bytes:
    """The content of `path`.

    Raises:
        MissingError: there is no such file.
        ExposedError: it is `private` and others may read or write it.
        DamagedError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if private and mode & _OTHERS:
                raise ExposedError(
                    f"{path} holds a private key and has mode {mode & 0o777:o}: others may have read it. "
                    "Make a new authority, or, if nobody had access, chmod 600"
                )
            return file.read()
    except FileNotFoundError:
        raise MissingError(f"{path} does not exist") from None
    except OSError as error:
        raise DamagedError(f"{path} cannot be read: {error.strerror}") from error
