"""Are the Kubernetes API and the metrics of the same cluster? Their nodes tell.

The current context of a kubeconfig is soon another cluster than the one that Prometheus scrapes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis import targets as naming

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from cilium_analysis.source import Source
    from cilium_analysis.window import Window

_SHOWN = 3


def agents(source: Source, window: Window, *, match: str = "") -> set[str]:
    """Ask for the names and addresses of the nodes whose agents are in the metrics.

    Parameters
    ----------
    source
        A server or a bundle.
    window
        Those of its targets.
    match
        Label matchers of the user.
    """
    table = naming.of(source, window, match=match).table
    return scraped(table[table["component"] == "agent"])


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
