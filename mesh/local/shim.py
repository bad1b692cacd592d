"""Becomes another program, after tying its life to the supervisor's.

Run as a script (`python -I -S shim.py PARENT SIGNAL UID GID -- PROGRAM ARG…`), not imported: the supervisor
has threads, and running Python between fork and exec in a process with threads can deadlock. The order
matters: changing the user clears the parent-death signal (prctl(2), PR_SET_PDEATHSIG), so the signal is set
last.

Keys of the dynamic linker (LD_LIBRARY_PATH) arrive with the prefix "SHIM_": they are meant for the program,
and would break the interpreter that runs this file.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    """Never returns: ends as the program, or exits 126/127 when it cannot be run, 125 when the parent has
    gone."""
    parent, death_signal, uid, gid = (int(value) for value in argv[:4])
    command = argv[5:]
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        # The supervisor died before the signal was armed, and would never tell us.
        sys.exit(125)
    os.umask(0o077)
    env = {key.removeprefix("SHIM_"): value for key, value in os.environ.items()}
    try:
        os.execve(command[0], command, env)  # noqa: S606 - no shell is the point
    except FileNotFoundError as error:
        sys.stderr.write(f"cannot run {command[0]}: {error.strerror}\n")
        sys.exit(127)
    except OSError as error:
        sys.stderr.write(f"cannot run {command[0]}: {error.strerror}\n")
        sys.exit(126)


if __name__ == "__main__":
    main(sys.argv[1:])
