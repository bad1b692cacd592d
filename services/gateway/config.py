"""The gateway's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from services.common.config import ConfigError, Peer, ServiceConfig, load
from services.common.secret import Secret
from services.gateway.resumption import LEAST_KEY
from services.gateway.settings import ChatSettings, ModelSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeConfig:
    """How a client whose stream broke goes on with its answer, at any gateway that has the same key."""

    key: Secret = Secret("")
    """Signs the tokens. Several lines are several keys: the first signs, all hold, so that a key can be
    changed without breaking what is under way. Without a key no tokens are issued."""
    lifetime: timedelta = timedelta(minutes=15)
    """How long a token holds: longer than the longest answer takes."""

    def __post_init__(self) -> None:
        if any(len(key) < LEAST_KEY for key in self.keys):
            raise ConfigError(f"CAUSEWAY_RESUME_KEY_FILE: a key must have at least {LEAST_KEY} characters")
        if not timedelta(seconds=1) <= self.lifetime <= timedelta(days=1):
            raise ConfigError("CAUSEWAY_RESUME_LIFETIME must be between 1s and 1d")

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys, one by one."""
        return tuple(line.strip() for line in self.key.reveal().splitlines() if line.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Read from the environment; see services.common.config for the names."""

    service: ServiceConfig
    """What every service has."""
    session: Peer
    """The session service."""
    retrieval: Peer
    """The retrieval service."""
    policy: Peer
    """The policy service."""
    triton: Peer
    """The inference server."""
    models: ModelSettings = field(default_factory=ModelSettings)
    """What it serves: CAUSEWAY_MODELS_GENERATOR and the like."""
    chat: ChatSettings = field(default_factory=ChatSettings)
    """How answers are made: CAUSEWAY_CHAT_MAX_TOKENS and the like."""
    resume: ResumeConfig = field(default_factory=ResumeConfig)
    """How clients go on after a break: CAUSEWAY_RESUME_KEY_FILE and the like."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Config:
        """Reads it.

        Raises:
            services.common.config.ConfigError: a key is missing, unknown or malformed.
        """
        return load(cls, environ)
