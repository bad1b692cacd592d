"""The raw engine: `python -m loadtest.bench.peers.generator SETTINGS_FOLDER SOCKET SPIN`.

The model file, threads, slots, context and step are those of Triton's generator; the calls to `xllamacpp` are
made here, so that nothing of ours is between them and the figures. SPIN is how often OpenMP's threads look at
a barrier before they sleep, or "default" for OpenMP's own choice, which is milliseconds of looking.
"""

from __future__ import annotations

import os
import secrets
import sys
import threading
import time
from pathlib import Path
from typing import Any

from loadtest.bench.peers.loop import serve
from triton_models.runtime.openmp import SPIN_VARIABLE


class Answer:
    """Collects one answer's moments from the engine's events."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.moments: list[float] = []
        self.tokens = 0
        self.problem = ""

    def take(self, event: dict[str, Any]) -> bool:
        """One event; the engine goes on while this is False."""
        if "error" in event:
            self.problem = str(event["error"])
            return True
        choices = event.get("choices") or ()
        if choices and choices[0]["delta"].get("content"):
            self.moments.append(time.perf_counter())
        if event.get("usage"):
            self.tokens = event["usage"]["completion_tokens"]
        return False

    def to_json(self) -> dict[str, Any]:
        """The answer as its client saw it."""
        if self.problem or not self.moments:
            return {"error": self.problem or "no text"}
        return {
            "first": self.moments[0] - self.began,
            "total": time.perf_counter() - self.began,
            "tokens": self.tokens,
        }


def main(folder: Path, socket: str, spin: str) -> None:
    """Serves `{"prompts": [messages, …], "tokens"}`, all at once, with `{"answers", "seconds"}`."""
    # Read by OpenMP when it is loaded.
    for variable in ("OMP_WAIT_POLICY", SPIN_VARIABLE):
        os.environ.pop(variable, None)
    if spin != "default":
        os.environ[SPIN_VARIABLE] = spin
    import xllamacpp

    server = xllamacpp.Server(_parameters(xllamacpp, folder, socket))

    def handle(request: dict[str, Any]) -> dict[str, Any]:
        answers: list[dict[str, Any]] = [{}] * len(request["prompts"])

        def stream(index: int) -> None:
            answer = Answer()
            body = {
                "messages": request["prompts"][index],
                "max_tokens": request["tokens"],
                "temperature": 0.0,
                "ignore_eos": True,
                "stream": True,
                "stream_options": {"include_usage": True},
                "cache_prompt": False,
            }
            server.handle_chat_completions(body, answer.take)
            answers[index] = answer.to_json()

        began = time.perf_counter()
        crew = [threading.Thread(target=stream, args=(index,)) for index in range(len(answers))]
        for thread in crew:
            thread.start()
        for thread in crew:
            thread.join()
        return {"answers": answers, "seconds": time.perf_counter() - began}

    serve(handle)


def _parameters(xllamacpp: Any, folder: Path, socket: str) -> Any:
    from triton_models.runtime.settings import GeneratorSettings, read_settings

    settings = read_settings(folder, GeneratorSettings)
    params = xllamacpp.CommonParams()
    params.model.path = str(settings.model)
    params.n_parallel = settings.slots
    params.n_ctx = settings.slots * settings.context
    params.n_batch = params.n_ubatch = settings.batch
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.n_threads = settings.threads
    params.cache_ram_mib = 0
    # Without these the engine would answer repeated prompts from memory, which Triton's is forbidden to do.
    params.cache_idle_slots = False
    params.kv_unified = False
    # The engine insists on an HTTP server; nobody uses it.
    params.hostnames = [socket]
    params.port = 0
    params.api_keys = [secrets.token_urlsafe(32)]
    params.n_threads_http = 1
    params.verbosity = 0
    return params


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
