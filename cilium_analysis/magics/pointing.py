"""Where in a query a server finds an error, and how that is shown. Pure.

Prometheus writes ``1:17: parse error: …`` with line and column [bytes]; VictoriaMetrics quotes what
it could not read, which is the end of the query.
"""

from __future__ import annotations

import re
import unicodedata
from ast import literal_eval
from typing import TYPE_CHECKING

from cilium_analysis.errors import QueryRejected
from cilium_analysis.texts import line

if TYPE_CHECKING:
    from cilium_analysis.errors import CiliumAnalysisError

#: Characters of a line around the mistake that are shown.
_WIDTH = 100
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PROMETHEUS = re.compile(
    r"(?:invalid parameter \"query\": )?(?P<line>\d+):(?P<column>\d+): (?P<why>.*)", re.DOTALL
)
_VICTORIA = re.compile(
    rf"error when executing query={_QUOTED} on the time range \([^)]*\): "
    r"(?:cannot execute query: )?(?P<why>.*)",
    re.DOTALL,
)
_UNREAD = re.compile(rf"[;:]? ?unparsed data(?: left)?: (?P<rest>{_QUOTED})\s*$")


def place(promql: str, reason: str) -> tuple[int | None, str]:
    """Read where the mistake is, and what it is.

    Parameters
    ----------
    promql
        The query as it was sent.
    reason
        The whole message of the server.

    Returns
    -------
    tuple
        Index of the character, None if the server does not tell; and the reason without what
        only served to tell it.
    """
    if found := _PROMETHEUS.search(reason):
        at = _index(promql, int(found["line"]), int(found["column"]))
        why = found["why"].removeprefix("parse error: ")
        # Its lexer has passed this one already when it complains.
        passed = at and why.startswith("unexpected right parenthesis") and promql[at - 1] == ")"
        return at - 1 if at and passed else at, why
    found = _VICTORIA.search(reason)
    why = found["why"] if found else reason
    if unread := _UNREAD.search(why):
        rest = _unquoted(unread["rest"])
        at = len(promql) - len(rest) if promql.endswith(rest) else None
        return at, why[: unread.start()] or f"unexpected {line(rest)!r}"
    return _mentioned(promql, why), why


def _index(promql: str, row: int, column: int) -> int | None:
    """Turn a line and a column [bytes], both from 1, into an index."""
    lines = promql.split("\n")
    if not 1 <= row <= len(lines) or column < 1:
        return None
    before = lines[row - 1].encode("utf-8", "surrogatepass")[: column - 1]
    shown = len(before.decode("utf-8", "replace"))
    return sum(len(one) + 1 for one in lines[: row - 1]) + shown


def _mentioned(promql: str, why: str) -> int | None:
    """Find the one place of what the reason quotes, such as the name of a function."""
    for text in map(_unquoted, re.findall(_QUOTED, why)):
        at = [found.start() for found in re.finditer(rf"(?<!\w){re.escape(text)}(?!\w)", promql)]
        if text and len(at) == 1:
            return at[0]
    return None


def _unquoted(text: str) -> str:
    """Read a string as Go quotes it; its escapes are those of Python."""
    try:
        return str(literal_eval(text))
    except (SyntaxError, ValueError):
        return text[1:-1]


def pointed(promql: str, reason: str) -> str:
    """Show a query with ``^`` under what the server complains of, and the reason below.

    Parameters
    ----------
    promql, reason
        As for `place`.
    """
    at, why = place(promql, reason)
    shown = []
    begin = 0
    for text in promql.split("\n"):
        inside = at is not None and begin <= at <= begin + len(text)
        shown += _line_with(text, at - begin) if at is not None and inside else [_clean(text)]
        begin += len(text) + 1
    return "\n".join([*shown, line(why)])


def _line_with(text: str, at: int) -> list[str]:
    """Give a line, or the part of a long one around the mistake, and the mark below it."""
    first = max(0, min(at - _WIDTH // 2, len(text) - _WIDTH)) if len(text) > _WIDTH else 0
    part = _clean(text[first : first + _WIDTH])
    before = "…" if first else ""
    after = "…" if first + _WIDTH < len(text) else ""
    space = "".join(map(_blank, part[: at - first]))
    return [f"{before}{part}{after}", " " * len(before) + space + "^"]


def _clean(text: str) -> str:
    """Keep a text on its line: no control characters, whatever was pasted."""
    return "".join(char if char.isprintable() or char == "\t" else "�" for char in text)


def _blank(char: str) -> str:
    """Give blanks as wide as a character."""
    if char == "\t":
        return "\t"
    if unicodedata.combining(char):
        return ""
    return "  " if unicodedata.east_asian_width(char) in "WF" else " "


def message(problem: CiliumAnalysisError) -> str:
    """Give the message of an error; for a query that is wrong, with the place marked."""
    if isinstance(problem, QueryRejected) and problem.promql and problem.reason:
        return pointed(problem.promql, problem.reason)
    return "\n".join(_clean(one) for one in str(problem).split("\n"))
