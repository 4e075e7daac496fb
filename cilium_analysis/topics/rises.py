"""Where Hubble's counts rise above a baseline, and whose they are. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.statistics.baseline import CHANCE, Rises

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

#: A label is named when one value of it has this share of a rise.
NAMED_FROM = 0.8
#: So many are named one by one; of more it is said how many they are.
MOST_NAMED = 3
#: A part so large, beside the mean of those that have most of a rise, is one like theirs.
ALIKE = 0.25
#: Parties to look at one by one, the largest.
MOST_PARTIES = 100
#: A rise of which others explain this share is no incident of its own.
EXPLAINED_FROM = 0.5
#: Two rises whose edges are not further apart are simultaneous [steps].
EDGE = 2
_RISES = Rises()


@dataclass(frozen=True)
class Sight:
    """When Hubble could be seen.

    Parameters
    ----------
    anything
        Whether anything was observed in a step.
    nodes
        Frame of bool, one column per node; without columns, nothing is known of single nodes.
    """

    anything: pd.Series
    nodes: pd.DataFrame

    @classmethod
    def of(cls, seen: pd.DataFrame, *counts: pd.DataFrame) -> Sight:
        """Take it from scrapes; without any known, from the label frames of the same steps."""
        told = [frame.notna().any(axis=1) for frame in counts if frame.shape[1]]
        if seen.shape[1] or not told:
            return cls(seen.any(axis=1), seen)
        return cls(pd.concat(told, axis=1).any(axis=1), seen)

    def node(self, name: str) -> pd.Series:
        """Tell in which steps one node was observed; one that is not known, like the others."""
        return self.nodes.get(name, self.anything)

    def strangers(self) -> set[str]:
        """Name the nodes that were never observed."""
        return {str(node) for node, seen in self.nodes.items() if not seen.any()}


@dataclass(frozen=True)
class Incident:
    """One rise.

    Parameters
    ----------
    first, last
        Its first step, and the one after its last.
    counts, usual
        Label frames of the parties that it is about, in the window and in the baseline.
    """

    first: int
    last: int
    counts: pd.DataFrame
    usual: pd.DataFrame

    @property
    def inside(self) -> pd.DataFrame:
        """Give the counts while it lasted."""
        return self.counts.iloc[self.first : self.last]

    def excess(self, label: str) -> pd.Series:
        """Give by how much each value of a label is above its baseline, the largest first."""
        now = frames.group(self.inside, [label]).sum()
        scale = (self.last - self.first) / max(len(self.usual), 1)
        then = frames.group(self.usual, [label]).sum() * scale
        above = now.sub(then.reindex(now.index).fillna(0.0)).clip(lower=0.0)
        above.index = above.index.get_level_values(0)
        return above.sort_values(ascending=False, kind="stable")

    def named(self, labels: Sequence[str]) -> dict[str, str]:
        """Name the labels of which one value has most of the rise."""
        found = {label: culprit(self.excess(label)) for label in labels}
        return {label: name for label, name in found.items() if name}

    def overlaps(self, other: Incident) -> bool:
        """Tell whether most of the shorter one happened at the time of the other."""
        common = min(self.last, other.last) - max(self.first, other.first)
        return common >= 0.5 * min(self.last - self.first, other.last - other.first)

    def coincides(self, other: Incident) -> bool:
        """Tell whether both began and ended at the same time, give or take an edge."""
        return max(abs(self.first - other.first), abs(self.last - other.last)) <= EDGE

    def joined(self, other: Incident) -> Incident:
        """Give both as one."""
        counts, usual = (
            pd.concat([mine, others.loc[:, ~others.columns.isin(mine.columns)]], axis=1)
            for mine, others in ((self.counts, other.counts), (self.usual, other.usual))
        )
        first, last = min(self.first, other.first), max(self.last, other.last)
        return Incident(first, last, counts, usual)


def find(
    counts: pd.DataFrame,
    usual: pd.DataFrame,
    *,
    party: str,
    alike: Sequence[str],
    sight: Sight,
    usual_sight: Sight,
) -> list[Incident]:
    """Look for rises of each party's counts, then of all together and of each node's.

    Parameters
    ----------
    counts, usual
        Label frames in the window and in the baseline.
    party
        The label whose values are looked at one by one. Rises of several parties are one
        incident if they began and ended together,
    alike
        or if they overlap and are not about different values of one of these labels.
    sight, usual_sight
        Where nothing was counted in sight, the count is 0. A node that was out of sight in the
        baseline has none: it is compared with its own quieter half, and left out of the others.
    """
    new = _newcomers(counts, sight, usual_sight)
    old = counts.loc[:, [str(n) not in new for n in counts.columns.get_level_values("node")]]
    now, then = sight.anything, usual_sight.anything
    found: list[Incident] = []
    for name in _names(old, party):
        for rise in _search(_of(old, party, name), _of(usual, party, name), now, then):
            found = _added(found, rise, alike)
    wider = _search(old, usual, now, then)
    for node in _names(counts, "node"):
        base = then & (node not in new) & usual_sight.node(node)
        mine, before = _of(counts, "node", node), _of(usual, "node", node)
        wider += _search(mine, before, sight.node(node), base)
    whole: list[Incident] = []
    for rise in wider:
        if not _explained(rise, found):
            whole = _added(whole, Incident(rise.first, rise.last, counts, usual), ())
    return sorted([*found, *whole], key=lambda incident: incident.first)


def _search(
    counts: pd.DataFrame, usual: pd.DataFrame, seen: pd.Series, usual_seen: pd.Series
) -> list[Incident]:
    now, before = _one(counts, seen), _one(usual, usual_seen)
    step = timedelta(seconds=frames.step_seconds(counts))
    stretches = _RISES.at(step).find(now, before)
    return [Incident(first, last, counts, usual) for first, last in stretches]


def _one(counts: pd.DataFrame, seen: pd.Series) -> NDArray[np.float64]:
    """Add up to one array: 0 where Hubble was scraped and counted nothing, NaN elsewhere."""
    total = counts.sum(axis=1, min_count=1)
    return total.mask(total.isna() & seen.astype(bool), 0.0).to_numpy(dtype="float64")


def _newcomers(counts: pd.DataFrame, sight: Sight, usual_sight: Sight) -> set[str]:
    if not usual_sight.nodes.shape[1]:
        return set()
    known = {str(node) for node in usual_sight.nodes} - usual_sight.strangers()
    present = {str(node) for node in counts.columns.get_level_values("node")}
    return (present & {str(node) for node in sight.nodes}) - known


def _names(counts: pd.DataFrame, label: str) -> list[str]:
    """Name the parties with the most counts."""
    sums = frames.group(counts, [label]).sum().sort_values(ascending=False, kind="stable")
    return [str(key[0]) for key in sums[sums >= _RISES.least].index[:MOST_PARTIES]]


def _of(counts: pd.DataFrame, label: str, value: str) -> pd.DataFrame:
    return counts.loc[:, counts.columns.get_level_values(label) == value]


def _added(found: list[Incident], new: Incident, alike: Sequence[str]) -> list[Incident]:
    """Add an incident, to another one if it happened together with it."""
    names = new.named(alike)
    for place, known in enumerate(found):
        others = known.named(alike)
        same = all(names[n] == others[n] for n in alike if n in names and n in others)
        if (same and known.overlaps(new)) or known.coincides(new):
            return [*found[:place], known.joined(new), *found[place + 1 :]]
    return [*found, new]


def _explained(rise: Incident, found: Sequence[Incident]) -> bool:
    """Tell whether most of a rise is already part of others."""
    known = 0.0
    for other in found:
        first, last = max(rise.first, other.first), min(rise.last, other.last)
        if first < last:
            now, usual = (
                frame.loc[:, frame.columns.isin(kept.columns)]
                for frame, kept in ((rise.counts, other.counts), (rise.usual, other.usual))
            )
            known += float(Incident(first, last, now, usual).excess("node").sum())
    return known >= EXPLAINED_FROM * float(rise.excess("node").sum())


def spilled(counts: pd.DataFrame, usual: pd.DataFrame, first: int, last: int) -> float:
    """Give what a rise left in the steps at its edges, beyond what is usual there.

    It begins and ends within steps: those of which it fills a small part are not in its interval,
    but what was counted in them is in its total.

    Parameters
    ----------
    counts, usual
        Label frames of what rose, in the window and in the baseline.
    first, last
        Its first step, and the one after its last.
    """
    level = float(usual.sum().sum()) / max(len(usual), 1)
    edges = [row for row in (first - 1, last) if 0 <= row < len(counts)]
    above = [float(counts.iloc[row].sum()) - level for row in edges]
    return sum(excess for excess in above if excess > CHANCE * level**0.5)


def culprit(above: pd.Series) -> str:
    """Name the one value that has most of a rise; ``""`` if there is none."""
    whole = float(above.sum())
    return str(above.index[0]) if whole and above.iloc[0] >= NAMED_FROM * whole else ""


def fewest(above: pd.Series) -> tuple[str, ...]:
    """Name the fewest values that together have most of a rise, the largest first.

    Where these are more than can be named, all others that have a part like theirs are among
    them: a rise on all nodes alike is one on all nodes.

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
