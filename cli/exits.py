"""Exit codes of the `causeway` command, and the error that carries one to `main`."""

from __future__ import annotations

OK = 0
FAILURE = 1
USAGE = 2
NOT_RUNNING = 3
INTERRUPTED = 130


class CommandError(Exception):
    """Ends the command with a message for a person and an exit code for a script."""

    def __init__(self, message: str, code: int = FAILURE) -> None:
        super().__init__(message)
        self.code = code
