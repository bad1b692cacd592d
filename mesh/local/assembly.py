"""The supervisor's composition root: from a state folder to a running `Supervisor`."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Collection, Sequence

from mesh.local import (
    addresses,
    binaries,
    lock,
    milvus,
    names,
    placement,
    ports,
    postgres,
    privilege,
    recovery,
    services,
    settings,
    topology,
    triton,
    valkey,
)
from mesh.local.daemon import EXIT_HELD
from mesh.local.issuer import Issuer
from mesh.local.layout import Layout
from mesh.local.mesh_files import MeshFiles
from mesh.local.names import SINGLE, Member, Shape
from mesh.local.passwords import ensure_password
from mesh.local.plan import Plan
from mesh.local.spec import Command, Hooks, ProcessSpec, SetupError
from mesh.local.supervisor import WITHOUT_MESH, Supervisor
from mesh.local.topology import Site
from mesh.local.workloads import address_names

EXIT_FAILED = 1

_log = logging.getLogger(__name__)


def run(layout: Layout, only: Collection[str] | None, shape: Shape = SINGLE) -> int:
    """Supervise the platform in `layout` until told to stop; the exit code of the supervisor process.

    EXIT_HELD when another supervisor has this platform, EXIT_FAILED when it could not be started.
    """
    layout.create()
    try:
        with lock.held(layout.lock):
            recovery.clear(layout)
            return asyncio.run(_supervise(layout, only, shape))
    except lock.HeldError:
        return EXIT_HELD
    except (SetupError, settings.SettingsError, names.UnknownProcessError, OSError) as error:
        _log.error("cannot start: %s", error)
        recovery.record_failure(layout, str(error))
        return EXIT_FAILED


async def _supervise(layout: Layout, only: Collection[str] | None, shape: Shape) -> int:
    chosen = settings.load(layout.home)
    plan = make_plan(layout, shape)
    Issuer(layout).publish()
    ensure_password(services.resume_key(layout))
    members = shape.select(only)
    site = _site(layout, members, shape)
    specs = topology.build(chosen, layout, plan, site, only)
    hooks = _hooks(layout, plan, site, specs)
    mesh = WITHOUT_MESH
    if shape.has_mesh:
        files = MeshFiles(layout, plan, services.sharing(chosen, shape.regions))
        files.write()
        hooks |= files.hooks()
        mesh = files.mesh()
    supervisor = Supervisor(specs, hooks, layout, mesh)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, supervisor.request_stop)
    return 0 if await supervisor.run() else EXIT_FAILED


def make_plan(layout: Layout, shape: Shape) -> Plan:
    """Ports and addresses for a platform of this shape: the recorded ones while they are free."""
    assigned = ports.choose(shape.port_names(), ports.load(layout.ports))
    ports.save(layout.ports, assigned)
    if not shape.has_mesh:
        return Plan(shape, assigned)
    network = addresses.choose(address_names(shape), addresses.load(layout.network))
    addresses.save(layout.network, network)
    return Plan(shape, assigned, network)


def _site(layout: Layout, chosen: Sequence[Member], shape: Shape) -> Site:
    found = binaries.locate()
    account = privilege.unprivileged_account()
    return Site(
        binaries=found,
        placement=placement.place(layout, found.postgres, account),
        account=account,
        triton_shm={
            member.region: triton.shm_prefix(layout, member.region)
            for member in chosen
            if member.program == "triton"
        },
        envoy=binaries.envoy() if shape.has_mesh else None,
    )


def _hooks(layout: Layout, plan: Plan, site: Site, specs: Sequence[ProcessSpec]) -> dict[str, Hooks]:
    """The work around each server's life that is more than starting a program."""

    async def prepare_postgres() -> None:
        await postgres.prepare(layout, site.placement, plan.port("postgres"), site.account)

    async def bootstrap_postgres() -> None:
        await postgres.bootstrap(layout, plan.port("postgres"))

    async def prepare_valkey() -> None:
        await valkey.prepare(layout, plan.port("valkey"))

    async def prepare_milvus() -> None:
        await milvus.prepare(layout)

    hooks = {
        "postgres": Hooks(prepare=prepare_postgres, after_ready=bootstrap_postgres),
        "valkey": Hooks(prepare=prepare_valkey),
        "milvus": Hooks(prepare=prepare_milvus),
    }
    for spec in specs:
        if spec.program == "triton":
            hooks[spec.name] = _triton(layout, plan, spec)
        elif spec.program == "watchdog":
            hooks[spec.name] = _watchdog(layout, spec)
    return hooks


def _triton(layout: Layout, plan: Plan, spec: ProcessSpec) -> Hooks:
    region = spec.region
    listens = triton.TritonPorts(
        grpc=plan.port("triton", region),
        http=plan.port("triton_http", region),
        metrics=plan.port("triton_metrics", region),
    )

    async def launch() -> Command:
        return await triton.launch(layout, listens, region)

    return Hooks(prepare=launch)


def _watchdog(layout: Layout, spec: ProcessSpec) -> Hooks:
    async def prepare() -> Command:
        # What an earlier watchdog said must not count as this one's word.
        layout.watchdog_status(spec.name).unlink(missing_ok=True)
        run = str(triton.served(layout, spec.region).run)
        return Command(spec.argv, {**spec.env, "CAUSEWAY_WATCHDOG_RUN": run}, spec.cwd)

    return Hooks(prepare=prepare)
