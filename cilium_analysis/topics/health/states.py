"""Findings about what stays bad for a while: full maps, lost clusters, nodes without addresses."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from cilium_analysis import frames
from cilium_analysis.findings import Finding, Severity
from cilium_analysis.queries import Matcher
from cilium_analysis.statistics.rises import join
from cilium_analysis.topics.health.agents import OLD_POLICY_MAPS
from cilium_analysis.topics.health.common import (
    from_server,
    interval,
    not_scraped,
    pick,
    steps,
    where,
)
from cilium_analysis.topics.intervals import runs
from cilium_analysis.topics.loading import plain

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import pandas as pd

    from cilium_analysis.topics.health.data import Health

#: A BPF map this full is worth a warning, or critical.
NEARLY_FULL, FULL = 0.9, 0.98
#: Intervals in which a map is full are one if they are this near to each other.
BRIDGE = timedelta(minutes=10)
#: A remote cluster may be not ready, and nodes may lack addresses, for so long.
UNREADY_FOR, DEFICIT_FOR = timedelta(minutes=2), timedelta(minutes=5)
#: A cluster that was ready in less than this share of the baseline is not news.
MOSTLY = 0.5


def of_map(frame: pd.DataFrame, name: str, nodes: Collection[str]) -> pd.DataFrame:
    """Give the series of a map on some nodes.

    Its pressure and its operations may spell its name differently.

    Parameters
    ----------
    frame
        Label frame with ``map_name`` and ``node``.
    name
        Of the map.
    nodes
        To keep.
    """
    names, places = (frame.columns.get_level_values(label) for label in ("map_name", "node"))
    same = [_bare(str(each)) == _bare(name) for each in names]
    return frame.loc[:, np.array(same, dtype=bool) & places.isin(list(nodes))]


def _bare(name: str) -> str:
    """Give the name of a map as its operations do: all policy maps are ``policy`` there."""
    short = name.removeprefix("cilium_")
    return "policy" if short.startswith("policy") else short


def full_maps(data: Health) -> Iterator[Finding]:
    """Say which BPF maps were nearly full.

    Yields
    ------
    Finding
        ``map_pressure``.
    """
    pressure, bridge = data.now["pressure"], steps(data, BRIDGE)
    for name in sorted(set(pressure.columns.get_level_values("map_name"))):
        levels = plain(pick(pressure, "map_name", name))
        # On any node, and as one finding if that is near to each other.
        found = [run for node in levels for run in runs(levels[node] >= NEARLY_FULL, bridge=bridge)]
        for first, stop in join(found, bridge=bridge):
            yield _full_map(data, str(name), levels, first, stop)


def _full_map(data: Health, name: str, levels: pd.DataFrame, first: int, stop: int) -> Finding:
    peaks = levels.iloc[first:stop].max().dropna().sort_values(ascending=False, kind="stable")
    nodes = tuple(str(node) for node in peaks.index[peaks >= NEARLY_FULL])
    value = float(peaks.iloc[0])
    failed = float(of_map(data.now["map_failures"], name, nodes).iloc[first:stop].sum().sum())
    start, end = interval(data, levels.index, first, stop)
    serious = value >= FULL or failed > 0
    lost = f"; {failed:,.0f} updates failed" if failed else ""
    baseline = plain(pick(data.baseline["pressure"], "map_name", name))
    labels = {"map_name": name} | ({"node": nodes[0]} if len(nodes) == 1 else {})
    highest = float(baseline.loc[:, baseline.columns.isin(nodes)].max().max())
    baseline_words = "" if math.isnan(highest) else f" instead of {highest:.1%}"
    lasting = "" if end < levels.index[-1] else ", to the end of the window"
    return Finding(
        kind="map_pressure",
        severity=Severity.CRITICAL if serious else Severity.WARNING,
        title=f"BPF map {name} {where(nodes, data.now.scraped.shape[1])} was {value:.1%} full"
        f"{baseline_words}{lasting}{lost}",
        start=start,
        end=end,
        labels=labels,
        value=value,
        baseline_value=highest,
        unit="ratio",
        trust_reasons=(*not_scraped(data, nodes, first, stop), *from_server(data)),
        query=_map_query(labels),
        next_step=_map_advice(name),
    )


def _map_query(labels: Mapping[str, str]) -> str:
    """Give a query for a map; up to Cilium 1.14 each endpoint's policy map has a series."""
    matchers = [Matcher(name, "=", text) for name, text in sorted(labels.items())]
    if labels["map_name"] == OLD_POLICY_MAPS:
        matchers[0] = Matcher("map_name", "=~", "policy_[0-9]+")
    inner = ",".join(str(matcher) for matcher in matchers)
    return f"max by (node, map_name) (cilium_bpf_map_pressure{{{inner}}})"


