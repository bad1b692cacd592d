"""The child's side: answers JSON requests on standard input, line by line, until it is closed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

Handler = Callable[[dict[str, Any]], dict[str, Any]]


def serve(handler: Handler) -> None:
    """Says that it is ready, then answers until its parent closes the pipe or is gone.

    What libraries print to standard output goes to standard error instead: the pipe is for answers alone.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(handler(json.loads(line))), file=answers, flush=True)
