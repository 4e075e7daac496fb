"""What a baseline makes one expect, and when counts rise above it. Pure."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: A retry waits for up to five minutes (the back-off of Kubernetes): so long a pause is part of
#: what pauses; and so are so few bins.
PAUSE = timedelta(minutes=5)
LEAST_PAUSE = 5
#: Bins with less than this share of the mean of a rise are a pause,
QUIET = 0.02
#: or with less than so many standard deviations above their ordinary level.
CHANCE = 3.0
#: What comes and goes in more parts than this is one.
MOST_PARTS = 3


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
        Stretches with at most so many ordinary bins between them are one [bins]; as many as
        `PAUSE` has from `at`.
    """

    ratios: tuple[float, ...] = (3.0, 10.0, 30.0, 100.0, 1000.0)
    evidence: float = 20.0
    least: float = 20.0
    ratio: float = 3.0
    quantile: float = 0.99
    bridge: int = 10

    def at(self, step: timedelta) -> Rises:
        """Give the same for bins of this length."""
        return replace(self, bridge=max(round(PAUSE / step), LEAST_PAUSE)) if step else self

    def find(
        self, counts: Floats, baseline: Floats, *, exposure: Floats | None = None
    ) -> list[tuple[int, int]]:
        """Give the stretches as pairs of positions: first bin, and the bin after the last.

        Parameters
        ----------
        counts
            Per bin in the window; NaN where nothing was observed.
        baseline
            The same in the baseline, in bins of the same length. Without any, the quieter half
            of the window itself has to do.
        exposure
            How much more of what is counted each bin could have than one of the baseline, such
            as twice the traffic; 1 everywhere if not given. Counts that grow with it do not rise.
        """
        more = np.ones(len(counts)) if exposure is None else exposure
        if np.isnan(baseline).all():
            # A rise all along the window cannot be seen then.
            return replace(self, quantile=0.5)._search(counts, counts, np.empty(0), more)
        return self._search(counts, baseline, baseline, more)

    def _search(
        self, counts: Floats, usual: Floats, busy: Floats, exposure: Floats
    ) -> list[tuple[int, int]]:
        """Give the stretches, parted at long pauses; each part has edges of its own."""
        level, scatter = self._expect(usual)
        expected = level * exposure

        def look(seen: Floats) -> list[tuple[int, int]]:
            return [
                (first, last)
                for first, last in self._likely(seen, expected, scatter)
                if self._matters(seen[first:last], level, busy, exposure[first:last])
            ]

        found: list[tuple[int, int]] = []
        for stretch in join(look(counts), bridge=self.bridge):
            parts = self._parts(counts, stretch, expected, scatter)
            alone = [each for part in parts for each in look(_only(counts, part))]
            found += alone if len(parts) > 1 else [stretch]
        return found

    def _likely(self, counts: Floats, expected: Floats, scatter: float) -> list[tuple[int, int]]:
        """Take the likeliest stretch, then look on both sides of it for more."""
        found: list[tuple[int, int]] = []
        pending = [(0, len(counts))]
        while pending:
            first, last = pending.pop()
            stretch = self._likeliest(counts[first:last], expected[first:last], scatter)
            if stretch is None:
                continue
            begin, stop = first + stretch[0], first + stretch[1]
            pending += [(first, begin), (stop, last)]
            found.append((begin, stop))
        return found

    def _parts(
        self, counts: Floats, stretch: tuple[int, int], expected: Floats, scatter: float
    ) -> list[tuple[int, int]]:
        """Part a stretch where nothing unusual happened for long.

        It stays as it is if a pause is no surprise at its rate, if it comes and goes more often
        than `MOST_PARTS`, and where nothing was observed, which is not nothing.
        """
        first, last = stretch
        above = counts[first:last] - expected[first:last]
        rate, level = float(np.nanmean(above)), float(expected[first:last].mean())
        quiet = max(QUIET * rate, CHANCE * float(np.sqrt(scatter * level)))
        busy = first + np.flatnonzero(~(above <= quiet))
        if not len(busy) or rate <= 0.0:
            return [stretch]
        # What each bin of a pause tells against the rate of the rise.
        against = (rate - level * float(np.log1p(rate / level))) / scatter
        pauses = np.flatnonzero(np.diff(busy) - 1 > max(self.bridge, self.evidence / against))
        begins = [first, *(int(place) for place in busy[pauses + 1])]
        ends = [*(int(place) + 1 for place in busy[pauses]), last]
        return list(zip(begins, ends, strict=True)) if len(begins) <= MOST_PARTS else [stretch]

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

    def _likeliest(self, counts: Floats, level: Floats, scatter: float) -> tuple[int, int] | None:
        """Give the stretch with the strongest evidence for a rise, if it is enough."""
        best = max(
            (_scan(counts, level, ratio, scatter) for ratio in self.ratios),
            default=(0.0, 0, 0),
        )
        if best[0] < self.evidence:
            return None
        # The ratio of the stretch itself draws its edges best.
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
    """Keep what was counted in a part, as if nothing else had been observed."""
    inside = np.full(len(counts), np.nan)
    inside[slice(*part)] = counts[slice(*part)]
    return inside


def _sums(counts: Floats, width: int) -> Floats:
    """Give the sums over so many neighbouring bins."""
    running = np.concatenate([[0.0], np.cumsum(np.nan_to_num(counts))])
    sums: Floats = running[width:] - running[:-width]
    return sums


def _scan(counts: Floats, level: Floats, ratio: float, scatter: float) -> tuple[float, int, int]:
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


