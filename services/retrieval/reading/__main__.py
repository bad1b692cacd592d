"""The reader's child process: ``python -m services.retrieval.reading TOKENIZER MEMORY_BYTES``.

Reads requests from standard input and answers on standard output until the input ends (see wire). It holds no
credentials and no connections; it may not start processes, write files or outgrow its memory, and whoever
started it kills it when it takes too long. A document that brings it down has failed, and nothing else has.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path
from typing import BinaryIO

from services.retrieval.reading import wire
from services.retrieval.reading.chunker import Chunker
from services.retrieval.reading.failures import ReadError, Unreadable
from services.retrieval.reading.limits import ReadLimits
from services.retrieval.reading.read import read
from services.retrieval.reading.wordpieces import WordPieces

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_OPEN_FILES = 32


def confine(memory_bytes: int) -> None:
    """Takes away what reading a document does not need."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))


def serve(requests: BinaryIO, responses: BinaryIO, chunker: Chunker, limits: ReadLimits) -> None:
    """Answers requests until there are no more."""
    while True:
        head = _frame(requests)
        if head is None:
            return
        content = _frame(requests)
        if content is None:
            return
        media_type, title = wire.decode_head(head)
        try:
            answer = wire.encode_chunks(read(media_type, title, content, chunker, limits))
        except ReadError as error:
            answer = wire.encode_failure(error)
        except (MemoryError, RecursionError):
            answer = wire.encode_failure(Unreadable("reading the document takes more memory than is allowed"))
        responses.write(answer)
        responses.flush()


def _frame(stream: BinaryIO) -> bytes | None:
    prefix = stream.read(wire.LENGTH.size)
    if len(prefix) < wire.LENGTH.size:
        return None
    (length,) = wire.LENGTH.unpack(prefix)
    payload = stream.read(length)
    return payload if len(payload) == length else None


def main(argv: list[str]) -> int:
    """Serves standard input."""
    tokenizer, memory_bytes = Path(argv[1]), int(argv[2])
    # One thread counts word pieces: the cores belong to the embedder.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    counter = WordPieces(tokenizer)
    responses = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Whatever a parser prints must not end up between the answers.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    confine(memory_bytes)
    serve(sys.stdin.buffer, responses, Chunker(counter.count), ReadLimits())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
