"""`causeway demo`: the whole way from nothing to a cited answer, as `make demo` shows it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from cli import ask, exits, ingest, lifecycle
from cli.exits import CommandError
from mesh.local import procfs, report
from mesh.local.report import Report

QUESTION = "What does the with statement do?"
MORE = "How are default parameter values evaluated?"


def run(options: argparse.Namespace) -> int:
    """Start the platform, ingest Python's language reference, ask a question; the platform keeps running.

    Interrupted at any point, it stops what it started.
    """
    found = report.read(lifecycle.layout())
    # One that is stopping will have stopped: `up` waits for that, and then starts what the demo is about.
    runs = found.supervisor is not None and found.phase != "stopping"
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        return _show(_as_it_runs(found) if runs else [])
    except KeyboardInterrupt:
        if _started_here():
            _stop()
        return exits.INTERRUPTED


def _as_it_runs(found: Report) -> list[str]:
    """Words for `up` by which a platform that runs already is the one that is wanted."""
    regions = ["--regions", ",".join(found.regions)] if found.regions else []
    return ["--data-plane", found.data_plane, *regions]


def _started_here() -> bool:
    """Whether the platform that runs is this command's: its supervisor is then a child of this process.

    What was seen before the start does not tell: platforms come and go by other commands too.
    """
    supervisor = report.read(lifecycle.layout()).supervisor
    found = procfs.stat(supervisor.pid) if supervisor else None
    return found is not None and found.ppid == os.getpid()


def _show(words: list[str]) -> int:
    _say(
        "Using the platform that runs"
        if words
        else "Starting the platform in two regions (the first time it builds its models)"
    )
    code = lifecycle.up(_options("up", *words))
    if code != exits.OK:
        return code
    try:
        _say("Ingesting the Python language reference")
        code = ingest.run(_options("ingest", "pydoc:"))
        if code == exits.OK:
            _say(f"Asking: {QUESTION}")
            code = ask.ask(_options("ask", QUESTION))
    except CommandError as error:
        raise CommandError(
            f"{error}\nThe platform keeps running; stop it with `make down`.", error.code
        ) from error
    tool = _tool()
    _say("The platform keeps running. Go on with")
    print(f'  {tool} ask "{MORE}"\n  {tool} chat\n  {tool} status\nand stop it with\n  make down')
    return code


def _stop() -> None:
    """Stop the platform; a second interrupt must not leave half of it."""
    from mesh.local import daemon

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    print("\ninterrupted; stopping the platform", file=sys.stderr, flush=True)
    daemon.down(lifecycle.layout())
    print("nothing was left running", file=sys.stderr, flush=True)


def _options(*words: str) -> argparse.Namespace:
    from cli.main import parser

    return parser().parse_args(words)


def _say(line: str) -> None:
    print(f"\n== {line}", flush=True)


def _tool() -> str:
    """How this command was called, to be called again."""
    path = Path(sys.argv[0])
    return os.path.relpath(path) if path.name == "causeway" and path.exists() else "causeway"
