"""Stored targets as rows: their labels, scrape intervals, and the labels to select by. Pure.

A row is one set of target labels of one component. The nodes of rows are in `naming`, which rows
are the same agent is in `replicas`, and the queries for rows are in `asking`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address
from itertools import combinations
from typing import TYPE_CHECKING, Literal

from cilium_analysis.metrics.known import CONTEXT_LABELS, find
from cilium_analysis.queries import Matcher

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

    #: Begin and end of each time bin by its number.
    Bins = Mapping[int, tuple[pd.Timestamp, pd.Timestamp]]

Component = Literal["agent", "hubble", "operator"]

#: Labels in which scrape configurations put the name of a node.
NODE_NAMES = (
    "node",
    "node_name",
    "nodename",
    "kubernetes_node",
    "kubernetes_node_name",
    "k8s_node_name",
    "kubernetes_io_hostname",
    "hostname",
    "host",
)
#: The same of a pod.
POD_NAMES = ("pod", "pod_name", "kubernetes_pod_name", "k8s_pod_name", "exported_pod")
#: Labels that change when a pod is replaced, although its target goes on.
CHURN = frozenset(
    {"controller_revision_hash", "helm_sh_chart", "pod_template_generation", "container_id", "uid"}
)
_MACHINE = re.compile(r"node|host|machine|server|vm")
#: ``<pod>:<container>:<port name>``, as Grafana's scrape libraries write ``instance``.
_POD_INSTANCE = re.compile(r"([a-z0-9][a-z0-9.-]*):([a-z0-9-]+):([a-z0-9-]+)")
#: Context labels of Hubble, also those that are younger than the table of metrics.
END = re.compile(r"(source|destination)_")
#: An interval was kept in so many time bins with equally many samples.
IN_A_ROW = 4
#: Thanos keeps its old samples at least so far apart [s].
DOWNSAMPLED = 300.0
#: Intervals that are usual in configurations [s].
_USUAL = (1, 2, 5, 10, 15, 20, 30, 40, 45, 60, 90, 120, 150, 180, 240, 300, 600, 900, 1800, 3600)


def own_labels(metrics: Sequence[str]) -> list[str]:
    """List the metric labels of some metrics: the other labels of a series are of its target."""
    found = {label for each in metrics if (known := find(each)) for label in known.labels}
    if any(each.startswith("hubble_") for each in metrics):
        # The response code is called type in some versions.
        found |= {*CONTEXT_LABELS, "rcode", "type"}
    return sorted(label for label in found if label.isidentifier())


@dataclass
class Row:
    """One stored target.

    Parameters
    ----------
    component
        Component whose metrics it has.
    labels
        Its target labels that are not empty.
    bins
        Number of samples in each time bin, by the number of the bin.
    up
        Whether ``up`` has a series with exactly these labels.
    single
        Other labels that name a single target each.
    cluster, node, node_id
        Its cluster, its node, and a number that all rows of its node have: set by `naming`.
    """

    component: Component
    labels: Mapping[str, str]
    bins: dict[int, float] = field(default_factory=dict)
    up: bool = False
    single: frozenset[str] = frozenset()
    cluster: str = ""
    node: str = ""
    node_id: int = -1

    @cached_property
    def addresses(self) -> frozenset[str]:
        """Hosts in its labels: of ``instance``, and of all labels that hold an address."""
        found = {host(value) for value in self.labels.values() if is_address(host(value))}
        for name in ("instance", "exported_instance"):
            value = self.labels.get(name, "")
            if value and not _POD_INSTANCE.fullmatch(value):
                found.add(host(value))
        return frozenset(found)

    @cached_property
    def pod(self) -> str:
        """Its pod as ``namespace/name``; empty if no label names one."""
        name = next((self.labels[label] for label in POD_NAMES if label in self.labels), "")
        if not name and (parts := _POD_INSTANCE.fullmatch(self.labels.get("instance", ""))):
            name = parts[1]
        space = self.labels.get("namespace", "")
        return f"{space}/{name}" if name and space else name

    @property
    def nodes(self) -> list[str]:
        """Names of nodes in its labels, the most usual label first."""
        return [self.labels[label] for label in NODE_NAMES if label in self.labels]

    @cached_property
    def rest(self) -> frozenset[tuple[str, str]]:
        """Labels that do not name a single target: its job, its cluster, its replica."""
        own = {*NODE_NAMES, *POD_NAMES, *CHURN, *self.single, "instance", "exported_instance"}
        return frozenset(
            (name, value)
            for name, value in self.labels.items()
            if name not in own and not is_address(host(value))
        )

    @cached_property
    def own(self) -> list[str]:
        """Labels of unknown meaning that have another value in every target.

        Those that sound like a machine's name come first.
        """
        known = {*NODE_NAMES, *POD_NAMES, *CHURN, "instance", "exported_instance"}
        found = [name for name in self.single - known if self.labels.get(name)]
        return sorted(found, key=lambda name: (not _MACHINE.search(name), name))

    def concurrent(self, other: Row) -> bool:
        """Return whether both were scraped at the same time, and not one after the other."""
        shared = len(self.bins.keys() & other.bins.keys())
        return shared > 1 or shared == min(len(self.bins), len(other.bins)) == 1


def host(instance: str) -> str:
    """Return the address of an ``instance`` label, without its port and brackets."""
    address, _, port = instance.rpartition(":")
    if address and port.isdigit() and (":" not in address or address.startswith("[")):
        return address.strip("[]")
    return instance.strip("[]")


def is_address(text: str) -> bool:
    """Return whether a text is an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def interval(counts: Iterable[float], seconds: float) -> float:
    """Estimate a scrape interval from the number of samples in time bins.

    Parameters
    ----------
    counts
        Samples in each bin, in order of time; empty bins are left out.
    seconds
        Length of a bin [s].

    Returns
    -------
    float
        [s]; the length of a bin if there is no sample. A scrape gap and a young target have fewer
        samples in some bins, so that the upper quartile counts.
    """
    found = sorted(count for count in counts if count > 0)
    if not found:
        return seconds
    return _nearest(seconds / found[(3 * len(found)) // 4 if len(found) > 1 else 0])


def longest_kept(counts: Iterable[float], seconds: float) -> float:
    """Return the longest interval that was kept for some time, as after a new configuration.

    A single target may have it for another reason: scrapes that fail in turn.

    Parameters
    ----------
    counts, seconds
        As for `interval`, which this is at least.
    """
    given = [count for count in counts if count > 0]
    runs = [given[n : n + IN_A_ROW] for n in range(len(given) - IN_A_ROW + 1)]
    kept = [sorted(run)[IN_A_ROW // 2] for run in runs if max(run) - min(run) <= 1]
    paces = [_nearest(seconds / each) for each in kept]
    # Samples as far apart as those of a downsampling store may have been scraped more often.
    longer = [pace for pace in paces if pace in _USUAL and pace < DOWNSAMPLED]
    return max([interval(given, seconds), *longer])


def _nearest(each: float) -> float:
    nearest = min(_USUAL, key=lambda usual: abs(usual - each))
    return float(nearest) if abs(nearest - each) <= 0.15 * nearest else each


def varying(rows: Sequence[Row]) -> list[str]:
    """List the labels in which rows differ."""
    names = sorted({name for row in rows for name in row.labels})
    return [name for name in names if len({row.labels.get(name, "") for row in rows}) > 1]


def single_labels(rows: Sequence[Row]) -> frozenset[str]:
    """Return the labels that have another value in every row of a component."""
    found: set[str] = set()
    for component in {row.component for row in rows}:
        mine = [row for row in rows if row.component == component]
        for name in varying(mine) if len(mine) > 2 else ():
            if len({row.labels.get(name, "") for row in mine}) == len(mine):
                found.add(name)
    return frozenset(found)


def differing(one: Row, other: Row) -> frozenset[str]:
    """Return the labels in which two rows differ."""
    names = one.labels.keys() | other.labels.keys()
    return frozenset(n for n in names if one.labels.get(n, "") != other.labels.get(n, ""))


def telling_labels(rows: Sequence[Row], clusters: Sequence[str]) -> tuple[str, ...]:
    """Choose the fewest labels that tell targets of different nodes apart.

    Parameters
    ----------
    rows
        All stored targets.
    clusters
        Labels that tell clusters apart; they are always chosen.

    Returns
    -------
    tuple of str
        If possible, labels in which all replicas of a target agree, so that the server merges
        them.
    """
    order = ("instance", "node", "pod", "exported_instance")
    free = sorted(
        {*varying(rows)} - {*clusters},
        key=lambda name: (order.index(name) if name in order else len(order), name),
    )
    if not free and any("instance" in row.labels for row in rows):
        free = ["instance"]
    options = [*((n,) for n in free), *combinations(free[:8], 2)]
    fit = [(*clusters, *o) for o in options if _separates(rows, (*clusters, *o))]
    merging = (labels for labels in fit if _merges(rows, labels))
    # More labels than needed do no harm.
    return next(merging, fit[0] if fit else (*clusters, *free))


def values_of(row: Row, labels: Sequence[str]) -> tuple[str, ...]:
    """Return the values that a row has of some labels; a label that it lacks is ``""``."""
    return tuple(row.labels.get(name, "") for name in labels)


def _separates(rows: Sequence[Row], labels: Sequence[str]) -> bool:
    known: dict[tuple[str, ...], int] = {}
    return all(known.setdefault(values_of(r, labels), r.node_id) == r.node_id for r in rows)


def _merges(rows: Sequence[Row], labels: Sequence[str]) -> bool:
    """Return whether targets of one component and node that ran at once agree in these labels."""
    groups: dict[object, list[Row]] = defaultdict(list)
    for row in rows:
        groups[(row.component, row.node_id)].append(row)
    return all(
        values_of(one, labels) == values_of(other, labels) or not one.concurrent(other)
        for group in groups.values()
        for one, other in combinations(group, 2)
    )


def choosing_once(rows: Sequence[Row]) -> tuple[Matcher, ...] | None:
    """Find one matcher that selects each target once; None if there is none."""
    components = sorted({row.component for row in rows})
    for label in varying(rows):
        fits = [_each_once([r for r in rows if r.component == c], label) for c in components]
        if not all(fits):
            continue
        chosen = {value for fit in fits for value in fit}
        if len(chosen) == 1:
            return (Matcher(label, "=", next(iter(chosen))),)
        # Targets of another component must not be selected by chance.
        selected = [row for row in rows if row.labels.get(label, "") in chosen]
        once = all(_once([r for r in selected if r.component == c]) for c in components)
        if once and all(re.fullmatch(r"[\w/-]+", value) for value in chosen):
            return (Matcher(label, "=~", "|".join(sorted(chosen))),)
    return None


def _each_once(rows: Sequence[Row], label: str) -> list[str]:
    """Find values of a label that select each target of a component once, if there are any.

    It is one value, or one of each cluster where each has a pair of servers of its own.
    """
    whole = len({row.node_id for row in rows})
    parts = {
        value: [row for row in rows if row.labels.get(label, "") == value]
        for value in sorted({row.labels.get(label, "") for row in rows})
    }
    alone = next((value for value, part in parts.items() if _once(part, whole)), None)
    if alone is not None:
        return [alone]
    fit: list[str] = []
    known: list[Row] = []
    for value, part in parts.items():
        if value and _once([*known, *part]):
            fit.append(value)
            known += part
    return fit if _once(known, whole) else []


def _once(rows: Sequence[Row], nodes: int | None = None) -> bool:
    """Return whether there is at most one row of a node at any time, and a row of all nodes."""
    groups: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.node_id].append(row)
    twice = (a.concurrent(b) for group in groups.values() for a, b in combinations(group, 2))
    return nodes in (None, len(groups)) and not any(twice)
