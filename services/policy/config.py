"""Settings of the policy service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from services.common.config import ConfigError, ServiceConfig, load
from services.common.postgres import PostgresConfig
from services.common.valkey import ValkeyConfig
from services.policy.rates import Rule, parse_rules

MAX_LEASE = timedelta(hours=1)
"""The longest lease that a request may ask for."""
_EXACT = 2**53
"""Valkey's scripts count in doubles, which are exact up to here."""


@dataclass(frozen=True, slots=True)
class QuotaConfig:
    """What each tenant may use."""

    tokens: int = 2_000_000
    """Tokens that a window allows."""
    window: timedelta = timedelta(hours=1)
    """Length of a window."""
    lease: timedelta = timedelta(minutes=5)
    """How long a reservation is held when its maker does not say."""

    def __post_init__(self) -> None:
        if not 0 < self.tokens < _EXACT:
            raise ConfigError("CAUSEWAY_QUOTA_TOKENS must be at least 1 and below 2^53")
        if not timedelta(seconds=1) <= self.window <= timedelta(days=366):
            raise ConfigError("CAUSEWAY_QUOTA_WINDOW must be between 1s and 366d")
        if not timedelta(seconds=1) <= self.lease <= MAX_LEASE:
            raise ConfigError("CAUSEWAY_QUOTA_LEASE must be between 1s and 1h")


@dataclass(frozen=True, slots=True)
class EdgeConfig:
    """Whether, and for whom, this serves Envoy's own interfaces. CAUSEWAY_EDGE_ENABLED and so on."""

    enabled: bool = False
    """Off unless there is a mesh that says who may call: these interfaces take no token."""
    callers: str = ""
    """SPIFFE ids of the proxies that may ask, with commas between them. Empty: all that the mesh lets
    through."""
    claims: str = "payload"
    """Under which key the proxies' jwt_authn filter keeps the claims of a token that it has verified."""

    def __post_init__(self) -> None:
        if not all(principal.startswith("spiffe://") for principal in self.principals):
            raise ConfigError("CAUSEWAY_EDGE_CALLERS must be SPIFFE ids with commas between them")

    @property
    def principals(self) -> tuple[str, ...]:
        """The callers, one by one."""
        return tuple(part.strip() for part in self.callers.split(",") if part.strip())


@dataclass(frozen=True, slots=True)
class RatesConfig:
    """How many requests may come. CAUSEWAY_RATES_LIMITS and so on."""

    domain: str = "causeway"
    """The domain that the proxies' rate limit filter names."""
    limits: str = "tenant=2000/4000 tenant,subject=1000/2000 tenant,class:chat=200/400"
    """Requests a second, and how many at once, by the keys of a descriptor. A value behind
    a key is for that value alone: ``tenant:acme=5000/9000``. See services.policy.rates. Reads are not counted
    here: each ingress limits those for itself (istio/base/ingress-filters.yaml)."""

    def __post_init__(self) -> None:
        try:
            parse_rules(self.limits)
        except ValueError as error:
            raise ConfigError(f"CAUSEWAY_RATES_LIMITS: {error}") from error

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The limits."""
        return parse_rules(self.limits)


@dataclass(frozen=True, slots=True)
class Config:
    """All settings."""

    service: ServiceConfig
    """What every service has."""
    postgres: PostgresConfig
    """Where the audit log is."""
    valkey: ValkeyConfig
    """Where the quota ledger is."""
    quota: QuotaConfig = field(default_factory=QuotaConfig)
    """What each tenant may use."""
    edge: EdgeConfig = field(default_factory=EdgeConfig)
    """Whether Envoys may ask."""
    rates: RatesConfig = field(default_factory=RatesConfig)
    """How many requests they may let through."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Config:
        """Reads the environment. Raises ConfigError, naming the key."""
        return load(cls, environ)
