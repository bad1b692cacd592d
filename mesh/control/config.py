"""Settings of a control plane, from the environment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from services.common.config import Address, ConfigError, load


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshConfig:
    """The settings that start with CAUSEWAY_MESH_."""

    listen: Address
    """Where proxies find it: ADS and health, over mutual TLS."""
    region: str
    """Whose authority signs here."""
    manifests: str
    """Files and folders, separated by commas, in the order in which they are read."""
    pki: Path
    """The authority's folder; `trust.pem` and the region's own folder in it are read."""
    status: Path
    """The file that says how things stand."""
    trust_domain: str = "cluster.local"
    """Of all identities."""
    leaf_life: timedelta = timedelta(hours=1)
    """How long a workload's certificate lives. It is renewed at two thirds of that."""
    drain: timedelta = timedelta(seconds=2)
    """How long streams may take to end after SIGTERM."""

    @property
    def sources(self) -> tuple[Path, ...]:
        """The manifests' files and folders."""
        return tuple(Path(part.strip()) for part in self.manifests.split(",") if part.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings."""

    mesh: MeshConfig
    """What it serves."""
    log_level: str = "info"
    """debug, info, warning or error."""

    @classmethod
    def from_env(cls) -> Config:
        """Read the environment.

        Raises:
            ConfigError: a setting is missing, unknown or malformed.
        """
        config = load(cls)
        if not config.mesh.sources:
            raise ConfigError("CAUSEWAY_MESH_MANIFESTS names no file or folder")
        if config.mesh.leaf_life < timedelta(seconds=1):
            raise ConfigError("CAUSEWAY_MESH_LEAF_LIFE is shorter than a second")
        return config
