"""Which stored targets are replicas of one agent, and which are different agents.

Two targets with the same address may be one agent that two servers or two jobs scraped, or two
agents of two clusters. The names of labels do not tell; the counters do: those of one agent never
contradict each other, whenever they were scraped. `Comparer` asks for these counters.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.errors import BudgetExceeded, QueryRejected
from cilium_analysis.queries import Matcher, Query, any_of
from cilium_analysis.source import recorded_range
from cilium_analysis.targets.stored import END, differing, own_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cilium_analysis.source import Source
    from cilium_analysis.targets.stored import Bins, Component, Row
    from cilium_analysis.window import Window

Verdict = Literal["same", "distinct", "unknown"]
Pair = tuple[int, int]
#: First and last value of counters, by the number of a row and the labels of the series.
Counters = Mapping[int, Mapping[object, tuple[float, float]]]

#: Pairs to compare for each set of labels in which stored targets differ.
SAMPLED = 4
#: A process starts once: its start time is rounded by so much [s].
SAME_START = 3.0
#: Two counters may contradict each other in this share of the steps: around a restart.
TOLERATED = 0.2
#: Two counters that have reached this value hardly agree by chance.
TELLING = 10.0
#: A new pod is scraped within so many time bins after the last scrape of the old one.
NEXT = 2
#: Pinned counters grow by less than this share while a pod is replaced.
CONTINUED = 0.2
#: Counters that tell two agents apart by their values.
COMPARED: Mapping[Component, tuple[str, ...]] = {
    "agent": ("cilium_forward_count_total", "cilium_drop_count_total"),
    "hubble": (
        "hubble_flows_processed_total",
        "hubble_drop_total",
        "hubble_tcp_flags_total",
        "hubble_http_requests_total",
        "hubble_dns_queries_total",
    ),
}
_STARTS: Mapping[Component, str] = {
    "agent": "cilium_process_start_time_seconds",
    "operator": "cilium_operator_process_start_time_seconds",
}
#: Times at which counters of two stored targets are compared.
COMPARISONS = 8
#: Most points in time for the ends of counters.
MOST_POINTS = 500
#: Least time between two of them: the slowest collectors scrape every five minutes.
APART = timedelta(minutes=5)
#: Labels that are set by scraping or storing twice, and hardly ever tell two clusters apart.
_TWICE = re.compile(
    r"replica|prometheus|receive|^name$|(^|_)io_name$"
    r"|(^|_)(job|endpoint|service|container|component|app|part_of|instance|scrape|namespace)(_|$)"
)


@dataclass
class Evidence:
    """The result of comparing counters of two stored targets.

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
    """List the pairs of stored targets that may be replicas.

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

    The result of some pairs holds for all that differ in the same labels. Without any, two targets
    are one if they differ only in labels that are set by scraping or storing twice.

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
    """Decide by pairs that differ in the same labels, if all of them agree."""
    told = {each.verdict for each in found} - {"unknown"}
    if len(told) == 1:
        return told.pop()
    return sum(found, Evidence()).verdict if not told else "unknown"


def _telling(rows: Sequence[Row], pair: Pair) -> set[str]:
    """Return the labels in which both differ, without those that one of them lacks."""
    one, other = (rows[number] for number in pair)
    names = {name for row in (one, other) for name in (*dict(row.rest), *row.own)}
    given = ((n, one.labels.get(n), other.labels.get(n)) for n in names)
    return {n for n, mine, theirs in given if mine and theirs and mine != theirs}


def follow_pods(rows: Sequence[Row], counters: Callable[[Sequence[int]], Counters]) -> None:
    """Give agents the node of the pod that they replaced, where only their pods are known.

    A rollout of the DaemonSet gives every node another pod. Pinned counters go on from their last
    values, which tells the node of a new pod.

    Parameters
    ----------
    rows
        All stored targets, with the numbers of their nodes.
    counters
        Returns the first and the last values of pinned counters of some rows, by their labels.
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
        return
    values = counters(involved)
    gaps = sorted(
        (gap, new, old)
        for new, olds in followed.items()
        for old in olds
        if new != old and (gap := _gap(values, old, new)) <= CONTINUED
    )
    before: dict[int, int] = {}
    taken: set[int] = set()
    for _, new, old in gaps:
        if rows[new].node_id not in before and old not in taken:
            before[rows[new].node_id] = rows[old].node_id
            taken.add(old)
    for row in rows:
        while row.node_id in before:  # back to the first pod on the node
            row.node_id = before[row.node_id]


def _gap(values: Counters, old: int, new: int) -> float:
    """Return the relative increase of counters from the end of one pod to the begin of another."""
    before, after = values.get(old, {}), values.get(new, {})
    known = [(before[key][1], after[key][0]) for key in before.keys() & after.keys()]
    if not known or any(end > begin for end, begin in known):
        return float("inf")
    return max((begin - end) / max(end, 1.0) for end, begin in known)


