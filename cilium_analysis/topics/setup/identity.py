"""Are the Kubernetes API and the metrics of the same cluster? Their nodes tell.

The current context of a kubeconfig is soon another cluster than the one that Prometheus scrapes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis import frames
from cilium_analysis import nodes as naming
from cilium_analysis.queries import Query, parse_matchers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from cilium_analysis.source import Source
    from cilium_analysis.window import Window

QUERIES: Mapping[str, Query] = {
    "agents": Query(
        "count by (instance, node) (cilium_process_start_time_seconds{<match>})",
        "series",
        "nodes whose agents are in the metrics",
    ),
}
_SHOWN = 3


def agents(source: Source, window: Window, *, match: str = "") -> set[str]:
    """Ask for the names and addresses of the nodes whose agents are in the metrics.

    Parameters
    ----------
    source
        A server or a bundle.
    window
        Asked at its end, or at its start if there is nothing at its end.
    match
        Label matchers of the user.
    """
    promql = QUERIES["agents"].render(match=parse_matchers(match), step=window.step)
    for moment in (window.end, window.start):
        table = frames.labels(source.instant(promql, moment))
        if found := scraped(table.reindex(columns=["instance", "node"], fill_value="")):
            return found
    return set()


def scraped(targets: pd.DataFrame) -> set[str]:
    """Give the names and addresses of the nodes of scrape targets.

    Parameters
    ----------
    targets
        With ``instance`` and ``node``.
    """
    return {*targets["node"], *map(naming.host, targets["instance"])} - {""}


def known(nodes: pd.DataFrame) -> set[str]:
    """Give the names and addresses of Kubernetes' nodes (``name``, ``addresses``)."""
    return {*nodes["name"], *(one for row in nodes["addresses"] for one in row)} - {""}


def differ(metrics: set[str], nodes: pd.DataFrame) -> bool:
    """Tell whether metrics and Kubernetes both name nodes, but none in common."""
    there = known(nodes)
    return bool(metrics and there and not metrics & there)


def doubts(metrics: set[str], nodes: pd.DataFrame, *, unread: Sequence[str] = ()) -> list[str]:
    """Say so if the two are of different clusters, or if nothing tells.

    Parameters
    ----------
    metrics
        As from `agents`.
    nodes
        Kubernetes' nodes.
    unread
        Tables that could not be read.
    """
    if differ(metrics, nodes):
        return [
            "The Kubernetes API and the metrics seem to be of different clusters: no node is in"
            f" both (Kubernetes: {_some(set(nodes['name']))}; metrics: {_some(metrics)}). Choose"
            " the context with --kubernetes, or the cluster with --match."
        ]
    if metrics and "nodes" in unread:
        return [
            "Nothing tells whether the Kubernetes API and the metrics are of the same cluster:"
            " the nodes could not be listed."
        ]
    return []


def _some(names: set[str]) -> str:
    shown = sorted(names)[:_SHOWN]
    return ", ".join(shown) + (", …" if len(names) > _SHOWN else "")
