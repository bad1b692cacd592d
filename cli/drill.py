"""`causeway drill`: hands over to the drills, whose own command line says which."""

from __future__ import annotations

import argparse


def run(options: argparse.Namespace) -> int:
    """Do one drill."""
    from loadtest import drills

    return drills.main(options.arguments)
