"""What may be typed at the cursor of a query. Pure.

Reads PromQL up to the cursor, which may be incomplete or wrong. See
https://prometheus.io/docs/prometheus/latest/querying/basics/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from cilium_analysis.queries import TOKEN, quote

AGGREGATIONS = (
    "avg", "bottomk", "count", "count_values", "group", "limitk", "max", "min", "quantile",
    "stddev", "stdvar", "sum", "topk",
)  # fmt: skip
FUNCTIONS = (
    "abs", "absent", "absent_over_time", "avg_over_time", "ceil", "changes", "clamp", "clamp_max",
    "clamp_min", "count_over_time", "day_of_month", "day_of_week", "day_of_year", "days_in_month",
    "delta", "deriv", "exp", "floor", "histogram_avg", "histogram_count", "histogram_fraction",
    "histogram_quantile", "histogram_sum", "hour", "idelta", "increase", "irate", "label_join",
    "label_replace", "last_over_time", "ln", "log10", "log2", "max_over_time", "min_over_time",
    "minute", "month", "predict_linear", "present_over_time", "quantile_over_time", "rate",
    "resets", "round", "scalar", "sgn", "sort", "sort_desc", "sqrt", "stddev_over_time",
    "stdvar_over_time", "sum_over_time", "time", "timestamp", "vector", "year",
)  # fmt: skip
GROUPING = ("by", "without", "on", "ignoring", "group_left", "group_right")
KEYWORDS = ("and", "bool", "by", "group_left", "group_right", "ignoring", "offset", "on", "or",
            "unless", "without")  # fmt: skip
DURATIONS = ("1m", "5m", "10m", "15m", "30m", "1h", "6h", "1d", "1w")

_CLOSING = {")": "(", "}": "{", "]": "["}

Kind = Literal["expression", "keyword", "label", "value", "duration", "nothing"]


@dataclass(frozen=True)
class Cursor:
    """The place in a query where somebody is typing.

    Parameters
    ----------
    kind
        What may stand there.
    typed
        The part of it that is there already, with escapes as in the query.
    metric
        That the label belongs to; empty if none is named.
    label
        That the value belongs to.
    quote
        Around the value.
    pattern
        Whether the value is a regular expression.
    """

    kind: Kind
    typed: str
    metric: str = ""
    label: str = ""
    quote: str = ""
    pattern: bool = False


@dataclass(frozen=True)
class _Bracket:
    sign: str
    before: str  # the word before it


def cursor(before: str, after: str = "") -> Cursor:
    """Tell what may stand at the cursor.

    Parameters
    ----------
    before, after
        The query up to the cursor, and from there on.
    """
    tokens = [(str(found.lastgroup), found[0]) for found in TOKEN.finditer(before)]
    if tokens and tokens[-1][0] == "comment":
        return Cursor("nothing", "")
    open_string = tokens.pop()[1] if tokens and tokens[-1][0] == "open" else ""
    typed = tokens.pop()[1] if tokens and tokens[-1][0] in ("word", "number") else ""
    before_it = [token for token in tokens if token[0] != "space"]
    brackets = _open(before_it)
    inner = brackets[-1] if brackets else _Bracket("", "")
    if open_string:
        # The word that was cut off stands before the string.
        inside = (
            inner.sign == "{" and len(before_it) > 1 and before_it[-1][1] in ("=", "!=", "=~", "!~")
        )
        if not inside:
            return Cursor("nothing", open_string[1:])
        pattern = before_it[-1][1] in ("=~", "!~")
        return Cursor(
            "value", open_string[1:], inner.before, before_it[-2][1], open_string[0], pattern
        )
    if inner.sign == "[" or (before_it and before_it[-1][1] == "offset"):
        return Cursor("duration", typed)
    if inner.sign == "{":
        if before_it[-1][1] in ("{", ","):
            return Cursor("label", typed, inner.before)
        return Cursor("nothing", typed)
    if inner.sign == "(" and inner.before in GROUPING:
        return Cursor("label", typed, _metric_in(before, after))
    if before_it and (
        before_it[-1][0] in ("word", "number", "string") or before_it[-1][1] in (")", "}", "]")
    ):
        free = before_it[-1][0] == "word" and before_it[-1][1] in KEYWORDS
        return Cursor("expression" if free else "keyword", typed)
    return Cursor("expression", typed)


def _open(tokens: list[tuple[str, str]]) -> list[_Bracket]:
    """List the brackets that are still open, outermost first."""
    brackets: list[_Bracket] = []
    word = ""
    for kind, text in tokens:
        if text in ("(", "{", "["):
            brackets.append(_Bracket(text, word))
        elif text in _CLOSING and brackets and brackets[-1].sign == _CLOSING[text]:
            brackets.pop()
        word = text if kind == "word" else ""
    return brackets


def _metric_in(before: str, after: str) -> str:
    """Find the metric that an aggregation is about: after its grouping, or before it."""
    for text in (after, before):
        bare = re.sub(r"\{[^}]*\}?|\b(?:by|without|on|ignoring)\s*\([^)]*\)?", "{}", text)
        for found in re.finditer(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?!\w|\s*\()", bare):
            if "_" in found[0] and found[0] not in (*FUNCTIONS, *AGGREGATIONS, *KEYWORDS):
                return found[0]
    return ""


def written(value: str, cursor: Cursor) -> str | None:
    """Write a label's value as the query needs it at the cursor; None if it cannot.

    A value never ends its quotes, and as a regular expression it matches only itself.

    Parameters
    ----------
    value
        Any text.
    cursor
        Of the kind ``value``.
    """
    plain = re.sub(r"[\\.+*?()|\[\]{}^$]", r"\\\g<0>", value) if cursor.pattern else value
    if cursor.quote == "`":
        return None if "`" in plain or not plain.isprintable() else plain
    text = quote(plain)[1:-1]
    if cursor.quote == "'":
        text = text.replace('\\"', '"').replace("'", "\\'")
    return "".join(char if char.isprintable() else _coded(char) for char in text)


def _coded(char: str) -> str:
    """Write a character that cannot be seen as Go reads it."""
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
