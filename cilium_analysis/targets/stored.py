"""What a server stores of Cilium's scrape targets, as rows. Pure.

A row is one set of target labels of one component. What the labels mean is in `naming`, which
rows are the same agent in `replicas`, and how rows are asked for in `asking`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal

from cilium_analysis.metrics.known import CONTEXT_LABELS, find

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

    #: Begin and end of each stretch of time by its number.
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
#: ``<pod>:<container>:<port name>``, as Grafana's scrape libraries write ``instance``.
_POD_INSTANCE = re.compile(r"([a-z0-9][a-z0-9.-]*):([a-z0-9-]+):([a-z0-9-]+)")


#: Context labels of Hubble, also those that are younger than the table of metrics.
END = re.compile(r"(source|destination)_")


def own_labels(metrics: Sequence[str]) -> list[str]:
    """Name the metrics' own labels: what is left of a series are the labels of its target."""
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
        Whose metrics it has.
    labels
        Its target labels that are not empty.
    bins
        Samples by the number of the stretch of time in which they are.
    up
        Whether ``up`` has a series with exactly these labels.
    single
        Other labels that name a single target each.
    """

    component: Component
    labels: Mapping[str, str]
    bins: dict[int, float] = field(default_factory=dict)
    up: bool = False
    single: frozenset[str] = frozenset()

    @cached_property
    def addresses(self) -> frozenset[str]:
        """Hosts in its labels: of ``instance``, and whatever is written as an address."""
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

    def concurrent(self, other: Row) -> bool:
        """Tell whether both were scraped at the same time, and not one after the other."""
        shared = len(self.bins.keys() & other.bins.keys())
        return shared > 1 or shared == min(len(self.bins), len(other.bins)) == 1


def host(instance: str) -> str:
    """Give the address of an ``instance`` label, without its port and brackets."""
    address, _, port = instance.rpartition(":")
    if address and port.isdigit() and (":" not in address or address.startswith("[")):
        return address.strip("[]")
    return instance.strip("[]")


def is_address(text: str) -> bool:
    """Tell whether a text is an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


#: In so many stretches of time with equally many samples an interval was kept.
IN_A_ROW = 4
#: Thanos keeps its old samples at least so far apart [s].
DOWNSAMPLED = 300.0
#: Intervals that people configure [s].
_USUAL = (1, 2, 5, 10, 15, 20, 30, 40, 45, 60, 90, 120, 150, 180, 240, 300, 600, 900, 1800, 3600)


def interval(counts: Iterable[float], seconds: float) -> float:
    """Estimate a scrape interval from the samples in stretches of time.

    Parameters
    ----------
    counts
        Samples in each stretch, in order of time; those without any do not count.
    seconds
        Length of a stretch [s].

    Returns
    -------
    float
        [s]; the length of a stretch if there is no sample. A gap or a young target has fewer
        samples in some stretches, so that the upper quarter of them tells.
    """
    found = sorted(count for count in counts if count > 0)
    if not found:
        return seconds
    return _nearest(seconds / found[(3 * len(found)) // 4 if len(found) > 1 else 0])


def longest_kept(counts: Iterable[float], seconds: float) -> float:
    """Give the longest interval that samples kept to for some time, as after a new configuration.

    Of one target alone this may as well be scrapes that fail in turn.

    Parameters
    ----------
    counts, seconds
        As for `interval`, which this is at least.
    """
    given = [count for count in counts if count > 0]
    runs = [given[n : n + IN_A_ROW] for n in range(len(given) - IN_A_ROW + 1)]
    kept = [sorted(run)[IN_A_ROW // 2] for run in runs if max(run) - min(run) <= 1]
    paces = [_nearest(seconds / each) for each in kept]
    # What is as far apart as a store keeps its old samples may have been scraped more often.
    longer = [pace for pace in paces if pace in _USUAL and pace < DOWNSAMPLED]
    return max([interval(given, seconds), *longer])


def _nearest(each: float) -> float:
    nearest = min(_USUAL, key=lambda usual: abs(usual - each))
    return float(nearest) if abs(nearest - each) <= 0.15 * nearest else each


def varying(rows: Sequence[Row]) -> list[str]:
    """Name the labels in which stored targets differ."""
    names = sorted({name for row in rows for name in row.labels})
    return [name for name in names if len({row.labels.get(name, "") for row in rows}) > 1]


def single_labels(rows: Sequence[Row]) -> frozenset[str]:
    """Name the labels that have another value in every row of each component."""
    found: set[str] = set()
    for component in {row.component for row in rows}:
        mine = [row for row in rows if row.component == component]
        for name in varying(mine) if len(mine) > 2 else ():
            if len({row.labels.get(name, "") for row in mine}) == len(mine):
                found.add(name)
    return frozenset(found)


def differing(one: Row, other: Row) -> frozenset[str]:
    """Name the labels in which two stored targets differ."""
    names = one.labels.keys() | other.labels.keys()
    return frozenset(n for n in names if one.labels.get(n, "") != other.labels.get(n, ""))
