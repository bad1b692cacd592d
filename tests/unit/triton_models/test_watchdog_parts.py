"""The watchdog's settings, status file and view of processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from support.wait import until

from services.common.config import ConfigError, load
from triton_models.watchdog.config import WatchdogConfig, WatchSettings, model_names
from triton_models.watchdog.judge import State
from triton_models.watchdog.status import StatusFile
from triton_models.watchdog.stubs import kill, stub_processes

ENVIRONMENT = {
    "CAUSEWAY_TRITON_TARGET": "127.0.0.1:1",
    "CAUSEWAY_TRITON_AUTHORITY": "triton.causeway.svc.cluster.local",
    "CAUSEWAY_WATCHDOG_STATUS": "/x/watchdog.json",
}


def test_settings_come_from_the_environment() -> None:
    config = load(
        WatchdogConfig,
        ENVIRONMENT | {"CAUSEWAY_WATCHDOG_INTERVAL": "500ms", "CAUSEWAY_WATCHDOG_RUN": "/x/run"},
    )
    assert config.watchdog.interval == timedelta(milliseconds=500)
    assert config.watchdog.run == Path("/x/run")
    assert model_names(config.watchdog) == ("embedder", "generator")


def test_a_mistyped_setting_is_refused() -> None:
    with pytest.raises(ConfigError, match="CAUSEWAY_WATCHDOG_INTERVALL"):
        load(WatchdogConfig, ENVIRONMENT | {"CAUSEWAY_WATCHDOG_INTERVALL": "1s"})


def test_watching_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no model"):
        model_names(WatchSettings(status=Path("x"), models=" , "))


def test_the_status_file_tells_each_models_state_and_keeps_its_last_error(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "watchdog.json"
    status = StatusFile(file, ("embedder", "generator"))
    assert status.update("embedder", State.DOWN, latency=0.5, reason="dead", heals=0)
    assert not status.update("embedder", State.DOWN, latency=0.5, reason="dead", heals=0)
    assert status.update("embedder", State.READY, latency=0.01, reason="", heals=1)
    written = json.loads(file.read_text())
    assert time.time() - written["time"] < 10
    assert written["models"]["generator"]["state"] == "unknown"
    embedder = written["models"]["embedder"]
    assert (embedder["state"], embedder["reason"], embedder["last_error"], embedder["heals"]) == (
        "ready",
        "",
        "dead",
        1,
    )
    assert [entry.name for entry in file.parent.iterdir()] == ["watchdog.json"]


def test_only_this_platforms_stubs_of_the_model_are_found_and_ended(tmp_path: Path) -> None:
    def start(repository: str, model: str) -> subprocess.Popen[bytes]:
        source = tmp_path / repository / model / "1" / "model.py"
        source.parent.mkdir(parents=True)
        source.write_text("import time; time.sleep(60)")
        # The name a process is started by is what the search goes by.
        return subprocess.Popen(["/some/triton_python_backend_stub", str(source)], executable=sys.executable)

    mine, other_model, other_platform = start("mine", "a"), start("mine", "b"), start("other", "a")
    try:
        until(lambda: stub_processes(tmp_path / "mine", "a") == [mine.pid])
        kill(stub_processes(tmp_path / "mine", "a"))
        assert mine.wait(timeout=10) == -signal.SIGKILL
        assert stub_processes(tmp_path / "mine", "a") == []
        assert other_model.poll() is None
        assert other_platform.poll() is None
    finally:
        for process in (mine, other_model, other_platform):
            process.kill()
            process.wait()


def test_ending_a_process_that_is_gone_is_no_error() -> None:
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    kill([process.pid])
