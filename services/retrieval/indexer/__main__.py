"""Runs the indexer: ``python -m services.retrieval.indexer``."""

from __future__ import annotations

from services.common.server import run
from services.retrieval.config import Config
from services.retrieval.indexer.app import build


def main() -> None:
    """Reads the settings and works until SIGTERM."""
    config = Config.from_env()
    run("indexer", config.service, lambda stack: build(config, stack))


if __name__ == "__main__":
    main()
