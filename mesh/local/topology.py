"""Which processes make up a platform, with what configuration and in which order. Pure."""

from __future__ import annotations

import signal
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mesh.local import addresses, envoy, milvus, postgres, services, triton, valkey
from mesh.local.binaries import Binaries
from mesh.local.layout import Layout
from mesh.local.names import Member
from mesh.local.placement import Placement
from mesh.local.plan import Plan
from mesh.local.settings import Settings
from mesh.local.spec import (
    Account,
    ControlProbe,
    EnvoyProbe,
    GrpcHealthProbe,
    MilvusProbe,
    PostgresProbe,
    ProcessSpec,
    TritonProbe,
    ValkeyProbe,
    WatchdogProbe,
)
from mesh.local.workloads import Role, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What the machine contributes: where programs are, who runs them, which names are ours."""

    binaries: Binaries
    placement: Placement
    account: Account | None
    """The user PostgreSQL runs as, when not ours."""
    triton_shm: Mapping[str, str]
    """Prefix of each Triton's names in /dev/shm, by region."""
    envoy: Path | None = None
    """The proxy's program, when this platform has a mesh."""


def build(
    settings: Settings, layout: Layout, plan: Plan, site: Site, only: Collection[str] | None = None
) -> tuple[ProcessSpec, ...]:
    """Specifications of the processes asked for; dependencies outside the choice are dropped."""
    chosen = plan.shape.select(only)
    builder = _Builder(settings, layout, plan, site)
    names = {member.name for member in chosen}
    return tuple(_complete(builder.spec(member), member, names, settings, plan) for member in chosen)


def _complete(
    spec: ProcessSpec, member: Member, chosen: Collection[str], settings: Settings, plan: Plan
) -> ProcessSpec:
    if member.ports:
        first, *others = (plan.ports[port] for port in member.ports)
        spec = replace(spec, port=first, other_ports=tuple(others))
    return replace(
        spec,
        program=member.program,
        region=member.region,
        depends=tuple(name for name in member.depends if name in chosen),
        after=tuple(name for name in member.after if name in chosen),
        uses=tuple(name for name in member.uses if name in chosen),
        hang_after=settings.hang_after,
    )


