"""Every benchmark runs from end to end, reports its bounded figures, and leaves nothing behind.

The figures themselves are not judged: a test must not depend on how fast a machine is.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from loadtest.bench import baseline, main
from loadtest.bench.platform import PREFIX

BOUNDED = {
    "inference": {
        "embedder through Triton over raw ONNX Runtime, 64 clients": 0.95,
        "generator through Triton over the raw engine, 8 streams": 0.9,
        "engine stops for a caller that left, 1 stream, p50": 100,
        "engine stops for a caller that left, 1 stream, p90": 100,
        "engine stops for a caller that left, one of 8 streams, p50": 100,
    },
    "chat": {"tokens/s through the gateway over Triton direct, 8 streams": 0.9},
    "retrieval": {"ingestion over the embedder's limit": 0.85, "recall@5, hybrid": 0.9},
    "answers": {},
    "workers": {},
    "mesh": {"sidecars over direct, p50, 1 caller": 2.2},
    "control-plane": {
        "full, 1000 workloads": 1,
        "one endpoint, file to ACK, 1000 workloads": 20,
        "growth of the cost with the number of changed endpoints": 1,
    },
    "start": {
        "start to ready, new folder, models built": 20,
        "start to ready, empty folder": 20,
        "start to ready, two regions with the mesh, new folder, models built": 30,
    },
}


def bounds(document: Mapping[str, Any]) -> dict[str, float]:
    """What a report is judged by."""
    return {check["name"]: check["bound"] for check in document["checks"] if check["bound"] is not None}


def test_no_committed_baseline_has_a_bound_that_is_not_listed() -> None:
    # Without running anything: a bound that was added is noticed by every run of the tests, once it has been
    # measured. Its value may have moved since.
    files = {name: baseline.path(name) for name in BOUNDED}
    found = {name: bounds(json.loads(path.read_text())) for name, path in files.items() if path.exists()}
    assert found
    unlisted = {name: set(judged) - set(BOUNDED[name]) for name, judged in found.items()}
    assert not any(unlisted.values()), unlisted


@pytest.mark.bench
@pytest.mark.e2e
@pytest.mark.timeout(420)
@pytest.mark.parametrize("name", sorted(BOUNDED))
def test_a_quick_run_reports_every_bound_and_leaves_nothing(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = main([name, "--quick", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document.get("error", "") == ""
    assert code == (0 if document["passed"] else 1)
    assert bounds(document) == BOUNDED[name]
    assert all(check["value"] is not None for check in document["checks"])
    assert list(tmp_path.glob(f"{PREFIX}*")) == []
