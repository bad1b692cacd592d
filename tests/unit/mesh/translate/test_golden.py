"""Whole translations as they were recorded, stage by stage: manifests to what a proxy is to do, and that to
xDS. Run with CAUSEWAY_UPDATE_GOLDEN=1 to record anew."""

from __future__ import annotations

import os

import pytest
from golden import recorded

from mesh.translate import translate
from mesh.xds.snapshot import Packer


@pytest.mark.parametrize("stage", [recorded.IR, recorded.OUT])
@pytest.mark.parametrize("case", recorded.cases())
def test_a_stage_is_as_it_was_recorded(case: str, stage: str) -> None:
    made = recorded.records(case)[stage]
    file = recorded.FOLDER / f"{case}{stage}"
    if os.environ.get(recorded.UPDATE):
        file.write_text(made, "utf-8")
    assert file.read_text("utf-8") == made, f"if this is meant, run again with {recorded.UPDATE}=1"


def test_every_record_has_its_case() -> None:
    if os.environ.get(recorded.UPDATE):
        for orphan in recorded.orphans():
            orphan.unlink()
    assert recorded.orphans() == []


@pytest.mark.parametrize("case", recorded.cases())
def test_a_translation_is_consistent(case: str) -> None:
    """Nothing points at what is not there, and nothing is sent that nobody asks for; secrets come from
    elsewhere."""
    for resources in recorded.translations(case).values():
        found = Packer().pack(resources).inconsistencies()
        assert [str(item) for item in found if not str(item).startswith("SDS")] == []


@pytest.mark.parametrize("case", recorded.cases())
def test_equal_views_make_equal_bytes(case: str) -> None:
    first, second = recorded.views(case), recorded.views(case)
    assert first == second
    for name, view in first.items():
        one, other = translate(view), translate(second[name])
        for type_url, messages in one.by_type.items():
            for resource, message in messages.items():
                again = other.of(type_url)[resource]
                assert message.SerializeToString(deterministic=True) == again.SerializeToString(
                    deterministic=True
                )
