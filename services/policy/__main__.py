"""Runs the policy service: ``python -m services.policy``."""

from __future__ import annotations

import sys

from services.common.server import main
from services.policy.app import build
from services.policy.config import Config

if __name__ == "__main__":
    sys.exit(main("policy", Config, build))