@dataclass(frozen=True)
class Comparer:
    """Asks one source for counters of stored targets, and compares them.

    Parameters
    ----------
    source, windows, match
        The source, the windows, and the label matchers of the user.
    """

    source: Source
    windows: tuple[Window, ...]
    match: tuple[Matcher, ...]

    def evidence(
        self, rows: Sequence[Row], pairs: Sequence[Pair], bins: Bins
    ) -> dict[Pair, Evidence]:
        """Compare the counters of pairs of stored targets, and the starts of their processes."""
        found = {pair: Evidence() for pair in pairs}
        for component in sorted({rows[one].component for one, _ in pairs}):
            mine = [pair for pair in pairs if rows[pair[0]].component == component]
            window = self._shared(rows, mine, bins)
            chosen = [rows[number] for pair in mine for number in pair]
            for metric in COMPARED.get(component, ()):
                stored = _Stored.of(self._values(metric, chosen, window), own_labels([metric]))
                for pair in mine:
                    one, other = (stored.by(rows[number]) for number in pair)
                    if one.shape[1] or other.shape[1]:
                        found[pair] += compare(one, other)
            if component in _STARTS:
                stored = _Stored.of(self._values(_STARTS[component], chosen, window), ())
                for pair in mine:
                    one, other = (stored.by(rows[number]) for number in pair)
                    found[pair] += compare_starts(_latest(one), _latest(other))
        return found

    def ends(self, rows: Sequence[Row], numbers: Sequence[int], bins: Bins) -> Counters:
        """Return the first and the last values of pinned counters of some rows."""
        times = [bins[each] for number in numbers for each in rows[number].bins]
        begin, end = min(times)[0].to_pydatetime(), max(time for _, time in times).to_pydatetime()
        step = max(timedelta(minutes=1), (end - begin) / MOST_POINTS)
        step = timedelta(seconds=60 * -(-step // timedelta(seconds=60)))
        window = replace(
            self.windows[0], start=end - -(-(end - begin) // step) * step, end=end, step=step
        )
        found: dict[int, dict[object, tuple[float, float]]] = {}
        for metric in COMPARED["agent"]:
            values = self._values(metric, [rows[number] for number in numbers], window)
            stored = _Stored.of(values, own_labels([metric]))
            for number in numbers:
                for key, column in stored.by(rows[number]).items():
                    known = column.dropna()
                    if len(known):
                        ends = (float(known.iloc[0]), float(known.iloc[-1]))
                        found.setdefault(number, {})[(metric, key)] = ends
        return found

    def _shared(self, rows: Sequence[Row], pairs: Sequence[Pair], bins: Bins) -> Window:
        """Choose times at which most of these targets were scraped."""
        common: dict[int, int] = {}
        for one, other in pairs:
            for each in rows[one].bins.keys() & rows[other].bins.keys():
                common[each] = common.get(each, 0) + 1
        last = max(common, key=lambda each: (common[each], bins[each][1]))
        first, end = (moment.to_pydatetime() for moment in bins[last])
        apart: timedelta = max((end - first) / 2, APART)
        window = min(self.windows, key=lambda w: abs((w.end - end).total_seconds()))
        return replace(window, start=end - COMPARISONS * apart, end=end, step=apart)

    def _values(self, metric: str, rows: Sequence[Row], window: Window) -> pd.DataFrame:
        """Ask for the counters of some stored targets only."""
        extra = []
        for label in ("instance", "pod", "exported_instance"):
            values = sorted({row.labels.get(label, "") for row in rows})
            if len(values) > 1 and all(values):
                extra.append(any_of(label, values))
                break
        query = Query(f"max_over_time({metric}{{<match>}}[<range>])", "1", "to compare targets by")
        try:
            promql = query.render(match=(*self.match, *extra), step=window.step)
            return recorded_range(self.source, promql, window)
        except (QueryRejected, BudgetExceeded):
            return frames.empty()


@dataclass(frozen=True)
class _Stored:
    """Counters of some stored targets.

    Parameters
    ----------
    names
        Labels of targets.
    parts
        By their values, the series of each target, with the metric's own labels in the columns.
    """

    names: tuple[str, ...]
    parts: Mapping[tuple[str, ...], pd.DataFrame]

    @classmethod
    def of(cls, values: pd.DataFrame, own: Sequence[str]) -> _Stored:
        """Split a label frame by its targets."""
        table = frames.labels(values).astype(str)
        mine = [str(n) for n in table.columns if n in own or END.match(str(n))]
        names = [str(n) for n in table.columns if str(n) not in mine]
        # Without any label left, each series is still one.
        keys, targets = (
            [tuple(row) for row in table[which].to_numpy()] if which else [()] * len(table)
            for which in (mine, names)
        )
        places: dict[tuple[str, ...], list[int]] = {}
        for place, target in enumerate(targets):
            places.setdefault(target, []).append(place)
        array = values.to_numpy(dtype="float64")
        return cls(
            tuple(names),
            {
                target: pd.DataFrame(
                    array[:, found],
                    index=values.index,
                    columns=pd.Index([keys[place] for place in found], tupleize_cols=False),
                )
                for target, found in places.items()
            },
        )

    def by(self, row: Row) -> pd.DataFrame:
        """Return the series of one stored target; an empty frame if there are none."""
        found = self.parts.get(tuple(row.labels.get(name, "") for name in self.names))
        return pd.DataFrame() if found is None else found


def _latest(values: pd.DataFrame) -> float:
    known = values.to_numpy(dtype="float64").ravel()
    known = known[~np.isnan(known)]
    return float(known[-1]) if len(known) else float("nan")
