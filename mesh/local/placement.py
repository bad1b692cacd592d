"""Where PostgreSQL's programs and data live when the user it runs as cannot reach the state folder.

PostgreSQL refuses to run as root, so root starts it as another user. When the installation or the state
folder lies below a folder closed to that user (such as a home folder with mode 0700), a copy of the
programs, and the data, go to a folder of our own below /var/lib/causeway. It is recorded in the state
folder, names it, and is removed by purge.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from mesh.local.files import write_atomic, write_json
from mesh.local.layout import Layout
from mesh.local.privilege import can_reach
from mesh.local.spec import Account, SetupError

OUTSIDE = Path("/var/lib/causeway")
_OWNER = "STATE_FOLDER"
_PROGRAMS = ("initdb", "postgres")


@dataclass(frozen=True, slots=True)
class Placement:
    """Folders PostgreSQL uses."""

    install: Path
    """Folder with `bin/`, `lib/` and `share/`."""
    data: Path
    """Parent of the cluster's folder."""
    outside: Path | None
    """The folder of ours outside the state folder, when one was needed."""


def place(layout: Layout, install: Path, account: Account | None, outside: Path = OUTSIDE) -> Placement:
    """Decide once per platform, then keep to it. Copies the programs when it must (about 40 MB).

    Raises SetupError when no reachable folder can be made.
    """
    inside = layout.data("postgres")
    if account is None:
        return Placement(install, inside, None)
    recorded = recorded_outside(layout)
    if recorded is None and can_reach(install, account) and can_reach(layout.home, account):
        return Placement(install, inside, None)
    try:
        folder = recorded or _new_folder(layout, outside)
        if not can_reach(folder, account):
            raise SetupError(
                f"{folder} cannot be reached by the user PostgreSQL runs as; open its parents with chmod o+x"
            )
        programs = install if can_reach(install, account) else _copy_programs(install, folder / "pginstall")
    except OSError as error:
        raise SetupError(
            f"PostgreSQL needs a folder below {outside}, which cannot be made: {error}"
        ) from error
    return Placement(programs, folder / "data", folder)


def recorded_outside(layout: Layout) -> Path | None:
    """The folder outside the state folder that belongs to this platform, when it still exists and says so."""
    try:
        folder = Path(json.loads(layout.placement.read_text("utf-8"))["outside"])
        owner = (folder / _OWNER).read_text("utf-8")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return folder if owner == str(layout.home) else None


def remove(layout: Layout) -> None:
    """Delete the folder outside the state folder, if there is one."""
    folder = recorded_outside(layout)
    if folder is not None:
        shutil.rmtree(folder)
    layout.placement.unlink(missing_ok=True)


def orphans(outside: Path = OUTSIDE) -> list[Path]:
    """Folders whose state folder was deleted without a purge."""
    found = []
    for folder in sorted(outside.glob("*")) if outside.is_dir() else []:
        try:
            layout = Layout(Path((folder / _OWNER).read_text("utf-8")))
        except OSError:
            continue
        if recorded_outside(layout) != folder:
            found.append(folder)
    return found


def _new_folder(layout: Layout, outside: Path) -> Path:
    # Random, so that a state folder made anew under an old name never meets the data of the old one.
    folder = outside / f"{layout.digest}-{secrets.token_hex(4)}"
    for path in (outside.parent, outside, folder):
        path.mkdir(exist_ok=True)
    for path in (outside, folder):
        path.chmod(0o711)
    write_atomic(folder / _OWNER, os.fsencode(layout.home))
    write_json(layout.placement, {"outside": str(folder)})
    return folder


def _copy_programs(install: Path, target: Path) -> Path:
    """A copy of what the server needs, complete or absent; kept while the installed one has not changed."""
    stamp = f"{(install / 'bin/postgres').stat().st_size}:{(install / 'bin/postgres').stat().st_mtime_ns}"
    mark = target / ".copied"
    if mark.exists() and mark.read_text("ascii") == stamp:
        return target
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "bin").mkdir(parents=True)
    for name in _PROGRAMS:
        shutil.copy2(install / "bin" / name, partial / "bin" / name)
    shutil.copytree(
        install / "lib", partial / "lib", symlinks=True, ignore=shutil.ignore_patterns("*.a", "pgxs")
    )
    shutil.copytree(
        install / "share", partial / "share", symlinks=True, ignore=shutil.ignore_patterns("doc", "man")
    )
    for path in (partial, *partial.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or os.access(path, os.X_OK) else 0o444))
    (partial / ".copied").write_text(stamp, "ascii")
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    return target