def _map_advice(name: str) -> str:
    if name.startswith(("ct", "snat", "nat")) or "nat_" in name:
        return (
            "Compare bpf.ctTcpMax, bpf.ctAnyMax and bpf.natMax (or bpf.mapDynamicSizeRatio) with"
            " the connections of the node; a full map evicts the oldest or drops new ones:"
            " `cilium-dbg bpf ct list global`, `cilium-dbg bpf nat list`."
        )
    if _bare(name) == "policy":
        return (
            "Compare bpf.policyMapMax with what the policies select (identities times ports):"
            " `cilium-dbg bpf policy get --all`."
        )
    if name.startswith("lb"):
        return "Compare bpf.lbMapMax with the number of services and backends."
    return "Compare the size of the map with what fills it: `cilium-dbg map list`."


def lost_clusters(data: Health) -> Iterator[Finding]:
    """Say which remote clusters were not ready.

    Yields
    ------
    Finding
        ``agent_errors`` (subsystem ``clustermesh``).
    """
    for name in ("mesh_ready", "kvstoremesh_ready"):
        clusters = set(frames.labels(data.now[name]).get("target_cluster", []))
        for cluster in sorted(clusters):
            yield from _lost(data, name, str(cluster))


def _lost(data: Health, name: str, cluster: str) -> Iterator[Finding]:
    ready = plain(pick(data.now[name], "target_cluster", cluster))
    baseline = plain(pick(data.baseline[name], "target_cluster", cluster))
    known = baseline.to_numpy(dtype="float64")
    known = known[np.isfinite(known)]
    if len(known) and known.mean() < MOSTLY:
        return
    least = steps(data, UNREADY_FOR)
    found = [run for node in ready for run in runs(ready[node] == 0) if run[1] - run[0] >= least]
    for first, stop in join(found, bridge=least):
        unready = (ready.iloc[first:stop] == 0).sum().sort_values(ascending=False, kind="stable")
        nodes = tuple(str(node) for node in unready.index[unready >= least])
        start, end = interval(data, ready.index, first, stop)
        agents = name == "mesh_ready"
        seen = f"seen {where(nodes, ready.shape[1])}" if agents else "seen by kvstoremesh"
        metric = "cilium_clustermesh" if agents else "cilium_kvstoremesh"
        labels = {"subsystem": "clustermesh"}
        yield Finding(
            kind="agent_errors",
            severity=Severity.WARNING,
            title=f"The remote cluster {cluster} was not ready, as {seen}",
            start=start,
            end=end,
            labels=labels | ({"node": nodes[0]} if agents and len(nodes) == 1 else {}),
            value=float(len(nodes)),
            baseline_value=0.0 if len(known) else float("nan"),
            unit="count",
            trust_reasons=from_server(data),
            query=f"min by (node, target_cluster) ({metric}_remote_cluster_readiness_status)",
            next_step="Look at the connection to it: `cilium-dbg troubleshoot clustermesh`, and the"
            " clustermesh-apiserver of that cluster.",
        )


def without_addresses(data: Health) -> Iterator[Finding]:
    """Say when more nodes than before lacked addresses for pods.

    Yields
    ------
    Finding
        ``operator_errors`` (subsystem ``ipam``).
    """
    now, baseline = (
        pick(span["ipam_nodes"], "category", "in-deficit").max(axis=1)
        for span in (data.now, data.baseline)
    )
    limit = float(baseline.quantile(0.99)) if baseline.notna().any() else 0.0
    least = steps(data, DEFICIT_FOR)
    found = [run for run in runs(now > limit) if run[1] - run[0] >= least]
    for first, stop in join(found, bridge=least):
        start, end = interval(data, now.index, first, stop)
        peak = float(now.iloc[first:stop].max())
        yield Finding(
            kind="operator_errors",
            severity=Severity.WARNING,
            title=f"Up to {peak:.0f} nodes lacked addresses for pods, instead of {limit:.0f}",
            start=start,
            end=end,
            labels={"subsystem": "ipam"},
            value=peak,
            baseline_value=limit,
            unit="count",
            trust_reasons=from_server(data),
            query='max(cilium_operator_ipam_nodes{category="in-deficit"})',
            next_step="Look at the free addresses of the subnets and the limits of the instances:"
            " cilium_operator_ipam_available_ips_per_subnet, and the operator's log.",
        )
