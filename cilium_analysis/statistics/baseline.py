"""When counts rise above what a baseline makes one expect. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rises:
    """Find stretches of counts that a baseline does not explain.

    A stretch is the run of bins whose likelihood under a raised Poisson rate, against the
    expected one, is highest (the scan statistic of M. Kulldorff, "A spatial scan statistic",
    Communications in Statistics 26(6), 1997, in one dimension). A burst in one bin and a small
    rise that lasts are so measured by the same yardstick. Counts that scatter more than Poisson
    counts weigh as much less.

    Parameters
    ----------
    ratios
        Between the raised rate and the expected one, to try.
    evidence
        Log-likelihood ratio that a stretch must reach.
    least
        Smallest excess of a stretch worth reporting [counts].
    ratio
        Smallest ratio worth reporting between a stretch and the expectation, and between it and
        the busiest stretches of the same length in the baseline.
    quantile
        Above it a bin or a stretch of the baseline counts as its busiest: single ones do not
        raise the expectation.
    bridge
        Stretches with at most so many ordinary bins between them are one [bins].
    """

    ratios: tuple[float, ...] = (3.0, 10.0, 30.0, 100.0, 1000.0)
    evidence: float = 20.0
    least: float = 20.0
    ratio: float = 3.0
    quantile: float = 0.99
    bridge: int = 10

    def find(self, counts: Floats, baseline: Floats) -> list[tuple[int, int]]:
        """Give the stretches as pairs of positions: first bin, and the bin after the last.

        Parameters
        ----------
        counts
            Per bin in the window; NaN where nothing was observed.
        baseline
            The same in the baseline, in bins of the same length. Without any, the quieter half
            of the window itself has to do.
        """
        if np.isnan(baseline).all():
            # A rise all along the window cannot be seen then.
            return replace(self, quantile=0.5)._search(counts, counts, np.empty(0))
        return self._search(counts, baseline, baseline)

    def _search(self, counts: Floats, usual: Floats, busy: Floats) -> list[tuple[int, int]]:
        """Take the likeliest stretch, then look on both sides of it for more."""
        level, scatter = self._expect(usual)
        found: list[tuple[int, int]] = []
        pending = [(0, len(counts))]
        while pending:
            first, last = pending.pop()
            stretch = self._likeliest(counts[first:last], level, scatter)
            if stretch is None:
                continue
            begin, stop = first + stretch[0], first + stretch[1]
            pending += [(first, begin), (stop, last)]
            if self._matters(counts[begin:stop], level, busy):
                found.append((begin, stop))
        return join(found, bridge=self.bridge)

    def level(self, baseline: Floats) -> float:
        """Give the expected count per bin; one cluster in a quiet baseline hardly moves it."""
        usual = self._usual(baseline)
        return float(usual.mean()) if len(usual) else 0.0

    def _usual(self, baseline: Floats, *, times: float = 1.0) -> Floats:
        """Cut what is above so many times the quantile down to it."""
        known = baseline[~np.isnan(baseline)]
        if not len(known):
            return known
        ceiling = times * max(float(np.quantile(known, self.quantile)), 1.0)
        clipped: Floats = np.minimum(known, ceiling)
        return clipped

    def _expect(self, baseline: Floats) -> tuple[float, float]:
        """Give the highest level that the baseline allows for, and its scatter (Poisson: 1)."""
        usual = self._usual(baseline)
        if not len(usual):
            return 1.0, 1.0
        level = float(usual.mean())
        # Of the scatter the rare large values are the better part; only absurd ones are cut.
        wide = self._usual(baseline, times=3.0)
        scatter = max(float(wide.var()) / level, 1.0) if level else 1.0
        # Nothing in n bins still allows for a level of 3 / n (the rule of three).
        error = 2.0 * float(np.sqrt(scatter * level / len(usual))) + 3.0 / len(usual)
        return level + error, scatter

    def _likeliest(self, counts: Floats, level: float, scatter: float) -> tuple[int, int] | None:
        """Give the stretch with the strongest evidence for a rise, if it is enough."""
        best = max(
            (_scan(counts, level, ratio, scatter) for ratio in self.ratios),
            default=(0.0, 0, 0),
        )
        if best[0] < self.evidence:
            return None
        # The ratio of the stretch itself draws its edges best.
        mean = float(np.nanmean(counts[best[1] : best[2]])) / level
        refined = _scan(counts, level, max(mean, self.ratios[0]), scatter)
        return max(best, refined)[1:]

    def _matters(self, counts: Floats, level: float, baseline: Floats) -> bool:
        amount, expected = float(np.nansum(counts)), level * len(counts)
        sums = _sums(baseline, len(counts))
        busiest = float(np.quantile(sums, self.quantile)) if len(sums) else 0.0
        return amount - expected >= self.least and amount >= self.ratio * max(expected, busiest)


def _sums(counts: Floats, width: int) -> Floats:
    """Give the sums over so many neighbouring bins."""
    running = np.concatenate([[0.0], np.cumsum(np.nan_to_num(counts))])
    sums: Floats = running[width:] - running[:-width]
    return sums


def _scan(counts: Floats, level: float, ratio: float, scatter: float) -> tuple[float, int, int]:
    """Give the evidence, begin and end of the likeliest stretch at one ratio."""
    if not len(counts):
        return 0.0, 0, 0
    gains = (counts * np.log(ratio) - level * (ratio - 1.0)) / scatter
    running = np.concatenate([[0.0], np.cumsum(np.nan_to_num(gains))])
    lowest = np.minimum.accumulate(running)
    stop = int(np.argmax(running - lowest))
    # The last place of the lowest value: bins that gain nothing are left out.
    begin = stop - int(np.argmin(running[stop::-1]))
    return float(running[stop] - running[begin]), begin, stop


def join(stretches: list[tuple[int, int]], *, bridge: int = 0) -> list[tuple[int, int]]:
    """Join stretches, of one or several series, that overlap or nearly do.

    Parameters
    ----------
    stretches
        Pairs of positions, in any order.
    bridge
        How far apart two of them may lie to be one [bins].
    """
    joined: list[tuple[int, int]] = []
    for first, last in sorted(stretches):
        if joined and first <= joined[-1][1] + bridge:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined
