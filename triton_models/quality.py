"""``python -m triton_models.quality``: what requantising the language model costs, and what it gives.

Perplexity is measured in the engine itself, so that its own rounding of activations counts: each text is fed
token by token, and the probability the model gave the true next token is read. The texts are long docstrings
of Python's standard library: English with code in it, as our documents are, and not part of the demo corpus.

A form's quality holds when its perplexity is within 1 % of the source file's. Speed is one run each, means
something on an idle machine only, and is reported, not judged.
"""

from __future__ import annotations

import argparse
import http.client
import inspect
import json
import math
import os
import platform
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triton_models.build import GENERATOR_FORM
from triton_models.manifest import sources
from triton_models.options import PROMPT_STEP, usable_cores
from triton_models.requantise import FORMS, requantise
from triton_models.runtime.openmp import SPIN_COUNT, SPIN_VARIABLE

PERPLEXITY_BOUND = 1.01
"""Most a form's perplexity may be, relative to the source's."""

_MODULES = ("_pydecimal", "statistics", "datetime", "ipaddress", "argparse", "doctest", "zipfile", "difflib")
_CONTEXT_TOKENS = 16
"""Tokens at a text's beginning that are only read: nobody could guess them."""
_CONTEXT = 1024
_STREAMS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One file's figures."""

    perplexity: float
    tokens: int
    prompt_rate: float
    """Prompt tokens a second, one prompt."""
    single_rate: float
    """Generated tokens a second, one stream."""
    batch_rate: float
    """Generated tokens a second, eight streams together."""
    megabytes: float


class Bench:
    """One GGUF file in an engine."""

    def __init__(self, file: Path, folder: Path, threads: int) -> None:
        os.environ.setdefault(SPIN_VARIABLE, SPIN_COUNT)
        import xllamacpp

        self._socket = folder / f"{file.stem[:20]}.sock"
        self._key = secrets.token_urlsafe(16)
        params = xllamacpp.CommonParams()
        params.model.path = str(file)
        params.n_parallel, params.n_ctx = _STREAMS, _STREAMS * _CONTEXT
        params.n_batch = params.n_ubatch = PROMPT_STEP
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.cache_ram_mib, params.n_threads_http, params.verbosity = 0, 1, 0
        params.hostnames, params.api_keys = [str(self._socket)], [self._key]
        self._server = xllamacpp.Server(params)

    def tokens(self, text: str) -> list[int]:
        """The text as the model's token ids."""
        connection = http.client.HTTPConnection("engine")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self._socket))
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        connection.request("POST", "/tokenize", json.dumps({"content": text}), headers)
        tokens: list[int] = json.load(connection.getresponse())["tokens"]
        connection.close()
        return tokens

    def surprise(self, slot: int, tokens: Sequence[int]) -> list[float]:
        """Minus the log probability of each token after the first few, given those before it."""
        return [
            -self._log_probability(slot, tokens[:index], tokens[index])
            for index in range(_CONTEXT_TOKENS, len(tokens))
        ]

    def _log_probability(self, slot: int, before: Sequence[int], token: int) -> float:
        """A bias makes the sampler choose the token; the probability reported is without the bias."""
        answer: list[Any] = []
        request = {
            "prompt": list(before),
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": 1,
            "logit_bias": [[token, 1e6]],
            "cache_prompt": True,
            "id_slot": slot,
        }
        self._server.handle_completions(request, lambda event: answer.append(event))
        chosen = answer[0]["choices"][0]["logprobs"]["content"][0]
        if chosen["id"] != token:
            raise RuntimeError(f"the engine chose token {chosen['id']} where {token} was forced")
        return float(chosen["logprob"])

    def generate(self, slot: int, prompt: str, count: int) -> Any:
        """The engine's timings for one answer of ``count`` tokens."""
        events: list[Any] = []
        request = {
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": count,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
            "cache_prompt": False,
            "id_slot": slot,
        }
        self._server.handle_chat_completions(request, lambda event: events.append(event))
        return events[-1]["timings"]


