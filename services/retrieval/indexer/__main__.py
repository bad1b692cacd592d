"""Runs the indexer: ``python -m services.retrieval.indexer``."""

from __future__ import annotations

import sys

from services.common.server import main
from services.retrieval.config import Config
from services.retrieval.indexer.app import build

if __name__ == "__main__":
    sys.exit(main("indexer", Config, build))
