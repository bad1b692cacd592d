"""The watchdog's settings, from the environment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from services.common.config import Peer


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchSettings:
    """What is watched, how often, and where the findings go. Keys begin with ``CAUSEWAY_WATCHDOG_``."""

    status: Path
    """The status file."""

    models: str = "embedder,generator"
    """Names of the models, separated by commas."""

    interval: timedelta = timedelta(seconds=5)
    """Time between two looks at a model."""

    deadline: timedelta = timedelta(seconds=5)
    """How long one canary request may take."""

    load_timeout: timedelta = timedelta(seconds=120)
    """How long a model may take to load."""

    run: Path | None = None
    """The repository's run folder, when Triton runs on this machine: hung processes can then be ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchdogConfig:
    """Everything the process reads."""

    triton: Peer
    watchdog: WatchSettings
    log_level: str = "info"


def model_names(settings: WatchSettings) -> tuple[str, ...]:
    """The watched models; raises ``ValueError`` when there is none."""
    names = tuple(name.strip() for name in settings.models.split(",") if name.strip())
    if not names:
        raise ValueError("CAUSEWAY_WATCHDOG_MODELS names no model")
    return names
