"""What an operator can choose about the models, and how it adapts to the machine."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from triton_models.errors import ModelBuildError

_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_MOST_ENGINE_THREADS = 8
_MOST_EMBEDDERS = 4
_SLOTS = 8
_CONTEXT = 3072
_QUEUE = 32
PROMPT_STEP = 64
"""Tokens per engine step: larger is a little faster, smaller stops and shares sooner (README.md)."""
_SYNTHETIC_INTERVAL = 10
_LONGEST_INTERVAL = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """How the model repository is put together."""

    profile: str = "cpu"
    """Which repository in this package is mounted; ``cpu`` is the only one there is."""

    synthetic: bool = False
    """Whether the ``synthetic`` model is mounted too (benchmarks and drills)."""

    synthetic_interval: int = _SYNTHETIC_INTERVAL
    """Milliseconds between two pieces of the ``synthetic`` model, where a request does not say."""

    generator_gguf: Path | None = None
    """Another GGUF chat model, used as it is; ``None`` is the bundled one."""

    threads: int | None = None
    """Threads of the generator's engine; ``None`` is one per core, at most 8."""

    slots: int = _SLOTS
    """Answers generated at the same time."""

    context: int = _CONTEXT
    """Tokens one request may use, prompt and answer together. Memory grows with ``slots * context``."""

    queue: int = _QUEUE
    """Requests that may wait for a slot."""

    step: int = PROMPT_STEP
    """Tokens of prompts processed in one step of the engine; at least one for every slot."""

    def __post_init__(self) -> None:
        """Raises ``ModelBuildError`` for values no engine could run with."""
        if self.profile != "cpu":
            raise ModelBuildError(f"there is no profile {self.profile!r}; the only one is 'cpu'")
        limits = {
            "slots": (1, 64),
            "context": (256, 131_072),
            "queue": (0, 10_000),
            "step": (1, 2048),
            "threads": (1, 256),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ModelBuildError(f"generator {name} must be from {low} to {high}, got {value}")
        if not 0 <= self.synthetic_interval <= _LONGEST_INTERVAL:
            raise ModelBuildError(
                f"synthetic interval must be from 0 to {_LONGEST_INTERVAL} ms, got {self.synthetic_interval}"
            )

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> BuildOptions:
        """From ``CAUSEWAY_GENERATOR_{GGUF,THREADS,SLOTS,CONTEXT,QUEUE,STEP}``, ``CAUSEWAY_TRITON_SYNTHETIC``
        and ``CAUSEWAY_TRITON_SYNTHETIC_INTERVAL`` (whole milliseconds).

        Raises ``ModelBuildError`` naming the key whose value cannot be used.
        """
        gguf = environ.get("CAUSEWAY_GENERATOR_GGUF")
        synthetic = environ.get("CAUSEWAY_TRITON_SYNTHETIC", "0")
        if synthetic not in ("0", "1"):
            raise ModelBuildError(f"CAUSEWAY_TRITON_SYNTHETIC must be 0 or 1, got {synthetic!r}")
        return cls(
            synthetic=synthetic == "1",
            synthetic_interval=_number(environ, "CAUSEWAY_TRITON_SYNTHETIC_INTERVAL", _SYNTHETIC_INTERVAL),
            generator_gguf=Path(gguf).expanduser().absolute() if gguf else None,
            threads=_number(environ, "CAUSEWAY_GENERATOR_THREADS", 0) or None,
            slots=_number(environ, "CAUSEWAY_GENERATOR_SLOTS", _SLOTS),
            context=_number(environ, "CAUSEWAY_GENERATOR_CONTEXT", _CONTEXT),
            queue=_number(environ, "CAUSEWAY_GENERATOR_QUEUE", _QUEUE),
            step=_number(environ, "CAUSEWAY_GENERATOR_STEP", PROMPT_STEP),
        )

    @property
    def engine_threads(self) -> int:
        """Threads the generator's engine runs."""
        return self.threads or min(usable_cores(), _MOST_ENGINE_THREADS)

    @property
    def embedder_instances(self) -> int:
        """Embedder processes: always two or more, since one leaves the batcher waiting between batches."""
        return max(2, min(usable_cores() // 2, _MOST_EMBEDDERS))

    @property
    def embedder_threads(self) -> int:
        """Threads of each embedder process."""
        return max(1, usable_cores() // self.embedder_instances)


def usable_cores() -> int:
    """Cores this process may use: those it is allowed to run on, or less under a container's quota."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = _CGROUP_QUOTA.read_text().split()
        return max(1, min(allowed, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup, or no limit ("max")
        return allowed


def _number(environ: Mapping[str, str], key: str, default: int) -> int:
    raw = environ.get(key)
    if not raw:
        return default
    try:
        return int(raw)
    except ValueError:
        raise ModelBuildError(f"{key} must be a whole number, got {raw!r}") from None
