"""Where the level of traffic is another than in a baseline, up or down. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cilium_analysis.statistics.baseline import join

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shift:
    """A stretch of bins in which the level was another: first bin, and the bin after the last."""

    first: int
    last: int
    up: bool


@dataclass(frozen=True)
class Shifts:
    """Find stretches that are above or below all that a baseline shows, by a factor.

    Sums over neighbouring bins are compared with the largest and the smallest of the baseline's,
    so that a baseline which swings allows for as much in the window.

    Parameters
    ----------
    factor
        Between a stretch and the baseline.
    width
        Bins that are summed; no shorter stretch is found.
    least
        A level worth looking at [counts per bin].
    quantile
        Above it, and below one less it, sums of the baseline are left out of account.
    """

    width: int
    least: float
    factor: float = 3.0
    quantile: float = 0.99

    def find(self, counts: Floats, baseline: Floats) -> list[Shift]:
        """Give the stretches, in order of time.

        Parameters
        ----------
        counts, baseline
            Per bin; NaN where it is not known, which is never part of a sum.
        """
        usual = self._sums(baseline)
        usual = usual[~np.isnan(usual)]
        if len(usual) < self.width:
            return []
        high = float(np.quantile(usual, self.quantile))
        low = float(np.quantile(usual, 1.0 - self.quantile))
        sums, enough = self._sums(counts), self.least * self.width
        with np.errstate(invalid="ignore"):
            above = (sums >= self.factor * high) & (sums >= enough)
            below = (sums <= low / self.factor) & (low >= enough)
        level = float(usual.mean()) / self.width
        found = [
            *self._stretches(counts, above, lambda values: values > 2.0 * level, up=True),
            *self._stretches(counts, below, lambda values: values < level / 2.0, up=False),
        ]
        return sorted(found, key=lambda shift: shift.first)

    def _sums(self, counts: Floats) -> Floats:
        """Sum so many neighbouring bins; the last of them is the position; NaN if unknown."""
        result = np.full(len(counts), np.nan)
        if len(counts) >= self.width:
            view = np.lib.stride_tricks.sliding_window_view(counts, self.width)
            result[self.width - 1 :] = view.sum(axis=1)
        return result

    def _stretches(
        self,
        counts: Floats,
        flagged: NDArray[np.bool_],
        shifted: Callable[[Floats], NDArray[np.bool_]],
        *,
        up: bool,
    ) -> list[Shift]:
        """Join the windows that are flagged, and cut off the bins at their ends that are not."""
        spans = [(int(i) - self.width + 1, int(i) + 1) for i in np.flatnonzero(flagged)]
        found = []
        for first, last in join(spans):
            inside = np.flatnonzero(shifted(np.nan_to_num(counts[first:last])))
            if len(inside):
                found.append(Shift(first + int(inside[0]), first + int(inside[-1]) + 1, up))
        return found
