"""Which processes there are, for every shape a platform can have."""

from __future__ import annotations

import pytest

from mesh.local.names import (
    DEFAULT_REGIONS,
    SINGLE,
    DataPlane,
    Shape,
    ShapeError,
    UnknownProcessError,
    shape_for,
    split,
)

MESH = Shape(DEFAULT_REGIONS, DataPlane.SIDECAR)


def test_a_choice_of_bare_names_needs_no_mesh() -> None:
    assert shape_for(["postgres", "gateway"], None, None) == SINGLE
    assert shape_for(None, None, DataPlane.NONE) == SINGLE


@pytest.mark.parametrize("only", [None, ["front"], ["postgres", "gateway@us-east-1"]])
def test_everything_else_stands_in_two_regions_behind_sidecars(only: list[str] | None) -> None:
    assert shape_for(only, None, None) == MESH


def test_regions_may_be_chosen() -> None:
    assert shape_for(None, ["eu-north-1"], None) == Shape(("eu-north-1",), DataPlane.SIDECAR)


@pytest.mark.parametrize(
    "regions, plane, complaint",
    [
        (["us-west-2"], DataPlane.NONE, "one place only"),
        ([], DataPlane.SIDECAR, "needs a region"),
        (["a", "a"], DataPlane.SIDECAR, "twice"),
        (["US"], DataPlane.SIDECAR, "no region"),
        (["a/b"], DataPlane.SIDECAR, "no region"),
        (["a@b"], DataPlane.SIDECAR, "no region"),
        (["-a"], DataPlane.SIDECAR, "no region"),
        (["x" * 41], DataPlane.SIDECAR, "no region"),
        ([f"r{number}" for number in range(9)], DataPlane.SIDECAR, "at most"),
    ],
)
def test_what_makes_no_sense_is_refused(regions: list[str], plane: DataPlane, complaint: str) -> None:
    with pytest.raises(ShapeError, match=complaint):
        shape_for(None, regions, plane)


def test_every_region_has_the_same_and_the_data_servers_are_there_once() -> None:
    by_region: dict[str, set[str]] = {}
    for member in MESH.members:
        by_region.setdefault(member.region, set()).add(member.program)
        assert split(member.name) == (member.program, member.region)
    assert by_region["us-west-2"] == by_region["us-east-1"]
    assert {"control", "ingress", "envoy-indexer", "watchdog"} <= by_region["us-west-2"]
    assert by_region[""] == {"postgres", "valkey", "milvus", "models", "migrations", "front"}


def test_without_a_mesh_the_processes_have_bare_names_and_no_proxies() -> None:
    assert not [name for name in SINGLE.names if "@" in name or name.startswith(("envoy", "control"))]


@pytest.mark.parametrize("shape", [SINGLE, MESH])
def test_all_that_is_depended_on_exists(shape: Shape) -> None:
    for member in shape.members:
        assert {*member.depends, *member.after, *member.uses} <= set(shape.names)


def test_nothing_depends_on_another_region() -> None:
    for member in MESH.members:
        needed = {split(name)[1] for name in (*member.depends, *member.uses)}
        if member.region:
            assert needed <= {"", member.region}


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    with pytest.raises(UnknownProcessError, match="'gateway'; there are postgres"):
        MESH.check(["gateway"])
    with pytest.raises(UnknownProcessError, match="no process was named"):
        MESH.select([])
