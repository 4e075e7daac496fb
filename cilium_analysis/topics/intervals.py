"""Intervals as pairs of positions: the first step, and the one after the last. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cilium_analysis.statistics.rises import join

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Interval = tuple[int, int]


def runs(flags: ArrayLike, *, bridge: int = 0) -> list[Interval]:
    """Give the intervals in which a flag is up.

    Parameters
    ----------
    flags
        One for each step.
    bridge
        Intervals with at most so many steps between them are one.
    """
    edges = np.diff(np.concatenate([[0], np.asarray(flags, dtype="int64"), [0]]))
    pairs = np.flatnonzero(edges).reshape(-1, 2)
    return join([(int(first), int(stop)) for first, stop in pairs], bridge=bridge)
