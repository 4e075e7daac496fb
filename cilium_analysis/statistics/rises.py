"""When counts rise above their baseline: bursts, and rises that last. Pure.

Intervals are pairs of positions, half-open: the first bin, and the bin after the last.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: A retry waits for up to five minutes (the back-off of Kubernetes): a pause of that length, or
#: of so few bins, is part of the rise.
PAUSE = timedelta(minutes=5)
LEAST_PAUSE = 5
#: A bin is quiet with less than this share of the mean of a rise,
QUIET = 0.02
#: or with less than so many standard deviations above its ordinary level.
CHANCE = 3.0
#: A rise that would fall into more parts than this is not parted.
MOST_PARTS = 3


@dataclass(frozen=True)
class Rises:
    """Find intervals of counts that a baseline does not explain: from onset to end.

    An interval is the run of bins whose likelihood under a raised Poisson rate, against the
    expected one, is highest (the scan statistic of M. Kulldorff, "A spatial scan statistic",
    Communications in Statistics 26(6), 1997, in one dimension). A burst in one bin and a small
    rise that lasts are measured by the same rule. Counts that scatter more than Poisson counts
    weigh less, in proportion.

    Parameters
    ----------
    ratios
        Between the raised rate and the expected one, to try.
    evidence
        Log-likelihood ratio that an interval must reach.
    least
        Smallest excess of an interval worth reporting [counts].
    ratio
        Smallest ratio worth reporting between an interval and the expectation, and between it
        and the busiest intervals of the same length in the baseline.
    quantile
        Bins and intervals of the baseline above it are its busiest ones: they do not raise the
        expectation.
    bridge
        Intervals with at most so many ordinary bins between them are one [bins]; `at` sets it to
        the length of `PAUSE`.
    """

    ratios: tuple[float, ...] = (3.0, 10.0, 30.0, 100.0, 1000.0)
    evidence: float = 20.0
    least: float = 20.0
    ratio: float = 3.0
    quantile: float = 0.99
    bridge: int = 10

    def at(self, step: timedelta) -> Rises:
        """Give the same search for bins of this length."""
        return replace(self, bridge=max(round(PAUSE / step), LEAST_PAUSE)) if step else self

    def find(
        self, counts: Floats, baseline: Floats, *, exposure: Floats | None = None
    ) -> list[tuple[int, int]]:
        """Give the intervals in which counts rise above the baseline.

        Parameters
        ----------
        counts
            Per bin in the window; NaN where nothing was observed.
        baseline
            The same in the baseline, in bins of the same length. Without any, the quieter half
            of the window itself is taken.
        exposure
            How much more each bin can count than one of the baseline, such as 2 for twice the
            traffic; above 0, and 1 everywhere if not given. Counts that only grow with it are no
            rise.

        Examples
        --------
        >>> counts = np.full(60, 2.0)
        >>> counts[20:30] = 50.0
        >>> Rises().find(counts, baseline=np.full(60, 2.0))
        [(20, 30)]
        """
        more = np.ones(len(counts)) if exposure is None else exposure
        if np.isnan(baseline).all():
            # A rise that fills the window is not found then.
            return replace(self, quantile=0.5)._search(counts, counts, np.empty(0), more)
        return self._search(counts, baseline, baseline, more)

    def _search(
        self, counts: Floats, usual: Floats, busy: Floats, exposure: Floats
    ) -> list[tuple[int, int]]:
        """Give the intervals, parted at long pauses; each part has edges of its own."""
        level, scatter = self._expect(usual)
        expected = level * exposure

        def look(seen: Floats) -> list[tuple[int, int]]:
            return [
                (first, last)
                for first, last in self._likely(seen, expected, scatter)
                if self._matters(seen[first:last], level, busy, exposure[first:last])
            ]

        found: list[tuple[int, int]] = []
        for rise in join(look(counts), bridge=self.bridge):
            parts = self._parts(counts, rise, expected, scatter)
            alone = [each for part in parts for each in look(_only(counts, part))]
            found += alone if len(parts) > 1 else [rise]
        return found

    def _likely(self, counts: Floats, expected: Floats, scatter: float) -> list[tuple[int, int]]:
        """Take the likeliest interval, then look on both sides of it for more."""
        found: list[tuple[int, int]] = []
        pending = [(0, len(counts))]
        while pending:
            first, last = pending.pop()
            likeliest = self._likeliest(counts[first:last], expected[first:last], scatter)
            if likeliest is None:
                continue
            begin, stop = first + likeliest[0], first + likeliest[1]
            pending += [(first, begin), (stop, last)]
            found.append((begin, stop))
        return found

    def _parts(
        self, counts: Floats, rise: tuple[int, int], expected: Floats, scatter: float
    ) -> list[tuple[int, int]]:
        """Part an interval at long pauses, in which nothing unusual happened.

        It stays whole if its rate explains the pauses, or if it would fall into more than
        `MOST_PARTS`. Bins without an observation are no pause.
        """
        first, last = rise
        above = counts[first:last] - expected[first:last]
        rate, level = float(np.nanmean(above)), float(expected[first:last].mean())
        quiet = max(QUIET * rate, CHANCE * float(np.sqrt(scatter * level)))
        busy = first + np.flatnonzero(~(above <= quiet))
        if rate <= 0.0:
            return [rise]
        # Evidence of each bin of a pause against the rate of the rise.
        against = (rate - level * float(np.log1p(rate / level))) / scatter
        pauses = np.flatnonzero(np.diff(busy) - 1 > max(self.bridge, self.evidence / against))
        begins = [first, *(int(place) for place in busy[pauses + 1])]
        ends = [*(int(place) + 1 for place in busy[pauses]), last]
        return list(zip(begins, ends, strict=True)) if len(begins) <= MOST_PARTS else [rise]

    def level(self, baseline: Floats) -> float:
        """Give the expected count per bin; a single burst in the baseline hardly moves it."""
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
        # Rare large values make up most of the scatter; only extreme ones are cut.
        wide = self._usual(baseline, times=3.0)
        scatter = max(float(wide.var()) / level, 1.0) if level else 1.0
        # No count in n bins still allows for a level of 3 / n (the rule of three).
        error = 2.0 * float(np.sqrt(scatter * level / len(usual))) + 3.0 / len(usual)
        return level + error, scatter

    def _likeliest(self, counts: Floats, level: Floats, scatter: float) -> tuple[int, int] | None:
        """Give the interval with the strongest evidence for a rise, if it is enough."""
        best = max(_scan(counts, level, ratio, scatter) for ratio in self.ratios)
        if best[0] < self.evidence:
            return None
        # The interval's own ratio gives the best edges.
        part = slice(best[1], best[2])
        mean = float(np.nanmean(counts[part]) / level[part].mean())
        refined = _scan(counts, level, max(mean, self.ratios[0]), scatter)
        return max(best, refined)[1:]

    def _matters(self, counts: Floats, level: float, baseline: Floats, exposure: Floats) -> bool:
        amount, expected = float(np.nansum(counts)), level * float(exposure.sum())
        sums = _sums(baseline, len(counts))
        busiest = float(np.quantile(sums, self.quantile) * exposure.mean()) if len(sums) else 0.0
        return amount - expected >= self.least and amount >= self.ratio * max(expected, busiest)


def _only(counts: Floats, part: tuple[int, int]) -> Floats:
    """Make all bins outside of a part unknown."""
    inside = np.full(len(counts), np.nan)
    inside[slice(*part)] = counts[slice(*part)]
    return inside


def _sums(counts: Floats, width: int) -> Floats:
    """Give the sums over so many neighbouring bins."""
    running = np.concatenate([[0.0], np.cumsum(np.nan_to_num(counts))])
    sums: Floats = running[width:] - running[:-width]
    return sums


def _scan(counts: Floats, level: Floats, ratio: float, scatter: float) -> tuple[float, int, int]:
    """Give the evidence, the onset and the end of the likeliest interval at one ratio."""
    gains = (counts * np.log(ratio) - level * (ratio - 1.0)) / scatter
    running = np.concatenate([[0.0], np.cumsum(np.nan_to_num(gains))])
    lowest = np.minimum.accumulate(running)
    stop = int(np.argmax(running - lowest))
    # The onset. Of several lowest values the last one: bins that gain nothing are left out.
    begin = stop - int(np.argmin(running[stop::-1]))
    return float(running[stop] - running[begin]), begin, stop


def join(intervals: list[tuple[int, int]], *, bridge: int = 0) -> list[tuple[int, int]]:
    """Join intervals, of one or several series, that overlap or nearly do.

    Parameters
    ----------
    intervals
        In any order.
    bridge
        How far apart two of them may lie to be one [bins].
    """
    joined: list[tuple[int, int]] = []
    for first, last in sorted(intervals):
        if joined and first <= joined[-1][1] + bridge:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined
