"""The requests of a query: what they would cost, how many there are, and their parameters. Pure.

Parameters are written as Prometheus' docs/querying/api.md wants them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from cilium_analysis.errors import BudgetExceeded, of_query

if TYPE_CHECKING:
    from datetime import datetime

    from cilium_analysis.window import Window

#: Prometheus refuses more steps in one query (web/api/v1/api.go, ``queryRange``).
MAX_POINTS = 11_000
#: A fetch is planned first if a window has this many points: fewer cost less than planning,
#: and stay within the budget as long as a query gives no more series than this.
PLANNED_FROM = 100
_USUAL_SERIES = 100_000
#: A server may have so many series, even if all answers so far had fewer.
_FEW_SERIES = 1_000
#: Samples that one request should bring: large answers come in several, at the same time.
_PIECE_SAMPLES = 750_000
_FEWEST_POINTS = 100
#: In a window that is no longer, few series come and go.
SHORT = timedelta(days=1)


@dataclass(frozen=True)
class Plan:
    """What a range query would cost, estimated from the series at a few moments.

    Parameters
    ----------
    series
        Most series at one of the moments; None if the server could not count them.
    points
        Points of each series.
    requests
        Number of requests.
    """

    series: int | None
    points: int
    requests: int

    @property
    def samples(self) -> int | None:
        """Series times points."""
        return None if self.series is None else self.series * self.points


def plan(window: Window, counts: list[int | None]) -> Plan:
    """Estimate what a window costs.

    Parameters
    ----------
    window
        The window to fetch.
    counts
        Numbers of series at a few moments; None where the server could not count.
    """
    series = max((count for count in counts if count is not None), default=None)
    fewest = -(-window.points // MAX_POINTS)
    useful = -(-(series or 0) * window.points // _PIECE_SAMPLES)
    return Plan(series, window.points, max(fewest, min(useful, window.points // _FEWEST_POINTS)))


def needed(window: Window, *, budget: int, widest: int | None) -> bool:
    """Return whether a fetch has to be planned first.

    Parameters
    ----------
    window
        The window to fetch.
    budget
        Most samples of an answer.
    widest
        Series of the widest answer so far; None if there was none. Where ten times as many fit
        into one request, planning would only double the requests.
    """
    if window.points < PLANNED_FROM:
        return window.points * _USUAL_SERIES > budget
    if widest is None:
        return True
    samples = window.points * max(10 * widest, _FEW_SERIES)
    return samples > min(_PIECE_SAMPLES, budget) or window.points > MAX_POINTS


def check(found: Plan, window: Window, *, budget: int, promql: str) -> None:
    """Refuse a fetch that is over the budget.

    Raises
    ------
    BudgetExceeded
        With what to do about it.
    """
    if found.series is None or found.samples is None or found.samples <= budget:
        return
    # Aligned to another step, a window has at most two points more than steps in its length.
    steps = budget // found.series - 2
    longer = timedelta(seconds=math.ceil(window.length / max(steps, 1) / timedelta(seconds=1)))
    helps = steps > 0 and longer <= window.length
    advice = f"a step of {longer.total_seconds():.0f}s or more, a shorter window, " * helps
    raise BudgetExceeded(
        f"about {found.series:,} series at {found.points:,} points are {found.samples:,} samples,"
        f" more than the budget of {budget:,}: take {advice}narrower matchers, or aggregate"
        f"{of_query(promql)}"
    )


def seconds(moment: datetime) -> str:
    """Write a moment as Unix seconds."""
    return number(moment.timestamp())


def number(value: float) -> str:
    """Write seconds with at most three decimals, since servers round to milliseconds."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def between(window: Window | None) -> dict[str, str]:
    """Return the parameters that narrow an answer to a window, if there is one."""
    if window is None:
        return {}
    return {"start": seconds(window.start), "end": seconds(window.end)}


def escaped(name: str) -> str:
    """Write a label name for a path; odd ones by Prometheus 3's values escaping (``U__…``)."""
    if re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name):
        return name
    parts = [
        "__" if char == "_" else char if char.isascii() and char.isalnum() else f"_{ord(char):x}_"
        for char in name
    ]
    return "U__" + "".join(parts)
