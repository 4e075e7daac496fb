"""Leaves of several dimensions, and their sums over every combination of labels. Pure.

A cuboid is a choice of dimensions; its groups are the combinations of their labels that occur (J.
Gray et al., "Data cube: a relational aggregation operator generalizing group-by, cross-tab, and
sub-totals", Data Mining and Knowledge Discovery 1, 1997). Each cuboid is summed from the smallest
finer one, so that only a few of them ever touch all leaves.
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

#: More cuboids than this are not looked at; those of the fewest dimensions come first.
MOST = 256


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
            built[dimensions] = len(self.cuboids)
            self.cuboids.append(self._build(dimensions, finer))

    def _build(self, dimensions: tuple[int, ...], finer: int | None) -> Cuboid:
        if finer is None:
            labels = self.leaves[:, dimensions]
        else:
            source = self.cuboids[finer]
            labels = source.labels[:, [source.dimensions.index(one) for one in dimensions]]
        first, group = distinct(labels)
        return Cuboid(dimensions, labels[first], finer, group)

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
    """Give the cuboids to look at, finest first."""
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
    """Give the cuboids of one dimension more."""
    more = (set(range(count)) - set(dimensions)) if dimensions else set()
    wider = [tuple(sorted((*dimensions, one))) for one in more]
    known = [one for one in wider if one in built]
    whole = tuple(range(count))
    return known or [whole] * (dimensions != whole)


def distinct(labels: Integers) -> tuple[Integers, Integers]:
    """Give numbers to the distinct rows in increasing order.

    Returns
    -------
    tuple
        A row that holds each distinct one, and each row's number.
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
