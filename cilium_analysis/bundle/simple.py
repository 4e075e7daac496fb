"""Simple queries of PromQL: a metric, its rate or increase, an aggregation of it. Pure.

A bundle computes their answers from others, see `cilium_analysis.bundle.computed`. Everything else
of PromQL is read by servers only. A parser of the whole language is not needed for that, and would
be a compiled package more to install.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from cilium_analysis.errors import ParameterError, WindowError
from cilium_analysis.queries import TOKEN, Matcher, unescaped
from cilium_analysis.times import format_duration, parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterable

AGGREGATIONS = ("avg", "count", "max", "min", "sum")
RATES = ("increase", "rate")
#: Of the samples of one step, in what topics ask.
OVER_TIME = ("last_over_time", "max_over_time", "min_over_time")
#: A longer query is not simple [characters].
_LONGEST = 4096
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


@dataclass(frozen=True)
class Simple:
    """A simple query.

    Parameters
    ----------
    metric
        Name of the metric.
    matchers
        All of the selector.
    function
        One of `RATES` or `OVER_TIME`; empty for the metric as it is.
    over
        Range of the function.
    aggregation
        One of `AGGREGATIONS`; empty for the series as they are.
    labels
        That the aggregation names.
    without
        Whether these are the labels that it takes away.
    """

    metric: str
    matchers: tuple[Matcher, ...] = ()
    function: str = ""
    over: timedelta = timedelta()
    aggregation: str = ""
    labels: tuple[str, ...] = ()
    without: bool = False

    def means(self, other: Simple) -> bool:
        """Tell whether another query is the same, in whatever order its labels are named."""
        key, others = (
            replace(one, labels=tuple(sorted(one.labels)), matchers=()) for one in (self, other)
        )
        return key == others and {*self.matchers} == {*other.matchers}

    def __str__(self) -> str:
        braces = f"{{{','.join(map(str, self.matchers))}}}" if self.matchers else ""
        text = f"{self.metric}{braces}"
        if self.function:
            text = f"{self.function}({text}[{format_duration(self.over)}])"
        if not self.aggregation:
            return text
        how = "without" if self.without else "by"
        grouped = f" {how} ({', '.join(self.labels)}) " if self.labels or self.without else ""
        return f"{self.aggregation}{grouped}({text})"


def parse(promql: str) -> Simple | None:
    """Read a simple query; None if it is any other, or none at all."""
    if len(promql) > _LONGEST:
        return None
    found = ((str(one.lastgroup), one[0]) for one in TOKEN.finditer(promql))
    tokens = _Tokens(text for kind, text in found if kind not in ("space", "comment"))
    try:
        query = _query(tokens)
        tokens.take("")
    except (_NotSimple, ParameterError, WindowError):
        return None
    return query


class _NotSimple(Exception):
    """The query is not simple."""


class _Tokens:
    """The words and signs that are not read yet."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._rest = [*texts][::-1]

    def next(self, place: int = 1) -> str:
        """Look at the next one, or at a later one; empty at the end."""
        return self._rest[-place] if len(self._rest) >= place else ""

    def take(self, *expected: str) -> str:
        """Read the next one, which must be one of the expected, if any are named."""
        text = self.next()
        if expected and text not in expected:
            raise _NotSimple
        if text:
            self._rest.pop()
        return text

    def name(self) -> str:
        """Read a name."""
        if not _NAME.fullmatch(self.next()):
            raise _NotSimple
        return self.take()


def _query(tokens: _Tokens) -> Simple:
    aggregation = tokens.next().lower()
    if aggregation not in AGGREGATIONS or tokens.next(2).lower() not in ("(", "by", "without"):
        return _samples(tokens)
    tokens.take()
    labels, without = _grouping(tokens) or ((), None)
    tokens.take("(")
    inner = _samples(tokens)
    tokens.take(")")
    if without is None:
        labels, without = _grouping(tokens) or ((), False)
    return Simple(
        *(inner.metric, inner.matchers, inner.function, inner.over),
        *(aggregation, labels, without),
    )


def _grouping(tokens: _Tokens) -> tuple[tuple[str, ...], bool] | None:
    how = tokens.next().lower()
    if how not in ("by", "without"):
        return None
    tokens.take()
    tokens.take("(")
    labels = []
    while tokens.next() != ")":
        labels.append(tokens.name())
        if tokens.next() != ")":
            tokens.take(",")
    tokens.take(")")
    return tuple(dict.fromkeys(labels)), how == "without"


def _samples(tokens: _Tokens) -> Simple:
    if tokens.next(2) != "(":
        return _selector(tokens)
    function = tokens.take(*RATES, *OVER_TIME)
    tokens.take("(")
    inner = _selector(tokens)
    tokens.take("[")
    over = parse_duration(tokens.take())
    tokens.take("]")
    tokens.take(")")
    return Simple(inner.metric, inner.matchers, function, over)


def _selector(tokens: _Tokens) -> Simple:
    metric, matchers = tokens.name(), []
    if tokens.next() == "{":
        tokens.take()
        while tokens.next() != "}":
            label, operator = tokens.name(), tokens.take("=", "!=", "=~", "!~")
            matchers.append(Matcher(label, operator, _text(tokens.take())))
            if tokens.next() != "}":
                tokens.take(",")
        tokens.take("}")
    return Simple(metric, tuple(matchers))


def _text(literal: str) -> str:
    """Read a text in quotes."""
    sign, inner = literal[:1], literal[1:-1]
    if sign == '"':
        return unescaped(inner)
    # In single quotes other escapes hold.
    if sign == "`" or (sign == "'" and "\\" not in inner):
        return inner
    raise _NotSimple
