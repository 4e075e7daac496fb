"""Values of recorded series at each step: between two samples, and what counters gained. Pure.

A recording has one sample per step, or none where no scrape fell into the step. ``increase``
follows Prometheus 2 as if it had scraped at just these steps: a reset counts from 0, a range begins
and ends with a sample and takes in both, what is missing at either end is extrapolated, and a birth
within the range loses its first value. It differs from a server's in that the samples between two
steps are not known, and that a server extrapolates from its first and last sample in the range to
both ends: over a range of n scrape intervals Prometheus 3 sees what n - 1 of them gained, and
multiplies it by n / (n - 1).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray

#: Prometheus takes a sample for the present value for so long (``--query.lookback-delta``).
LOOKBACK = timedelta(minutes=5)
#: Fewer samples do not show how far apart they usually are.
_FEW = 6
#: One scrape in so many may fail; what is more frequent is usual.
_RARE = 20
#: Series whose increases are computed at the same time, as that takes ten times their memory.
_AT_ONCE = 1000


def at_all_steps(frame: pd.DataFrame, *, step: timedelta, end: datetime) -> pd.DataFrame:
    """Give the frame with every step up to a time, also those in which no series has a sample.

    Parameters
    ----------
    frame
        Label frame of an answer; its first time tells where the steps are.
    step, end
        Of the window that was asked for.
    """
    if not len(frame):
        return frame
    times, every = frames.milliseconds(frame.index), step // timedelta(milliseconds=1)
    until = round(end.timestamp() * 1000)
    grid = np.union1d(times, np.arange(times[0], until + 1, every, dtype=np.int64))
    return frame if len(grid) == len(times) else frame.reindex(frames.time_index(grid))


def intervals(frame: pd.DataFrame, *, step: timedelta, scrapes: int = 1) -> NDArray[np.float64]:
    """Give how far apart a sample of each series and the next usually are [s], at least a step.

    Of scrapes every 45 s some are one step of 30 s apart and some two: two is what such a series
    needs. Samples that are farther apart, or are so in a few cases only, tell of scrapes that
    failed. A series with few samples has the interval of the others.

    Parameters
    ----------
    frame
        Label frame of an answer; NaN where a series has no sample in a step.
    step
        Of the answer.
    scrapes
        2 for a sample and the second after it, and so on.
    """
    there, shortest = frame.notna().to_numpy(), step.total_seconds()
    times = frames.milliseconds(frame.index) / 1000.0
    if there.all() and (np.diff(times) <= shortest).all():
        return np.full(frame.shape[1], scrapes * shortest)
    found = np.full(frame.shape[1], np.nan)
    for at, column in enumerate(there.T):
        mine = times[column]
        apart = np.sort(mine[scrapes:] - mine[:-scrapes])
        if len(apart):
            usual = apart[(len(apart) - 1) // 2]
            longest = apart[max(len(apart) - 1 - scrapes - len(apart) // _RARE, 0)]
            found[at] = max(min(longest, usual + shortest), scrapes * shortest)
    few = there.sum(axis=0) < _FEW
    known = found[~few] if not few.all() else found[~np.isnan(found)]
    found[few] = np.median(known) if len(known) else scrapes * shortest
    return found


def kept(frame: pd.DataFrame, *, step: timedelta) -> pd.DataFrame:
    """Give the values at steps without a sample: those of the sample before, while it is fresh.

    A server takes a sample for the present value until the next one, until a scrape finds the
    series gone and marks it so, or for `LOOKBACK`. A recording has no such marks: its samples
    count until the next one is due.

    Parameters
    ----------
    frame, step
        As of `intervals`, at all steps.
    """
    times = frames.milliseconds(frame.index) / 1000.0
    there, rows = frame.notna().to_numpy(), np.arange(len(frame))
    last = np.maximum.accumulate(np.where(there, rows[:, None], -1), axis=0)
    fresh = np.minimum(intervals(frame, step=step), LOOKBACK.total_seconds())
    return frame.ffill().where((last >= 0) & (times[:, None] - times[last] < fresh))


def increases(frame: pd.DataFrame, over: timedelta, *, since: datetime) -> pd.DataFrame:
    """Give ``increase`` at each time, for the range that ends there; NaN before all is known.

    Parameters
    ----------
    frame
        Label frame of counters, at all steps.
    over
        Length of the range.
    since
        When the recording begins.
    """
    values = np.empty(frame.shape)
    for at in range(0, frame.shape[1], _AT_ONCE):
        part = frame.iloc[:, at : at + _AT_ONCE]
        values[:, at : at + _AT_ONCE] = _increases(part, over, since)
    return pd.DataFrame(values, index=frame.index, columns=frame.columns)


def _increases(frame: pd.DataFrame, over: timedelta, start: datetime) -> NDArray[np.float64]:
    # See ``extrapolatedRate`` of Prometheus 2.42 (promql/functions.go).
    values = frame.to_numpy(dtype="float64")
    times = frames.milliseconds(frame.index) / 1000.0
    if not values.size:
        return values
    rows = np.arange(len(times))
    first_row = np.searchsorted(times, times - over.total_seconds(), side="left")
    there = ~np.isnan(values)
    last = np.maximum.accumulate(np.where(there, rows[:, None], -1), axis=0)
    after = np.where(there, rows[:, None], len(rows))
    first = np.minimum.accumulate(after[::-1], axis=0)[::-1][first_row]
    known = (last > first) & (times - over.total_seconds() >= start.timestamp())[:, None]
    first, last = np.where(known, first, 0), np.where(known, last, 0)
    lost = frame.ffill().to_numpy(dtype="float64")
    fallen = np.zeros_like(values)
    fallen[1:] = np.where(there[1:] & (values[1:] < lost[:-1]), lost[:-1], 0.0)
    at = np.arange(values.shape[1])
    resets, counted = np.cumsum(fallen, axis=0), np.cumsum(there, axis=0)
    begun = values[first, at]
    gained = values[last, at] - begun + resets[last, at] - resets[first, at]
    with np.errstate(divide="ignore", invalid="ignore"):
        sampled = times[last] - times[first]
        average = sampled / (counted[last, at] - counted[first, at])
        before = times[first] - (times - over.total_seconds())[:, None]
        # A counter was not below 0.
        since_zero = np.where((gained > 0) & (begun >= 0), sampled * begun / gained, np.inf)
        before = np.minimum(before, since_zero)
        behind = times[:, None] - times[last]
        ends = [np.where(end < 1.1 * average, end, average / 2) for end in (before, behind)]
        result = gained * (sampled + ends[0] + ends[1]) / sampled
    return np.where(known, result, np.nan)
