"""``python -m triton_models.watchdog``: watches Triton's models until SIGTERM."""

from __future__ import annotations

import asyncio
import sys

from services.common import logs
from services.common.config import ConfigError, load
from triton_models.watchdog.app import run, stop_on_signals
from triton_models.watchdog.config import WatchdogConfig


async def _main(config: WatchdogConfig) -> None:
    await run(config, stop_on_signals())


def main() -> int:
    """The exit code."""
    try:
        config = load(WatchdogConfig)
        logs.configure("watchdog", config.log_level)
    except (ConfigError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    asyncio.run(_main(config))
    return 0


if __name__ == "__main__":
    sys.exit(main())
