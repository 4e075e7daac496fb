"""Texts that people read: on a terminal, in a message, on a page. Names come from the cluster."""

from __future__ import annotations

import html
import re


def line(text: str) -> str:
    """Give a text as one line that can be seen as it is, as `visible` does."""
    return visible(" ".join(text.split()))


def visible(text: str) -> str:
    """Give a text without characters that nobody sees, such as those that a terminal obeys.

    Control characters, and those that turn the direction of a text or have no width, become "�";
    spaces of any kind a plain one. Line ends stay.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _in_place_of(c) for c in text)


def _in_place_of(char: str) -> str:
    return " " if char.isspace() else "�"


def escaped(text: str) -> str:
    """Give a text for a page: what is in it can be seen, and is no HTML."""
    return html.escape(visible(text))


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


def counted(number: int, what: str) -> str:
    """Write how many there are of something, as ``1 run`` or ``2 runs``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
