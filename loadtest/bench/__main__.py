"""`python -m loadtest.bench NAME`: the same as `causeway bench NAME`."""

from __future__ import annotations

import sys

from loadtest.bench.command import main

sys.exit(main(sys.argv[1:]))
