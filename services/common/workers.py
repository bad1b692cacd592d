"""Several processes of one service on one port: the kernel spreads connections over them (SO_REUSEPORT)."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_RESTART_PAUSE = 0.5

log = logging.getLogger(__name__)


def run(count: int, serve: Callable[[bool], None]) -> None:
    """Runs ``serve(shared_port)`` here for one worker, or in ``count`` children (0: one a core).

    A child that dies is started again; SIGTERM and SIGINT reach all of them. The fork happens before gRPC or
    an event loop exists in this process, as gRPC requires
    (https://github.com/grpc/grpc/blob/master/doc/fork_support.md).
    """
    count = count or os.cpu_count() or 1
    if count == 1:
        serve(False)
        return
    children: set[int] = set()
    stopping = False

    def forward(signum: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True
        for pid in children:
            os.kill(pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGINT, forward)
    for _ in range(count):
        children.add(_fork(serve))
    while children:
        pid, status = os.wait()
        children.discard(pid)
        if not stopping:
            log.warning("worker died", extra={"pid": pid, "exit": os.waitstatus_to_exitcode(status)})
            time.sleep(_RESTART_PAUSE)
            children.add(_fork(serve))


def _fork(serve: Callable[[bool], None]) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    # A worker must not outlive its parent, even one that was killed.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    code = 1
    try:
        serve(True)
        code = 0
    except (
        BaseException
    ):  # whatever it was, it must be seen, and the child must not return into the parent's code
        log.exception("worker failed")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
