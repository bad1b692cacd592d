"""Choosing loopback ports."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import pytest

from mesh.local import ports


def test_recorded_ports_are_kept_when_they_are_free() -> None:
    first = ports.choose(["a", "b"], {})
    assert ports.choose(["a", "b"], first) == first


def test_a_port_that_is_taken_is_replaced_and_the_others_kept() -> None:
    first = ports.choose(["a", "b"], {})
    with socket.create_server(("127.0.0.1", first["a"])):
        second = ports.choose(["a", "b"], first)
    assert second["a"] not in first.values()
    assert second["b"] == first["b"]


def test_new_ports_lie_where_no_outgoing_connection_can_take_them() -> None:
    chosen = ports.choose([str(number) for number in range(50)], {}, rng=random.Random(7))
    assert len(set(chosen.values())) == 50
    assert all(20000 <= port < 32768 for port in chosen.values())


def test_two_names_with_one_recorded_port_get_two() -> None:
    port = ports.choose(["a"], {})["a"]
    assert len(set(ports.choose(["a", "b"], {"a": port, "b": port}).values())) == 2


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"a": "1"}', '{"a": 0}', '{"a": 70000}', '{"a": null}', '{"a": true}']
)
def test_a_damaged_record_is_chosen_anew(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ports.json"
    path.write_text(text)
    assert ports.load(path) == {}


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    ports.save(tmp_path / "ports.json", {"a": 20001})
    assert ports.load(tmp_path / "ports.json") == {"a": 20001}
