"""How the engine's threads wait for one another, and for whom they step back.

llama.cpp splits every operation over its threads and meets at a barrier after each, hundreds of times a
token. By default OpenMP's threads spin at a barrier for milliseconds. With as many threads as cores that is
fastest on an idle machine, and a collapse beside any other busy process: the thread that is waited for has no
core to run on, while the waiting one burns its whole time slice. Sleeping at once is robust and slow. A short
spin is both (README.md has the figures): normally both threads arrive within microseconds.
"""

from __future__ import annotations

SPIN_VARIABLE = "GOMP_SPINCOUNT"
"""Read by GNU OpenMP when it is loaded: set it before the engine's library is imported."""

SPIN_COUNT = "1000"
"""About 10 microseconds."""

EMBEDDER_NICENESS = 5
"""The embedder is asked for thousands of texts at a time by ingestion; people wait for the generator."""
