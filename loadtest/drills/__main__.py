"""`python -m loadtest.drills NAME`: the same as `causeway drill NAME`."""

from __future__ import annotations

import sys

from loadtest.drills.command import main

sys.exit(main(sys.argv[1:]))
