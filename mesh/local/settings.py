"""What the operator may choose about a local platform, read once from the environment and `config.toml`."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mesh.local.names import in_region
from services.common.config import parse_duration

ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds the top-level packages (`services`, `mesh`, `cli`, …)."""

_SCALARS = {"workers": int, "drain": str, "log_level": str, "region": str, "hang_after": float}
_MODEL_KEYS = ("CAUSEWAY_GENERATOR_", "CAUSEWAY_TRITON_SYNTHETIC")


class SettingsError(ValueError):
    """A setting is unknown or has the wrong type; the message names the file or key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Choices for one platform.

    Everything has a default that works on a laptop; `config.toml` in the state folder overrides it.
    """

    home: Path
    """The state folder: data, logs, secrets, ports. Absolute."""
    workers: int = 1
    """Processes per Python service sharing one port (SO_REUSEPORT); 0 for one per core."""
    drain: str = "10s"
    """How long a service may take to finish calls after SIGTERM, as a duration string."""
    log_level: str = "info"
    region: str = "us-west-2"
    """What a platform without a mesh calls the place it stands in."""
    hang_after: float = 30.0
    """Seconds without any answer to readiness probes after which a running process is restarted."""
    env: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Extra environment by process, for settings only that process knows: `gateway` means it in every region,
    `gateway@us-west-2` in one."""

    def environment(self, program: str, region: str = "") -> Mapping[str, str]:
        """Extra environment of one process: what is said of the program, then of it in this region."""
        return {
            **self.env.get(program, {}),
            **(self.env.get(in_region(program, region), {}) if region else {}),
        }

    @property
    def drain_seconds(self) -> float:
        """`drain` in seconds."""
        return parse_duration(self.drain).total_seconds()


def default_home(environ: Mapping[str, str] | None = None) -> Path:
    """The state folder named by CAUSEWAY_HOME, else `.causeway` beside the packages."""
    environ = os.environ if environ is None else environ
    named = environ.get("CAUSEWAY_HOME", "").strip()
    return (Path(named).expanduser() if named else ROOT / ".causeway").resolve()


def load(home: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Settings for the platform in `home`, with `home/config.toml` applied when there is one.

    Which model to build may also be said in the environment, by the keys in `_MODEL_KEYS`.

    The file may hold a `[platform]` table with the scalar settings above and `[env.<process>]` tables.
    Raises SettingsError for anything unknown or mistyped.
    """
    environ = os.environ if environ is None else environ
    models = {key: value for key, value in environ.items() if key.startswith(_MODEL_KEYS)}
    path = home / "config.toml"
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return Settings(home=home, env={"models": models})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from error
    unknown = document.keys() - {"platform", "env"}
    if unknown:
        raise SettingsError(
            f"{path}: unknown table {sorted(unknown)[0]!r}; known are [platform] and [env.<process>]"
        )
    env = document.get("env", {})
    if isinstance(env, dict):
        chosen = env.get("models", {})
        env["models"] = {**chosen, **models} if isinstance(chosen, dict) else chosen
    return _apply(home, path, document.get("platform", {}), env)


def _apply(home: Path, path: Path, platform: object, env: object) -> Settings:
    if not isinstance(platform, dict) or not isinstance(env, dict):
        raise SettingsError(f"{path}: [platform] and [env.<process>] must be tables")
    chosen: dict[str, int | float | str] = {}
    for key, value in platform.items():
        kind = _SCALARS.get(key)
        if kind is None:
            raise SettingsError(
                f"{path}: unknown key platform.{key}; known are {', '.join(sorted(_SCALARS))}"
            )
        accepted = (int, float) if kind is float else (kind,)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float | str)
            or not isinstance(value, accepted)
        ):
            raise SettingsError(f"{path}: platform.{key} must be of type {kind.__name__}")
        chosen[key] = value
    extra: dict[str, dict[str, str]] = {}
    for process, values in env.items():
        if not isinstance(values, dict) or not all(isinstance(v, str) for v in values.values()):
            raise SettingsError(f"{path}: env.{process} must be a table of strings")
        extra[process] = dict(values)
    settings = Settings(
        home=home,
        workers=int(chosen.get("workers", 1)),
        drain=str(chosen.get("drain", "10s")),
        log_level=str(chosen.get("log_level", "info")),
        region=str(chosen.get("region", "us-west-2")),
        hang_after=float(chosen.get("hang_after", 30.0)),
        env=extra,
    )
    if settings.workers < 0 or settings.hang_after <= 0:
        raise SettingsError(
            f"{path}: platform.workers may not be negative, platform.hang_after must be positive"
        )
    try:
        parse_duration(settings.drain)
    except ValueError as error:
        raise SettingsError(f"{path}: platform.drain: {error}") from error
    return settings
