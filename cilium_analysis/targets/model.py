"""The scrape targets of a run: what tells them apart, where they are, and how they are scraped."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.queries import Matcher, Query, any_of
from cilium_analysis.targets import words
from cilium_analysis.targets.naming import (
    cluster_labels,
    cluster_of,
    distinct_names,
    name,
    of_one_name,
    together,
    valid_signs,
)
from cilium_analysis.targets.replicas import candidates, judge, sampled, successors
from cilium_analysis.targets.stored import host, interval, longest_kept, single_labels, varying

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from cilium_analysis.targets.naming import Names, Sign
    from cilium_analysis.targets.replicas import Counters, Evidence, Pair
    from cilium_analysis.targets.stored import Bins, Component, Row

#: Labels that tell targets apart where nothing is known of any.
DEFAULT = ("cluster", "instance", "node")
#: A target is scraped at least once within so many of its intervals.
RECENT = 1.5
#: A level is carried at least so long over missing scrapes.
LEAST_RECENT = timedelta(seconds=90)
COLUMNS = (
    *("component", "job", "instance", "pod", "node", "cluster"),
    *("interval", "first", "last", "replica_of"),
)


@dataclass(frozen=True)
class Targets:
    """Which targets exist, as a run asked for them once.

    Parameters
    ----------
    table
        One row per stored target: ``component`` (agent, hubble or operator), ``job``,
        ``instance``, ``pod``, ``node`` (empty if nothing tells), ``cluster`` (empty if there is
        one), ``interval`` between scrapes [s], ``first`` and ``last`` (UTC; when it was scraped,
        to the length of a stretch), ``replica_of`` (the row that is the same target, else -1).
    labels
        Labels that tell targets apart in answers: ``<target>`` in a query.
    clusters
        Labels that tell clusters apart: ``<cluster>`` in a query; none if there is one cluster.
    nodes
        The node of a target by the values of `labels`.
    single
        Matchers that choose each target once, for sums by the server.
    labelled
        Nodes whose targets have their name in a label ``node``.
    presence
        By component, the query that tells in which steps each target was scraped.
    notes
        What is worth knowing about the targets: sentences.
    caveats
        What cannot be told about them, and what that costs: sentences.
    native
        Histograms that are stored as native ones, and the finite bounds of the classic buckets
        that they are read as.
    unread
        Why the server does not read those that are stored; empty if it does.
    """

    table: pd.DataFrame
    labels: tuple[str, ...] = DEFAULT
    clusters: tuple[str, ...] = ("cluster",)
    nodes: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    single: tuple[Matcher, ...] = ()
    labelled: frozenset[str] = frozenset()
    presence: Mapping[str, Query] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()
    native: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    unread: str = ""

    def interval(self, component: Component) -> timedelta:
        """Give the scrape interval of most targets of a component; zero if there is none."""
        mine = self.table[self.table["component"] == component]["interval"]
        return timedelta(seconds=float(mine.median())) if len(mine) else timedelta()

    @property
    def slowest(self) -> timedelta:
        """Longest interval that most targets of agents or Hubble have; zero if unknown."""
        return max(self.interval("agent"), self.interval("hubble"))

    @cached_property
    def recent(self) -> timedelta:
        """Time in which every target is scraped at least once."""
        mine = self.table[self.table["component"] != "operator"]["interval"]
        longest = timedelta(seconds=float(mine.quantile(0.9))) if len(mine) else timedelta()
        seconds = (RECENT * longest).total_seconds()
        return max(LEAST_RECENT, timedelta(seconds=float(-(-seconds // 30)) * 30))

    def render(self, query: Query, *, match: Sequence[Matcher] = (), step: timedelta) -> str:
        """Fill a query in with what is known of the targets.

        Parameters
        ----------
        query, match, step
            As for `Query.render`.
        """
        return query.render(
            match=match,
            step=step,
            target=self.labels,
            cluster=self.clusters,
            recent=self.recent,
            single=self.single,
        )

    def selecting(self, node: str) -> str:
        """Write the matchers that select the targets of a node, as stored.

        Parameters
        ----------
        node
            As `resolve` names it.

        Returns
        -------
        str
            Such as ``node="worker-1"``, or ``cluster="eu",instance=~"10.0.0.1:9962|…"`` where no
            label has the name; empty if no target is of that node.
        """
        if node in self.labelled:
            return str(Matcher("node", "=", node))
        return _selecting(self.labels, [key for key, named in self.nodes.items() if named == node])

    def selecting_cluster(self, cluster: str) -> str:
        """Write the matchers that select a cluster, as stored.

        Parameters
        ----------
        cluster
            As `cluster_of` names it.

        Returns
        -------
        str
            Such as ``cluster="eu"``; where agents and Hubble tell it by labels of different names,
            each of them may be empty. Empty if no target is of that cluster.
        """
        places = [self.labels.index(label) for label in self.clusters]
        keys = [tuple(key[place] for place in places) for key in self.nodes]
        return _selecting(self.clusters, [k for k in keys if "/".join(filter(None, k)) == cluster])

    def resolve(
        self, frame: pd.DataFrame, *, keep: Iterable[str] = (), how: frames.How = "max"
    ) -> pd.DataFrame:
        """Name the node of every series, and merge what comes from the same target.

        Parameters
        ----------
        frame
            Label frame, as a query with ``<target>`` or ``<cluster>`` answers.
        keep
            Target labels that the query asks for itself.
        how
            How to merge series that differ only in target labels: ``max`` is right for one
            target stored twice.

        Returns
        -------
        pandas.DataFrame
            Label frame with ``node``, without the labels of targets; with more than one cluster
            the node is written as ``cluster/node``.
        """
        own = {*self.labels, *self.clusters, "cluster"} - set(keep)
        kept = sorted({str(name) for name in frame.columns.names} - own | {"node"})
        if not frame.shape[1]:
            return frames.with_levels(frame, kept)
        return frames.group(frames.relabel(frame, "node", self._nodes(frame)), kept, how=how)

    def _nodes(self, frame: pd.DataFrame) -> list[str]:
        """Name the node of every series; of sums over nodes, only the cluster."""
        columns = [frames.values(frame, label) for label in self.labels]
        keys = list(zip(*columns, strict=True)) if columns else [()] * frame.shape[1]
        clusters = self.cluster_of(frame)
        several = len({*clusters, *self.table["cluster"]} - {""}) > 1
        if not any(label in frame.columns.names for label in self.labels) and "node" not in (
            frame.columns.names
        ):
            return [f"{cluster}/" if several and cluster else "" for cluster in clusters]
        given, instances = (frames.values(frame, name) for name in ("node", "instance"))
        found = []
        for key, node, instance, cluster in zip(keys, given, instances, clusters, strict=True):
            plain = node or host(instance)
            found.append(
                self.nodes.get(key, f"{cluster}/{plain}" if several and cluster else plain)
            )
        return found

    def cluster_of(self, frame: pd.DataFrame) -> list[str]:
        """Name the cluster of every series; empty where no label tells."""
        columns = [frames.values(frame, label) for label in self.clusters]
        rows = zip(*columns, strict=True) if columns else [()] * frame.shape[1]
        return ["/".join(value for value in row if value) for row in rows]


def _selecting(labels: Sequence[str], keys: Collection[tuple[str, ...]]) -> str:
    """Write the matchers that choose those who have such values of labels."""
    values = [sorted({key[place] for key in keys}) for place in range(len(labels))]
    return ",".join(
        str(Matcher(label, "=", found[0]) if len(found) == 1 else any_of(label, found))
        for label, found in zip(labels, values, strict=True)
        if keys
    )


def tabled(
    rows: Sequence[Row],
    nodes: Sequence[str],
    node_ids: Sequence[int],
    clusters: Sequence[str],
    *,
    bins: Bins,
) -> pd.DataFrame:
    """Lay stored targets out as `Targets.table`.

    Parameters
    ----------
    rows, nodes, node_ids
        Stored targets, with the node and the number of the node of each.
    clusters
        Labels that tell clusters apart.
    bins
        Begin and end of each stretch of time by its number.
    """
    first_of: dict[object, list[int]] = defaultdict(list)
    found = []
    for number, (row, node, node_id) in enumerate(zip(rows, nodes, node_ids, strict=True)):
        known = first_of[(row.component, node_id)]
        twin = next((k for k in known if rows[k].concurrent(row)), -1)
        known.append(number)
        times = [bins[b] for b in row.bins]
        seconds = max((last - first).total_seconds() for first, last in times) if times else 0.0
        counts = [row.bins[each] for each in sorted(row.bins)]
        found.append(
            {
                "component": row.component,
                "job": row.labels.get("job", ""),
                "instance": row.labels.get("instance", ""),
                "pod": row.pod,
                "node": node,
                "cluster": cluster_of(row, clusters),
                "interval": interval(counts, seconds),
                "first": min((first for first, _ in times), default=pd.NaT),
                "last": max((last for _, last in times), default=pd.NaT),
                "replica_of": twin,
                "kept": longest_kept(counts, seconds),
            }
        )
    table = pd.DataFrame(found, columns=[*COLUMNS, "kept"])
    table = table.astype({"interval": "float64", "replica_of": "int64", "kept": "float64"})
    # An interval is configured for all targets of a job; scrapes fail of one or the other.
    longer = (table["kept"] > table["interval"]).groupby([table["component"], table["job"]])
    configured = longer.transform("mean") > 0.5
    return table.assign(interval=table["kept"].where(configured, table["interval"]))[list(COLUMNS)]


def telling_labels(
    rows: Sequence[Row], node_ids: Sequence[int], clusters: Sequence[str]
) -> tuple[str, ...]:
    """Choose the fewest labels that tell targets of different nodes apart.

    Parameters
    ----------
    rows, node_ids
        Stored targets, and the number of the node of each.
    clusters
        Labels that tell clusters apart; they are always among those chosen.

    Returns
    -------
    tuple of str
        Best such that all replicas of a target agree in them, so that the server merges them.
    """
    free = [n for n in _preferred(varying(rows)) if n not in clusters]
    if not free and any("instance" in row.labels for row in rows):
        free = ["instance"]
    options = [*((n,) for n in free), *combinations(free[:8], 2)]
    fit = [(*clusters, *o) for o in options if _separates(rows, node_ids, (*clusters, *o))]
    merging = (labels for labels in fit if _merges(rows, node_ids, labels))
    # More labels than needed do no harm.
    return next(merging, fit[0] if fit else (*clusters, *free))


def _preferred(names: Iterable[str]) -> list[str]:
    order = ("instance", "node", "pod", "exported_instance")
    return sorted(names, key=lambda n: (order.index(n) if n in order else len(order), n))


def _key(row: Row, labels: Sequence[str]) -> tuple[str, ...]:
    return tuple(row.labels.get(name, "") for name in labels)


def _separates(rows: Sequence[Row], node_ids: Sequence[int], labels: Sequence[str]) -> bool:
    known: dict[tuple[str, ...], int] = {}
    return all(
        known.setdefault(_key(row, labels), node_id) == node_id
        for row, node_id in zip(rows, node_ids, strict=True)
    )


def _merges(rows: Sequence[Row], node_ids: Sequence[int], labels: Sequence[str]) -> bool:
    """Tell whether targets of one component and node that ran at once agree in these labels."""
    groups: dict[object, list[Row]] = defaultdict(list)
    for row, node_id in zip(rows, node_ids, strict=True):
        groups[(row.component, node_id)].append(row)
    return all(
        _key(one, labels) == _key(other, labels) or not one.concurrent(other)
        for group in groups.values()
        for one, other in combinations(group, 2)
    )


def choosing_once(rows: Sequence[Row], node_ids: Sequence[int]) -> tuple[Matcher, ...] | None:
    """Find one matcher that chooses each target once; None if there is none.

    Parameters
    ----------
    rows, node_ids
        Stored targets, and the number of the node of each.
    """
    for label in varying(rows):
        chosen: set[str] = set()
        for component in sorted({row.component for row in rows}):
            mine = [(r, p) for r, p in zip(rows, node_ids, strict=True) if r.component == component]
            fit = _each_once(mine, label)
            chosen |= set(fit)
            if not fit:
                break
        else:
            if len(chosen) == 1:
                return (Matcher(label, "=", next(iter(chosen))),)
            # The targets of another component must not be chosen by chance.
            mine = list(zip(rows, node_ids, strict=True))
            if all(_literal(value) for value in chosen) and _chosen_once(mine, label, chosen):
                return (Matcher(label, "=~", "|".join(sorted(chosen))),)
    return None


def _each_once(mine: Sequence[tuple[Row, int]], label: str) -> list[str]:
    """Find values of a label that choose each target of a component once; none if none do.

    Where each cluster has a pair of servers of its own, that is one value of each.
    """
    whole = len({node_id for _, node_id in mine})
    parts = {
        value: [each for each in mine if each[0].labels.get(label, "") == value]
        for value in sorted({row.labels.get(label, "") for row, _ in mine})
    }
    alone = next((value for value, part in parts.items() if _once(part, whole)), None)
    if alone is not None:
        return [alone]
    fit: list[str] = []
    known: list[tuple[Row, int]] = []
    for value, part in parts.items():
        both = [*known, *part]
        if value and _once(both, len({node_id for _, node_id in both})):
            fit.append(value)
            known = both
    return fit if _once(known, whole) else []


def _chosen_once(mine: Sequence[tuple[Row, int]], label: str, chosen: Collection[str]) -> bool:
    """Tell whether these values of a label choose the targets of each component once."""
    groups: dict[object, list[tuple[Row, int]]] = defaultdict(list)
    for row, node_id in mine:
        if row.labels.get(label, "") in chosen:
            groups[row.component].append((row, node_id))
    return all(_once(group, len({node_id for _, node_id in group})) for group in groups.values())


def _literal(value: str) -> bool:
    """Tell whether a value means itself as a regular expression."""
    return value.replace("-", "").replace("_", "").replace("/", "").isalnum()


def _once(chosen: Sequence[tuple[Row, int]], whole: int) -> bool:
    """Tell whether these rows are one of each node, at any time."""
    groups: dict[int, list[Row]] = defaultdict(list)
    for row, node_id in chosen:
        groups[node_id].append(row)
    twice = (a.concurrent(b) for group in groups.values() for a, b in combinations(group, 2))
    return len(groups) == whole and not any(twice)


def keyed(
    rows: Sequence[Row], nodes: Sequence[str], labels: Sequence[str]
) -> dict[tuple[str, ...], str]:
    """Give the node by the values of the labels that tell targets apart."""
    return {_key(row, labels): node for row, node in zip(rows, nodes, strict=True)}


def put_together(
    rows: Sequence[Row],
    bins: Bins,
    *,
    compared: Callable[[Sequence[Pair]], Mapping[Pair, Evidence]],
    named: Callable[[Mapping[Sign, object], Sequence[str]], Names],
    ends: Callable[[Sequence[int]], Counters],
) -> Targets:
    """Decide which stored targets are one, and where each is.

    Parameters
    ----------
    rows, bins
        Stored targets, and the stretches of time in which they were scraped.
    compared
        Gives what counters prove of pairs of stored targets.
    named
        Gives what other metrics call nodes, by valid signs and the labels of clusters.
    ends
        Gives the first and the last values of pinned counters of some rows.

    Returns
    -------
    Targets
        Without queries for their presence.
    """
    if not rows:
        return Targets(pd.DataFrame(columns=list(COLUMNS)))
    single = single_labels(rows)
    for row in rows:
        row.single = single
    valid = valid_signs(rows)
    pairs = candidates(rows, list(valid.values()))
    verdicts = judge(rows, pairs, compared(sampled(rows, pairs)) if pairs else {})
    clusters = cluster_labels(rows, verdicts)
    node_ids = together(rows, valid, clusters)
    follow = successors(rows, node_ids, ends)
    node_ids = [_origin(node_id, follow) for node_id in node_ids]
    nodes = name(rows, node_ids, valid, named(valid, clusters), clusters=clusters)
    node_ids = of_one_name(rows, node_ids, nodes, clusters=clusters)
    nodes = distinct_names(rows, node_ids, nodes, clusters=clusters)
    labels = telling_labels(rows, node_ids, clusters)
    table = tabled(rows, nodes, node_ids, clusters, bins=bins)
    once = choosing_once(rows, node_ids) if (table["replica_of"] >= 0).any() else ()
    return Targets(
        table=table,
        labels=labels,
        clusters=clusters,
        nodes=keyed(rows, nodes, labels),
        single=once or (),
        labelled=frozenset(
            n for r, n in zip(rows, nodes, strict=True) if r.labels.get("node") == n
        ),
        notes=words.notes(rows, table, clusters),
        caveats=words.caveats(rows, table, pairs, verdicts, unmerged=once is None),
    )


def _origin(node_id: int, follow: Mapping[int, int]) -> int:
    """Follow a node back to the first pod that was there."""
    while node_id in follow:
        node_id = follow[node_id]
    return node_id
