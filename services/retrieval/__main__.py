"""Runs the retrieval service: ``python -m services.retrieval``."""

from __future__ import annotations

import sys

from services.common.server import main
from services.retrieval.app import build
from services.retrieval.config import Config

if __name__ == "__main__":
    sys.exit(main("retrieval", Config, build))
