"""Which of very many series left their baseline, how far, and since when. Pure.

The baseline gives the expected level and the usual range of each series, for each time of day if it
is long enough. `rises` finds rises of counts.
"""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis.statistics import changepoints

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: A series is far from its baseline at so many half ranges.
FAR = 3.0
#: Regimes that are this share as far away as that of the extreme belong to one interval with it.
ALIKE = 0.25
#: Steps over which a level is taken: a single step is noise.
WIDTH = 5
#: The usual range of a baseline lies between these of its quantiles.
QUANTILES = (0.01, 0.99)
#: The half range is at least this share of the level.
RELATIVE = 0.05
#: In a baseline without any spread, the half range is this share of the largest value.
WITHOUT_SPREAD = 0.2
#: Series that are computed together: they fit into a processor's cache.
_CHUNK = 512
#: Parts of a day, each with a usual level of its own.
SLOTS = 48
#: Fewer days than this do not tell a time of day from an incident.
ENOUGH_DAYS = 2
_DAY = pd.Timedelta(days=1)


@dataclass(frozen=True)
class _Interval:
    """Steps in which a series was away, `end` excluded, and the range in which that began."""

    start: int
    end: int
    earliest: int
    latest: int


def deviations(
    baseline: pd.DataFrame,
    window: pd.DataFrame,
    *,
    counts: bool,
    far: float = FAR,
    most: int | None = None,
) -> pd.DataFrame:
    """List the series that were far from what their baseline makes one expect.

    With a baseline of two days or more, the expected level depends on the time of day.

    Parameters
    ----------
    baseline, window
        One column per series; rows are steps (UTC). A series that the baseline lacks is new.
    counts
        Whether they are counts per step, as for `expect`.
    far
        How many half ranges are far.
    most
        Number of series, the farthest; all if not given.

    Returns
    -------
    pandas.DataFrame
        One row per such series: ``series`` (position of its column), ``usual`` and ``extreme``
        level [unit of the series], ``score`` (half ranges between the two, signed), ``start`` and
        ``end`` (the interval around the extreme in which it was far away, end excluded),
        ``earliest`` and ``latest`` (between which it began). Times are UTC; a row's step ends at
        its time.
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
    # The last step of the interval ends it.
    table["end"] = times[table["end"] - 1]
    table["latest"] = times[table["latest"]]
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
    away = _regimes(sign, found, values[:, 0], place, far) or crossed
    # A regime begins with its first whole step; the change may lie within the one before.
    near = away.start - WIDTH <= crossed.start
    start = min(away.start, crossed.start) if near else away.start
    earliest, extreme = min(away.earliest, start), float(smooth[place, 0])
    return (one, float(found.level[0]), extreme, start, away.end, earliest, away.latest)


def _regimes(
    sign: float, found: Expectation, values: Floats, place: int, far: float
) -> _Interval | None:
    """Join the regimes around an extreme that are away; None if it is only a peak."""
    table = changepoints.regimes(values)
    middle = max(place - WIDTH // 2, 0)
    inside = int(np.searchsorted(table["start"].to_numpy(), middle, side="right")) - 1
    if inside < 0:
        return None
    scores = sign * found.scores(table["level"].to_numpy())
    away = scores >= max(far / 2, ALIKE * scores[inside])
    if not away[inside]:
        return None
    first, end = _around(away, inside)
    begin = table.iloc[first]
    start, earliest, latest = (int(begin[name]) for name in ("start", "earliest", "latest"))
    return _Interval(start, int(table["end"].iloc[end - 1]), earliest, latest)


def _crossed(scores: Floats, place: int, far: float) -> _Interval:
    """Give the steps around an extreme that were far; their means lag behind the level."""
    first, end = _around(np.nan_to_num(scores) >= far, place)
    return _Interval(first, end, max(first - WIDTH + 1, 0), first)


def _around(flags: NDArray[np.bool_], place: int) -> tuple[int, int]:
    """Give the first position of the run of flags around a position, and the one after it."""
    before, after = np.flatnonzero(~flags[:place]), np.flatnonzero(~flags[place:])
    first = int(before[-1]) + 1 if len(before) else 0
    return first, place + int(after[0]) if len(after) else len(flags)


# What a baseline makes one expect


@dataclass(frozen=True)
class Expectation:
    """What a baseline makes one expect of series, and how far they are from it.

    Parameters
    ----------
    level
        Expected value of each series; 0 for counts that the baseline does not have.
    half
        Half of the range in which it usually is; above 0.
    """

    level: Floats
    half: Floats

    def scores(self, values: Floats) -> Floats:
        """Give by how many half ranges each value is above (or below) the expected level.

        Parameters
        ----------
        values
            Shape (T, S), means over `WIDTH` steps (`smoothed`).

        Returns
        -------
        numpy.ndarray
            Shape (T, S), without unit: packets, seconds and ratios can be compared.
        """
        result: Floats = (values - self.level) / self.half
        return result


def expect(baseline: Floats, window: Floats, *, counts: bool) -> Expectation:
    """Give what a baseline makes one expect; single outliers and bursts hardly count.

    Parameters
    ----------
    baseline, window
        Shape (T, S), the same series in both; NaN where nothing is known.
    counts
        Whether they are counts per step, which scatter at least as Poisson counts do, and are 0
        where a series is missing.

    Returns
    -------
    Expectation
        Arrays of shape (S,).
    """
    usual, now = (smoothed(_filled(each, counts)) for each in (baseline, window))
    low, level, high = _quantiles(usual)
    # The median of a sparse counter is 0: its mean says more.
    mean = _mean(np.clip(usual, low, high)) if len(usual) else level
    level = np.where((level == 0.0) & (mean > 0.0), mean, level)
    most = np.fmax(_largest(now), _largest(usual))
    half = np.fmax((high - low) / 2.0, RELATIVE * np.abs(level))
    if counts:
        half = np.fmax(half, 3.0 * np.sqrt(np.fmax(level * WIDTH, 1.0)) / WIDTH)
    half = np.where(half > 0.0, half, WITHOUT_SPREAD * most)
    return Expectation(level, np.where(half > 0.0, half, 1.0))


def smoothed(values: Floats, *, width: int = WIDTH) -> Floats:
    """Give the moving mean over some steps, NaN where most of them are unknown.

    Parameters
    ----------
    values
        Shape (T, S).
    width
        Number of steps.

    Returns
    -------
    numpy.ndarray
        Shape (T, S); row t covers the steps up to and including t.
    """
    known = ~np.isnan(values)
    zero = np.zeros((1, values.shape[1]))
    sums = np.concatenate([zero, np.cumsum(np.where(known, values, 0.0), axis=0)])
    have = np.concatenate([zero, np.cumsum(known, axis=0)])
    first = np.maximum(np.arange(1, len(values) + 1) - width, 0)
    last = np.arange(1, len(values) + 1)
    number = have[last] - have[first]
    enough = number > width / 2.0
    result: Floats = np.where(enough, (sums[last] - sums[first]) / np.maximum(number, 1.0), np.nan)
    return result


def extremes(baseline: Floats, window: Floats, *, counts: bool) -> tuple[Floats, NDArray[np.int64]]:
    """Give the largest deviation of each series from its baseline, and when it was.

    Parameters
    ----------
    baseline, window, counts
        As for `expect`; any number of series.

    Returns
    -------
    tuple
        Scores (S,), with their sign; positions of the extremes in the window (S,).
    """
    scores = np.zeros(window.shape[1])
    places = np.zeros(window.shape[1], dtype=np.int64)

    def look(first: int) -> None:
        part = slice(first, first + _CHUNK)
        found = expect(baseline[:, part], window[:, part], counts=counts)
        values = smoothed(_filled(window[:, part], counts))
        every = np.nan_to_num(found.scores(values))
        places[part] = np.argmax(np.abs(every), axis=0)
        scores[part] = np.take_along_axis(every, places[part][None, :], axis=0)[0]

    # Nearly all the time is spent in numpy, which lets other threads run.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(look, range(0, window.shape[1] if len(window) else 0, _CHUNK)))
    return scores, places


def _filled(values: Floats, counts: bool) -> Floats:
    """Make unknown values 0 if they are counts."""
    filled: Floats = np.nan_to_num(values) if counts else values
    return filled


def _quantiles(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Give low, median and high per column; 0 for a column of which nothing is known."""
    if not len(values):
        nothing = np.zeros(values.shape[1])
        return nothing, nothing, nothing
    ordered = np.sort(values, axis=0)  # NaN last
    number = (~np.isnan(values)).sum(axis=0)
    found = []
    for share in (QUANTILES[0], 0.5, QUANTILES[1]):
        place = np.round(share * np.maximum(number - 1, 0)).astype(np.int64)
        found.append(np.nan_to_num(np.take_along_axis(ordered, place[None, :], axis=0)[0]))
    return found[0], found[1], found[2]


