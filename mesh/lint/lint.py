"""Runs the rules."""

from __future__ import annotations

from collections.abc import Mapping

from mesh.lint.finding import Finding, Problem, Rule, Severity
from mesh.lint.methods import Method
from mesh.lint.rules import RULES
from mesh.lint.view import Mesh
from mesh.manifests.manifests import Manifest, Manifests
from mesh.manifests.message import Message

ALLOW = "lint.causeway.dev/allow"
"""Annotation of a manifest: rules, separated by commas, that it breaks on purpose. A comment says why."""


def lint(manifests: Manifests, methods: Mapping[str, Method] | None = None) -> tuple[Finding, ...]:
    """Everything that is wrong, by file and line.

    `methods` is what is known of RPCs by path (`platform_methods()`); rules about single RPCs need it.
    """
    mesh = Mesh(manifests, methods or {})
    found = [
        _finding(rule, problem)
        for rule in RULES
        for problem in rule.check(mesh)
        if rule.id not in allowed(problem.manifest)
    ]
    found += [_unknown(manifest, name) for manifest in manifests for name in sorted(_misspelt(manifest))]
    return tuple(sorted(dict.fromkeys(found), key=lambda one: (one.file, one.line, one.rule, one.message)))


def allowed(manifest: Manifest[Message]) -> frozenset[str]:
    """The rules that a manifest breaks on purpose."""
    named = manifest.annotations.get(ALLOW, "").split(",")
    return frozenset(name.strip() for name in named if name.strip())


def _misspelt(manifest: Manifest[Message]) -> frozenset[str]:
    return allowed(manifest) - {rule.id for rule in RULES}


def _unknown(manifest: Manifest[Message], name: str) -> Finding:
    return Finding(
        rule="allow-unknown",
        severity=Severity.ERROR,
        file=manifest.at.file,
        line=manifest.at.line,
        path="metadata.annotations",
        manifest=str(manifest),
        message=f"{ALLOW} names {name}, which is no rule",
        why="What was to be allowed is not.",
        fix="The rule's id, as the finding has it.",
    )


def _finding(rule: Rule, problem: Problem) -> Finding:
    return Finding(
        rule=rule.id,
        severity=rule.severity,
        file=problem.at.file,
        line=problem.at.line,
        path=problem.at.path,
        manifest=str(problem.manifest),
        message=problem.message,
        why=rule.why,
        fix=rule.fix,
    )
