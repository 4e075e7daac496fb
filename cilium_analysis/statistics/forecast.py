"""How fast a level rises, how sure that is, and when it reaches a limit. Pure.

The slope is that of Theil and Sen, the median of the slopes between all pairs of points, which a
restart or a burst hardly changes. Its interval is Sen's, from the variance of Kendall's S (P. K.
Sen, "Estimates of the regression coefficient based on Kendall's tau", Journal of the American
Statistical Association 63, 1968). Neighbouring samples of a gauge are alike, so that there are
fewer independent ones than samples: the variance is enlarged by (1 + r) / (1 - r) for a lag-one
autocorrelation r (S. Yue and C. Y. Wang, "The Mann-Kendall test modified by effective sample
size", Water Resources Management 18, 2004), with r corrected for the bias that fitting a line
brings, and Student's t instead of the normal distribution for so few (B. D. Santer et al.,
Journal of Geophysical Research 105(D6), 2000). Where hardly any independent ones are left, as in
a random walk, the rises over a few equal parts of the time are taken as independent instead.

The point where a level changed its course is found by fitting one to four lines (R. Bellman and
R. Roth, "Curve fitting by segmented straight lines", Journal of the American Statistical
Association 64, 1969).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DAY = 86_400.0
#: Nothing is predicted beyond this time.
FAR = timedelta(days=3650)
ROUNDING = 1e-10
#: A level with this autocorrelation or more may be a random walk.
WANDERS_FROM = 0.8


@dataclass(frozen=True)
class Trend:
    """A straight line through a part of a level.

    Parameters
    ----------
    start, end
        Its first and last sample.
    level
        Of the line at the end.
    slope, low, high
        Rise of the line [1/day], and its confidence interval; infinite where there are too few
        samples.
    """

    start: datetime
    end: datetime
    level: float
    slope: float
    low: float
    high: float

    @property
    def length(self) -> timedelta:
        """Time from start to end."""
        return self.end - self.start

    @property
    def rise(self) -> float:
        """Rise of the line from start to end."""
        return self.slope * self.length.total_seconds() / DAY

    @property
    def rising(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.low > 0


@dataclass(frozen=True)
class RunsOut:
    """When a rising level reaches its limit.

    Parameters
    ----------
    earliest, expected, latest
        By the upper end of the slope's interval, the slope itself, and the lower end; None for
        never, and for later than `FAR`.
    """

    earliest: datetime | None
    expected: datetime | None
    latest: datetime | None


@dataclass(frozen=True)
class Trends:
    """Fit straight lines to levels.

    Parameters
    ----------
    confidence
        Of the interval.
    blocks
        Samples are first merged into the medians of so many equal parts of the time.
    fewest
        Samples that a line needs.
    shortest
        Part of the series that each of several lines has to cover.
    lines
        How many lines to try.
    gain
        The level changed its course if one more line leaves less than this part of the squared
        error.
    parts
        Number of parts that a random walk is cut into.
    """

    confidence: float = 0.95
    blocks: int = 96
    fewest: int = 8
    shortest: float = 1 / 12
    lines: int = 4
    gain: float = 0.15
    parts: int = 8

    def fit(self, levels: pd.Series) -> Trend | None:
        """Fit one line to the whole of a series.

        Parameters
        ----------
        levels
            Index of times; NaN where nothing is known.

        Returns
        -------
        Trend or None
            None for too few samples.
        """
        known = levels.dropna()
        if len(known) < self.fewest:
            return None
        days, values = self._blocks(known)
        slopes = _slopes(days, values)
        slope = float(np.median(slopes))
        rest = values - slope * days
        last = _days(known)[-1]
        scatter = rest - float(np.median(rest))
        # The rounding errors of an exact line would look like a pattern.
        scatter[np.abs(scatter) <= ROUNDING * float(np.abs(values).max())] = 0.0
        low, high = self._interval(days, values, slopes, scatter)
        return Trend(
            start=known.index[0].to_pydatetime(),
            end=known.index[-1].to_pydatetime(),
            level=float(np.median(rest) + slope * last),
            slope=slope,
            low=low,
            high=high,
        )

    def latest(self, levels: pd.Series) -> Trend | None:
        """Fit a line to the newest part of a series, since the level last changed its course.

        Parameters
        ----------
        levels
            As for `fit`.

        Returns
        -------
        Trend or None
            None for too few samples, also since the level last changed its course.
        """
        known = levels.dropna()
        while len(known) >= 2 * self.fewest:
            days, values = self._blocks(known)
            turn = self._turn(days, values)
            if not turn:
                break
            known = known[_days(known) > (days[turn - 1] + days[turn]) / 2]
        return self.fit(known)

    def _blocks(self, known: pd.Series) -> tuple[Floats, Floats]:
        """Merge samples into the medians of equal parts of the time [days]."""
        days, values = _days(known), known.to_numpy(dtype="float64")
        if len(days) <= self.blocks:
            return days, values
        which = np.minimum((days / days[-1] * self.blocks).astype(int), self.blocks - 1)
        grouped = pd.DataFrame({"days": days, "values": values}).groupby(which)
        merged = grouped.agg({"days": "mean", "values": "median"})
        return merged["days"].to_numpy(), merged["values"].to_numpy()

    def _interval(
        self, days: Floats, values: Floats, slopes: Floats, rest: Floats
    ) -> tuple[float, float]:
        """Take the interval from the ordered slopes; a wider one for a random walk."""
        memory = _autocorrelation(rest)
        low, high = self._ranked(np.sort(slopes), len(rest), memory)
        if memory < WANDERS_FROM:
            return low, high
        ends = self._wandering(days, values)
        middle = float(np.median(slopes))
        return (
            min(ends[0], middle, low if math.isfinite(low) else middle),
            max(ends[1], middle, high if math.isfinite(high) else middle),
        )

    def _ranked(self, ordered: Floats, size: int, memory: float) -> tuple[float, float]:
        """Take the interval of Sen; infinite where there are too few independent samples."""
        effective = size * (1.0 - memory) / (1.0 + memory)
        wide = student((1.0 + self.confidence) / 2.0, effective - 2.0)
        deviation = math.sqrt(size * (size - 1) * (2 * size + 5) / 18.0 * size / effective)
        half = wide * deviation / 2.0
        low, high = len(ordered) / 2.0 - half, len(ordered) / 2.0 + half
        return (
            float(ordered[math.floor(low)]) if low >= 0 else -math.inf,
            float(ordered[math.ceil(high)]) if high <= len(ordered) - 1 else math.inf,
        )

    def _wandering(self, days: Floats, values: Floats) -> tuple[float, float]:
        """Take the interval of the mean rise over the parts of a random walk."""
        count = min(self.parts, len(days) // 3)
        if count < 2:
            return -math.inf, math.inf
        edges = np.interp(np.linspace(days[0], days[-1], count + 1), days, values)
        rises = np.diff(edges) / ((days[-1] - days[0]) / count)
        wide = student((1.0 + self.confidence) / 2.0, count - 1.0)
        half = wide * float(rises.std(ddof=1)) / math.sqrt(count)
        return float(rises.mean()) - half, float(rises.mean()) + half

    def _turn(self, days: Floats, values: Floats) -> int:
        """Give the position where the newest course began; 0 if there is only one."""
        size = len(days)
        least = max(math.ceil(self.shortest * size), 4)
        costs = line_errors(days, values)
        rounding = 1e-12 * size * max(float(np.abs(values).max()), 1e-9) ** 2
        # best[j]: squared error of the best lines through the first j points.
        best, began = costs[0].copy(), [np.zeros(size + 1, dtype=np.intp)]
        left = [float(best[size])]
        for _ in range(1, self.lines):
            options = best[:, None] + costs
            options[:least] = np.inf
            options[np.arange(size + 1)[:, None] + least > np.arange(size + 1)] = np.inf
            began.append(options.argmin(axis=0))
            best = options.min(axis=0)
            left.append(float(best[size]))
        chosen = 0
        for lines in range(1, len(left)):
            if left[lines] + rounding < self.gain ** (lines - chosen) * left[chosen]:
                chosen = lines
        return int(began[chosen][size])


def _days(known: pd.Series) -> Floats:
    """Give the times of a series in days since its first."""
    days: Floats = (known.index - known.index[0]).total_seconds().to_numpy() / DAY
    return days


def _slopes(days: Floats, values: Floats) -> Floats:
    """Give the slopes between all pairs of points."""
    first, second = np.triu_indices(len(days), k=1)
    slopes: Floats = (values[second] - values[first]) / (days[second] - days[first])
    return slopes


def line_errors(days: Floats, values: Floats) -> Floats:
    """Give the squared error of the best line through each run of points.

    Parameters
    ----------
    days, values
        Of the points, in order.

    Returns
    -------
    numpy.ndarray
        That of points i to j - 1 at [i, j], for i < j [square of the unit of the values].
    """
    moved, lifted = days - days.mean(), values - values.mean()
    parts = (np.ones(len(days)), moved, lifted, moved**2, lifted**2, moved * lifted)
    sums = [np.concatenate([[0.0], np.cumsum(part)]) for part in parts]
    count, t, y, tt, yy, ty = (running - running[:, None] for running in sums)
    several = np.maximum(count, 1.0)
    spread = tt - t**2 / several
    fitted = (ty - t * y / several) ** 2 / np.where(spread > 0, spread, np.inf)
    errors: Floats = np.clip(yy - y**2 / several - fitted, 0.0, None)
    return errors


def _autocorrelation(rest: Floats) -> float:
    """Give the lag-one autocorrelation of the residuals of a line, at least 0, below 1."""
    size, power = len(rest), float((rest**2).sum())
    if not power:
        return 0.0
    raw = float((rest[1:] * rest[:-1]).sum()) / power
    # Fitting a line lowers it by (2 + 4 r) / n (M. G. Kendall, Biometrika 41, 1954).
    return min(max((size * raw + 2.0) / (size - 4.0), 0.0), 0.999)


def student(probability: float, freedom: float) -> float:
    """Give a quantile of Student's t (Abramowitz and Stegun, 26.7.5); infinite below one degree.

    Parameters
    ----------
    probability
        Of the quantile.
    freedom
        Degrees of freedom; the result is within 2 % of the truth from three on.
    """
    if freedom < 1.0:
        return math.inf
    z = NormalDist().inv_cdf(probability)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )


def runs_out(
    level: float, slope: float, interval: tuple[float, float], limit: float, now: datetime
) -> RunsOut:
    """Give the time when a level reaches its limit, if it goes on at this slope.

    Parameters
    ----------
    level
        Now.
    slope, interval
        Rise [1/day], and the lower and upper end of its interval.
    limit
        Of the level.
    now
        Aware.
    """
    low, high = interval
    return RunsOut(
        earliest=_reached(level, high, limit, now),
        expected=_reached(level, slope, limit, now),
        latest=_reached(level, low, limit, now),
    )


def _reached(level: float, slope: float, limit: float, now: datetime) -> datetime | None:
    if level >= limit:
        return now
    if not slope > 0:
        return None
    days = (limit - level) / slope
    return now + timedelta(days=days) if days <= FAR.days else None
