"""What the supervisor needs to know about a process. Plain data: `topology` makes it, `supervisor` obeys
it."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class EnvoyProbe:
    """Ready once the proxy is live, and has been given listeners and clusters by a control plane."""

    host: str
    port: int
    """Of its own interface (admin)."""


@dataclass(frozen=True, slots=True)
class PostgresProbe:
    """Ready when `select 1` answers on a new connection."""

    dsn: str
    password_file: Path


@dataclass(frozen=True, slots=True)
class ValkeyProbe:
    """Ready when PING answers PONG to `user` on a new connection."""

    port: int
    user: str
    password_file: Path


@dataclass(frozen=True, slots=True)
class GrpcHealthProbe:
    """Ready when grpc.health.v1 says the whole server is SERVING."""

    port: int


@dataclass(frozen=True, slots=True)
class MilvusProbe:
    """Ready when the server lists its collections."""

    port: int


@dataclass(frozen=True, slots=True)
class TritonProbe:
    """Ready when every named model is, asked over gRPC."""

    port: int
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WatchdogProbe:
    """Ready while the watchdog's status file is fresh and calls no model down."""

    status: Path
    stale_after: float = 20.0
    """Seconds without a new file after which the watchdog counts as hung."""


@dataclass(frozen=True, slots=True)
class ControlProbe:
    """Ready while the control plane's status file is fresh and it has a configuration to give."""

    host: str
    port: int
    status: Path
    stale_after: float = 10.0
    """Seconds without a new file after which it counts as hung."""


Probe = (
    PostgresProbe
    | ValkeyProbe
    | GrpcHealthProbe
    | MilvusProbe
    | TritonProbe
    | WatchdogProbe
    | EnvoyProbe
    | ControlProbe
)


@dataclass(frozen=True, slots=True)
class Account:
    """The operating-system user a process runs as, when not the supervisor's own."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: program and arguments, environment beyond the base one, working folder."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path


@dataclass(frozen=True, slots=True)
class Hooks:
    """Work around the life of a process. Hooks are repeated at every start, so they must be idempotent."""

    prepare: Callable[[], Awaitable[Command | None]] | None = None
    """Before the process starts: make its data folder, write its configuration. May return the command to run
    instead of the specification's, for one that is known only then."""
    after_ready: Callable[[], Awaitable[None]] | None = None
    """Once its probe answers, and before it counts as ready: make users, databases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """One process of a platform."""

    name: str
    argv: tuple[str, ...]
    """Program (absolute path) and arguments. Never a secret: every user can read it."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment beyond the base one."""
    cwd: Path
    depends: tuple[str, ...] = ()
    """Processes that must have been ready (or done) once before this one starts."""
    after: tuple[str, ...] = ()
    """Processes that must have been ready once before this one starts, and may stop before it does."""
    uses: tuple[str, ...] = ()
    """Processes that are stopped only after this one, beside those it depends on."""
    program: str = ""
    """What kind of process it is: its name without the region."""
    region: str = ""
    """Empty for what stands outside regions."""
    host: str = "127.0.0.1"
    """The loopback address it listens on."""
    port: int | None = None
    """The main port it listens on, checked to be free before each start."""
    other_ports: tuple[int, ...] = ()
    shares_port: bool = False
    """Set for a server that binds with SO_REUSEPORT, from several processes."""
    probe: Probe | None = None
    """None: ready as soon as it runs."""
    one_shot: bool = False
    """Runs to its end and counts as ready when it exits 0."""
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout: float = 10.0
    """Seconds between the stop signal and SIGKILL."""
    start_timeout: float = 60.0
    """Seconds a start may take before the process is killed and started again."""
    hang_after: float = 30.0
    """Seconds of silence of the probe after which a running process is killed and started again."""
    shm_prefix: str | None = None
    """Names in /dev/shm that may be removed whenever this process is not running."""


class SetupError(Exception):
    """Something the supervisor cannot repair by trying again; the message says what to do."""
