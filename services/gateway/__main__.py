"""Runs the gateway: ``python -m services.gateway``."""

from __future__ import annotations

import sys

from services.common.server import main
from services.gateway.app import build
from services.gateway.config import Config

if __name__ == "__main__":
    sys.exit(main("gateway", Config, build))
