"""Findings about what is not well for a while: remote clusters, and the supply of addresses."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from cilium_analysis import frames
from cilium_analysis.findings import Finding, Severity
from cilium_analysis.statistics.baseline import join
from cilium_analysis.topics.health.data import plain
from cilium_analysis.topics.health.streams import of_value
from cilium_analysis.topics.health.troubles import stretches
from cilium_analysis.topics.health.words import edges, server_said, steps, where

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cilium_analysis.topics.health.data import Health

#: A remote cluster may be not ready, and nodes may lack addresses, for so long.
UNREADY_FOR, DEFICIT_FOR = timedelta(minutes=2), timedelta(minutes=5)
#: A cluster that was ready in less than this share of the baseline is not news.
MOSTLY = 0.5


def degraded(data: Health) -> Iterator[Finding]:
    """Say which remote clusters were lost, and where addresses ran short.

    Parameters
    ----------
    data
        As from `load`.

    Yields
    ------
    Finding
        ``agent_errors`` (subsystem ``clustermesh``) and ``operator_errors`` (``ipam``).
    """
    for name in ("mesh_ready", "kvstoremesh_ready"):
        clusters = set(frames.labels(data.now[name]).get("target_cluster", []))
        for cluster in sorted(clusters):
            yield from _lost(data, name, str(cluster))
    yield from _short_of_addresses(data)


def _lost(data: Health, name: str, cluster: str) -> Iterator[Finding]:
    ready = plain(of_value(data.now[name], "target_cluster", cluster))
    usual = plain(of_value(data.usual[name], "target_cluster", cluster))
    known = usual.to_numpy(dtype="float64")
    known = known[np.isfinite(known)]
    if len(known) and known.mean() < MOSTLY:
        return
    least = steps(data, UNREADY_FOR)
    runs = [r for node in ready for r in stretches(ready[node] == 0) if r[1] - r[0] >= least]
    for first, last in join(runs, bridge=least):
        unready = (ready.iloc[first:last] == 0).sum().sort_values(ascending=False, kind="stable")
        nodes = tuple(str(node) for node in unready.index[unready >= least])
        start, end = edges(data, ready.index, first, last)
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
            trust_reasons=server_said(data),
            query=f"min by (node, target_cluster) ({metric}_remote_cluster_readiness_status)",
            next_step="Look at the connection to it: cilium-dbg troubleshoot clustermesh, and the"
            " clustermesh-apiserver of that cluster.",
        )


def _short_of_addresses(data: Health) -> Iterator[Finding]:
    now, usual = (
        of_value(span["ipam_nodes"], "category", "in-deficit").max(axis=1)
        for span in (data.now, data.usual)
    )
    limit = float(usual.quantile(0.99)) if usual.notna().any() else 0.0
    least = steps(data, DEFICIT_FOR)
    for first, last in join(
        [r for r in stretches(now > limit) if r[1] - r[0] >= least], bridge=least
    ):
        start, end = edges(data, now.index, first, last)
        peak = float(now.iloc[first:last].max())
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
            trust_reasons=server_said(data),
            query='max(cilium_operator_ipam_nodes{category="in-deficit"})',
            next_step="Look at the free addresses of the subnets and the limits of the instances:"
            " cilium_operator_ipam_available_ips_per_subnet, and the operator's log.",
        )
