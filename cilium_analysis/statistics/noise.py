"""What a series has besides its level: outliers, noise, and a pattern that repeats. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

#: Share of the squared differences that is kept, and what the mean of the kept ones is when the
#: values are normal and their variance is 1.
_KEPT, _MEAN_OF_KEPT = 0.9, 0.62
#: A sample this far from its neighbours is an outlier [robust standard deviations].
_FAR = 6.0
#: If more than two samples and more than this share are far, they are no outliers.
_RARE = 0.03
_SIGMA = 1.4826
#: The memory of fewer samples than this cannot be estimated.
_SHORTEST = 12


@dataclass(frozen=True)
class Noise:
    """Scatter and memory of series, one element per series.

    Parameters
    ----------
    memory
        Correlation of neighbouring samples, as of a first-order autoregression; 0 or more.
    variance
        Of a sample around its level.
    """

    memory: Floats
    variance: Floats

    @property
    def inflation(self) -> Floats:
        """By how much memory raises the variance of a mean over many samples."""
        return (1 + self.memory) / (1 - self.memory)


def estimate(values: Floats, *, most: float) -> Noise:
    """Estimate the noise of series from differences, which steps of the level hardly touch.

    Differences over one and two samples have variances whose ratio is 1 + the memory (S. Chakar
    et al., "A robust approach for estimating change-points in the mean of an AR(1) process",
    Bernoulli 23(2), 2017). The largest tenth of the squares is left out, for steps and outliers
    are among them.

    Parameters
    ----------
    values
        Shape (series, samples); no NaN.
    most
        Highest memory to accept: a drift or a slow wave looks like endless memory.
    """
    near, next_ = _square_difference(values, 1), _square_difference(values, 2)
    if values.shape[1] < _SHORTEST:
        return Noise(np.zeros(len(values)), near / 2)
    ratio = np.divide(next_, near, out=np.ones_like(near), where=near > 0)
    memory = np.clip(ratio - 1, 0.0, most)
    return Noise(memory, near / (2 * (1 - memory)))


def _square_difference(values: Floats, lag: int) -> Floats:
    squares = np.square(values[:, lag:] - values[:, :-lag])
    if not squares.shape[1]:
        return np.zeros(len(values))
    kept = max(1, int(_KEPT * squares.shape[1]))
    squares.partition(kept - 1, axis=1)
    mean: Floats = squares[:, :kept].mean(axis=1) / _MEAN_OF_KEPT
    return mean


def without_outliers(values: Floats) -> Floats:
    """Replace outliers that last one or two samples by the median of five.

    Parameters
    ----------
    values
        Shape (series, samples); no NaN. A series with many outliers stays as it is.
    """
    if values.shape[1] < 5:
        return values
    smooth = median_of_five(values)
    apart = np.abs(values - smooth)
    scale = _SIGMA * np.median(apart, axis=1, keepdims=True)
    still = scale[:, 0] == 0
    scale[still] = apart[still].std(axis=1, keepdims=True)
    single = _short(apart > _FAR * scale)
    rare = single.sum(axis=1, keepdims=True) <= max(2, _RARE * values.shape[1])
    return np.where(single & rare, smooth, values)


def _short(far: Flags) -> Flags:
    """Keep the flags of runs of one or two."""
    padded = np.pad(far, ((0, 0), (2, 2)))
    two = padded[:, :-1] & padded[:, 1:]
    three = two[:, :-1] & two[:, 1:]
    # A run of three ends at the sample, is centred on it, or begins at it.
    within = three[:, :-2] | three[:, 1:-1] | three[:, 2:]
    return far & ~within


def median_of_five(values: Floats) -> Floats:
    """Give the median of each sample and two on each side of it; mirrored at the ends."""
    padded = np.pad(values, ((0, 0), (2, 2)), mode="reflect")
    n = values.shape[1]
    a, b, c, d, e = (padded[:, k : k + n] for k in range(5))
    # The smaller minimum and the larger maximum of two pairs cannot be in the middle.
    low = np.maximum(np.minimum(a, b), np.minimum(d, e))
    high = np.minimum(np.maximum(a, b), np.maximum(d, e))
    low, high = np.minimum(low, high), np.maximum(low, high)
    return np.maximum(low, np.minimum(high, c))


# A pattern that repeats, such as a day

#: A pattern must occur so often; less may be two incidents.
_CYCLES = 4
_SHORTEST_CYCLE = 4
#: Correlation of a cycle with the mean of the others; the median over the cycles counts.
_ALIKE = 0.6
#: Correlation with the cycle before that is needed for a closer look.
_HINT = 0.2
#: The spectrum is computed so many times finer than the length of the series gives.
_FINER = 4
_PEAKS = 3


class _Pattern(NamedTuple):
    likeness: float
    values: Floats


def without_cycle(values: Floats) -> Floats:
    """Subtract the pattern that repeats at least four times, if there is one.

    The pattern is the median over the cycles, after a moving average over one cycle is
    subtracted (classical decomposition; R. J. Hyndman and G. Athanasopoulos, "Forecasting:
    Principles and Practice", 3rd ed., section 3.4), so that a step in one cycle hardly changes
    it. Periods are tried where the spectrum peaks.

    Parameters
    ----------
    values
        One series without NaN.
    """
    patterns = (_pattern(values, period) for period in _periods(values))
    best = _Pattern(_ALIKE, np.zeros(len(values)))
    for pattern in patterns:
        # A longer period must be clearly better: multiples of the true one are as good.
        if pattern.likeness > best.likeness + 0.02:
            best = pattern
    remaining: Floats = values - best.values
    return remaining


def _periods(values: Floats) -> Iterator[float]:
    """Give the likeliest periods [samples], and their doubles: a harmonic may be stronger."""
    n = len(values)
    first, last = _FINER * (_CYCLES - 1), _FINER * (n // _SHORTEST_CYCLE)
    if last - first < 2 * _FINER:
        return
    power = np.square(np.abs(np.fft.rfft(_straightened(values) * np.hanning(n), _FINER * n)))
    at = np.arange(first, min(last, len(power) - 2))
    peaks = at[(power[at] >= power[at - 1]) & (power[at] > power[at + 1])]
    # Steps put power into low frequencies; the factor evens that out.
    order = np.argsort(-power[peaks] * peaks, kind="stable")
    for peak in peaks[order][:_PEAKS]:
        period = _FINER * n / float(peak)
        yield from (period, 2 * period)


def _straightened(values: Floats) -> Floats:
    times = np.arange(len(values)) - (len(values) - 1) / 2
    centred = values - values.mean()
    straight: Floats = centred - (times @ centred) / (times @ times) * times
    return np.clip(straight, *np.percentile(straight, [2, 98]))


def _pattern(values: Floats, period: float) -> _Pattern:
    """Fold a series by a period, which need not be whole."""
    n, width = len(values), round(period)
    nothing = _Pattern(0.0, np.zeros(n))
    if width < _SHORTEST_CYCLE or n < 0.98 * _CYCLES * period:
        return nothing
    skipped, average = _moving_average(values, width)
    rest = values[skipped : skipped + len(average)] - average
    count = int((len(rest) + 1) / period)
    # Most series have no pattern: one correlation shows that faster than folding.
    if count < _CYCLES - 1 or rest[width:] @ rest[:-width] < _HINT * (rest @ rest):
        return nothing
    starts = np.arange(count)[:, None] * period
    places = (starts + np.arange(width) * (period / width) + 1e-9).astype(np.int64)
    folded = rest[np.minimum(places, len(rest) - 1)]
    folded = folded - folded.mean(axis=1, keepdims=True)
    shape = np.median(folded, axis=0)
    phase = np.mod(np.arange(n) - skipped, period) * (width / period) + 1e-9
    return _Pattern(_likeness(folded), (shape - shape.mean())[phase.astype(np.int64) % width])


def _likeness(folded: Floats) -> float:
    others = (folded.sum(axis=0) - folded) / (len(folded) - 1)
    size = np.sqrt(np.square(folded).sum(axis=1) * np.square(others).sum(axis=1))
    product = (folded * others).sum(axis=1)
    return float(np.median(np.divide(product, size, out=np.zeros_like(size), where=size > 0)))


def _moving_average(values: Floats, width: int) -> tuple[int, Floats]:
    """Give the centred average over a width, and how many samples at the start have none."""
    running = np.concatenate([[0.0], np.cumsum(values)])
    average: Floats = (running[width:] - running[:-width]) / width
    if width % 2 == 0:
        average = (average[1:] + average[:-1]) / 2
    return width // 2, average
