"""Writing small files so that a crash leaves the old one or the new one, never half of one."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path


def write_atomic(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace `path` by `data` in one step. The file has `mode` from its first moment."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, document: object, *, mode: int = 0o600) -> None:
    """Replace `path` by `document` as indented JSON."""
    write_atomic(path, json.dumps(document, indent=1).encode() + b"\n", mode=mode)


def write_json_if_new(path: Path, document: object, *, mode: int = 0o600) -> bool:
    """The same, unless it says so already; whether it was written. Who watches the file hears of news
    only."""
    data = json.dumps(document, indent=1).encode() + b"\n"
    if path.exists() and path.read_bytes() == data:
        return False
    write_atomic(path, data, mode=mode)
    return True
