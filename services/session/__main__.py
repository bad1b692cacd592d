"""Runs the session service: ``python -m services.session``."""

from __future__ import annotations

from services.common.server import run
from services.session.app import build
from services.session.config import Config


def main() -> None:
    """Reads the settings and serves until SIGTERM."""
    config = Config.from_env()
    run("session", config.service, lambda stack: build(config, stack))


if __name__ == "__main__":
    main()
