"""The copy of the last good manifests is whole, or the one before is."""

from __future__ import annotations

from pathlib import Path

from mesh.control.kept import Kept


def test_a_copy_keeps_every_file_in_its_place_and_what_other_places_brought(tmp_path: Path) -> None:
    source, elsewhere = tmp_path / "in" / "overlay", tmp_path / "in" / "base"
    for folder in (source, elsewhere):
        folder.mkdir(parents=True)
        (folder / "a.yaml").write_text(folder.name)
    empty = tmp_path / "in" / "empty"
    empty.mkdir()
    kept = Kept(tmp_path / "kept")
    assert kept.sources([source]) is None
    kept.keep([source, empty], [source / "a.yaml", elsewhere / "a.yaml"])
    copies = kept.sources([source, empty])
    assert copies is not None
    assert (copies[0] / "a.yaml").read_text() == "overlay"
    assert (copies[0] / "../base/a.yaml").read_text() == "base"
    assert list(copies[1].iterdir()) == []
    assert kept.sources([source]) is None, "a copy of other sources is no copy"


def test_a_newer_copy_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    file, gone = tmp_path / "in" / "a.yaml", tmp_path / "in" / "b.yaml"
    file.parent.mkdir()
    kept = Kept(tmp_path / "kept")
    for text, files in (("1", [file, gone]), ("2", [file])):
        file.write_text(text)
        gone.write_text(text)
        kept.keep([file.parent], files)
    (copy,) = kept.sources([file.parent]) or []
    assert (copy / "a.yaml").read_text() == "2"
    assert not (copy / "b.yaml").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"in", "kept"}


def test_a_copy_that_was_cut_short_between_two_steps_leaves_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("1")
    kept = Kept(tmp_path / "kept")
    kept.keep([file], [file])
    (tmp_path / "kept").rename(tmp_path / "kept.old")
    (copy,) = kept.sources([file]) or []
    assert copy.read_text() == "1"
    file.write_text("2")
    kept.keep([file], [file])
    (copy,) = kept.sources([file]) or []
    assert copy.read_text() == "2"
