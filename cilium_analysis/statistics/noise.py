"""What in a series is noise: single outliers, scatter, and how long it remembers. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

#: Share of the squared differences that is kept, and what the mean of the kept ones is when the
#: values are normal and their variance is 1.
_KEPT, _MEAN_OF_KEPT = 0.9, 0.62
#: So far from its surroundings a sample is an outlier [robust standard deviations].
_FAR = 6.0
#: More of them than this share, and more than two, are how the series is, not outliers.
_RARE = 0.03
_SIGMA = 1.4826
#: The scatter of neighbours says nothing on the memory of fewer samples than this.
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

    @property
    def long_run(self) -> Floats:
        """Variance of a mean, times the number of its samples."""
        return self.variance * self.inflation


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
        Highest memory to believe in: a drift or a slow wave looks like endless memory.
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
    """Put the median of five in place of outliers that last one or two samples.

    Parameters
    ----------
    values
        Shape (series, samples); no NaN. A series with many of them is given back as it is.
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
    # A sample is in a run of three that ends, is centred, or begins at it.
    within = three[:, :-2] | three[:, 1:-1] | three[:, 2:]
    return far & ~within


def median_of_five(values: Floats) -> Floats:
    """Give the median of each sample and the two before and after it; mirrored at the ends."""
    padded = np.pad(values, ((0, 0), (2, 2)), mode="reflect")
    n = values.shape[1]
    a, b, c, d, e = (padded[:, k : k + n] for k in range(5))
    # Of two pairs the smaller minimum and the larger maximum cannot be in the middle.
    low = np.maximum(np.minimum(a, b), np.minimum(d, e))
    high = np.minimum(np.maximum(a, b), np.maximum(d, e))
    low, high = np.minimum(low, high), np.maximum(low, high)
    return np.maximum(low, np.minimum(high, c))
