"""What may stand where somebody is typing in a query. Pure.

Reads PromQL up to the cursor, as far as that is needed; it need not be whole, or right. See
https://prometheus.io/docs/prometheus/latest/querying/basics/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from cilium_analysis.queries import quote

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

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*\n)
      | (?P<comment>\#[^\n]*$)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)
      | (?P<open>["'`].*$)
      | (?P<word>[a-zA-Z_:][a-zA-Z0-9_:]*)
      | (?P<number>[0-9.][0-9a-zA-Z_.]*)
      | (?P<sign>=~|!~|!=|==|>=|<=|.)""",
    re.DOTALL | re.VERBOSE,
)
_CLOSING = {")": "(", "}": "{", "]": "["}

Kind = Literal["expression", "keyword", "label", "value", "duration", "nothing"]


@dataclass(frozen=True)
class Place:
    """Where somebody is typing.

    Parameters
    ----------
    kind
        What may stand there.
    typed
        What of it is there already; as it stands in the query, so with escapes.
    metric
        Whose labels are meant; empty if none is named.
    label
        Whose value is meant.
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


def place(before: str, after: str = "") -> Place:
    """Tell what may stand at the cursor.

    Parameters
    ----------
    before, after
        The query up to the cursor, and from there on.
    """
    tokens = [(str(found.lastgroup), found[0]) for found in _TOKEN.finditer(before)]
    if tokens and tokens[-1][0] == "comment":
        return Place("nothing", "")
    open_string = tokens.pop()[1] if tokens and tokens[-1][0] == "open" else ""
    typed = tokens.pop()[1] if tokens and tokens[-1][0] in ("word", "number") else ""
    said = [token for token in tokens if token[0] != "space"]
    brackets = _open(said)
    inner = brackets[-1] if brackets else _Bracket("", "")
    if open_string:
        # What was cut off as a word stands before the string.
        return _in_string(open_string, said, inner)
    if inner.sign == "[" or (said and said[-1][1] == "offset"):
        return Place("duration", typed)
    if inner.sign == "{":
        return _in_braces(typed, said, inner)
    if inner.sign == "(" and inner.before in GROUPING:
        return Place("label", typed, _metric_in(before, after))
    if said and (said[-1][0] in ("word", "number", "string") or said[-1][1] in (")", "}", "]")):
        free = said[-1][0] == "word" and said[-1][1] in KEYWORDS
        return Place("expression" if free else "keyword", typed)
    return Place("expression", typed)


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


def _in_string(text: str, said: list[tuple[str, str]], inner: _Bracket) -> Place:
    if inner.sign != "{" or len(said) < 2 or said[-1][1] not in ("=", "!=", "=~", "!~"):
        return Place("nothing", text[1:])
    pattern = said[-1][1] in ("=~", "!~")
    return Place("value", text[1:], inner.before, said[-2][1], text[0], pattern)


def _in_braces(typed: str, said: list[tuple[str, str]], inner: _Bracket) -> Place:
    if said[-1][1] in ("{", ","):
        return Place("label", typed, inner.before)
    return Place("nothing", typed)


def _metric_in(before: str, after: str) -> str:
    """Find the metric that an aggregation is about: after its grouping, or before it."""
    for text in (after, before):
        bare = re.sub(r"\{[^}]*\}?|\b(?:by|without|on|ignoring)\s*\([^)]*\)?", "{}", text)
        for found in re.finditer(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?!\w|\s*\()", bare):
            if "_" in found[0] and found[0] not in (*FUNCTIONS, *AGGREGATIONS, *KEYWORDS):
                return found[0]
    return ""


def written(value: str, place: Place) -> str | None:
    """Write a label's value as it has to stand at a place; None if it cannot.

    No value leaves its quotes, or is more than itself as a regular expression.

    Parameters
    ----------
    value
        Any text.
    place
        Of the kind ``value``.
    """
    plain = re.sub(r"[\\.+*?()|\[\]{}^$]", r"\\\g<0>", value) if place.pattern else value
    if place.quote == "`":
        return None if "`" in plain or not plain.isprintable() else plain
    text = quote(plain)[1:-1]
    if place.quote == "'":
        text = text.replace('\\"', '"').replace("'", "\\'")
    return "".join(char if char.isprintable() else _coded(char) for char in text)


def _coded(char: str) -> str:
    """Write a character that cannot be seen as Go reads it."""
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
