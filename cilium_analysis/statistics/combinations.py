"""Which combinations of labels deviate from what was expected. Pure.

A cuboid is a choice of dimensions; its groups are the combinations of their labels that occur (J.
Gray et al., "Data cube: a relational aggregation operator generalizing group-by, cross-tab, and
sub-totals", Data Mining and Knowledge Discovery 1, 1997). Each cuboid is summed from the smallest
finer one, so that only a few of them read all leaves.

Under a cause all its leaves change in proportion to their expectation, the ripple effect (Y. Sun
et al., "HotSpot: anomaly localization for additive KPIs with multi-dimensional attributes", IEEE
Access 6, 2018; Z. Li et al., "Generic and robust localization of multi-dimensional root causes",
ISSRE 2019). The combination with the highest likelihood ratio of one changed rate against none
(the scan statistic of M. Kulldorff, "A spatial scan statistic", Communications in Statistics 26(6),
1997) is then the cause: a part of it has less evidence, and a larger group dilutes the evidence.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Mask = NDArray[np.bool_]

#: At most so many cuboids are searched, those of the fewest dimensions first.
MOST = 256
#: Quantile 0.4 of the square of a standard normal variable.
_LOW_SQUARE = 0.275
#: Fewest leaves for an estimate of noise.
_FEWEST = 30
#: So many leaves are enough for one.
_ENOUGH = 20_000
#: The noise of a leaf is at least this part of it.
_FINEST_NOISE = 0.02
#: Part of a rise that counts as expected.
_FORESEEN = 0.05


@dataclass(frozen=True)
class Cuboid:
    """The groups of one choice of dimensions.

    Parameters
    ----------
    dimensions
        Positions of the chosen ones, increasing.
    labels
        Of each group: the position of its label in every chosen dimension.
    finer
        The cuboid that this one is summed from; None for the leaves.
    group
        For each group of the finer cuboid, or each leaf: its group here.
    """

    dimensions: tuple[int, ...]
    labels: Integers
    finer: int | None
    group: Integers


class Lattice:
    """All cuboids of some leaves.

    Parameters
    ----------
    leaves
        Positions of labels, one row per leaf and one column per dimension; rows differ.
    """

    def __init__(self, leaves: Integers) -> None:
        self.leaves = leaves
        self.cuboids: list[Cuboid] = []
        built: dict[tuple[int, ...], int] = {}
        for dimensions in _choices(leaves.shape[1]):
            above = [built[wider] for wider in _wider(dimensions, leaves.shape[1], built)]
            finer = min(above, key=lambda at: len(self.cuboids[at].labels), default=None)
            if finer is None:
                labels = leaves[:, dimensions]
            else:
                source = self.cuboids[finer]
                labels = source.labels[:, [source.dimensions.index(one) for one in dimensions]]
            first, group = distinct(labels)
            built[dimensions] = len(self.cuboids)
            self.cuboids.append(Cuboid(dimensions, labels[first], finer, group))

    def sums(self, values: Floats) -> list[Floats]:
        """Sum a value of each leaf over the groups of every cuboid."""
        done: list[Floats] = []
        for cuboid in self.cuboids:
            source = values if cuboid.finer is None else done[cuboid.finer]
            done.append(total(cuboid.group, source, len(cuboid.labels)))
        return done

    def members(self, at: int, group: int) -> NDArray[np.bool_]:
        """Tell which leaves belong to a group of a cuboid."""
        cuboid = self.cuboids[at]
        columns = self.leaves[:, cuboid.dimensions]
        inside: NDArray[np.bool_] = (columns == cuboid.labels[group]).all(axis=1)
        return inside


def total(group: Integers, values: Floats, count: int) -> Floats:
    """Sum values by group."""
    sums: Floats = np.bincount(group, values, minlength=count).astype(np.float64, copy=False)
    return sums


def _choices(count: int) -> list[tuple[int, ...]]:
    """Give the dimensions of the cuboids to search, finest first."""
    chosen: list[tuple[int, ...]] = []
    for size in range(1, count + 1):
        more = list(itertools.combinations(range(count), size))
        if size > 1 and size < count and len(chosen) + len(more) > MOST:
            break
        chosen += more
    whole = tuple(range(count))
    return [whole, *(one for one in reversed(chosen) if one != whole)]


def _wider(
    dimensions: tuple[int, ...], count: int, built: dict[tuple[int, ...], int]
) -> list[tuple[int, ...]]:
    """Give the cuboids with one dimension more."""
    more = (set(range(count)) - set(dimensions)) if dimensions else set()
    wider = [tuple(sorted((*dimensions, one))) for one in more]
    known = [one for one in wider if one in built]
    whole = tuple(range(count))
    return known or [whole] * (dimensions != whole)


def distinct(labels: Integers) -> tuple[Integers, Integers]:
    """Give the distinct rows numbers, in increasing order.

    Returns
    -------
    tuple
        For each number a row that has it, and the number of each row.
    """
    key = np.zeros(len(labels), dtype=np.int64)
    size = 1
    for column in labels.T:
        high = int(column.max(initial=0)) + 1
        if size * high > 2**62:
            _, key = np.unique(key, return_inverse=True)
            size = int(key.max(initial=0)) + 1
        key = key * high + column
        size *= high
    if size > 8 * len(key) + 1024:
        _, first, group = np.unique(key, return_index=True, return_inverse=True)
        return first, group
    last = np.full(size, -1, dtype=np.int64)
    last[key] = np.arange(len(key))
    present = last >= 0
    return last[present], (np.cumsum(present) - 1)[key]


# The search


@dataclass(frozen=True)
class Cause:
    """A group of a cuboid, and the leaves that it explains."""

    cuboid: int
    group: int
    leaves: Mask
    gain: float


@dataclass(frozen=True)
class Search:
    """Look for combinations of labels whose leaves changed together.

    Parameters
    ----------
    depth
        Part of its evidence that a combination loses for each dimension that it names.
    split
        Part of its evidence that each further combination in its place must add.
    evidence
        Log-likelihood ratio that a combination must reach.
    relative
        The same, as a part of the strongest combination's.
    least
        Smallest part of the largest deviation that is worth naming.
    most
        Combinations in an explanation.
    tries
        How many of the best are examined more closely.
    """

    depth: float = 0.03
    split: float = 0.2
    evidence: float = 15.0
    relative: float = 0.001
    least: float = 0.02
    most: int = 8
    tries: int = 40

    def find(self, lattice: Lattice, expected: Floats, observed: Floats) -> list[Cause]:
        """Give the combinations that explain what was observed best, strongest first.

        Parameters
        ----------
        lattice
            Of the leaves.
        expected, observed
            Of each leaf; not negative.
        """
        best: list[Cause] = []
        lowest = np.inf
        tried = levels(expected, observed)
        everything = np.ones(len(expected), dtype=bool)
        # The same weights for all: with those of a wrong level the change would look like noise.
        weights = max(
            (weigh(expected * level, observed, everything) for level in tried), key=np.sum
        )
        for level in tried:
            causes, usual = self._settle(lattice, expected * level, observed)
            cost = self._cost(usual * weights, observed * weights, causes, expected * weights)
            if cost < lowest * (1.0 - 1e-9):
                best, lowest = causes, cost
        return best

    def _settle(
        self, lattice: Lattice, usual: Floats, observed: Floats
    ) -> tuple[list[Cause], Floats]:
        """Search, then again with the level and the noise of the leaves that stay unexplained."""
        causes: list[Cause] = []
        for _ in range(2):
            rest = ~covered(causes, len(usual))
            usual = usual * _ratio(usual[rest], observed[rest], counts=bool(causes))
            weights = weigh(usual, observed, rest)
            causes = self._greedy(lattice, usual * weights, observed * weights)
        # Leave out what hardly matters beside the largest.
        amounts = [abs(float((observed - usual)[cause.leaves].sum())) for cause in causes]
        worth = [
            cause
            for cause, amount in zip(causes, amounts, strict=True)
            if amount >= self.least * max(amounts)
        ]
        return worth, usual

    def _greedy(self, lattice: Lattice, usual: Floats, observed: Floats) -> list[Cause]:
        causes: list[Cause] = []
        open_ = np.ones(len(usual))
        while len(causes) < self.most:
            found = self._strongest(lattice, usual * open_, observed * open_)
            if found is None or (causes and found.gain < self.relative * causes[0].gain):
                break
            causes.append(found)
            open_[found.leaves] = 0.0
        return causes

    def _strongest(self, lattice: Lattice, usual: Floats, observed: Floats) -> Cause | None:
        """Give the best combination that its own parts do not explain better."""
        gains = [
            evidence(o, u) * (1.0 - self.depth * len(cuboid.dimensions)) - np.log(len(o))
            for o, u, cuboid in zip(
                lattice.sums(observed), lattice.sums(usual), lattice.cuboids, strict=True
            )
        ]
        first = None
        for gain, at, group in _best(gains, self.tries):
            if gain < self.evidence:
                break
            leaves = lattice.members(at, group)
            cause = Cause(at, group, leaves, gain)
            first = first or cause
            if not self._falls_apart(lattice, cause, usual, observed):
                return cause
        return first

    def _falls_apart(self, lattice: Lattice, cause: Cause, usual: Floats, observed: Floats) -> bool:
        """Tell whether two to four of its parts along one dimension explain more than it does."""
        inside = np.flatnonzero(cause.leaves)
        for dimension in range(lattice.leaves.shape[1]):
            if dimension in lattice.cuboids[cause.cuboid].dimensions:
                continue
            label = lattice.leaves[inside, dimension]
            count = int(label.max()) + 1
            parts = evidence(
                total(label, observed[inside], count), total(label, usual[inside], count)
            )
            together = np.cumsum(np.sort(parts)[::-1][:4])
            together *= 1.0 - self.depth * (1 + len(lattice.cuboids[cause.cuboid].dimensions))
            needed = cause.gain * (1.0 + self.split * np.arange(len(together)))
            if (together[1:] > needed[1:]).any():
                return True
        return False

    def _cost(
        self, usual: Floats, observed: Floats, causes: list[Cause], expected: Floats
    ) -> float:
        """Give what an explanation leaves open, plus a cost for its length."""
        explained = usual.copy()
        for cause in causes:
            inside = cause.leaves
            explained[inside] *= _ratio(explained[inside], observed[inside], counts=True)
        open_ = float(evidence(observed, explained).sum())
        whole = float(evidence(observed, expected).sum())
        return open_ + len(causes) * (self.evidence + 0.05 * whole)


def levels(expected: Floats, observed: Floats) -> list[float]:
    """Give the factors by which everything may have changed: 1, and that of the typical leaf."""
    usual = weighted_median(observed, expected)
    return [1.0, usual] if usual and abs(usual - 1.0) >= 0.02 else [1.0]


def weighted_median(observed: Floats, expected: Floats) -> float | None:
    """Give the median of the ratios, weighted by what was expected."""
    known = np.flatnonzero(expected > 0)
    if not len(known):
        return None
    known = known[_sample(len(known))]
    ratios, weights = observed[known] / expected[known], expected[known]
    order = np.argsort(ratios, kind="stable")
    running = np.cumsum(weights[order])
    return float(ratios[order][np.searchsorted(running, running[-1] / 2.0)])


def _ratio(usual: Floats, observed: Floats, *, counts: bool) -> float:
    below = float(usual.sum())
    above = float(observed.sum())
    return above / below if counts and below > 0 and above > 0 else 1.0


def evidence(observed: Floats, expected: Floats) -> Floats:
    """Give the log-likelihood ratio of a changed rate.

    A part of a rise counts as expected, so that a birth has no infinite evidence.
    """
    above = observed + 0.5
    below = expected + np.maximum(observed - expected, 0.0) * _FORESEEN + 0.5
    return np.maximum(above * np.log(above / below) - (above - below), 0.0)


def weigh(usual: Floats, observed: Floats, rest: Mask) -> Floats:
    """Give how many independent events each unit of a leaf is worth.

    The variance of a leaf grows with a power of its size between 1 and 2 (L. R. Taylor,
    "Aggregation, variance and the mean", Nature 189, 1961), which is fitted to the leaves that
    are not explained.
    """
    born = usual <= 0
    present = observed[observed > 0] if born.all() else usual[~born]
    size = np.where(born, np.median(present) if len(present) else 1.0, usual)
    used = np.flatnonzero(rest & ~born)
    used = used[_sample(len(used))]
    level, power = _noise(size[used], (observed - usual)[used])
    variance = np.maximum((_FINEST_NOISE * size) ** 2, level * size**power)
    weights: Floats = size / variance
    return weights


def _sample(count: int) -> NDArray[np.int64]:
    """Choose as many as an estimate needs; the same ones each time."""
    if count <= _ENOUGH:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, _ENOUGH, replace=False))


def _noise(size: Floats, deviation: Floats) -> tuple[float, float]:
    """Fit the variance as level x size ** power, from the usual leaves of each size."""
    order = np.argsort(size, kind="stable")
    # The smallest leaves have too little in them to show noise.
    order = order[np.cumsum(size[order]) >= 0.1 * size.sum()]
    if len(order) < _FEWEST:
        return 0.1**2, 2.0
    bins = np.array_split(order, min(12, len(order) // 15))
    sizes = np.array([np.median(size[b]) for b in bins])
    squares = np.array([np.quantile(deviation[b] ** 2, 0.4) / _LOW_SQUARE for b in bins])
    known = squares > 0
    if known.mean() <= 0.5:
        return 0.0, 1.0
    x, y = np.log(sizes[known]), np.log(squares[known])
    power = _slope(x, y)
    return float(np.exp(np.median(y - power * x))), power


def _slope(x: Floats, y: Floats) -> float:
    """Give the median of the slopes between all pairs of bins, held between 1 and 2."""
    first, second = np.triu_indices(len(x), k=1)
    run = x[second] - x[first]
    apart = run > 0.1
    slopes = (y[second] - y[first])[apart] / run[apart]
    return float(np.clip(np.median(slopes), 1.0, 2.0)) if len(slopes) else 1.0


def covered(causes: list[Cause], count: int) -> Mask:
    """Tell which leaves are explained."""
    inside = np.zeros(count, dtype=bool)
    for cause in causes:
        inside |= cause.leaves
    return inside


def _best(gains: list[Floats], count: int) -> list[tuple[float, int, int]]:
    """Give the highest gains with their cuboids and groups, highest first."""
    every = np.concatenate(gains)
    ends = np.cumsum([len(one) for one in gains])
    top = np.argpartition(-every, count)[:count] if len(every) > count else np.arange(len(every))
    cuboids = np.searchsorted(ends, top, side="right")
    groups = top - (ends - [len(one) for one in gains])[cuboids]
    # Among equals the one with the fewest dimensions, which comes last.
    order = np.lexsort((groups, -cuboids, -every[top]))
    return [(float(every[top[at]]), int(cuboids[at]), int(groups[at])) for at in order]
