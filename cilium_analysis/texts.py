"""Texts for people, on a terminal, in a message, on a page; names in them are not trusted."""

from __future__ import annotations

import html
import math
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import timedelta

#: Up to the last @: a password may hold any character, and slashes may miss in what was typed.
_USER = re.compile(r"^(\s*(?:grafana:)?(?:[a-z][a-z0-9+.-]*:)?/+)?.*@", re.DOTALL | re.IGNORECASE)


def line(text: str) -> str:
    """Give a text as one line, with `visible` characters only."""
    return visible(" ".join(text.split()))


def visible(text: str) -> str:
    """Give a text without invisible characters, such as those that a terminal obeys.

    Control characters, and those that change the direction of a text or have no width, become
    "�"; any kind of space becomes a plain one. Line ends stay.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else " " if c.isspace() else "�" for c in text)


def escaped(text: str) -> str:
    """Give a text for a page: visible, and free of HTML."""
    return html.escape(visible(text))


def parted(text: str) -> list[tuple[bool, str]]:
    """Take a text apart at its backticks: whether each part is code, and the part.

    A text with an odd one has no code: it is part of a name.
    """
    parts = line(text).split("`")
    if len(parts) % 2 == 0:
        return [(False, "'".join(parts))]
    return [(bool(place % 2), part) for place, part in enumerate(parts) if part]


def marked(text: str) -> str:
    """Give a text with its commands, which stand in backticks, as code."""
    return "".join(
        f'<code class="ca-command">{escaped(part)}</code>' if code else escaped(part)
        for code, part in parted(text)
    )


def clipped(text: str, length: int) -> str:
    """Shorten a text to so many characters, with an ellipsis where it was cut."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def percent(share: float) -> str:
    """Write a share; only 1 is written as 100 %, and only 0 as 0 %.

    Parameters
    ----------
    share
        0 to 1.
    """
    if share in (0.0, 1.0):
        return f"{share:.0%}"
    if 0.0 < share < 0.001:
        return "< 0.001%" if share < 1e-5 else f"{number(100 * share)}%"
    return f"{min(share, 0.999) if share < 1.0 else share:.1%}"


def number(value: float) -> str:
    """Write a number with three significant digits, and all of those before the point."""
    if not math.isfinite(value):
        return "–"
    if abs(value) >= 100 or value == round(value):
        return f"{value:,.0f}"
    digits = 2 - math.floor(math.log10(abs(value)))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".")


def duration(seconds: float) -> str:
    """Write a duration with three significant digits in the unit that a person would say.

    Parameters
    ----------
    seconds
        0 or more [s].
    """
    if not math.isfinite(seconds):
        return "–"
    if 0 < seconds < 1:
        return f"{number(1000 * seconds)} ms"
    for unit, length, most in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < most:
            return f"{number(seconds / length)} {unit}"
    return f"{number(seconds / 86_400)} days"


def lasting(time: timedelta) -> str:
    """Write how long something lasted, such as ``42 min``, ``9 min 30 s`` or ``1 h 10 min``."""
    seconds = round(time.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    minutes = round(seconds / 60)
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} d {hours % 24} h" if hours % 24 else f"{hours // 24} d"


def within(seconds: float, first: float, last: float) -> str:
    """Write a duration that was read off the buckets of a histogram, as far as these tell.

    Parameters
    ----------
    seconds
        The duration [s]; infinite if it is beyond the last finite bound.
    first, last
        Bound of the first bucket, and the last finite one [s]; NaN if there are no buckets.
    """
    if seconds <= first:
        return f"< {duration(first)}"
    return f"> {duration(last)}" if math.isinf(seconds) else duration(seconds)


def bare_address(address: str) -> str:
    """Remove what may be a credential from one address, which need not be a valid one.

    That is all before an @ but for the scheme, and a query or fragment.
    """
    return re.sub(r"[?#].*", "", _USER.sub(r"\1…@", address), flags=re.DOTALL)


def bare(text: str) -> str:
    """Remove possible users and passwords from all addresses in a text, also from invalid ones."""
    return re.sub(r"//[^\s'\"]*@", "//…@", text)


def listed(names: Sequence[str], *, word: str = "and") -> str:
    """Write names as ``a``, ``a and b`` or ``a, b and c``; empty if there are none.

    Parameters
    ----------
    names
        In order.
    word
        Before the last one.
    """
    return f" {word} ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def counted(number: int, what: str) -> str:
    """Write how many there are of something, as ``1 run`` or ``2 runs``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def spoken(topic: str) -> str:
    """Write the name of a topic's notebook, or the kind of a finding, in words."""
    words = topic.replace("_", " ")
    for name in ("http", "dns", "tcp"):
        words = words.replace(name, name.upper())
    return words


def unknown_lines(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Write what is unknown, one line for all topics with the same reasons.

    Parameters
    ----------
    rows
        As ``findings.json`` holds them under ``unknown``.
    """
    topics: dict[tuple[str, ...], list[str]] = {}
    every = list(rows)
    # The incident, which puts the other topics together, adds no reason of its own.
    for row in [row for row in every if row["topic"] != "incident"] or every:
        topics.setdefault(tuple(row["reasons"]), []).append(spoken(row["topic"]))
    return [f"{', '.join(names)} ({'; '.join(reasons)})" for reasons, names in topics.items()]


def without_unknown(notes: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Leave out the notes that repeat a reason why something is unknown, and repeated ones.

    Parameters
    ----------
    notes
        Sentences.
    rows
        As for `unknown_lines`.
    """
    reasons = tuple(reason.lower() for row in rows for reason in row["reasons"])
    return [n for n in dict.fromkeys(notes) if not n.lower().startswith(reasons)]
