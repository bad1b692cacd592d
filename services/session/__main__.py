"""Runs the session service: ``python -m services.session``."""

from __future__ import annotations

import sys

from services.common.server import main
from services.session.app import build
from services.session.config import Config

if __name__ == "__main__":
    sys.exit(main("session", Config, build))
