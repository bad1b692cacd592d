"""`causeway up`, `down`, `status`, `logs`, `doctor`, `token`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from cli import exits, render
from cli.exits import CommandError
from cli.progress import StartProgress
from mesh.local import logs as log_files
from mesh.local import names, report, sync
from mesh.local.layout import Layout
from mesh.local.settings import default_home


def layout() -> Layout:
    """The platform that CAUSEWAY_HOME names."""
    return Layout(default_home())


def up(options: argparse.Namespace) -> int:
    """Start the platform."""
    from mesh.local import daemon

    try:
        plane = names.DataPlane(options.data_plane) if options.data_plane else None
        shape = names.shape_for(options.only, options.regions, plane)
        if options.only:
            shape.check(options.only)
    except ValueError as error:
        raise CommandError(str(error), exits.USAGE) from error
    here, show = layout(), StartProgress()
    try:
        started = daemon.up(
            here,
            options.only,
            limit=options.timeout,
            show=show,
            foreground=options.foreground,
            shape=shape,
        )
    except daemon.InterruptedStartError:
        print("causeway: interrupted; nothing was left running", file=sys.stderr)
        return exits.INTERRUPTED
    except daemon.StartError as error:
        raise CommandError(f"the platform did not start: {error}") from error
    except OSError as error:
        raise CommandError(f"cannot use {here.home}: {error}") from error
    if options.json:
        print(json.dumps(report.to_json(started.report)))
    elif options.foreground and not started.already:
        print("stopped", file=sys.stderr)
    elif started.already:
        pid = started.report.supervisor.pid if started.report.supervisor else "?"
        print(f"already running and ready (supervisor {pid})")
    elif not (show.live and sys.stdout.isatty()):
        print(render.headline(started.report))
    if started.report.front and not options.json and not (options.foreground and not started.already):
        print(f"people's address: https://{started.report.front}")
    return exits.OK


def down(options: argparse.Namespace) -> int:
    """Stop the platform."""
    from mesh.local import daemon

    here = layout()
    try:
        stopped = daemon.down(here)
        if options.purge:
            daemon.purge(here)
    except (daemon.StopError, OSError) as error:
        raise CommandError(str(error)) from error
    print(f"stopped {stopped} processes" if stopped else "nothing was running")
    if options.purge:
        print(f"deleted {here.home}")
    return exits.OK


def status(options: argparse.Namespace) -> int:
    """Say how the platform is doing; exit code 3 when it is not running, 1 when it is but is not ready."""
    found = report.read(layout())
    mesh = sync.read(layout(), found.regions)
    document = report.to_json(found, mesh)
    if options.json:
        print(json.dumps(document, indent=2))
    else:
        processes = document["processes"]
        memory = {p["name"]: p["memory_bytes"] for p in processes} if isinstance(processes, list) else {}
        print("\n".join(render.status(found, time.time(), memory, mesh)))
    if found.supervisor is None and found.phase != "unsupervised":
        return exits.NOT_RUNNING
    return exits.OK if found.ready else exits.FAILURE


def logs(options: argparse.Namespace) -> int:
    """Show logs."""
    here = layout()
    known = sorted(path.stem for path in here.logs.glob("*.log")) if here.logs.is_dir() else []
    if options.name and options.name not in known:
        listed = f"; there are {', '.join(known)}" if known else ": nothing has run yet"
        raise CommandError(f"there is no log of {options.name}{listed}")
    if not known:
        raise CommandError("nothing has been logged: run `causeway up`", exits.NOT_RUNNING)
    names = [options.name] if options.name else known
    width = 0 if options.name else max(len(name) for name in names)
    offsets = {}
    for name in names:
        offsets[name] = log_files.size(here.log(name))
        for line in log_files.tail(here.log(name), options.lines) if options.lines else []:
            print(f"{name.ljust(width)}  {line}" if width else line)
    while options.follow:
        sys.stdout.flush()
        time.sleep(0.2)
        for name in names:
            offsets[name] = _print_new(
                here.log(name), offsets[name], name.ljust(width) + "  " if width else ""
            )
    return exits.OK


def doctor(options: argparse.Namespace) -> int:
    """Check the machine."""
    from mesh.local import doctor as checks

    found = checks.examine(layout())
    if options.json:
        print(json.dumps(checks.to_json(found), indent=2))
    else:
        marks = {"ok": "●", "warning": "!", "failed": "✗"}
        print("\n".join(render.table([[marks[item.result], item.name, item.detail] for item in found])))
        for item in found:
            if item.remedy:
                print(f"\n{item.name}: {item.remedy}")
    return exits.FAILURE if any(item.result == "failed" for item in found) else exits.OK


def token(options: argparse.Namespace) -> int:
    """Print a token."""
    from cli.client import mint

    print(mint(layout(), options.tenant, options.subject, options.role or ["reader"], options.ttl))
    return exits.OK


def _print_new(path: Path, offset: int, prefix: str) -> int:
    if log_files.size(path) < offset:
        # It was rotated.
        offset = 0
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
    except OSError:
        return offset
    complete = data.rfind(b"\n") + 1
    for line in data[:complete].decode("utf-8", "replace").splitlines():
        print(prefix + line)
    return offset + complete
