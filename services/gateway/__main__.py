"""Runs the gateway: ``python -m services.gateway``."""

from __future__ import annotations

from services.common.server import run
from services.gateway.app import build
from services.gateway.config import Config


def main() -> None:
    """Reads the settings and serves until SIGTERM."""
    config = Config.from_env()
    run("gateway", config.service, lambda stack: build(config, stack))


if __name__ == "__main__":
    main()
