"""What the doctor says, and when it says no."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from mesh.local import doctor
from mesh.local.doctor import FAILED, OK, WARNING
from mesh.local.layout import Layout


@pytest.mark.parametrize(
    "version, implementation, result",
    [
        ((3, 11), "CPython", OK),
        ((3, 13), "CPython", OK),
        ((3, 10), "CPython", FAILED),
        ((3, 14), "CPython", FAILED),
        ((3, 12), "PyPy", FAILED),
    ],
)
def test_python_must_be_one_the_wheels_exist_for(
    version: tuple[int, int], implementation: str, result: str
) -> None:
    found = doctor.judge_python(version, implementation)
    assert (found.result, bool(found.remedy)) == (result, result == FAILED)


def test_what_is_needed_and_missing_fails_with_a_remedy_and_what_is_scarce_warns() -> None:
    for judge, little, some, plenty in (
        (lambda n: doctor.judge_disk(n, "/srv"), 10**8, 10**9, 10**10),
        (doctor.judge_open_files, 100, 512, 4096),
    ):
        assert [judge(amount).result for amount in (little, some, plenty)] == [FAILED, WARNING, OK]
        assert judge(little).remedy
    assert doctor.judge_shared_memory(10**6).result == FAILED
    assert doctor.judge_memory(10**9).result == WARNING
    assert doctor.judge_open_files(resource.RLIM_INFINITY).result == OK


def test_a_port_of_the_mesh_that_is_taken_everywhere_fails_with_its_number() -> None:
    assert doctor.judge_ports([]).result == OK
    found = doctor.judge_ports([8080])
    assert (found.result, found.detail.split()[0]) == (FAILED, "8080")
    assert found.remedy


def test_the_command_named_is_the_one_for_this_distribution() -> None:
    commands = {"debian": "apt-get install libpython3.11", "fedora": "dnf install python3-libs"}
    ubuntu = doctor.distribution('NAME="Ubuntu"\nID=ubuntu\nID_LIKE="debian"\n')
    assert doctor.remedy_for(commands, ubuntu) == commands["debian"]
    assert doctor.remedy_for(commands, ["arch"]).count("install") == 2
    assert doctor.distribution("") == []


def test_this_machine_is_examined_whole_and_nothing_is_made(tmp_path: Path) -> None:
    found = doctor.examine(Layout(tmp_path / "home"))
    names = {item.name for item in found}
    assert {
        "python",
        "postgres",
        "valkey",
        "milvus",
        "triton",
        "user",
        "disk",
        "shared memory",
        "loopback",
    } <= names
    assert not (tmp_path / "home").exists()
    document = doctor.to_json(found)
    assert document["ok"] is all(item.result != FAILED for item in found)


def test_a_program_whose_libraries_are_missing_is_named(tmp_path: Path) -> None:
    listing = (
        "\tlibz.so.1 => /lib/libz.so.1 (0x7f)\n\tlibpq.so.5 => not found\n./server: version `X' not found\n"
    )
    assert doctor.missing_libraries(listing) == ["./server: version `X' not found", "libpq.so.5"]
    assert doctor.missing_libraries("statically linked") == []
    assert doctor._loadable("gone", tmp_path / "gone", {}).result == FAILED
