"""Which stored targets are the same agent stored twice, and which are different agents. Pure.

Two targets with the same address may be one agent that two servers or two jobs scraped, or two
agents of two clusters. The names of labels do not tell; the counters do: those of one agent never
contradict each other, whenever they were scraped.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np

from cilium_analysis.targets.stored import differing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pandas as pd

    from cilium_analysis.targets.stored import Row

Verdict = Literal["same", "distinct", "unknown"]
Pair = tuple[int, int]
#: First and last value of counters, by the number of a row and the labels of the series.
Counters = Mapping[int, Mapping[object, tuple[float, float]]]

#: Pairs to compare for each set of labels in which stored targets differ.
SAMPLED = 4
#: A process starts once: so much is the rounding of its start time [s].
SAME_START = 3.0
#: Two counters may contradict each other in this share of the steps: around a restart.
TOLERATED = 0.2
#: A counter that has come so far agrees with another one hardly by chance.
TELLING = 10.0
#: A new pod is scraped within so many stretches of time after the last scrape of the old one.
NEXT = 2
#: Pinned counters grow by less than this share while a pod is replaced.
CONTINUED = 0.2
#: Labels that scraping or storing twice sets, and that hardly ever tell two clusters apart.
_TWICE = re.compile(
    r"replica|prometheus|receive|(^|_)(job|endpoint|service|container|component|app|name|part_of"
    r"|instance|scrape|namespace)(_|$)"
)


@dataclass
class Evidence:
    """What comparing counters of two stored targets gave.

    Parameters
    ----------
    agree
        How strongly they agree; 1 is enough.
    contradict
        Number of series that contradict each other.
    """

    agree: float = 0.0
    contradict: int = 0

    def __add__(self, other: Evidence) -> Evidence:
        return Evidence(self.agree + other.agree, self.contradict + other.contradict)

    @property
    def verdict(self) -> Verdict:
        """What it proves."""
        if self.contradict:
            return "distinct"
        return "same" if self.agree >= 1.0 else "unknown"


def candidates(rows: Sequence[Row], groups: Iterable[Sequence[int]]) -> list[Pair]:
    """List the pairs of stored targets that may be one agent.

    Parameters
    ----------
    rows
        All stored targets.
    groups
        Numbers of rows that share an address, a pod or a node.
    """
    found = {
        (one, other)
        for group in groups
        for one, other in combinations(sorted(group), 2)
        if rows[one].component == rows[other].component and rows[one].concurrent(rows[other])
    }
    return sorted(found)


def sampled(rows: Sequence[Row], pairs: Sequence[Pair]) -> list[Pair]:
    """Choose pairs to compare: some of each kind of difference."""
    kinds: dict[object, list[Pair]] = defaultdict(list)
    for pair in pairs:
        one, other = (rows[number] for number in pair)
        shown = frozenset(one.rest ^ other.rest)
        kinds[(one.component, differing(one, other), shown)].append(pair)
    return sorted(pair for each in kinds.values() for pair in each[:SAMPLED])


def compare(one: pd.DataFrame, other: pd.DataFrame) -> Evidence:
    """Compare counters of two stored targets.

    Parameters
    ----------
    one, other
        Values by time, with the metric's own labels in the columns. Rows are so far apart that
        each target is scraped between two of them.
    """
    found = Evidence()
    for key in one.columns.union(other.columns):
        if key not in one or key not in other:
            known = (one if key in one else other)[key]
            # A series that was only just born may not be in both yet.
            found += Evidence(contradict=int(known.notna().sum() > 2 and known.max() > 0))
            continue
        mine, theirs = (np.asarray(frame[key], dtype="float64") for frame in (one, other))
        with np.errstate(invalid="ignore"):
            wrong = (mine[:-1] > theirs[1:]) | (theirs[:-1] > mine[1:])
        known = ~np.isnan(mine[:-1] + theirs[1:] + theirs[:-1] + mine[1:])
        if not known.any():
            continue
        if wrong[known].mean() > TOLERATED:
            found += Evidence(contradict=1)
        elif (most := np.nanmax(mine)) > 0:
            found += Evidence(agree=1.0 if most >= TELLING else 0.25)
    return found


def compare_starts(one: float, other: float) -> Evidence:
    """Compare when the processes of two stored targets started [s since 1970].

    Whole seconds may agree by chance where agents were started together.
    """
    if np.isnan(one) or np.isnan(other):
        return Evidence()
    if abs(one - other) > SAME_START:
        return Evidence(contradict=1)
    return Evidence(agree=1.0 if one % 1 else 0.1)


def judge(
    rows: Sequence[Row], pairs: Sequence[Pair], evidence: Mapping[Pair, Evidence]
) -> dict[Pair, Verdict]:
    """Decide for every pair whether it is one agent.

    What counters prove of some pairs holds for all that differ in the same labels. Where nothing
    is proved, labels decide that only scraping or storing twice sets.

    Parameters
    ----------
    rows
        All stored targets.
    pairs
        As from `candidates`.
    evidence
        Of some of them.
    """
    pooled: dict[frozenset[str], list[Evidence]] = defaultdict(list)
    for (one, other), found in evidence.items():
        pooled[differing(rows[one], rows[other])].append(found)
    decided: dict[Pair, Verdict] = {}
    for pair in pairs:
        names = differing(*(rows[number] for number in pair))
        own = evidence.get(pair, Evidence())
        decided[pair] = own.verdict
        if own.verdict == "unknown":
            decided[pair] = _alike(pooled[names])
        if decided[pair] == "unknown" and all(_TWICE.search(name) for name in _telling(rows, pair)):
            decided[pair] = "same"
    return decided


def _alike(found: Sequence[Evidence]) -> Verdict:
    """Decide by pairs that differ in the same labels, if all of them say the same."""
    told = {each.verdict for each in found} - {"unknown"}
    if len(told) == 1:
        return told.pop()
    return sum(found, Evidence()).verdict if not told else "unknown"


def _telling(rows: Sequence[Row], pair: Pair) -> set[str]:
    """Name the labels in which both differ, other than those that one of them simply lacks."""
    one, other = (dict(rows[number].rest) for number in pair)
    return {
        n for n in one.keys() | other.keys() if one.get(n) and other.get(n) and one[n] != other[n]
    }


def successors(
    rows: Sequence[Row], node_ids: Sequence[int], counters: Callable[[Sequence[int]], Counters]
) -> dict[int, int]:
    """Find agents that took over the node of another, where only their pods are known.

    A rollout of the DaemonSet gives every node another pod. Counters of pinned maps go on from
    where they were, which tells which node a new pod is on.

    Parameters
    ----------
    rows, node_ids
        Stored targets, and the number of the node of each.
    counters
        Gives the first and the last values of pinned counters of some rows, by their labels.

    Returns
    -------
    dict
        From the node of a new pod to that of the one before.
    """
    agents = [n for n, row in enumerate(rows) if row.component == "agent" and row.bins]
    alone = [n for n in agents if rows[n].pod and not rows[n].nodes and not rows[n].addresses]
    first = {n: min(rows[n].bins) for n in alone}
    last = {n: max(rows[n].bins) for n in alone}
    followed = {
        new: [
            old
            for old in alone
            if rows[old].rest == rows[new].rest and -1 <= first[new] - last[old] <= NEXT
        ]
        for new in alone
        if first[new] > min(first.values())
    }
    involved = sorted({n for new, olds in followed.items() for n in (new, *olds) if olds})
    if not involved:
        return {}
    values = counters(involved)
    gaps = sorted(
        (gap, new, old)
        for new, olds in followed.items()
        for old in olds
        if new != old and (gap := _gap(values, old, new)) <= CONTINUED
    )
    found: dict[int, int] = {}
    taken: set[int] = set()
    for _, new, old in gaps:
        if node_ids[new] not in found and old not in taken:
            found[node_ids[new]] = node_ids[old]
            taken.add(old)
    return found


def _gap(values: Counters, old: int, new: int) -> float:
    """Give by which share counters grew from the end of one pod to the begin of another."""
    before, after = values.get(old, {}), values.get(new, {})
    known = [(before[key][1], after[key][0]) for key in before.keys() & after.keys()]
    if not known or any(end > begin for end, begin in known):
        return float("inf")
    return max((begin - end) / max(end, 1.0) for end, begin in known)
