"""Random passwords, one per file that only its owner can read."""

from __future__ import annotations

import secrets
from pathlib import Path

from mesh.local.files import write_atomic


def ensure_password(path: Path) -> str:
    """The password in `path`, made on first use (256 bits, URL-safe, file mode 0600)."""
    try:
        password = path.read_text("ascii").strip()
    except FileNotFoundError:
        password = ""
    if not password:
        password = secrets.token_urlsafe(32)
        write_atomic(path, password.encode("ascii"), mode=0o600)
    return password
