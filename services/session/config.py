"""The session service's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.common.config import ServiceConfig, load
from services.common.postgres import PostgresConfig
from services.session.core import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Read from the environment; see services.common.config for the names."""

    service: ServiceConfig
    """What every service has."""
    postgres: PostgresConfig
    """Where conversations are kept."""
    limits: Limits = field(default_factory=Limits)
    """How much may be kept: CAUSEWAY_LIMITS_CONVERSATIONS and the like."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Config:
        """Reads it.

        Raises:
            services.common.config.ConfigError: a key is missing, unknown or malformed.
        """
        return load(cls, environ)
