"""Outages that are over before all observers notice, and clusters in parts. Pure.

An observer probes an address once in a round, at any moment of it, and shows the result when the
round ends. So it notices an outage within two rounds, and one that is shorter than a round perhaps
never. Outages that last until all have noticed are read moment by moment in ``paths.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis.topics.connectivity.reading import MAJORITY
from cilium_analysis.topics.intervals import runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cilium_analysis.topics.intervals import Interval

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Sides = tuple[tuple[int, tuple[int, ...]], ...]

#: A short outage is about a node if at least so many others noticed it, and such a share.
FEWEST, LEAST_SHARE = 2, 0.2
#: Counts that differ by less are the same: a step may hold two scrapes.
SAME = 0.25


@dataclass(frozen=True)
class Brief:
    """An outage that was over before all observers could notice.

    Parameters
    ----------
    places
        Positions of the likely targets; none if the data does not tell.
    perhaps
        Positions of nodes whose agents were away or started, where it may be one of them.
    first, stop
        The first step in which any observer showed it, and the one after the last.
    begin, end
        The step in which it most likely began, and the one after that in which it ended.
    noticed, observers
        How many observers noticed, of how many; the targets are left out.
    """

    places: tuple[int, ...]
    perhaps: tuple[int, ...]
    first: int
    stop: int
    begin: int
    end: int
    noticed: int
    observers: int


def briefs(nodes: Floats, away: Floats, open_: Flags, *, reach: int, least: int) -> list[Brief]:
    """Give the outages that were too short for all observers to notice.

    Parameters
    ----------
    nodes
        How many nodes each observer misses, times by observers; NaN without a sample.
    away
        2 when an observer's own agent was not scraped though it was due, 1 when it started, else 0.
    open_
        Moments to look at: those that nothing else explains.
    reach
        Steps within which all observers have probed once more, and shown it.
    least
        Steps for which an agent has to be not scraped to explain an outage.
    """
    nodes = nodes - _lasting(nodes, 2 * reach + 1)
    gone = (away > 1) & (_lasting((away > 1).astype(np.float64), least) > 0)
    hit = open_ & (np.nan_to_num(nodes) > 0.01).any(axis=1)
    found = []
    for first, stop in runs(hit, bridge=reach // 2):
        # What lasted for two rounds is shown for four at most.
        if stop - first > 2 * reach or stop == len(hit) or not first:
            continue
        brief = _brief(nodes, (gone, away > 0), (first, stop), reach)
        if brief:
            found.append(brief)
    return found


def _lasting(levels: Floats, steps: int) -> Floats:
    """Give the highest level that each column holds for so many steps around a moment."""
    known = pd.DataFrame(np.nan_to_num(levels))
    low = known.rolling(steps, min_periods=steps).min().fillna(0.0)
    return low[::-1].rolling(steps, min_periods=1).max()[::-1].to_numpy()


def _brief(nodes: Floats, away: tuple[Flags, Flags], run: Interval, reach: int) -> Brief | None:
    """Give the outage of one run of steps; None if too few observers noticed it."""
    first, stop = run
    known = np.isfinite(nodes[first:stop]).any(axis=0)
    inside = np.nan_to_num(nodes[first:stop])
    peaks = inside.max(axis=0)
    # An agent that only restarts is gone for too short a time to explain an outage.
    gone, perhaps = (_away(inside, each, run, reach) for each in away)
    places = _gone(peaks, gone) or _cut_off(peaks)
    others = np.delete(np.arange(len(peaks)), list(places))
    others = others[np.asarray(known)[others]]
    noticed = others[peaks[others] > 0.01]
    if not places and len(noticed) <= MAJORITY * len(others):
        return None
    firsts = first + (inside[:, noticed] > 0.01).argmax(axis=0)
    lasts = stop - 1 - (inside[::-1, noticed] > 0.01).argmax(axis=0)
    # The last probe that succeeded before, and the first one after, bound both to two rounds.
    begin = round((firsts.max() - reach + firsts.min()) / 2)
    end = round((lasts.max() - reach + lasts.min()) / 2)
    begin = max(min(begin, int(firsts.min())), 0)
    perhaps = () if places else perhaps
    return Brief(
        places, perhaps, first, stop, begin, max(end, begin) + 1, len(noticed), len(others)
    )


def _away(inside: Floats, away: Flags, run: Interval, reach: int) -> tuple[int, ...]:
    """Give the agents that were away at such a time that this explains all that is missed."""
    begin = max(run[0] - reach, 0)
    near = away[begin : run[1]]
    chosen = []
    for place in np.flatnonzero(near.any(axis=0)):
        up = np.flatnonzero(near[:, place])
        others = np.delete(inside, place, axis=1)
        shown = run[0] + np.flatnonzero((others > 0.01).any(axis=1))
        if len(shown) and shown[-1] <= begin + up[-1] + reach + 1:
            chosen.append(int(place))
    return tuple(chosen)


def _gone(peaks: Floats, gone: tuple[int, ...]) -> tuple[int, ...]:
    """Give the agents that were away, if the others miss just as many nodes as these."""
    others = np.delete(peaks, list(gone))
    all_missed = len(gone) == round(float(others.max(initial=0.0)))
    return gone if all_missed and _enough(others) else ()


def _cut_off(peaks: Floats) -> tuple[int, ...]:
    """Give the only one that misses several nodes, while others miss one each."""
    top = int(peaks.argmax())
    others = np.delete(peaks, top)
    several = peaks[top] > max(2 - SAME, LEAST_SHARE * len(others))
    one_each = others.max(initial=0.0) < 1 + SAME
    return (top,) if several and one_each and _enough(others) else ()


def _enough(others: Floats) -> bool:
    noticed = int((others > 0.01).sum())
    return noticed >= max(min(FEWEST, len(others)), LEAST_SHARE * len(others), 1)


def sides(counts: Floats) -> Sides | None:
    """Give the groups into which a cluster fell, by the counts of its nodes.

    Each node misses all nodes of the other groups, so that its count gives the size of its own.

    Parameters
    ----------
    counts
        How many nodes each node misses; NaN if it has no sample.

    Returns
    -------
    tuple, or None
        Size, and positions of the nodes that miss all others but so many: one group if there are
        just as many, else several groups whose nodes the counts do not tell apart. None if the
        cluster did not fall into groups of at least two.
    """
    total = len(counts)
    if not (counts > 2 - SAME).all() or (np.abs(counts - np.round(counts)) > SAME).any():
        return None
    sizes = np.round(total - counts).astype(np.int64)
    groups = [(size, np.flatnonzero(sizes == size)) for size in np.unique(sizes)]
    if any(size < 2 or len(group) % size for size, group in groups):
        return None
    return tuple((int(size), tuple(int(place) for place in group)) for size, group in groups)
