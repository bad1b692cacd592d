"""Reads what belongs together and runs the rules over it; what cannot be read is a finding too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from mesh.lint.finding import Finding, Severity
from mesh.lint.lint import lint
from mesh.lint.methods import Method
from mesh.lint.sources import sets
from mesh.manifests.errors import ManifestError, ManifestErrors
from mesh.manifests.read import read

UNREADABLE = "manifest"
"""The rule of findings that the reader made."""


def examine(paths: Iterable[Path], methods: Mapping[str, Method] | None = None) -> tuple[Finding, ...]:
    """The findings of every mesh that `paths` describe (`sets`), each once, by file and line."""
    found: dict[Finding, None] = {}
    for sources in sets(paths):
        try:
            manifests = read(sources)
        except ManifestErrors as errors:
            found.update(dict.fromkeys(map(_unreadable, errors.errors)))
        else:
            found.update(dict.fromkeys(lint(manifests, methods)))
    return tuple(sorted(found, key=lambda one: (one.file, one.line, one.rule, one.message)))


def to_json(findings: Iterable[Finding]) -> dict[str, object]:
    """As `causeway mesh lint --json` prints it."""
    every = list(findings)
    return {
        "findings": [
            {
                "rule": one.rule,
                "severity": one.severity.value,
                "file": one.file,
                "line": one.line,
                "path": one.path,
                "manifest": one.manifest,
                "message": one.message,
                "why": one.why,
                "fix": one.fix,
            }
            for one in every
        ],
        "errors": sum(one.severity is Severity.ERROR for one in every),
        "warnings": sum(one.severity is Severity.WARNING for one in every),
    }


def _unreadable(error: ManifestError) -> Finding:
    return Finding(
        rule=UNREADABLE,
        severity=Severity.ERROR,
        file=error.file,
        line=error.line,
        path=error.path,
        manifest="",
        message=f"{error.path}: {error.message}" if error.path else error.message,
        why="The control plane keeps what it had; Istio refuses it too, or does something else with it.",
        fix="As the message says; the reference is https://istio.io/latest/docs/reference/config/.",
    )
