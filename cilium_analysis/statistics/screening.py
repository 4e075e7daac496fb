"""Which of very many series may have a regime that starts: a cheap look at all of them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis.statistics import changepoints, noise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

#: Series at a time: what one takes lies in a processor's cache.
_CHUNK = 512
#: Between one length of window and the next.
_WIDER = 1.5
#: Share of what `changepoints.detect` asks of a step. Windows do not fit a regime exactly, and a
#: pattern that is still in the series hides a part of it.
_LENIENT = 0.85


def screen(frame: pd.DataFrame) -> pd.Series[bool]:
    """Tell which columns are worth `changepoints.detect`, some hundred times as fast.

    Sums over windows of many lengths are compared with the sums beside them, and with the median
    of the column, in units of the noise that `detect` would allow for. Of the columns in which
    `detect` finds a change, at most 2 in 100 are not among those given.

    Parameters
    ----------
    frame
        One column per series, one row per step; NaN where nothing was observed.

    Returns
    -------
    One truth value per column, with the frame's columns as its index.
    """
    values = frame.to_numpy(dtype=np.float64)
    worth = np.zeros(values.shape[1], dtype=np.bool_)
    if len(values) >= 2 * changepoints.SHORTEST:
        for first in range(0, values.shape[1], _CHUNK):
            chunk = np.ascontiguousarray(values[:, first : first + _CHUNK].T)
            worth[first : first + _CHUNK] = _screen(_filled(chunk))
    return pd.Series(worth, index=frame.columns)


def _filled(values: Floats) -> Floats:
    """Put the last sample before it into each gap, and the first one before the first."""
    missing = np.isnan(values)
    if not missing.any():
        return values
    places = np.where(missing, 0, np.arange(values.shape[1]))
    first = np.argmin(missing, axis=1)
    places[:, 0] = first
    last = np.maximum.accumulate(np.maximum(places, first[:, None] * missing), axis=1)
    return np.nan_to_num(np.take_along_axis(values, last, axis=1))


def _screen(values: Floats) -> Flags:
    cleaned = noise.without_outliers(values)
    middle = np.median(cleaned, axis=1, keepdims=True)
    centred = cleaned - middle
    size = np.abs(centred).max(axis=1)
    moves = size > 8 * np.finfo(np.float64).eps * np.abs(values).max(axis=1)
    standard = centred / np.where(moves, size, 1.0)[:, None]
    found = noise.estimate(standard, most=changepoints.MEMORY)
    # All differences know of heavy tails, and a few steps among them do no harm.
    variance = np.square(np.diff(standard, axis=1)).mean(axis=1) / (2 * (1 - found.memory))
    scale = found.inflation * np.maximum(found.variance, variance)
    asked = np.square(_LENIENT * changepoints.asked(values.shape[1])) * scale
    # Such memory may be a pattern that repeats, which a cheap look does not see through.
    unclear = found.memory >= changepoints.MEMORY
    worth: Flags = moves & (unclear | (_evidence(standard) >= asked))
    return worth


def _evidence(values: Floats) -> Floats:
    """Give the largest square of a difference of means, in units of the long-run variance."""
    n = values.shape[1]
    running = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
    running -= running[:, -1:] * (np.arange(n + 1) / n)
    before = np.arange(1, n)
    best: Floats = (np.square(running[:, 1:-1]) * (n / (before * (n - before)))).max(axis=1)
    for width in _widths(n // 2):
        sums = running[:, width:] - running[:, :-width]
        above = np.square(sums).max(axis=1) * (n / (width * (n - width)))
        beside = np.square(sums[:, width:] - sums[:, :-width]).max(axis=1) / (2 * width)
        best = np.maximum(best, np.maximum(above, beside))
    return best


def _widths(longest: int) -> Iterator[int]:
    width = float(changepoints.SHORTEST)
    while width <= longest:
        yield round(width)
        width *= _WIDER
