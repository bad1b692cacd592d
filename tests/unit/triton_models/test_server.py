"""How Triton is launched, and what is cleaned up after it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from mesh.local.doctor import distribution, remedy_for
from triton_models.build import ModelRepository
from triton_models.server import (
    Ports,
    assemble_backend,
    launch_spec,
    missing_system_packages,
    shm_prefix,
    sweep,
)
from triton_models.shared_memory import leftovers
from triton_models.system import python_package

REPOSITORY = ModelRepository(
    path=Path("/x/repository"),
    backends=Path("/x/backends"),
    run=Path("/x/run"),
    models=("embedder", "generator"),
)
PORTS = Ports(grpc=1001, http=1002, metrics=1003)


def test_everything_listens_on_loopback_and_only_the_wanted_models_load() -> None:
    argv = launch_spec(Path("/x"), REPOSITORY, PORTS).argv
    addresses = [argument for argument in argv if "-address=" in argument]
    assert len(addresses) == 3
    assert all(address.endswith("=127.0.0.1") for address in addresses)
    assert {"--load-model=embedder", "--load-model=generator", "--model-control-mode=explicit"} <= set(argv)
    assert {"--grpc-port=1001", "--http-port=1002", "--metrics-port=1003"} <= set(argv)


def test_the_environment_is_complete_and_holds_nothing_of_ours() -> None:
    surroundings = {"HOME": "/h", "CAUSEWAY_SECRET": "s", "PYTHONPATH": "/evil", "LD_PRELOAD": "/evil.so"}
    env = launch_spec(Path("/x"), REPOSITORY, PORTS, environ=surroundings).env
    assert env["HOME"] == "/h"
    assert "CAUSEWAY_SECRET" not in env
    assert "LD_PRELOAD" not in env
    assert env["PYTHONPATH"] == str(Path(__file__).parents[3])
    assert env["GOMP_SPINCOUNT"] == "1000"
    assert "nvidia_pytriton.libs" in env["LD_LIBRARY_PATH"]


def test_a_log_file_is_only_named_when_asked_for() -> None:
    assert not any("log-file" in part for part in launch_spec(Path("/x"), REPOSITORY, PORTS).argv)
    assert "--log-file=/l" in launch_spec(Path("/x"), REPOSITORY, PORTS, Path("/l")).argv


def test_two_platforms_never_share_names_in_shared_memory() -> None:
    assert shm_prefix(Path("/a")) == shm_prefix(Path("/a"))
    assert shm_prefix(Path("/a")) != shm_prefix(Path("/b"))
    argument = f"--backend-config=python,shm-region-prefix-name={shm_prefix(Path('/x'))}"
    assert argument in launch_spec(Path("/x"), REPOSITORY, PORTS).argv


def test_sweeping_removes_one_platforms_names_and_no_others() -> None:
    mine, other = shm_prefix(Path(f"/{os.getpid()}/a")), shm_prefix(Path(f"/{os.getpid()}/b"))
    files = [Path("/dev/shm") / f"{prefix}x" for prefix in (mine, other)]  # noqa: S108
    for file in files:
        file.write_bytes(b"")
    try:
        assert sweep(mine) == [f"{mine}x"]
        assert sweep(mine) == []
        assert leftovers(other) == [f"{other}x"]
    finally:
        sweep(other)


@pytest.mark.parametrize("prefix", ["", "causeway_", "triton", "c"])
def test_a_prefix_that_is_not_one_platforms_is_never_swept(prefix: str) -> None:
    with pytest.raises(ValueError, match="refusing"):
        sweep(prefix)


def test_the_backend_is_complete_and_bridges_numpy_2_only(tmp_path: Path) -> None:
    assemble_backend(tmp_path)
    folder = tmp_path / "python"
    assert os.access(folder / "triton_python_backend_stub", os.X_OK)
    assert (folder / "libtriton_python.so").is_file()
    utilities = (folder / "triton_python_backend_utils.py").read_text()
    compile(utilities, "triton_python_backend_utils.py", "exec")
    assert ("_ARRAY_API" in utilities) == (int(np.__version__.partition(".")[0]) >= 2)


def test_the_bridge_may_stand_behind_tritons_own_source(tmp_path: Path) -> None:
    assemble_backend(tmp_path, numpy_major=2)
    utilities = (tmp_path / "python" / "triton_python_backend_utils.py").read_text()
    compile(utilities, "triton_python_backend_utils.py", "exec")
    assert "_ARRAY_API" in utilities


@pytest.mark.parametrize(
    "release, command",
    [("ID=debian", "apt-get"), ('ID=ubuntu\nID_LIKE="debian"', "apt-get"), ("ID=fedora", "dnf")],
)
def test_who_misses_a_library_is_told_the_command_of_the_distribution(release: str, command: str) -> None:
    missing = python_package("3.11", "/usr")
    remedy = remedy_for(missing.commands, distribution(release))
    assert command in remedy
    assert ";" not in remedy
    # A Python that somebody built is in no package.
    assert "--enable-shared" in python_package("3.12", "/opt/python").instead


def test_this_machine_which_runs_the_tests_has_what_triton_needs() -> None:
    assert missing_system_packages() == []
