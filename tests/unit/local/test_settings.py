"""What an operator may write, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.local import settings
from mesh.local.settings import Settings, SettingsError


def load(home: Path, text: str) -> Settings:
    (home / "config.toml").write_text(text)
    return settings.load(home, {})


def test_without_a_file_everything_has_a_default(tmp_path: Path) -> None:
    found = settings.load(tmp_path, {})
    assert (found.home, found.workers, found.drain_seconds) == (tmp_path, 1, 10.0)


def test_the_file_overrides_defaults_and_adds_environment(tmp_path: Path) -> None:
    found = load(tmp_path, '[platform]\nworkers = 2\ndrain = "500ms"\n[env.gateway]\nCAUSEWAY_X = "1"\n')
    assert (found.workers, found.drain_seconds, found.env["gateway"]) == (2, 0.5, {"CAUSEWAY_X": "1"})


def test_the_model_may_be_chosen_in_the_environment(tmp_path: Path) -> None:
    found = settings.load(tmp_path, {"CAUSEWAY_GENERATOR_GGUF": "/m.gguf", "CAUSEWAY_OTHER": "x"})
    assert found.env["models"] == {"CAUSEWAY_GENERATOR_GGUF": "/m.gguf"}


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("[platform]\nworker = 2\n", "unknown key platform.worker"),
        ("[platform]\nworkers = '2'\n", "must be of type int"),
        ("[platform]\nworkers = true\n", "must be of type int"),
        ("[platform]\nworkers = -1\n", "may not be negative"),
        ("[platform]\ndrain = '10 seconds'\n", "not a duration"),
        ("[platforms]\n", "unknown table"),
        ("platform = 1\n", "must be tables"),
        ("[env.gateway]\nX = 1\n", "table of strings"),
        ("[env]\nmodels = 1\n", "table of strings"),
        ("not toml", "config.toml"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        load(tmp_path, text)


def test_home_is_what_the_environment_names_and_absolute() -> None:
    assert settings.default_home({"CAUSEWAY_HOME": "relative"}) == Path.cwd() / "relative"
    assert settings.default_home({}).name == ".causeway"
    assert settings.default_home({"CAUSEWAY_HOME": " "}).name == ".causeway"
