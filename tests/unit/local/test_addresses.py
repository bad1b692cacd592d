"""Every workload has a loopback address of its own, and keeps it."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import pytest

from mesh.local import addresses
from mesh.local.addresses import AddressError, Network

NAMES = ["front", "control@a", "ingress@a", "gateway@a"]


def test_addresses_are_kept_while_they_are_free() -> None:
    first = addresses.choose(NAMES, None)
    assert addresses.choose(NAMES, first) == first
    assert len({first.address(name) for name in NAMES}) == len(NAMES)


def test_a_region_that_is_added_moves_nobody() -> None:
    first = addresses.choose(NAMES, None)
    second = addresses.choose(["front", "control@b", *NAMES[1:]], first)
    assert {name: second.address(name) for name in NAMES} == {name: first.address(name) for name in NAMES}


def test_a_network_in_which_somebody_listens_is_left_to_them() -> None:
    first = addresses.choose(NAMES, None)
    with socket.create_server((first.address("gateway@a"), addresses.INBOUND)):
        second = addresses.choose(NAMES, first)
    assert second.prefix != first.prefix


def test_a_port_that_is_taken_everywhere_is_named() -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104 - the fault under test
        port = server.getsockname()[1]
        with pytest.raises(AddressError, match=f"port {port} is taken on every loopback address"):
            addresses.choose(NAMES, None, rng=random.Random(7), wanted=[port])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"network": "127.66.1"}',
        '{"network": "10.0.0", "hosts": {}}',
        '{"network": "127.66", "hosts": {}}',
        '{"network": "127.66.1", "hosts": {"a": 2, "b": 2}}',
        '{"network": "127.66.1", "hosts": []}',
    ],
)
def test_a_damaged_record_is_chosen_anew(tmp_path: Path, text: str) -> None:
    path = tmp_path / "network.json"
    path.write_text(text)
    assert addresses.load(path) is None


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    network = Network("127.66.1", {"front": 2})
    addresses.save(tmp_path / "network.json", network)
    assert addresses.load(tmp_path / "network.json") == network
