"""Every benchmark runs from end to end, reports its bounded figures, and leaves nothing behind.

The figures themselves are not judged: a test must not depend on how fast a machine is.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from loadtest.bench import main
from loadtest.bench.platform import PREFIX

BOUNDED = {
    "inference": {
        "embedder through Triton over raw ONNX Runtime, 64 clients": 0.95,
        "generator through Triton over the raw engine, 8 streams": 0.9,
    },
    "chat": {"tokens/s through the gateway over Triton direct, 8 streams": 0.9},
    "retrieval": {"ingestion over the embedder's limit": 0.85, "recall@5, hybrid": 0.9},
    "answers": {},
    "mesh": {"sidecars over direct, p50, 1 caller": 2.2},
    "control-plane": {
        "full, 1000 workloads": 1,
        "one endpoint, file to ACK, 1000 workloads": 20,
        "growth of the cost with the number of changed endpoints": 1,
    },
    "start": {"start to ready, new folder, models built": 20, "start to ready, empty folder": 20},
}


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
    assert "error" not in document
    assert code == (0 if document["passed"] else 1)
    bounds = {check["name"]: check["bound"] for check in document["checks"] if check["bound"] is not None}
    assert bounds == BOUNDED[name]
    assert all(check["value"] is not None for check in document["checks"])
    assert list(tmp_path.glob(f"{PREFIX}*")) == []
