"""Unusual ways of scraping Cilium that this cluster has: what each costs, and what mends it.

People really scrape Cilium in these ways. None of them is a fault of its own. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis.topics.buckets import plain_number
from cilium_analysis.topics.setup.objects import some

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cilium_analysis.targets import Targets
    from cilium_analysis.window import Window

COLUMNS = ["configuration", "here", "costs", "mended by"]
#: Scrapes rarer than this are rarer than the step of a report on two hours [s].
OFTEN = 30.0
#: Scrape intervals that differ by more than this factor are mixed.
MIXED = 1.5
_NODE = (
    "relabelings with sourceLabels: [__meta_kubernetes_pod_node_name], targetLabel: node"
    " (the chart's default of serviceMonitor.relabelings)"
)


@dataclass(frozen=True)
class Facts:
    """What the labels of the targets do not tell.

    Parameters
    ----------
    unnamed
        Number of targets without a label ``node``, by component.
    exported
        Number of series of Cilium with a label ``exported_instance``.
    nodes
        ``node``, ``exported_node`` and ``internal_ip`` of kube-state-metrics' nodes.
    bounds
        Spellings of the label ``le``.
    starts
        Whether the start times of the agents' processes are there.
    classic
        Series of classic histograms, ``…_count``, that are there beside native ones.
    left_out
        Whether the user's matchers leave metrics out: what is not there may be stored.
    """

    unnamed: Mapping[str, int] = field(default_factory=dict)
    exported: int = 0
    nodes: pd.DataFrame = field(default_factory=pd.DataFrame)
    bounds: tuple[str, ...] = ()
    starts: bool = True
    classic: tuple[str, ...] = ()
    left_out: bool = False


@dataclass(frozen=True)
class _Kind:
    """A configuration: how to see it, and what is said about it."""

    name: str
    here: Callable[[Targets, Facts, Window], str]
    costs: str
    mended: str


def configurations(targets: Targets, facts: Facts, window: Window) -> pd.DataFrame:
    """List what is out of the ordinary about how Cilium is scraped.

    Parameters
    ----------
    targets
        The scrape targets.
    facts
        What they do not tell.
    window
        What is looked at.

    Returns
    -------
    pandas.DataFrame
        ``configuration``, ``here`` (what it is on this cluster), ``costs``, ``mended by``; no
        rows if nothing is out of the ordinary.
    """
    rows = [
        (kind.name, here, kind.costs, kind.mended)
        for kind in _KINDS
        if (here := kind.here(targets, facts, window))
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _cilium(targets: Targets) -> pd.DataFrame:
    """Give the targets of agents and Hubble, each once."""
    table = targets.table
    return table[(table["component"] != "operator") & (table["replica_of"] < 0)]


def _shared_instance(targets: Targets, facts: Facts, window: Window) -> str:
    for component, mine in _cilium(targets).groupby("component"):
        for instance, alike in mine[mine["instance"] != ""].groupby("instance"):
            if alike["cluster"].nunique() < len(alike) and _at_once(alike) > 1:
                apart = [name for name in targets.labels if name != "instance"]
                told = f"; {_labels(apart)} tells them apart" if apart else ""
                who = _NAMES[str(component)]
                return f"instance={instance} for {len(alike)} targets of {who}{told}"
    return ""


def _at_once(alike: pd.DataFrame) -> int:
    """Count how many of these targets were scraped at the same time, most of their time."""
    most = 1
    for _, row in alike.iterrows():
        shared = alike["last"].clip(upper=row["last"]) - alike["first"].clip(lower=row["first"])
        shortest = (alike["last"] - alike["first"]).clip(upper=row["last"] - row["first"])
        same = alike["cluster"] == row["cluster"]
        most = max(most, int((same & (shared > shortest / 2)).sum()))
    return most


def _exported(targets: Targets, facts: Facts, window: Window) -> str:
    names = [name for name in targets.labels if name.startswith("exported_")]
    if names:
        return f"{_labels(names)} tells targets apart, not instance"
    return f"{facts.exported:,} series have exported_instance" if facts.exported else ""


def _aggregated(targets: Targets, facts: Facts, window: Window) -> str:
    mine = _cilium(targets)
    bare = mine[(mine[["instance", "pod", "node"]] == "").all(axis=1)]
    return f"{len(bare)} series of targets without instance, pod and node" if len(bare) else ""


def _stored_twice(targets: Targets, facts: Facts, window: Window) -> str:
    copies = targets.table[targets.table["replica_of"] >= 0]
    if not len(copies):
        return ""
    said = next((note for note in targets.notes if "more than once" in note), "")
    return said.partition(". ")[0] or f"{len(copies):,} targets are stored more than once"


def _clusters(targets: Targets, facts: Facts, window: Window) -> str:
    names = sorted(set(_cilium(targets)["cluster"]) - {""})
    if len(names) < 2:
        return ""
    return f"{len(names)} clusters ({some(names)}), told apart by {_labels(targets.clusters)}"


def _no_node(targets: Targets, facts: Facts, window: Window) -> str:
    whole = _cilium(targets).groupby("component").size()
    lacking = [
        f"{facts.unnamed[component]} of {whole[component]} targets of {_NAMES[str(component)]}"
        for component in ("agent", "hubble")
        if facts.unnamed.get(component) and component in whole
    ]
    return f"{' and '.join(lacking)} have no label node" if lacking else ""


def _node_info(targets: Targets, facts: Facts, window: Window) -> str:
    table = facts.nodes
    if not {"node", "internal_ip"} <= set(table.columns):
        return ""
    addresses = table.groupby("node")["internal_ip"].nunique()
    several = addresses[addresses > 2]
    if not len(several):
        return ""
    return f"kube_node_info has {several.iloc[0]} addresses for node={several.index[0]}"


def _bounds(targets: Targets, facts: Facts, window: Window) -> str:
    by_number: dict[str, set[str]] = {}
    for text in facts.bounds:
        by_number.setdefault(plain_number(text), set()).add(text)
    twice = [sorted(texts) for texts in by_number.values() if len(texts) > 1]
    return f'le="{twice[0][0]}" and le="{twice[0][1]}"' if twice else ""


def _converted(targets: Targets, facts: Facts, window: Window) -> str:
    bare = [name for name in sorted(targets.native) if f"{name}_count" not in facts.classic]
    if not bare:
        return ""
    return f"{some(bare)}: stored as native histograms only, without _bucket, _sum and _count"


def _intervals(targets: Targets, facts: Facts, window: Window) -> str:
    mine = _cilium(targets)["interval"].dropna()
    if not len(mine):
        return ""
    shortest, longest = float(mine.min()), float(mine.max())
    if longest > MIXED * shortest:
        return f"targets are scraped every {shortest:g} to {longest:g} s"
    return f"targets are scraped every {longest:g} s" if longest > OFTEN else ""


def _lately(targets: Targets, facts: Facts, window: Window) -> str:
    for component, mine in _cilium(targets).groupby("component"):
        first = mine["first"].min()
        if first > pd.Timestamp(window.start) and first < pd.Timestamp(window.end):
            return f"metrics of {_NAMES[str(component)]} begin at {window.told(first)}"
    return ""


def _no_starts(targets: Targets, facts: Facts, window: Window) -> str:
    agents = (targets.table["component"] == "agent").any()
    return (
        ""
        if facts.starts or facts.left_out or not agents
        else "cilium_process_start_time_seconds is not stored"
    )


def _one_only(targets: Targets, facts: Facts, window: Window) -> str:
    there = set(targets.table["component"])
    if facts.left_out:
        return ""
    if there & {"agent", "hubble"} == {"hubble"}:
        return "metrics of Hubble, none of the agents"
    if there & {"agent", "hubble"} == {"agent"}:
        return "metrics of the agents, none of Hubble"
    return ""


_NAMES = {"agent": "agents", "hubble": "Hubble", "operator": "operators"}
_KINDS = (
    _Kind(
        "one instance for several targets",
        _shared_instance,
        "queries by instance add several nodes up, or show one of them",
        f"instance from the pod's address ([__meta_kubernetes_pod_ip]), and {_NODE}",
    ),
    _Kind(
        "exported_instance",
        _exported,
        "instance names the federated server or the collector that was scraped, not the agent",
        "honor_labels: true in the job that federates or scrapes the collector",
    ),
    _Kind(
        "target labels aggregated away",
        _aggregated,
        "no node can be named; where a node leaves, the sum falls as if a counter had been reset",
        "keep instance, pod or node in the aggregation rules of cilium_.* and hubble_.*",
    ),
    _Kind(
        "stored twice",
        _stored_twice,
        "queries that add targets up show twice as much; these reports count each target once",
        "one way of scraping only (serviceMonitor.enabled or annotations), or deduplication of the"
        " pair (Thanos: --query.replica-label; Mimir: HA tracker; VictoriaMetrics:"
        " -dedup.minScrapeInterval)",
    ),
    _Kind(
        "several clusters",
        _clusters,
        "nodes of one name or address are merged by queries without that label",
        "an external label cluster of its own for each Prometheus; --match chooses one",
    ),
    _Kind(
        "no label node",
        _no_node,
        "a node goes by its address or pod unless kube-state-metrics names it",
        _NODE,
    ),
    _Kind(
        "kube_node_info is inconsistent",
        _node_info,
        "it cannot name nodes: node is where kube-state-metrics runs",
        "honorLabels: true for kube-state-metrics, and no relabeling of node there",
    ),
    _Kind(
        "le spelled in two ways",
        _bounds,
        "histogram_quantile() takes equal buckets for two; these reports read them as numbers",
        "it passes once all data is of Prometheus 3; until then metricRelabelings of le from"
        r" (\d+)\.0 to $1",
    ),
    _Kind(
        "convert_classic_histograms_to_nhcb",
        _converted,
        "dashboards, alerts and rules with series _bucket, _sum or _count find nothing; these"
        " reports read both kinds",
        "always_scrape_classic_histograms: true beside it stores both kinds (ServiceMonitor:"
        " scrapeClassicHistograms); or queries such as histogram_quantile(0.9, sum(rate(X[5m]))),"
        " histogram_count() and histogram_sum()",
    ),
    _Kind(
        "rare or mixed scrapes",
        _intervals,
        "onsets are known to within one scrape, and shorter events are only seen as sums",
        "prometheus.serviceMonitor.interval and hubble.metrics.serviceMonitor.interval: 10s to 30s",
    ),
    _Kind(
        "metrics switched on lately",
        _lately,
        "what was before is unknown, and pinned counters begin with their whole past",
        "a window, and a baseline, that begin later",
    ),
    _Kind(
        "no start times",
        _no_starts,
        "restarts of agents are unknown",
        "cilium_process_start_time_seconds in the keep list of metricRelabelings",
    ),
    _Kind(
        "only one of agents and Hubble",
        _one_only,
        "without agents there are no amounts of drops and no connectivity; without Hubble sources"
        " and destinations are unknown",
        "Helm: prometheus.enabled=true, hubble.metrics.enabled, and a scrape job for both",
    ),
)


def _labels(names: Sequence[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)