def _mean(values: Floats) -> Floats:
    known = ~np.isnan(values)
    result: Floats = np.where(known, values, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return result


def _largest(values: Floats) -> Floats:
    filled = np.where(np.isnan(values), 0.0, np.abs(values))
    result: Floats = filled.max(axis=0, initial=0.0)
    return result


# The time of day


def spans_days(times: pd.Index) -> bool:
    """Tell whether a baseline is long enough to know each time of day more than once."""
    return len(times) > 1 and bool(times[-1] - times[0] >= 0.99 * ENOUGH_DAYS * _DAY)


def without_days(
    baseline: Floats, window: Floats, *, usual_times: pd.Index, times: pd.Index
) -> tuple[Floats, Floats]:
    """Subtract by how much each time of day usually differs from the whole day.

    The usual level at a time of day is the median over the baseline, half an hour at a time, and
    a line between these.

    Parameters
    ----------
    baseline, window
        Shape (T, S), the same series in both; NaN where nothing is known.
    usual_times, times
        Of their rows (UTC).

    Returns
    -------
    tuple
        Both; unchanged where the baseline has less than two days.
    """
    if not spans_days(usual_times):
        return baseline, window
    slots = np.floor(_place(usual_times)).astype(np.int64)
    profile = np.full((SLOTS, baseline.shape[1]), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a slot in which nothing was observed
        for slot in np.unique(slots):
            profile[slot] = np.nanmedian(baseline[slots == slot], axis=0)
        profile -= np.nanmedian(profile, axis=0)
    profile = np.nan_to_num(profile)
    return baseline - _at(profile, usual_times), window - _at(profile, times)


def _place(times: pd.Index) -> Floats:
    """Give the time of day [slots]."""
    moments = pd.DatetimeIndex(times)
    since = (moments - moments.floor("D")) / _DAY
    return np.asarray(since, dtype=np.float64) * SLOTS


def _at(profile: Floats, times: pd.Index) -> Floats:
    """Read the profile between the middles of its slots."""
    place = _place(times) - 0.5
    before = np.floor(place).astype(np.int64)
    share = (place - before)[:, None]
    values: Floats = profile[before % SLOTS] * (1 - share) + profile[(before + 1) % SLOTS] * share
    return values
