"""Writes README.md from the rules: `python -m mesh.lint.document`; with `--check` it only compares."""

from __future__ import annotations

import sys
from pathlib import Path

from mesh.lint.lint import ALLOW
from mesh.lint.rules import RULES, SUBJECTS

README = Path(__file__).with_name("README.md")

_HEAD = f"""# `causeway mesh lint`: the rules

Written by `python -m mesh.lint.document` from the code; a test compares the two.

The reader refuses what Istio would refuse and what this mesh does not carry out. These {{count}} rules find
what both accept and what does something else than its author meant. An *error* does not do what it says, or
breaks something; a *warning* does what it says, and that will surprise somebody. Exit code 1 means errors.

A folder is linted as `kustomize build` would render it; in a folder of several kustomizations, each one that
no other one there includes is a mesh of its own. Rules about hosts, subsets, selectors and principals judge
what is declared: give the topology too (`causeway mesh lint istio TOPOLOGY`), else a cluster's own services
are taken to exist.

A manifest that breaks a rule on purpose says so, and a comment beside it says why:

```yaml
metadata:
  annotations:
    {ALLOW}: allow-by-exception, gateway-plaintext
```
"""


def render() -> str:
    """The whole README."""
    lines = [_HEAD.format(count=len(RULES))]
    for subject, rules in SUBJECTS:
        lines.append(f"## {subject}\n")
        for rule in rules:
            lines += [
                f"### {rule.id} ({rule.severity.value})\n",
                f"{rule.finds}\n",
                f"*Why:* {rule.why}\n",
                f"*Fix:* {rule.fix}\n",
                f"*Source:* <{rule.source}>\n",
            ]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Write, or compare; 1 when the file is not what the code says."""
    if arguments == ["--check"]:
        if README.read_text("utf-8") != render():
            print(
                f"{README.name} is not what the rules say: run python -m mesh.lint.document", file=sys.stderr
            )
            return 1
        return 0
    README.write_text(render(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
