"""How well regimes are found: the measures of the Turing Change Point benchmark.

G. J. J. van den Burg and C. K. I. Williams, "An evaluation of change point detection
algorithms", arXiv 2003.06222, 2020, section 4; position 0 counts as found by everyone.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    Positions = Collection[int]


def f1(annotations: Sequence[Positions], found: Positions, *, margin: int = 5) -> float:
    """Give F1: precision against all annotators together, recall averaged over them."""
    truths = [{0, *annotation} for annotation in annotations]
    guesses = {0, *found}
    precision = _hits(set().union(*truths), guesses, margin) / len(guesses)
    recall = sum(_hits(t, guesses, margin) / len(t) for t in truths) / len(truths)
    return 2 * precision * recall / (precision + recall)


def _hits(truth: set[int], guesses: set[int], margin: int) -> int:
    """Count true positions that have a guess of their own, none counted twice."""
    left, hits = set(guesses), 0
    for position in sorted(truth):
        near = [(abs(position - guess), guess) for guess in left if abs(position - guess) <= margin]
        if near:
            left.remove(min(near)[1])
            hits += 1
    return hits


def covering(annotations: Sequence[Positions], found: Positions, n: int) -> float:
    """Give the mean, over annotators and samples, of the best overlap with a regime found."""
    guesses = _parts(found, n)
    each = [
        sum((stop - begin) * max(_overlap((begin, stop), part) for part in guesses) / n
            for begin, stop in _parts(annotation, n))
        for annotation in annotations
    ]  # fmt: skip
    return sum(each) / len(each)


def _parts(positions: Positions, n: int) -> list[tuple[int, int]]:
    bounds = sorted({0, *positions, n})
    return list(pairwise(bounds))


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> float:
    common = min(one[1], other[1]) - max(one[0], other[0])
    return max(common, 0) / (max(one[1], other[1]) - min(one[0], other[0]))
