"""Where each file of a platform lives inside its state folder."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of one platform, all derived from its state folder."""

    home: Path
    """Absolute, without symbolic links: one folder must not look like two."""

    @property
    def digest(self) -> str:
        """Ten hex digits that tell this platform from others on the same machine."""
        return hashlib.sha256(os.fsencode(self.home)).hexdigest()[:10]

    @property
    def state(self) -> Path:
        """What the supervisor last said about every process."""
        return self.home / "state.json"

    @property
    def ports(self) -> Path:
        """Ports chosen for this platform, kept across restarts."""
        return self.home / "ports.json"

    @property
    def lock(self) -> Path:
        """Held (flock) by the one supervisor of this platform; names it by pid and start time."""
        return self.home / "supervisor.lock"

    @property
    def placement(self) -> Path:
        """Records folders that had to live outside the state folder."""
        return self.home / "placement.json"

    @property
    def logs(self) -> Path:
        """One log per process, and the supervisor's own."""
        return self.home / "logs"

    @property
    def secrets(self) -> Path:
        """Passwords and the development issuer's key, one 0600 file each."""
        return self.home / "secrets"

    @property
    def jwks(self) -> Path:
        """Public keys of the development issuer."""
        return self.home / "jwks.json"

    @property
    def mesh(self) -> Path:
        """What belongs to the mesh: topology, certificates, proxies' files, what control planes say."""
        return self.home / "mesh"

    @property
    def network(self) -> Path:
        """Loopback addresses chosen for this platform, kept across restarts."""
        return self.mesh / "network.json"

    @property
    def topology(self) -> Path:
        """Manifests that say where workloads run."""
        return self.mesh / "topology"

    @property
    def overlays(self) -> Path:
        """Gateways of regions that `istio/overlays` does not know."""
        return self.mesh / "overlays"

    @property
    def pki(self) -> Path:
        """The certificate authority: keys, 0600 each."""
        return self.mesh / "pki"

    @property
    def ca(self) -> Path:
        """The root certificate (PEM) that clients believe the front and the ingresses by; not the mesh's."""
        return self.pki / "web.pem"

    @property
    def regions(self) -> Path:
        """What was asked of each region: to run, to be drained, stopped, killed or frozen."""
        return self.mesh / "regions.json"

    def proxy(self, name: str) -> Path:
        """The folder of the proxy called `name`, for example "envoy-gateway@us-west-2"."""
        return self.mesh / "proxies" / name

    def control_status(self, region: str) -> Path:
        """What a region's control plane last said about its proxies."""
        return self.mesh / "status" / f"{region}.json"

    def watchdog_status(self, name: str) -> Path:
        """What the watchdog process `name` last saw."""
        return self.home / f"{name}.json"

    def triton(self, region: str) -> Path:
        """A region's own part of the model repository; the built files are shared."""
        return self.home / "triton" / region

    def log(self, name: str) -> Path:
        """The log of process `name`."""
        return self.logs / f"{name}.log"

    def password(self, name: str) -> Path:
        """The password file called `name`, for example "postgres-session"."""
        return self.secrets / f"{name}.password"

    def data(self, name: str) -> Path:
        """The private data folder of process `name`."""
        return self.home / "data" / name

    def create(self) -> None:
        """Make the folders. The home may be crossed but not listed by others: PostgreSQL may need another
        user."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o711)
        (self.home / "data").mkdir(exist_ok=True)
        (self.home / "data").chmod(0o711)
        for private in (self.logs, self.secrets, self.mesh):
            private.mkdir(exist_ok=True)
            private.chmod(0o700)
