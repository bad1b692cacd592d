"""A private platform for a test: real servers on free loopback ports, in a state folder of their own.

The platform is tied to the test process: it stops when that ends, even by SIGKILL.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from cli.client import Connection
from mesh.local import daemon, ports, postgres, report, valkey
from mesh.local.issuer import AUDIENCE, ISSUER, Issuer
from mesh.local.layout import Layout
from mesh.local.names import DEFAULT_REGIONS, SINGLE, DataPlane, Shape
from mesh.local.report import Report
from mesh.local.state import ProcessStatus

DATA = ("postgres", "valkey", "milvus")
MESH = Shape(DEFAULT_REGIONS, DataPlane.SIDECAR)
"""What `causeway up` starts."""


@dataclass(frozen=True, slots=True)
class Platform:
    """A running platform, and what its clients need to know."""

    layout: Layout

    @property
    def home(self) -> Path:
        """The state folder."""
        return self.layout.home

    @property
    def ports(self) -> Mapping[str, int]:
        """Port by name, see `mesh.local.names.PORTS`."""
        return ports.load(self.layout.ports)

    def postgres_dsn(self, role: str) -> str:
        """Connection string of `role` (postgres, causeway_owner, session, …), without its password."""
        return postgres.dsn(self.ports["postgres"], role)

    def postgres_password_file(self, role: str) -> Path:
        """The file with the password of `role`."""
        return postgres.password_file(self.layout, role)

    def postgres_conninfo(self, role: str) -> str:
        """Connection string of `role` with its password, for a test's own look at the tables."""
        return f"{self.postgres_dsn(role)} password={self.postgres_password_file(role).read_text()}"

    def valkey_url(self, user: str) -> str:
        """URL of `user` (policy or retrieval), without its password."""
        return valkey.url(self.ports["valkey"], user)

    def valkey_password_file(self, user: str) -> Path:
        """The file with the password of `user`."""
        return valkey.password_file(self.layout, user)

    @property
    def milvus_uri(self) -> str:
        """Where Milvus listens."""
        return f"http://127.0.0.1:{self.ports['milvus']}"

    def auth_environ(self) -> dict[str, str]:
        """CAUSEWAY_AUTH_* of a service that trusts this platform's issuer."""
        return {
            "CAUSEWAY_AUTH_ISSUER": ISSUER,
            "CAUSEWAY_AUTH_AUDIENCE": AUDIENCE,
            "CAUSEWAY_AUTH_JWKS_URI": self.layout.jwks.as_uri(),
        }

    def token(
        self, tenant: str, roles: Sequence[str] = ("reader",), subject: str = "tester", ttl: float = 600
    ) -> str:
        """A bearer token of this platform's issuer."""
        return Issuer(self.layout).mint(tenant, subject, roles, ttl)

    @contextmanager
    def channel(self, service: str) -> Iterator[grpc.Channel]:
        """A caller's way to a service: through the front where there is one, else straight to it."""
        caller = Connection(self.layout, "tester", "tester", ("reader",), self.report().front)
        with caller.channel(service) as channel:
            yield channel

    def report(self) -> Report:
        """How it is doing now."""
        return report.read(self.layout)

    def process(self, name: str) -> ProcessStatus:
        """How one process is doing now."""
        return next(process for process in self.report().processes if process.name == name)


@contextmanager
def running(
    only: Collection[str] | None, *, limit: float = 90.0, shape: Shape = SINGLE
) -> Iterator[Platform]:
    """A platform of the processes named (all for None), ready; stopped and deleted at the end."""
    with state_folder() as layout, started(layout, only, limit=limit, shape=shape) as platform:
        yield platform


@contextmanager
def started(
    layout: Layout, only: Collection[str] | None, *, limit: float = 90.0, shape: Shape = SINGLE
) -> Iterator[Platform]:
    """The platform in `layout`, started and ready; stopped at the end, its data kept."""
    child = daemon.up(layout, only, limit=limit, tied=True, shape=shape).child
    try:
        yield Platform(layout)
    finally:
        daemon.down(layout)
        if child is not None:
            child.wait()


@contextmanager
def state_folder() -> Iterator[Layout]:
    """An empty state folder; whatever was started in it is stopped, and all of it deleted, at the end."""
    layout = Layout(Path(tempfile.mkdtemp(prefix="causeway-test-")))
    try:
        yield layout
    finally:
        daemon.down(layout)
        daemon.purge(layout)
