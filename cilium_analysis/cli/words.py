"""What the command line says: one line at a time, without what a terminal would obey."""

from __future__ import annotations

import sys

NAME = "cilium-analysis"


def say(text: str) -> None:
    """Tell people what is going on, apart from the output."""
    print(f"{NAME}: {line(text)}", file=sys.stderr)


def line(text: str) -> str:
    """Give a text as one line without control characters: names come from the cluster."""
    return "".join(c if c.isprintable() else "�" for c in " ".join(text.split()))