def measure(file: Path, folder: Path, texts: Sequence[str], length: int) -> Measured:
    """All figures of one file."""
    bench = Bench(file, folder, usable_cores())
    tokenised = [bench.tokens(text)[:length] for text in texts]
    with ThreadPoolExecutor(_STREAMS) as pool:
        surprises = [
            value for part in pool.map(bench.surprise, range(len(texts)), tokenised) for value in part
        ]
        prompt = bench.generate(0, " ".join(texts)[:2500], 1)["prompt_per_second"]
        single = bench.generate(0, "Write a story about a robot.", 64)["predicted_per_second"]
        began = time.monotonic()
        list(pool.map(lambda slot: bench.generate(slot, f"Story {slot}.", 48), range(_STREAMS)))
        together = _STREAMS * 48 / (time.monotonic() - began)
    return Measured(
        perplexity=math.exp(sum(surprises) / len(surprises)),
        tokens=len(surprises),
        prompt_rate=prompt,
        single_rate=single,
        batch_rate=together,
        megabytes=file.stat().st_size / 1e6,
    )


def held_out_texts() -> list[str]:
    """Long docstrings, one a module, in ASCII: the engine reports nothing for a part of a character."""
    texts = []
    for name in _MODULES:
        module = __import__(name)
        documented = [module, *(value for _, value in inspect.getmembers(module, inspect.isclass))]
        text = "\n\n".join(inspect.getdoc(item) or "" for item in documented)
        texts.append(text.encode("ascii", "ignore").decode())
    return texts


def _report(results: dict[str, Measured]) -> dict[str, Any]:
    source = results["source"]
    checks: list[dict[str, Any]] = []
    for name, result in results.items():
        relative = result.perplexity / source.perplexity
        bound = PERPLEXITY_BOUND if name == GENERATOR_FORM else None
        checks += [
            {
                "name": f"{name} perplexity",
                "value": round(result.perplexity, 3),
                "unit": "",
                "bound": None,
                "ok": True,
            },
            {
                "name": f"{name} perplexity relative to the source",
                "value": round(relative, 4),
                "unit": "ratio",
                "bound": bound,
                "ok": bound is None or relative <= bound,
            },
        ]
        for label, value, unit in (
            ("prompt", result.prompt_rate, "tokens/s"),
            ("1 stream", result.single_rate, "tokens/s"),
            (f"{_STREAMS} streams", result.batch_rate, "tokens/s"),
            ("size", result.megabytes, "MB"),
        ):
            checks.append(
                {"name": f"{name} {label}", "value": round(value, 1), "unit": unit, "bound": None, "ok": True}
            )
    environment = {
        "cores": usable_cores(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "tokens": source.tokens,
    }
    passed = all(check["ok"] for check in checks)
    return {"name": "quality", "environment": environment, "checks": checks, "passed": passed}


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 1 when the form in use does not hold its quality."""
    parser = argparse.ArgumentParser(prog="python -m triton_models.quality", description=__doc__)
    parser.add_argument("--tokens", type=int, default=384, help="tokens of each of the eight texts")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    source = sources()["language-model"].verified(lambda stage, done, total: None)
    texts = held_out_texts()
    with tempfile.TemporaryDirectory(prefix="causeway-quality-") as folder:
        results = {"source": measure(source, Path(folder), texts, arguments.tokens)}
        for form in FORMS:
            file = Path(folder) / f"{form}.gguf"
            requantise(source, file, form, lambda done, total: None)
            results[form] = measure(file, Path(folder), texts, arguments.tokens)
    report = _report(results)
    if arguments.json:
        print(json.dumps(report))
    else:
        for check in report["checks"]:
            bound = (
                ""
                if check["bound"] is None
                else f"  (at most {check['bound']}: {'ok' if check['ok'] else 'NO'})"
            )
            print(f"{check['name']:45} {check['value']:>10} {check['unit']}{bound}")
    return 0 if report["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
