"""Several processes of one service on one port: the kernel spreads connections over them (SO_REUSEPORT).

Rules of the process that starts the others:

- It takes its signals when it asks for them, one after another, and never in between: between a fork and the
  note of its pid a signal would find no child to pass on to, and would be lost on one that still has its
  parent's way with signals.
- A child that dies is replaced after a pause, so that one that cannot run does not keep the machine busy.
- A child that ends with `HOPELESS` would end so again: all the others are ended, and it ends so itself.
- After SIGTERM or SIGINT nothing is started any more, and it ends when the last child has.
"""

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
HOPELESS = 2
"""Exit code of a process whose settings do not hold."""
_STOP = frozenset({signal.SIGTERM, signal.SIGINT})
_AWAITED = _STOP | {signal.SIGCHLD}

log = logging.getLogger(__name__)


def run(count: int, serve: Callable[[bool], None]) -> None:
    """Runs ``serve(shared_port)`` here for one worker, or in ``count`` children (0: one a core).

    A child that dies is started again; SIGTERM and SIGINT reach all of them. The fork happens before gRPC or
    an event loop exists in this process, as gRPC requires
    (https://github.com/grpc/grpc/blob/master/doc/fork_support.md).

    Raises SystemExit(HOPELESS) when a child ended so.
    """
    count = count or os.cpu_count() or 1
    if count == 1:
        serve(False)
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    children = {_fork(serve) for _ in range(count)}
    stopping = hopeless = False
    restart: float | None = None
    while children or not stopping:
        stop = _next_signal(restart) in _STOP
        for pid, code in _ended():
            children.discard(pid)
            if code == HOPELESS:
                stop = hopeless = True
            elif not stopping:
                log.warning("worker died", extra={"pid": pid, "exit": code})
                restart = restart or time.monotonic() + _RESTART_PAUSE
        if stop:
            stopping, restart = True, None
            for pid in children:
                os.kill(pid, signal.SIGTERM)
        if not stopping and restart is not None and time.monotonic() >= restart:
            restart = None
            while len(children) < count:
                children.add(_fork(serve))
    if hopeless:
        raise SystemExit(HOPELESS)


def _next_signal(until: float | None) -> int | None:
    """Waits for one; None when the time comes first."""
    if until is None:
        return signal.sigwait(_AWAITED)
    caught = signal.sigtimedwait(_AWAITED, max(0.0, until - time.monotonic()))
    return None if caught is None else caught.si_signo


def _ended() -> list[tuple[int, int]]:
    """Pid and exit code of every child that has ended: several of them may send one signal."""
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.append((pid, os.waitstatus_to_exitcode(status)))


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
    # What has come meanwhile comes now.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED)
    code = 1
    try:
        serve(True)
        code = 0
    except SystemExit as told:
        code = told.code if isinstance(told.code, int) else 1
    except (
        BaseException
    ):  # whatever it was, it must be seen, and the child must not return into the parent's code
        log.exception("worker failed")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
