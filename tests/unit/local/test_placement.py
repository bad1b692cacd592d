"""Where PostgreSQL goes when its user cannot reach the installation or the state folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.local import placement
from mesh.local.layout import Layout
from mesh.local.spec import Account


@pytest.fixture
def open_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder whose every parent others may cross; pytest closes its own."""
    folder = tmp_path_factory.mktemp("open")
    closed = [path for path in (folder, *folder.parents) if not path.stat().st_mode & 0o001]
    before = {path: path.stat().st_mode for path in closed}
    for path in closed:
        path.chmod(before[path] | 0o001)
    yield folder
    for path in closed:
        path.chmod(before[path])


@pytest.fixture
def install(open_folder: Path) -> Path:
    folder = open_folder / "venv" / "pginstall"
    for name in (
        "bin/postgres",
        "bin/initdb",
        "bin/psql",
        "lib/libpq.so",
        "lib/libpq.a",
        "share/doc/x",
        "share/y",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "bin/postgres").chmod(0o700)
    return folder


@pytest.fixture
def layout(open_folder: Path) -> Layout:
    layout = Layout(open_folder / "home")
    layout.create()
    return layout


@pytest.fixture
def account(open_folder: Path) -> Account:
    """Somebody who owns nothing here."""
    owner = open_folder.stat()
    return Account(owner.st_uid + 1, owner.st_gid + 1)


def open_up(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | 0o005)


def test_without_another_user_everything_stays_in_the_state_folder(
    layout: Layout, install: Path, open_folder: Path
) -> None:
    found = placement.place(layout, install, None, open_folder / "outside")
    assert (found.install, found.data, found.outside) == (install, layout.data("postgres"), None)


def test_what_the_other_user_can_reach_stays_where_it_is(
    layout: Layout, install: Path, account: Account, open_folder: Path
) -> None:
    open_up(open_folder / "venv")
    found = placement.place(layout, install, account, open_folder / "outside")
    assert (found.install, found.outside) == (install, None)
    assert not (open_folder / "outside").exists()


def test_a_closed_state_folder_sends_the_data_outside_and_purge_finds_it(
    layout: Layout, install: Path, account: Account, open_folder: Path
) -> None:
    open_up(open_folder / "venv")
    layout.home.chmod(0o700)
    found = placement.place(layout, install, account, open_folder / "outside")
    assert found.outside is not None
    assert found.install == install
    assert found.data == found.outside / "data"
    assert placement.place(layout, install, account, open_folder / "outside") == found

    placement.remove(layout)
    assert not found.outside.exists()
    assert placement.recorded_outside(layout) is None


def test_a_closed_installation_is_copied_without_what_a_server_does_not_need(
    layout: Layout, install: Path, account: Account, open_folder: Path
) -> None:
    (open_folder / "venv").chmod(0o700)
    found = placement.place(layout, install, account, open_folder / "outside")
    copied = {str(path.relative_to(found.install)) for path in found.install.rglob("*") if path.is_file()}
    assert copied == {"bin/postgres", "bin/initdb", "lib/libpq.so", "share/y", ".copied"}
    assert (found.install / "bin/postgres").stat().st_mode & 0o005 == 0o005


def test_the_copy_is_renewed_when_the_installation_changes_and_only_then(
    layout: Layout, install: Path, account: Account, open_folder: Path
) -> None:
    (open_folder / "venv").chmod(0o700)
    first = placement.place(layout, install, account, open_folder / "outside")
    mark = (first.install / "bin/postgres").stat().st_ino
    second = placement.place(layout, install, account, open_folder / "outside")
    assert (second.install / "bin/postgres").stat().st_ino == mark
    (install / "bin/postgres").write_text("a newer server")
    third = placement.place(layout, install, account, open_folder / "outside")
    assert (third.install / "bin/postgres").read_text() == "a newer server"


def test_a_state_folder_made_anew_does_not_meet_the_data_of_the_old_one(
    layout: Layout, install: Path, account: Account, open_folder: Path
) -> None:
    layout.home.chmod(0o700)
    first = placement.place(layout, install, account, open_folder / "outside")
    layout.placement.unlink()
    second = placement.place(layout, install, account, open_folder / "outside")
    assert first.outside != second.outside
    assert placement.orphans(open_folder / "outside") == [first.outside]
