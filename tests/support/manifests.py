"""What reading one spec of a kind says is wrong with it."""

from __future__ import annotations

import textwrap

from mesh.manifests import ManifestErrors, Text, read
from mesh.manifests.kinds import KINDS


def wrong_with(kind: str, spec: str, *, namespace: str = "causeway") -> list[str]:
    """`path: message` of every error."""
    found = next(each for each in KINDS if each.name == kind)
    version = f"{found.group}/{found.versions[0]}" if found.group else found.versions[0]
    text = f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a, namespace: {namespace}}}\nspec:\n"
    try:
        read([Text("f.yaml", text + textwrap.indent(textwrap.dedent(spec).strip("\n"), "  ") + "\n")])
    except ManifestErrors as errors:
        return [
            f"{error.path.removeprefix('spec').removeprefix('.')}: {error.message}" for error in errors.errors
        ]
    return []
