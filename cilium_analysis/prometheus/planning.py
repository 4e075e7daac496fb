"""What a fetch would cost, and how to cut it into requests. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from cilium_analysis.errors import BudgetExceeded
from cilium_analysis.prometheus.replies import shortened

if TYPE_CHECKING:
    from cilium_analysis.window import Window

#: Prometheus refuses more steps in one query (web/api/v1/api.go, ``queryRange``).
MAX_POINTS = 11_000
#: A fetch is planned first when a window has this many points: fewer cost less than planning,
#: and stay within the budget as long as a query gives no more series than this.
PLANNED_FROM = 100
_USUAL_SERIES = 100_000
#: A server that has only told of fewer series may still have so many.
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
        At most so many at one of the moments; None if the server could not count them.
    points
        Of each series.
    requests
        That would be sent.
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
        To be fetched.
    counts
        Of series at a few moments; None where the server could not count.
    """
    series = max((count for count in counts if count is not None), default=None)
    fewest = -(-window.points // MAX_POINTS)
    useful = -(-(series or 0) * window.points // _PIECE_SAMPLES)
    return Plan(series, window.points, max(fewest, min(useful, window.points // _FEWEST_POINTS)))


def needed(window: Window, *, budget: int, widest: int | None) -> bool:
    """Tell whether a fetch has to be planned first.

    Parameters
    ----------
    window
        To be fetched.
    budget
        Samples that an answer may hold.
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
        f" (query: {shortened(promql)})"
    )
