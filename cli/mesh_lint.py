"""`causeway mesh lint`: finds traps in manifests."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from cli import exits
from cli.exits import CommandError
from mesh.lint.examine import examine, to_json
from mesh.lint.finding import Severity
from mesh.lint.methods import platform_methods


def run(options: argparse.Namespace) -> int:
    """Print the findings; exit code 1 when one of them is an error, 2 when a path is not there."""
    paths = [Path(path) for path in options.paths]
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise CommandError(f"there is no {missing[0]}", exits.USAGE)
    findings = examine(paths, platform_methods())
    errors = sum(one.severity is Severity.ERROR for one in findings)
    if options.json:
        print(json.dumps(to_json(findings), indent=2))
    else:
        for one in findings:
            print(one)
            if options.explain:
                print(f"    why: {one.why}\n    fix: {one.fix}")
        print(_summary(errors, len(findings) - errors))
    return exits.FAILURE if errors else exits.OK


def _summary(errors: int, warnings: int) -> str:
    if not errors and not warnings:
        return "no findings"
    return ", ".join(
        f"{count} {word}{'' if count == 1 else 's'}"
        for count, word in ((errors, "error"), (warnings, "warning"))
        if count
    )
