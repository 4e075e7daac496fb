"""When a regime of a metric began and ended: where its level steps. Pure.

Candidates come from the optimal segmentation into constant levels (PELT: R. Killick,
P. Fearnhead and I. A. Eckley, "Optimal detection of changepoints with a linear computational
cost", Journal of the American Statistical Association 107, 2012). Before it, single outliers and
a repeating pattern are subtracted; after it, candidates are dropped, weakest first, until each one
left is larger than noise of that scatter and memory explains, large enough to be visible, and a
step, not a part of a drift.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis.statistics import noise

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]

#: Shortest regime [samples]; a shorter one is an outlier.
SHORTEST = 3
#: Cost of a change in the segmentation, times log n and the long-run variance.
_PENALTY = 3.0
#: Highest memory of noise to accept; beyond it the level itself moves.
MEMORY = 0.7
#: Least step [standard deviations within the regimes].
_EFFECT = 1.2
#: Weight of the variance of all regimes beside that of one regime [samples].
_SHARED = 6.0
#: A step must explain more than a line does, by so much [twice the log-likelihood].
_BENT = 6.0
#: A step on top of a drift needs so much more evidence than one without.
_DRIFTING = 1.3
#: Evidence required beyond that of the largest of n normal variables [standard errors].
_BEYOND = 2.0
#: Quantile of 95 % of the likelihood ratio of a change's position (B. E. Hansen, "Sample
#: splitting and threshold estimation", Econometrica 68(3), 2000, table 1).
_PLAUSIBLE = 7.35
#: Samples for a first look for a pattern.
_PATTERN_FROM = 24


def detect(series: ArrayLike | pd.Series[float]) -> Ints:
    """Give the positions where a new regime starts.

    Works on the metrics of an incident as they are: gauges, rates, ratios and latencies; mostly
    zero, noisy or whole numbers; with a slow drift or a daily pattern. One in a hundred series of
    pure noise gives a change; up to five of the worst kinds (strongly clustered counts, a daily
    pattern, few samples with a long memory). `forecast.Trends` finds where a drift bends.

    Parameters
    ----------
    series
        One value per step; NaN where nothing was observed, which is no change by itself.

    Returns
    -------
    Positions in the series, increasing; never 0, never its length. A change within a gap is at
    the first sample after it. Empty for fewer than six samples.

    Raises
    ------
    ValueError
        Where the series has more than one dimension or holds an infinite value.

    Examples
    --------
    >>> levels = np.repeat([2.0, 9.0, 2.0], 20) + np.tile([0.0, 0.4, -0.3, 0.1], 15)
    >>> detect(levels).tolist()
    [20, 40]
    """
    return _segment(_read(series)).positions


def regimes(series: ArrayLike | pd.Series[float]) -> pd.DataFrame:
    """Give each regime with its level, and how sure its start is.

    Parameters
    ----------
    series
        As for `detect`.

    Returns
    -------
    One row per regime, the first one included: positions `start` and `end` (excluded);
    `earliest` and `latest`, between which the start lies with a confidence of about 95 %;
    `before` and `level`, the mean levels of the regime before (NaN for the first) and of this
    one, outliers left out [unit of the series]. No row for a series without samples.

    Raises
    ------
    ValueError
        As for `detect`.
    """
    values = _read(series)
    found = _segment(values)
    starts = [0, *found.positions.tolist()] if len(found.observed) else []
    ranges = [(0, 0), *(found.plausible(at) for at in range(1, len(found.bounds) - 1))]
    pairs = pairwise(found.bounds) if starts else ()
    levels = [float(found.cleaned[first:last].mean()) for first, last in pairs]
    table = {
        "start": starts,
        "end": [*starts[1:], len(values)],
        "earliest": [earliest for earliest, _ in ranges],
        "latest": [latest for _, latest in ranges],
        "before": [math.nan, *levels[:-1]],
        "level": levels,
    }
    kinds = {name: np.float64 if name in ("before", "level") else np.int64 for name in table}
    return pd.DataFrame({n: c[: len(starts)] for n, c in table.items()}).astype(kinds)


def required(n: int) -> float:
    """Give the evidence that a change needs in a series of so many samples [standard errors]."""
    return math.sqrt(2 * math.log(n)) + _BEYOND


def _read(series: ArrayLike | pd.Series[float]) -> Floats:
    values = np.asarray(series, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"a series has one dimension, not {values.ndim}")
    if np.isinf(values).any():
        raise ValueError("a series cannot hold infinite values; make them NaN")
    return values


@dataclass(frozen=True)
class _Segmented:
    """A series in regimes.

    Parameters
    ----------
    observed
        Positions of its samples.
    cleaned
        The samples without outliers.
    flat
        The same without a repeating pattern, scaled to [-1, 1].
    bounds
        Indices of samples: 0, where regimes start, and the number of samples.
    inflation
        Factor by which memory raises the variance of means.
    """

    observed: Ints
    cleaned: Floats
    flat: Floats
    bounds: list[int]
    inflation: float

    @property
    def positions(self) -> Ints:
        """Where regimes start in the series."""
        return self.observed[self.bounds[1:-1]]

    def plausible(self, number: int) -> tuple[int, int]:
        """Give the earliest and latest plausible position of a change, by its likelihood."""
        first, at, last = self.bounds[number - 1 : number + 2]
        costs = _split_costs(self.flat[first:last])
        middle = at - first - 1
        spread = max(costs[middle], 0.0) / max(last - first - 2, 1)
        likely = np.flatnonzero(costs - costs[middle] <= _PLAUSIBLE * self.inflation * spread)
        low, high = (first + 1 + int(likely[end]) for end in (0, -1))
        # A change within a gap may be anywhere in it.
        return int(self.observed[min(low, at) - 1]) + 1, int(self.observed[max(high, at)])


def _split_costs(values: Floats) -> Floats:
    """Give the sum of squares around two levels, for each place of the step between them."""
    n = len(values)
    centred = values - values.mean()
    left = np.cumsum(centred)[:-1]
    count = np.arange(1, n)
    costs: Floats = centred @ centred - np.square(left) * n / (count * (n - count))
    return costs


def _segment(values: Floats) -> _Segmented:
    observed = np.flatnonzero(~np.isnan(values))
    samples = values[observed]
    n = len(samples)
    if n < 2 * SHORTEST:
        return _Segmented(observed, samples, samples, [0, n], 1.0)
    cleaned = noise.without_outliers(samples[None, :])[0]
    flat = _standardised(cleaned)
    if n >= _PATTERN_FROM and flat.any():
        flat = noise.without_cycle(flat)
    found = noise.estimate(flat[None, :], most=MEMORY)
    inflation, variance = float(found.inflation[0]), float(found.variance[0])
    bounds = _candidates(flat, long_run=inflation * variance)
    kept = _Judge(flat, inflation, variance).prune(bounds)
    return _Segmented(observed, cleaned, flat, kept, inflation)


def _standardised(values: Floats) -> Floats:
    """Scale values to [-1, 1], so that sums of squares neither overflow nor lose digits."""
    middle = values / 2 - np.median(values) / 2
    size = np.abs(middle).max()
    # Differences of the last digit of large values are rounding.
    if size <= 8 * np.finfo(np.float64).eps * np.abs(values).max():
        return np.zeros(len(values))
    standard: Floats = middle / size
    return standard


def _candidates(values: Floats, *, long_run: float) -> list[int]:
    """Segment with a penalty that is too high for noise."""
    n = len(values)
    if not values.any():
        return [0, n]
    # Without noise, a thousandth of the variance still tells steps from rounding.
    floor = 1e-3 * float(values.var())
    return optimal(values, penalty=_PENALTY * math.log(n) * max(long_run, floor))


def optimal(values: Floats, *, penalty: float) -> list[int]:
    """Give the bounds of the segments whose squares around their means, and penalties, are least.

    Parameters
    ----------
    values
        All known, at least `SHORTEST` of them.
    penalty
        For each segment, in squares of the unit of the values.

    Returns
    -------
    list
        Positions, from 0 to the number of values; no two are closer than `SHORTEST`.

    Notes
    -----
    A start is given up only from the end on at which a segment fits behind the one that is better:
    where segments have a least length, to give it up at once may miss the optimum.
    """
    n = len(values)
    sums, squares = (np.concatenate(([0.0], np.cumsum(each))) for each in (values, values**2))
    least, previous = np.zeros(n + 1), np.zeros(n + 1, dtype=np.int64)
    least[0] = -penalty
    starts, given_up = np.zeros(1, dtype=np.int64), np.full(n + 1, n + 1)
    for end in range(SHORTEST, n + 1):
        if end >= 2 * SHORTEST:
            starts = np.append(starts, end - SHORTEST)
        around = np.square(sums[end] - sums[starts]) / (end - starts)
        costs = least[starts] + squares[end] - squares[starts] - around
        best = int(np.argmin(costs))
        least[end], previous[end] = costs[best] + penalty, starts[best]
        worse = starts[costs > least[end]]
        given_up[worse] = np.minimum(given_up[worse], end + SHORTEST)
        starts = starts[given_up[starts] > end + 1]
    bounds = [n]
    while bounds[-1]:
        bounds.append(int(previous[bounds[-1]]))
    return bounds[::-1]


@dataclass(frozen=True)
class _Judge:
    """Decide which candidates are changes.

    Parameters
    ----------
    values
        The samples, flat.
    inflation
        Of the variance of means, by memory.
    variance
        Of a sample, from differences.
    """

    values: Floats
    inflation: float
    variance: float

    def prune(self, bounds: list[int]) -> list[int]:
        """Drop candidates, the weakest first, until noise explains none of the others."""
        bounds = list(bounds)
        least = required(len(self.values))
        while len(bounds) > 2:
            spread = max(self._within(bounds), self.variance)
            evidence = [
                self._evidence(*bounds[at - 1 : at + 2], spread=spread)
                for at in range(1, len(bounds) - 1)
            ]
            weakest = int(np.argmin(evidence))
            if evidence[weakest] >= least:
                break
            del bounds[weakest + 1]
        return bounds

    def _within(self, bounds: list[int]) -> float:
        """Give the variance within the regimes."""
        squares = sum(_squares(self.values[first:last]) for first, last in pairwise(bounds))
        return squares / max(len(self.values) - len(bounds) + 1, 1)

    def _evidence(self, first: int, at: int, last: int, *, spread: float) -> float:
        """Give the size of a step [standard errors]; 0 where it is small, or none but a drift."""
        left, right = self.values[first:at], self.values[at:last]
        step = abs(float(right.mean() - left.mean()))
        squares = (_squares(left), _squares(right))
        rest, n = sum(squares), last - first
        # If one side is quiet, a step shows, however noisy the other side is.
        quieter = min(
            (_SHARED * rest / max(n - 2, 1) + s) / (_SHARED + len(side) - 1)
            for s, side in zip(squares, (left, right), strict=True)
        )
        if step == 0.0 or step < _EFFECT * math.sqrt(quieter):
            return 0.0
        drift = _Drift.fit(self.values[first:last], at - first)
        if self._bends(rest, drift.line, n):
            error = sum(
                (_SHARED * spread + s) / (_SHARED + len(side) - 1) / len(side)
                for s, side in zip(squares, (left, right), strict=True)
            )
            return _ratio(step, math.sqrt(self.inflation * error))
        rest = (_SHARED * spread + drift.rest) / (_SHARED + n - 3)
        if drift.weight <= 0 or abs(drift.step) < _EFFECT * math.sqrt(rest):
            return 0.0
        error = math.sqrt(self.inflation * rest / drift.weight)
        return _ratio(abs(drift.step), error) / _DRIFTING

    def _bends(self, rest: float, line: float, n: int) -> bool:
        """Tell whether two levels explain the samples clearly better than a line."""
        if rest >= line:
            return False
        return rest <= 0 or n * math.log(line / rest) / self.inflation > _BENT


@dataclass(frozen=True)
class _Drift:
    """Samples fitted by a line, and by a line with a step.

    Parameters
    ----------
    line, rest
        Sums of squares that are left by the line, and by the line with the step.
    step
        Size of the step.
    weight
        Its variance is that of a sample divided by this.
    """

    line: float
    rest: float
    step: float
    weight: float

    @classmethod
    def fit(cls, values: Floats, at: int) -> _Drift:
        """Fit both by least squares."""
        n = len(values)
        times = np.arange(n) - (n - 1) / 2
        length = float(times @ times)
        centred = values - values.mean()
        beside = centred - (times @ centred) / length * times
        jump = (np.arange(n) >= at) - (n - at) / n
        jump = jump - (times @ jump) / length * times
        weight = float(jump @ jump)
        if weight <= 1e-9:
            return cls(_squares(beside), _squares(beside), 0.0, 0.0)
        step = float(jump @ beside) / weight
        return cls(float(beside @ beside), _squares(beside - step * jump), step, weight)


def _squares(values: Floats) -> float:
    centred = values - values.mean()
    return float(centred @ centred)


def _ratio(size: float, error: float) -> float:
    return size / error if error > 0 else math.inf
