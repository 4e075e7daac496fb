"""When a regime of a metric began and ended: where its level steps. Pure.

Candidates come from the optimal segmentation into constant levels (PELT: R. Killick,
P. Fearnhead and I. A. Eckley, "Optimal detection of changepoints with a linear computational
cost", Journal of the American Statistical Association 107, 2012; computed by ruptures:
C. Truong, L. Oudre and N. Vayatis, "Selective review of offline change point detection methods",
Signal Processing 167, 2020). Before it, single outliers and a repeating pattern are taken away;
after it, candidates are dropped, weakest first, until each is beyond what noise of that
scatter and memory does, is as large as an eye would see, and is a step, not a piece of a drift.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis.statistics import cycles, noise

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]

#: Shortest regime [samples]; less is an outlier.
SHORTEST = 3
#: Cost of a change in the segmentation, times log n and the long-run variance.
_PENALTY = 3.0
#: Highest memory of noise to believe in; beyond it the level itself is what moves.
MEMORY = 0.7
#: Least step [standard deviations within the regimes].
_EFFECT = 1.2
#: A regime's own variance counts beside so many samples' worth of that of all regimes.
_SHARED = 6.0
#: A step must explain so much more than a line does [twice the log-likelihood].
_BENT = 6.0
#: What is asked of a step on top of a drift, beside a step without one.
_DRIFTING = 1.3
#: Evidence asked for beyond that of the largest of n normal variables [standard errors].
_BEYOND = 2.0
#: Quantile of 95 % of the likelihood ratio of a change's position (B. E. Hansen, "Sample
#: splitting and threshold estimation", Econometrica 68(3), 2000, table 1).
_PLAUSIBLE = 7.35
#: Samples for a first look for a pattern.
_PATTERN_FROM = 24


def detect(series: ArrayLike | pd.Series[float]) -> Ints:
    """Give the positions where a new regime starts.

    Meant for the metrics of an incident as they are: gauges, rates, ratios and latencies;
    mostly zero, noisy or whole numbers; with a slow drift or a daily pattern. Of series that are
    nothing but noise one in a hundred gives a change, of the worst kinds (strongly clustered
    counts, a daily pattern, few samples with a long memory) up to five. For drifts that bend
    there is `forecast.Trends`.

    Parameters
    ----------
    series
        One value per step; NaN where nothing was observed, which is no change by itself.

    Returns
    -------
    Positions into the series, increasing; never 0, never its length. A change that a gap hides
    is at the first sample after it. Empty where there are fewer than six samples.

    Raises
    ------
    ValueError
        Where the series has more than one dimension or holds an infinite value.
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
    One row per regime, the first one included: positions `start` and `end` (the one after the
    last); `earliest` and `latest`, between which the start lies with a confidence of about 95 %,
    and where no other position is likelier within the regimes on both sides; `before` and
    `level`, the mean levels of the regime before (NaN for the first) and of this one, outliers
    left out [unit of the series]. No row for a series without samples.

    Raises
    ------
    ValueError
        As for `detect`.
    """
    values = _read(series)
    found = _segment(values)
    if not len(found.observed):
        return _table([], [], [], [], [])
    starts = [0, *found.positions.tolist()]
    ranges = [(0, 0), *(found.plausible(at) for at in range(1, len(found.bounds) - 1))]
    levels = [float(found.cleaned[first:last].mean()) for first, last in pairwise(found.bounds)]
    earliest, latest = zip(*ranges, strict=True)
    return _table(starts, [*starts[1:], len(values)], list(earliest), list(latest), levels)


def asked(n: int) -> float:
    """Give the evidence asked for a change in a series of so many samples [standard errors]."""
    return math.sqrt(2 * math.log(n)) + _BEYOND


def _table(
    start: list[int], end: list[int], earliest: list[int], latest: list[int], level: list[float]
) -> pd.DataFrame:
    positions = {"start": start, "end": end, "earliest": earliest, "latest": latest}
    before = [math.nan, *level[:-1]] if level else []
    return pd.DataFrame(
        {name: np.array(column, dtype=np.int64) for name, column in positions.items()}
        | {
            name: np.array(c, dtype=np.float64)
            for name, c in (("before", before), ("level", level))
        }
    )


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
        The same without a repeating pattern, in units that fit.
    bounds
        Indices of samples: 0, where regimes start, and the number of samples.
    noise
        Of the samples.
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
        # What a gap hides may have happened anywhere in it.
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
        flat = cycles.without_cycle(flat)
    found = noise.estimate(flat[None, :], most=MEMORY)
    inflation, variance = float(found.inflation[0]), float(found.variance[0])
    bounds = _candidates(flat, long_run=inflation * variance)
    kept = _Judge(flat, inflation, variance).prune(bounds)
    return _Segmented(observed, cleaned, flat, kept, inflation)


def _standardised(values: Floats) -> Floats:
    """Bring values into [-1, 1]: sums of squares neither overflow nor lose digits."""
    middle = values / 2 - np.median(values) / 2
    size = np.abs(middle).max()
    # Differences of the last digit of large values are rounding.
    if size <= 8 * np.finfo(np.float64).eps * np.abs(values).max():
        return np.zeros(len(values))
    standard: Floats = middle / size
    return standard


def _candidates(values: Floats, *, long_run: float) -> list[int]:
    """Segment with a penalty that noise does not pay."""
    n = len(values)
    if not values.any():
        return [0, n]
    from ruptures.detection import KernelCPD  # it takes longer to load than pandas

    # Without noise a thousandth of the variance still parts steps from rounding.
    floor = 1e-3 * float(values.var())
    search = KernelCPD(kernel="linear", min_size=SHORTEST).fit(values[:, None])
    ends = search.predict(pen=_PENALTY * math.log(n) * max(long_run, floor))
    return [0, *(int(end) for end in ends)]


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
        """Drop candidates, the weakest first, until all are beyond noise."""
        bounds = list(bounds)
        least = asked(len(self.values))
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
        # What is quiet on one side shows a step, however noisy the other side is.
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
        """Whether two levels explain a stretch clearly better than a line."""
        if rest >= line:
            return False
        return rest <= 0 or n * math.log(line / rest) / self.inflation > _BENT


@dataclass(frozen=True)
class _Drift:
    """A stretch as a line, and as a line with a step.

    Parameters
    ----------
    line, rest
        Sums of squares that the line leaves, and the line with the step.
    step
        Of the latter.
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