#: Steps over which a level is taken: single steps are noise.
WIDTH = 5
#: A level is said to be expected if the baseline was between these quantiles of its own.
QUANTILES = (0.01, 0.99)
#: Nothing is known to better than this share of its level.
RELATIVE = 0.05
#: Without any spread in the baseline, this share of the largest value is one.
WITHOUT_SPREAD = 0.2
#: Series that are looked at together: what they take lies in a processor's cache.
_CHUNK = 512


@dataclass(frozen=True)
class Expectation:
    """What a baseline makes one expect of series, and how far they are from it.

    Parameters
    ----------
    level
        Expected value of each series; 0 for counts that the baseline does not have.
    half
        Half of the span in which it usually is; above 0.
    """

    level: Floats
    half: Floats

    def scores(self, values: Floats) -> Floats:
        """Give by how many half spans each value is above (or below) what is expected.

        Parameters
        ----------
        values
            Shape (T, S), means over `WIDTH` steps (`smoothed`).

        Returns
        -------
        numpy.ndarray
            Shape (T, S), without unit: packets, seconds and ratios can be compared.
        """
        result: Floats = (values - self.level) / self.half
        return result


def expect(baseline: Floats, window: Floats, *, counts: bool) -> Expectation:
    """Learn from a baseline what to expect, robustly: single outliers and bursts do not matter.

    Parameters
    ----------
    baseline, window
        Shape (T, S), the same series in both; NaN where nothing is known.
    counts
        Whether they are counts per step, which scatter at least as Poisson counts do, and are 0
        where a series is not there at all.

    Returns
    -------
    Expectation
        Arrays of shape (S,).
    """
    usual, now = (smoothed(_filled(each, counts)) for each in (baseline, window))
    low, level, high = _quantiles(usual)
    # The median of a sparse counter is 0, and its mean says more.
    mean = _mean(np.clip(usual, low, high)) if len(usual) else level
    level = np.where((level == 0.0) & (mean > 0.0), mean, level)
    most = np.fmax(_largest(now), _largest(usual))
    half = np.fmax((high - low) / 2.0, RELATIVE * np.abs(level))
    if counts:
        half = np.fmax(half, 3.0 * np.sqrt(np.fmax(level * WIDTH, 1.0)) / WIDTH)
    half = np.where(half > 0.0, half, WITHOUT_SPREAD * most)
    return Expectation(level, np.where(half > 0.0, half, 1.0))


def smoothed(values: Floats, *, width: int = WIDTH) -> Floats:
    """Give the mean of each run of steps, NaN where most of it is unknown.

    Parameters
    ----------
    values
        Shape (T, S).
    width
        Steps of a run.

    Returns
    -------
    numpy.ndarray
        Shape (T, S); row t is about the steps up to and including t.
    """
    known = ~np.isnan(values)
    zero = np.zeros((1, values.shape[1]))
    sums = np.concatenate([zero, np.cumsum(np.where(known, values, 0.0), axis=0)])
    have = np.concatenate([zero, np.cumsum(known, axis=0)])
    first = np.maximum(np.arange(1, len(values) + 1) - width, 0)
    last = np.arange(1, len(values) + 1)
    number = have[last] - have[first]
    enough = number > width / 2.0
    result: Floats = np.where(enough, (sums[last] - sums[first]) / np.maximum(number, 1.0), np.nan)
    return result


def extremes(baseline: Floats, window: Floats, *, counts: bool) -> tuple[Floats, NDArray[np.int64]]:
    """Give the largest deviation of each series from its baseline, and when it was.

    Parameters
    ----------
    baseline, window, counts
        As for `expect`; any number of series.

    Returns
    -------
    tuple
        Scores (S,), with their sign; positions of the extremes in the window (S,).
    """
    scores = np.zeros(window.shape[1])
    places = np.zeros(window.shape[1], dtype=np.int64)

    def look(first: int) -> None:
        part = slice(first, first + _CHUNK)
        found = expect(baseline[:, part], window[:, part], counts=counts)
        values = smoothed(_filled(window[:, part], counts))
        every = np.nan_to_num(found.scores(values))
        places[part] = np.argmax(np.abs(every), axis=0)
        scores[part] = np.take_along_axis(every, places[part][None, :], axis=0)[0]

    # Nearly all of it is in numpy, which lets other threads run.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(look, range(0, window.shape[1] if len(window) else 0, _CHUNK)))
    return scores, places


def _filled(values: Floats, counts: bool) -> Floats:
    """Take a counter that is not there for one that counts nothing."""
    filled: Floats = np.nan_to_num(values) if counts else values
    return filled


def _quantiles(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Give low, median and high per column; 0 for a column of which nothing is known."""
    if not len(values):
        nothing = np.zeros(values.shape[1])
        return nothing, nothing, nothing
    ordered = np.sort(values, axis=0)  # NaN last
    number = (~np.isnan(values)).sum(axis=0)
    found = []
    for share in (QUANTILES[0], 0.5, QUANTILES[1]):
        place = np.round(share * np.maximum(number - 1, 0)).astype(np.int64)
        found.append(np.nan_to_num(np.take_along_axis(ordered, place[None, :], axis=0)[0]))
    return found[0], found[1], found[2]


def _mean(values: Floats) -> Floats:
    known = ~np.isnan(values)
    result: Floats = np.where(known, values, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return result


def _largest(values: Floats) -> Floats:
    filled = np.where(np.isnan(values), 0.0, np.abs(values))
    result: Floats = filled.max(axis=0, initial=0.0)
    return result
