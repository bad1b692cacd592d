"""Runs the retrieval service: ``python -m services.retrieval``."""

from __future__ import annotations

from services.common.server import run
from services.retrieval.app import build
from services.retrieval.config import Config


def main() -> None:
    """Reads the settings and serves until SIGTERM."""
    config = Config.from_env()
    run("retrieval", config.service, lambda stack: build(config, stack))


if __name__ == "__main__":
    main()
