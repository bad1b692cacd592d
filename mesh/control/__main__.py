"""`python -m mesh.control`: runs the control plane of a region until SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import sys

from mesh.control.app import run
from mesh.control.config import Config
from mesh.control.memory import collect_seldom
from mesh.control.wiring import pipeline
from mesh.pki.errors import PkiError
from services.common import logs
from services.common.config import ConfigError


async def _main(config: Config) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    await run(config.mesh, pipeline(), stop.wait)


def main() -> int:
    """The exit code: 0 stopped, 1 cannot run, 2 wrong settings."""
    try:
        config = Config.from_env()
        logs.configure("control", config.log_level)
    except (ConfigError, ValueError) as error:
        print(f"control: {error}", file=sys.stderr)
        return 2
    collect_seldom()
    try:
        asyncio.run(_main(config))
    except (PkiError, OSError) as error:
        print(f"control: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
