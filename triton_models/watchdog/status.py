"""The status file: what the watchdog believes, for ``causeway status`` and for people."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from triton_models.manifest import write_atomically
from triton_models.watchdog.judge import State


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """One model's entry. Times are seconds since 1970."""

    state: State = State.UNKNOWN
    since: float = 0
    """When this state began."""
    checked: float = 0
    """When the model was last looked at."""
    latency_ms: float = 0
    """How long that look took."""
    reason: str = ""
    """Why it is not ready; empty when it is."""
    heals: int = 0
    """How often it was replaced since the watchdog started."""
    last_error: str = ""
    """The last reason there was, kept when the model is well again."""


class StatusFile:
    """Holds every model's entry and writes them all at each change."""

    def __init__(self, file: Path, models: tuple[str, ...]) -> None:
        self._file = file
        self._entries = {model: ModelStatus() for model in models}

    def update(self, model: str, state: State, *, latency: float, reason: str, heals: int) -> bool:
        """Records one look; True when the model's state changed."""
        now = time.time()
        old = self._entries[model]
        changed = state is not old.state
        self._entries[model] = ModelStatus(
            state=state,
            since=now if changed else old.since,
            checked=now,
            latency_ms=round(latency * 1000, 1),
            reason=reason,
            heals=heals,
            last_error=reason or old.last_error,
        )
        self.write()
        return changed

    def write(self) -> None:
        """Replaces the file atomically. ``time`` says how fresh it is."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        models = {model: asdict(entry) for model, entry in self._entries.items()}
        write_atomically(self._file, json.dumps({"time": time.time(), "models": models}, indent=1) + "\n")
