"""Envoy's generated API is found in its own folder, beside whatever else is called envoy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from services.common import envoy_api

CODE = """
import sys
from pathlib import Path
from services.common import envoy_api

envoy_api.extend_path(Path(sys.argv[1]))
envoy_api.extend_path(Path(sys.argv[1]))
import envoy
assert len([entry for entry in sys.path if entry.startswith(sys.argv[1])]) == 1, sys.path
from envoy.service import thing
print(thing.NAME, getattr(envoy, "INSTALLED", "alone"))
"""


def put(folder: Path, name: str, text: str = "") -> None:
    """Writes a module, and its packages."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    for parent in path.relative_to(folder).parents:
        if parent.name:
            (folder / parent / "__init__.py").touch()


@pytest.mark.parametrize("installed", [True, False])
def test_it_is_found_whether_or_not_another_package_has_its_name(tmp_path: Path, installed: bool) -> None:
    put(tmp_path / "environment" / "xds", "envoy/service/thing.py", "NAME = 'found'")
    path = [str(Path(envoy_api.__file__).parents[2])]
    if installed:
        put(tmp_path / "site", "envoy/binary.py")
        (tmp_path / "site/envoy/__init__.py").write_text("INSTALLED = 'beside'")
        path.insert(0, str(tmp_path / "site"))
    ended = subprocess.run(
        [sys.executable, "-S", "-c", CODE, str(tmp_path / "environment")],
        env={"PYTHONPATH": ":".join(path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.stdout.split() == ["found", "beside" if installed else "alone"], ended.stderr


def test_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ImportError, match="make setup"):
        envoy_api.extend_path(tmp_path)
