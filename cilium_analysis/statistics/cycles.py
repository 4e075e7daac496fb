"""A pattern that repeats, such as a day: found by itself, and taken away. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: A pattern must be seen so often; less may be two incidents.
_CYCLES = 4
_SHORTEST = 4
#: Correlation of a cycle with the mean of the others, in the middle one of the cycles.
_ALIKE = 0.6
#: Correlation with the cycle before that is worth a closer look.
_HINT = 0.2
#: The spectrum is looked up so many times finer than the series is long.
_FINER = 4
_PEAKS = 3


class _Pattern(NamedTuple):
    likeness: float
    values: Floats


def without_cycle(values: Floats) -> Floats:
    """Subtract the pattern that repeats at least four times, if there is one.

    It is the median over the cycles of what is left when a moving average over one cycle is
    taken away (classical decomposition; R. J. Hyndman and G. Athanasopoulos, "Forecasting:
    Principles and Practice", 3rd ed., section 3.4), so that a step in one cycle hardly touches
    it. Periods are tried where the spectrum peaks.

    Parameters
    ----------
    values
        One series without NaN.
    """
    patterns = (_pattern(values, period) for period in _periods(values))
    best = _Pattern(_ALIKE, np.zeros(len(values)))
    for pattern in patterns:
        # A longer period must be clearly better, for multiples of the true one are as good.
        if pattern.likeness > best.likeness + 0.02:
            best = pattern
    remaining: Floats = values - best.values
    return remaining


def _periods(values: Floats) -> Iterator[float]:
    """Give the likeliest periods [samples], and their doubles, for harmonics may be stronger."""
    n = len(values)
    first, last = _FINER * (_CYCLES - 1), _FINER * (n // _SHORTEST)
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
    if width < _SHORTEST or n < 0.98 * _CYCLES * period:
        return nothing
    skipped, average = _moving_average(values, width)
    rest = values[skipped : skipped + len(average)] - average
    count = int((len(rest) + 1) / period)
    # Most series have no pattern: a single correlation says so sooner than folding.
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
