"""Texts that people read where no page escapes them: on a terminal, in a message."""

from __future__ import annotations

import re


def line(text: str) -> str:
    """Give a text as one line without control characters: names come from the cluster."""
    return "".join(c if c.isprintable() else "�" for c in " ".join(text.split()))


def clipped(text: str, length: int) -> str:
    """Shorten a text to so many characters; what is cut off shows as an ellipsis."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def percent(share: float) -> str:
    """Write a share; what is not whole is never 100 %, and what is not nothing never 0 %.

    Parameters
    ----------
    share
        0 to 1.
    """
    if share in (0.0, 1.0):
        return f"{share:.0%}"
    inside = 0.0 < share < 1.0
    return f"{min(max(share, 0.001), 0.999) if inside else share:.1%}"


def bare_address(address: str) -> str:
    """Leave out what may be a user and a password in one address, whatever they are made of."""
    return re.sub(r"//.*@", "//…@", address, flags=re.DOTALL)


def bare(text: str) -> str:
    """Leave out what may be a user and a password in addresses, also in those nobody can read."""
    return re.sub(r"//[^\s'\"]*@", "//…@", text)
