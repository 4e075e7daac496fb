"""What the command line says: one line at a time, without what a terminal would obey."""

from __future__ import annotations

import sys

from cilium_analysis.texts import bare, line

NAME = "cilium-analysis"


def say(text: str) -> None:
    """Tell people what is going on, apart from the output."""
    print(f"{NAME}: {line(bare(text))}", file=sys.stderr)
