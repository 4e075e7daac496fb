"""Bursts in label frames: whose counts rise above the baseline, and who has most of one. Pure.

When a burst begins and ends is decided in `cilium_analysis.statistics.rises`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.statistics.rises import CHANCE, Rises
from cilium_analysis.topics.telling import NAMED_FROM, beyond, only, total

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

#: So many values of a label are named one by one; of more it is said how many they are.
MOST_NAMED = 3
#: A value with this share of the mean of those that have most of a burst is like them.
ALIKE = 0.25
#: Values of a label to look at one by one, the largest.
MOST_VALUES = 100
#: A burst of which others explain this share is none of its own.
EXPLAINED_FROM = 0.5
#: Two bursts whose edges are not further apart are simultaneous [steps].
EDGE = 2
_RISES = Rises()


@dataclass(frozen=True)
class Scraped:
    """When Hubble was scraped.

    Parameters
    ----------
    anything
        Whether any Hubble was scraped in a step.
    nodes
        Frame of bool, one column per node; without columns, nothing is known of single nodes.
    """

    anything: pd.Series
    nodes: pd.DataFrame

    @classmethod
    def of(cls, seen: pd.DataFrame, *counts: pd.DataFrame) -> Scraped:
        """Take it from scrapes; without any known, from the label frames of the same steps."""
        known = [frame.notna().any(axis=1) for frame in counts if frame.shape[1]]
        if seen.shape[1] or not known:
            return cls(seen.any(axis=1), seen)
        return cls(pd.concat(known, axis=1).any(axis=1), seen)

    def node(self, name: str) -> pd.Series:
        """Tell in which steps one node was scraped; one that is not known, like the others."""
        return self.nodes.get(name, self.anything)


@dataclass(frozen=True)
class Burst:
    """One burst.

    Parameters
    ----------
    first, last
        Its first step, and the one after its last.
    counts, baseline
        Label frames of what it is about, in the window and in the baseline.
    labels
        Those that single it out, as far as it was looked at: see `among`.
    nodes
        The fewest that have most of it, the largest first.
    elsewhere
        Whether other nodes have a part of it that matters.
    """

    first: int
    last: int
    counts: pd.DataFrame
    baseline: pd.DataFrame
    labels: Mapping[str, str] = field(default_factory=dict)
    nodes: tuple[str, ...] = ()
    elsewhere: bool = False

    def among(self, labels: Mapping[str, str]) -> Burst:
        """Give the part of it with some labels, and the nodes that have most of that."""
        mine = replace(self, counts=only(self.counts, labels), baseline=only(self.baseline, labels))
        excess = mine.excess("node")
        nodes = fewest(excess)
        return replace(mine, labels=labels, nodes=nodes, elsewhere=beyond(excess, nodes))

    def inside(self, frame: pd.DataFrame) -> float:
        """Give the sum of what was counted while it lasted."""
        return total(frame.iloc[self.first : self.last])

    def excess(self, label: str) -> pd.Series:
        """Give by how much each value of a label is above its baseline, the largest first."""
        now = frames.group(self.counts.iloc[self.first : self.last], [label]).sum()
        scale = (self.last - self.first) / max(len(self.baseline), 1)
        then = frames.group(self.baseline, [label]).sum() * scale
        above = now.sub(then.reindex(now.index).fillna(0.0)).clip(lower=0.0)
        above.index = above.index.get_level_values(0)
        return above.sort_values(ascending=False, kind="stable")

    def named(self, labels: Sequence[str]) -> dict[str, str]:
        """Give the labels of which one value has most of the burst."""
        found = {label: dominant(self.excess(label)) for label in labels}
        return {label: name for label, name in found.items() if name}

    def overlaps(self, other: Burst) -> bool:
        """Tell whether most of the shorter one happened at the time of the other."""
        common = min(self.last, other.last) - max(self.first, other.first)
        return common >= 0.5 * min(self.last - self.first, other.last - other.first)

    def coincides(self, other: Burst) -> bool:
        """Tell whether both began and ended at the same time, give or take an edge."""
        return max(abs(self.first - other.first), abs(self.last - other.last)) <= EDGE

    def joined(self, other: Burst) -> Burst:
        """Give both as one."""
        counts, baseline = (
            pd.concat([mine, others.loc[:, ~others.columns.isin(mine.columns)]], axis=1)
            for mine, others in ((self.counts, other.counts), (self.baseline, other.baseline))
        )
        first, last = min(self.first, other.first), max(self.last, other.last)
        return Burst(first, last, counts, baseline)


def find(
    counts: pd.DataFrame,
    baseline: pd.DataFrame,
    *,
    by: str,
    alike: Sequence[str],
    scraped: Scraped,
    baseline_scraped: Scraped,
) -> list[Burst]:
    """Find bursts of each value of a label, then of all together and of each node.

    Parameters
    ----------
    counts, baseline
        Label frames in the window and in the baseline.
    by
        The label whose values are looked at one by one. Bursts of several values are one if
        they began and ended together,
    alike
        or if they overlap and are not about different values of one of these labels.
    scraped, baseline_scraped
        Where Hubble was scraped and counted nothing, the count is 0. A node that was not scraped
        in the baseline has none: it is compared with its own quieter half, and left out of the
        others.
    """
    new = _new_nodes(counts, scraped, baseline_scraped)
    old = counts.loc[:, [str(n) not in new for n in counts.columns.get_level_values("node")]]
    now, then = scraped.anything, baseline_scraped.anything
    found: list[Burst] = []
    for name in _largest(old, by):
        for burst in _search(only(old, {by: name}), only(baseline, {by: name}), now, then):
            found = _added(found, burst, alike)
    wider = _search(old, baseline, now, then)
    for node in _largest(counts, "node"):
        base = then & (node not in new) & baseline_scraped.node(node)
        mine, before = only(counts, {"node": node}), only(baseline, {"node": node})
        wider += _search(mine, before, scraped.node(node), base)
    whole: list[Burst] = []
    for burst in wider:
        if not _explained(burst, found):
            whole = _added(whole, Burst(burst.first, burst.last, counts, baseline), ())
    return sorted([*found, *whole], key=lambda burst: burst.first)


def _search(
    counts: pd.DataFrame, baseline: pd.DataFrame, seen: pd.Series, baseline_seen: pd.Series
) -> list[Burst]:
    """Find the bursts of all counts together: 0 where Hubble was scraped and counted nothing."""
    now, before = (
        summed(frame, zero=known) for frame, known in ((counts, seen), (baseline, baseline_seen))
    )
    step = timedelta(seconds=frames.step_seconds(counts))
    return [
        Burst(first, last, counts, baseline) for first, last in _RISES.at(step).find(now, before)
    ]


def summed(counts: pd.DataFrame, *, zero: pd.Series | None = None) -> NDArray[np.float64]:
    """Give the sum of all series per step; NaN where there is no sample.

    Parameters
    ----------
    counts
        Label frame.
    zero
        Steps in which no sample means that nothing was counted.
    """
    sums = counts.sum(axis=1, min_count=1)
    if zero is not None:
        sums = sums.mask(sums.isna() & zero.astype(bool), 0.0)
    return sums.to_numpy(dtype="float64")


def _new_nodes(counts: pd.DataFrame, scraped: Scraped, baseline_scraped: Scraped) -> set[str]:
    """Name the nodes that were scraped in the window, and never in the baseline."""
    if not baseline_scraped.nodes.shape[1]:
        return set()
    known = {str(node) for node, seen in baseline_scraped.nodes.items() if seen.any()}
    present = {str(node) for node in counts.columns.get_level_values("node")}
    return (present & {str(node) for node in scraped.nodes}) - known


def _largest(counts: pd.DataFrame, label: str) -> list[str]:
    """Name the values of a label with the most counts."""
    sums = frames.group(counts, [label]).sum().sort_values(ascending=False, kind="stable")
    return [str(key[0]) for key in sums[sums >= _RISES.least].index[:MOST_VALUES]]


def _added(found: list[Burst], new: Burst, alike: Sequence[str]) -> list[Burst]:
    """Add a burst, to another one if it happened together with it."""
    names = new.named(alike)
    for place, known in enumerate(found):
        others = known.named(alike)
        same = all(names[n] == others[n] for n in alike if n in names and n in others)
        if (same and known.overlaps(new)) or known.coincides(new):
            return [*found[:place], known.joined(new), *found[place + 1 :]]
    return [*found, new]


def _explained(burst: Burst, found: Sequence[Burst]) -> bool:
    """Tell whether most of a burst is already part of others."""
    known = 0.0
    for other in found:
        first, last = max(burst.first, other.first), min(burst.last, other.last)
        if first < last:
            now, baseline = (
                frame.loc[:, frame.columns.isin(kept.columns)]
                for frame, kept in ((burst.counts, other.counts), (burst.baseline, other.baseline))
            )
            known += float(Burst(first, last, now, baseline).excess("node").sum())
    return known >= EXPLAINED_FROM * float(burst.excess("node").sum())


def spilled(counts: pd.DataFrame, baseline: pd.DataFrame, first: int, last: int) -> float:
    """Give what a burst left in the steps at its edges, beyond what is usual there.

    A burst begins and ends within steps. Those of which it fills a small part are not in its
    interval, but what was counted in them is in its total.

    Parameters
    ----------
    counts, baseline
        Label frames of what rose, in the window and in the baseline.
    first, last
        Its first step, and the one after its last.
    """
    level = float(baseline.sum().sum()) / max(len(baseline), 1)
    edges = [row for row in (first - 1, last) if 0 <= row < len(counts)]
    above = [float(counts.iloc[row].sum()) - level for row in edges]
    return sum(excess for excess in above if excess > CHANCE * level**0.5)


def dominant(above: pd.Series) -> str:
    """Name the one value that has most of a burst; ``""`` if there is none."""
    whole = float(above.sum())
    return str(above.index[0]) if whole and above.iloc[0] >= NAMED_FROM * whole else ""


def fewest(above: pd.Series) -> tuple[str, ...]:
    """Name the fewest values that together have most of a burst, the largest first.

    Where these are more than can be named, all others that have a part like theirs are among
    them: a burst on all nodes alike is one on all nodes.

    Parameters
    ----------
    above
        By how much each value is above its baseline, not negative, the largest first.
    """
    enough = int((above.cumsum() < NAMED_FROM * above.sum()).sum()) + 1
    if enough > MOST_NAMED:
        alike = ALIKE * float(above.iloc[:enough].mean())
        enough = max(enough, int((above >= alike).sum()))
    return tuple(str(name) for name in above.index[:enough])
