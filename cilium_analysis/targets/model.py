"""The scrape targets of a run: their nodes, clusters, scrape intervals, and labels to select by."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.queries import Matcher, Query, any_of
from cilium_analysis.targets import words
from cilium_analysis.targets.naming import (
    cluster_labels,
    cluster_of,
    join_same_names,
    name_nodes,
    number_nodes,
    tell_names_apart,
    valid_signs,
    without_contradicted,
)
from cilium_analysis.targets.replicas import candidates, follow_pods, judge, sampled
from cilium_analysis.targets.stored import (
    choosing_once,
    host,
    interval,
    longest_kept,
    single_labels,
    telling_labels,
    values_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from cilium_analysis.targets.naming import Names, Sign
    from cilium_analysis.targets.replicas import Counters, Evidence, Pair
    from cilium_analysis.targets.stored import Bins, Component, Row

#: Labels that tell targets apart if no target is known.
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
        to the length of a time bin), ``replica_of`` (the row that is the same target, else -1).
    labels
        Labels that tell targets apart in answers: ``<target>`` in a query.
    clusters
        Labels that tell clusters apart: ``<cluster>`` in a query; none if there is one cluster.
    nodes
        The node of a target by the values of `labels`.
    single
        Matchers that select each target once, for sums by the server.
    labelled
        Nodes whose targets have their name in a label ``node``.
    presence
        By component, the query for the steps in which each target was scraped.
    notes
        Notes on the targets: sentences.
    caveats
        Unknown properties of targets, and the consequences: sentences.
    native
        Histograms that are stored as native ones, and the finite bounds of the classic buckets
        that they are read as.
    unread
        Why the server does not read these histograms; empty if it does.
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
        """Return the scrape interval of most targets of a component; zero if there is none."""
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
        """Fill in a query with the labels and intervals of the targets.

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
    """Write the matchers that select targets with these values of labels."""
    values = [sorted({key[place] for key in keys}) for place in range(len(labels))]
    return ",".join(
        str(Matcher(label, "=", found[0]) if len(found) == 1 else any_of(label, found))
        for label, found in zip(labels, values, strict=True)
        if keys
    )


def _tabled(rows: Sequence[Row], bins: Bins) -> pd.DataFrame:
    """Return stored targets as `Targets.table`."""
    first_of: dict[object, list[int]] = defaultdict(list)
    found = []
    for number, row in enumerate(rows):
        known = first_of[(row.component, row.node_id)]
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
                "node": row.node,
                "cluster": row.cluster,
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


def put_together(
    rows: Sequence[Row],
    bins: Bins,
    *,
    compared: Callable[[Sequence[Pair]], Mapping[Pair, Evidence]],
    named: Callable[[Mapping[Sign, object], Sequence[str]], Names],
    ends: Callable[[Sequence[int]], Counters],
) -> Targets:
    """Decide which stored targets are replicas, and the node of each.

    Parameters
    ----------
    rows, bins
        Stored targets, and the time bins in which they were scraped.
    compared
        Returns the evidence of counters on pairs of stored targets.
    named
        Returns the names of nodes in other metrics, by valid signs and the labels of clusters.
    ends
        Returns the first and the last values of pinned counters of some rows.

    Returns
    -------
    Targets
        Without queries for their presence.
    """
    if not rows:
        return Targets(pd.DataFrame(columns=list(COLUMNS)))
    single = single_labels(rows)
    # New rows: what they are known by depends on these labels.
    rows = [replace(row, single=single) for row in rows]
    valid = valid_signs(rows)
    pairs = candidates(rows, list(valid.values()))
    verdicts = judge(rows, pairs, compared(sampled(rows, pairs)) if pairs else {})
    valid = without_contradicted(rows, valid, verdicts)
    clusters = cluster_labels(rows, verdicts)
    for row in rows:
        row.cluster = cluster_of(row, clusters)
    number_nodes(rows, valid)
    follow_pods(rows, ends)
    name_nodes(rows, valid, named(valid, clusters))
    join_same_names(rows)
    tell_names_apart(rows)
    labels = telling_labels(rows, clusters)
    table = _tabled(rows, bins)
    once = choosing_once(rows) if (table["replica_of"] >= 0).any() else ()
    return Targets(
        table=table,
        labels=labels,
        clusters=clusters,
        nodes={values_of(row, labels): row.node for row in rows},
        single=once or (),
        labelled=frozenset(row.node for row in rows if row.labels.get("node") == row.node),
        notes=words.notes(rows, table, clusters),
        caveats=words.caveats(rows, table, pairs, verdicts, unmerged=once is None),
    )