class _Builder:
    """Makes one specification after another."""

    def __init__(self, settings: Settings, layout: Layout, plan: Plan, site: Site) -> None:
        self._settings = settings
        self._layout = layout
        self._plan = plan
        self._site = site
        self._workloads = {workload.process: workload for workload in plan.workloads}

    def spec(self, member: Member) -> ProcessSpec:
        """The specification of one process, without what `_complete` adds."""
        if member.name in self._workloads:
            return self._proxy(member, self._workloads[member.name])
        if member.program in services.MODULES:
            return self._service(member)
        makers: dict[str, Callable[[Member], ProcessSpec]] = {
            "postgres": self._postgres,
            "valkey": self._valkey,
            "milvus": self._milvus,
            "models": self._models,
            "migrations": self._migrations,
            "triton": self._triton,
            "watchdog": self._watchdog,
            "control": self._control,
        }
        return makers[member.program](member)

    def _service(self, member: Member) -> ProcessSpec:
        return ProcessSpec(
            name=member.name,
            argv=services.command(services.MODULES[member.program]),
            env=services.environment(member, self._settings, self._layout, self._plan),
            cwd=self._layout.home,
            probe=GrpcHealthProbe(self._plan.port(member.program, member.region)),
            stop_timeout=self._settings.drain_seconds + 5,
        )

    def _proxy(self, member: Member, workload: Workload) -> ProcessSpec:
        folder = self._layout.proxy(member.name)
        return ProcessSpec(
            name=member.name,
            argv=envoy.command(self._site.envoy or Path("envoy"), folder, self._settings.log_level),
            env={
                "CAUSEWAY_REGION": workload.region,
                **self._settings.environment(member.program, member.region),
            },
            cwd=self._layout.home,
            host=workload.address,
            port=addresses.ADMIN,
            other_ports=_listens(workload),
            probe=EnvoyProbe(workload.address, addresses.ADMIN),
            stop_timeout=5,
        )

    def _control(self, member: Member) -> ProcessSpec:
        address = self._plan.address("control", member.region)
        status = self._layout.control_status(member.region)
        return ProcessSpec(
            name=member.name,
            argv=services.command("mesh.control"),
            env=services.control(member, self._settings, self._layout, self._plan),
            cwd=self._layout.home,
            host=address,
            port=addresses.XDS,
            probe=ControlProbe(address, addresses.XDS, status),
        )

    def _triton(self, member: Member) -> ProcessSpec:
        return ProcessSpec(
            name=member.name,
            argv=("tritonserver",),
            cwd=self._layout.home,
            probe=TritonProbe(self._plan.port("triton", member.region), triton.MODELS),
            start_timeout=120,
            shm_prefix=self._site.triton_shm.get(member.region),
        )

    def _watchdog(self, member: Member) -> ProcessSpec:
        return ProcessSpec(
            name=member.name,
            argv=services.command("triton_models.watchdog"),
            env=services.watchdog(member, self._settings, self._layout, self._plan),
            cwd=self._layout.home,
            probe=WatchdogProbe(self._layout.watchdog_status(member.name)),
        )

    def _models(self, member: Member) -> ProcessSpec:
        return ProcessSpec(
            name=member.name,
            argv=services.command("mesh.local.triton", str(self._layout.home)),
            env={**services.python_path(), **self._settings.environment("models")},
            cwd=self._layout.home,
            one_shot=True,
        )

    def _migrations(self, member: Member) -> ProcessSpec:
        env = services.migrations(self._layout, self._plan.port("postgres"))
        return ProcessSpec(
            name=member.name,
            argv=services.command("services.common.migrate"),
            env={**env, **self._settings.environment("migrations")},
            cwd=self._layout.home,
            one_shot=True,
        )

    def _postgres(self, member: Member) -> ProcessSpec:
        placement = self._site.placement
        return ProcessSpec(
            name=member.name,
            argv=(str(placement.install / "bin/postgres"), "-D", str(placement.data / "cluster")),
            cwd=placement.data,
            probe=PostgresProbe(
                postgres.dsn(self._plan.port("postgres"), postgres.SUPERUSER, "postgres"),
                postgres.password_file(self._layout, postgres.SUPERUSER),
            ),
            account=self._site.account,
            # SIGINT is PostgreSQL's "fast shutdown": SIGTERM would wait for every client to leave.
            stop_signal=signal.SIGINT,
            stop_timeout=20,
        )

    def _valkey(self, member: Member) -> ProcessSpec:
        folder = self._layout.data("valkey")
        return ProcessSpec(
            name=member.name,
            argv=(str(self._site.binaries.valkey), str(folder / "valkey.conf")),
            cwd=folder,
            probe=ValkeyProbe(
                self._plan.port("valkey"),
                valkey.PROBE_USER,
                valkey.password_file(self._layout, valkey.PROBE_USER),
            ),
        )

    def _milvus(self, member: Member) -> ProcessSpec:
        folder, port = self._layout.data("milvus"), self._plan.port("milvus")
        return ProcessSpec(
            name=member.name,
            argv=milvus.command(self._site.binaries.milvus, folder, port),
            env=milvus.environment(self._site.binaries.milvus),
            cwd=folder,
            probe=MilvusProbe(port),
        )


def _listens(workload: Workload) -> tuple[int, ...]:
    """Ports of a proxy's own address that its configuration will have it listen on."""
    match workload.role:
        case Role.SIDECAR:
            return (addresses.EGRESS, addresses.EGRESS_TRITON, addresses.INBOUND)
        case Role.INGRESS:
            return (addresses.HTTPS, addresses.HTTPS_MESH)
        case Role.FRONT:
            return (addresses.HTTPS,)
