#!/bin/sh
# Prints the Python to build the environment with: 3.11 to 3.13, with venv, and of those the best.
# Better: one whose libpython Triton's stub can load, then the faster one: a build without profile-guided
# optimisation runs the services at about half the speed, and no flag tells it for certain, so it is measured.
# PYTHON=/path/to/python decides it by hand.
set -u
check='
import ctypes, sys, sysconfig, time
if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    raise SystemExit(1)
import ensurepip, venv
library = "libpython%d.%d.so.1.0" % sys.version_info[:2]
# A build that was unpacked elsewhere than it was made for names a LIBDIR that is not there.
folders = ("", "%s/" % sysconfig.get_config_var("LIBDIR"), "%s/lib/" % sys.base_prefix)
loads = 0
for folder in folders:
    try:
        ctypes.CDLL(folder + library)
        loads = 1
        break
    except OSError:
        pass
def work():
    start, total, table = time.perf_counter(), 0, {}
    for number in range(100000):
        total += number & 7
        table[number & 255] = total
    return time.perf_counter() - start
print(loads, min(work() for _ in range(5)), sys.executable)
'
if [ -n "${PYTHON:-}" ]; then
    found=$("$PYTHON" -c "$check" 2>/dev/null) || {
        echo "PYTHON=$PYTHON is not a Python 3.11, 3.12 or 3.13 with venv" >&2
        exit 1
    }
    case $found in
        0*) echo "warning: $PYTHON has no shared library, which Triton needs; causeway doctor says how to get it" >&2 ;;
    esac
    echo "$PYTHON"
    exit 0
fi
# The first that has the library; a later one must be a good deal faster to take its place.
best=$(
    for name in python3.11 /usr/bin/python3.11 python3.12 /usr/bin/python3.12 python3.13 /usr/bin/python3.13 \
        python3 /usr/bin/python3; do
        "$name" -c "$check" 2>/dev/null
    done | awk '
        { loads = $1; seconds = $2; sub(/^[^ ]+ [^ ]+ /, "") }
        NR == 1 || loads > most || (loads == most && seconds < 0.8 * fastest) {
            most = loads; fastest = seconds; path = $0
        }
        END { print path }'
)
if [ -z "$best" ]; then
    echo "no Python 3.11, 3.12 or 3.13 with venv found; on Debian or Ubuntu: apt-get install python3 python3-venv" >&2
    exit 1
fi
echo "$best"
