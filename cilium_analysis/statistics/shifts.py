"""Which of very many series left their baseline, how far, and since when. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis.statistics import changepoints
from cilium_analysis.statistics.baseline import WIDTH, Expectation, expect, extremes, smoothed
from cilium_analysis.statistics.days import without_days

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: So many half spans from its baseline is far.
FAR = 3.0
#: Regimes that are this share as far away as that of the extreme are one stretch with it.
ALIKE = 0.25


@dataclass(frozen=True)
class _Stretch:
    """First and last step that a series was away, and between which steps that began."""

    start: int
    end: int
    earliest: int
    latest: int


def shifts(
    baseline: pd.DataFrame,
    window: pd.DataFrame,
    *,
    counts: bool,
    far: float = FAR,
    most: int | None = None,
) -> pd.DataFrame:
    """List the series that were far from what their baseline makes one expect.

    With a baseline of two days or more, what is expected depends on the time of day.

    Parameters
    ----------
    baseline, window
        One column per series; rows are steps (UTC). A series that the baseline lacks is new.
    counts
        Whether they are counts per step, as for `cilium_analysis.statistics.baseline.expect`.
    far
        How many half spans are far.
    most
        Number of series, the farthest; all if not given.

    Returns
    -------
    pandas.DataFrame
        One row per series that was: ``series`` (position of its column), ``usual`` and
        ``extreme`` level [unit of the series], ``score`` (half spans between the two, signed),
        ``start`` and ``end`` (from when to when around the extreme it was far away), ``earliest``
        and ``latest`` (between which it began). Times are UTC; a row's step begins one before it.
    """
    values = window.to_numpy(dtype="float64")
    usual = baseline.reindex(columns=window.columns).to_numpy(dtype="float64")
    if counts:
        usual, values = np.nan_to_num(usual), np.nan_to_num(values)
    usual, values = without_days(usual, values, usual_times=baseline.index, times=window.index)
    scores, places = extremes(usual, values, counts=counts)
    away = np.flatnonzero(np.abs(scores) >= far)
    chosen = away[np.argsort(-np.abs(scores[away]), kind="stable")][:most]
    rows = [
        _row(int(one), usual[:, [one]], values[:, [one]], int(places[one]), counts, far)
        for one in np.sort(chosen)
    ]
    table = pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)
    times = pd.DatetimeIndex(window.index)
    step = times[1] - times[0] if len(times) > 1 else pd.Timedelta(0)
    for name in ("start", "earliest"):
        table[name] = times[table[name]] - step
    for name in ("end", "latest"):
        table[name] = times[table[name]]
    table["score"] = scores[table["series"]]
    return table


_COLUMNS = {
    "series": "int64",
    "usual": "float64",
    "extreme": "float64",
    "start": "int64",
    "end": "int64",
    "earliest": "int64",
    "latest": "int64",
}


def _row(
    one: int, usual: Floats, values: Floats, place: int, counts: bool, far: float
) -> tuple[object, ...]:
    found, smooth = expect(usual, values, counts=counts), smoothed(values)
    sign = np.sign(found.scores(smooth)[place, 0])
    crossed = _crossed(sign * found.scores(smooth)[:, 0], place, far)
    stretch = _regimes(sign, found, values[:, 0], place, far) or crossed
    # A regime is seen from its first whole step on; it may have begun within the one before.
    near = stretch.start - WIDTH <= crossed.start
    start = min(stretch.start, crossed.start) if near else stretch.start
    earliest, extreme = min(stretch.earliest, start), float(smooth[place, 0])
    return (one, float(found.level[0]), extreme, start, stretch.end, earliest, stretch.latest)


def _regimes(
    sign: float, found: Expectation, values: Floats, place: int, far: float
) -> _Stretch | None:
    """Give the regimes around an extreme that are away together; None if it is but a peak."""
    table = changepoints.regimes(values)
    middle = max(place - WIDTH // 2, 0)
    inside = int(np.searchsorted(table["start"].to_numpy(), middle, side="right")) - 1
    if inside < 0:
        return None
    scores = sign * found.scores(table["level"].to_numpy())
    away = scores >= max(far / 2, ALIKE * scores[inside])
    if not away[inside]:
        return None
    first, last = _around(away, inside)
    begin, end = table.iloc[first], int(table["end"].iloc[last]) - 1
    return _Stretch(int(begin["start"]), end, int(begin["earliest"]), int(begin["latest"]))


def _crossed(scores: Floats, place: int, far: float) -> _Stretch:
    """Give the steps around an extreme that were far; their means follow the level by some."""
    first, last = _around(np.nan_to_num(scores) >= far, place)
    return _Stretch(first, last, max(first - WIDTH + 1, 0), first)


def _around(flags: NDArray[np.bool_], place: int) -> tuple[int, int]:
    """Give the first and last position of the run of flags that a position is in."""
    before, after = np.flatnonzero(~flags[:place]), np.flatnonzero(~flags[place:])
    first = int(before[-1]) + 1 if len(before) else 0
    return first, place + int(after[0]) - 1 if len(after) else len(flags) - 1
