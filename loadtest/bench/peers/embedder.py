"""Raw ONNX Runtime: `python -m loadtest.bench.peers.embedder SETTINGS_FOLDER WORKERS THREADS`.

WORKERS sessions of THREADS threads each take lists of texts in turn: nothing between the texts and the
library but the model's own tokenizer and the grouping by length that Triton's model uses as well.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from loadtest.bench.peers.loop import serve


def main(folder: Path, workers: int, threads: int) -> None:
    """Serves `{"texts", "batch", "seconds"}` with `{"rate"}`, and `{"texts"}` alone with `{"vectors"}`."""
    # Every worker is one thread; with one worker the tokenizer may use the cores as the session does.
    os.environ["TOKENIZERS_PARALLELISM"] = "false" if workers > 1 else "true"
    from triton_models.runtime.embedder import Embedder
    from triton_models.runtime.settings import EmbedderSettings, read_settings

    settings = read_settings(folder, EmbedderSettings)
    embedders = [Embedder(settings.model, settings.tokenizer, threads) for _ in range(workers)]
    for embedder in embedders:
        embedder.embed(["warm up"])

    def rate(texts: list[str], batch: int, seconds: float) -> float:
        rates = [0.0] * workers
        batches = [texts[start : start + batch] for start in range(0, len(texts), batch)]

        def work(number: int) -> None:
            """Timed from its own beginning to the end of its own last batch."""
            began, count, turn = time.perf_counter(), 0, number
            while (spent := time.perf_counter() - began) < seconds:
                chosen = batches[turn % len(batches)]
                embedders[number].embed(chosen)
                count += len(chosen)
                turn += workers
            rates[number] = count / spent

        crew = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
        for thread in crew:
            thread.start()
        for thread in crew:
            thread.join()
        return sum(rates)

    def handle(request: dict[str, Any]) -> dict[str, Any]:
        if "seconds" in request:
            return {"rate": rate(request["texts"], request["batch"], request["seconds"])}
        return {"vectors": embedders[0].embed(request["texts"]).tolist()}

    serve(handle)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
