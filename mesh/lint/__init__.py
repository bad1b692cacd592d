"""Finds the traps that Istio's users fall into, each with the reason and the fix.

The reader (`mesh.manifests`) refuses what Istio would refuse or what this mesh does not carry out; what is
found here is accepted by both, and does something else than its author meant.
"""

from __future__ import annotations

from mesh.lint.finding import Finding, Severity
from mesh.lint.lint import lint
from mesh.lint.rules import RULES

__all__ = ["RULES", "Finding", "Severity", "lint"]
