"""Kubernetes objects: which pods and services are Cilium's, and how they fit the metrics.

The current context of a kubeconfig is soon another cluster than the one that Prometheus scrapes:
only the nodes show it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

import numpy as np

from cilium_analysis import targets as naming
from cilium_analysis.times import format_duration

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    import pandas as pd

    from cilium_analysis.source import Source
    from cilium_analysis.topics.setup.data import Setup
    from cilium_analysis.window import Window

#: Labels of the pods of Cilium's chart (install/kubernetes/cilium/templates).
AGENT: Mapping[str, str] = {"k8s-app": "cilium"}
OPERATOR: Mapping[str, str] = {"io.cilium/app": "operator"}
_SOON = timedelta(minutes=15)


class Objects(Protocol):
    """What the API of a cluster showed at one time; tables as of `cilium_analysis.kube.Cluster`."""

    @property
    def server(self) -> str:
        """Address of the API server."""
        ...

    @property
    def read(self) -> datetime:
        """When it was read."""
        ...

    @property
    def nodes(self) -> pd.DataFrame:
        """``name, addresses, created``, …."""
        ...

    @property
    def pods(self) -> pd.DataFrame:
        """``namespace, name, node, labels, prometheus, created``, …."""
        ...

    @property
    def services(self) -> pd.DataFrame:
        """``namespace, name, headless, selector, prometheus, ports``, …."""
        ...

    @property
    def cilium_policies(self) -> pd.DataFrame:
        """``namespace, name, l7, selects, valid``, …."""
        ...

    @property
    def cilium_clusterwide_policies(self) -> pd.DataFrame:
        """Columns as of the policies of namespaces."""
        ...

    @property
    def cilium_config(self) -> pd.Series[str]:
        """The ConfigMap that configures Cilium: text by key."""
        ...

    @property
    def unread(self) -> tuple[str, ...]:
        """Names of the tables that could not be read: they are empty, which says nothing."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Why, and what else to know."""
        ...


def labelled(objects: Objects, labels: Mapping[str, str]) -> pd.DataFrame:
    """Give the pods that have these labels, but for those that have ended."""
    pods = objects.pods
    chosen = [
        labels.items() <= own.items() and phase not in ("Succeeded", "Failed")
        for own, phase in zip(pods["labels"], pods["phase"], strict=True)
    ]
    # Without any pod, a mere list would choose columns.
    return pods[np.array(chosen, dtype=bool)]


def service(objects: Objects, name: str) -> pd.DataFrame:
    """Give the services of a name that could be Cilium's: those without a cluster address."""
    services = objects.services
    return services[(services["name"] == name) & services["headless"]]


def later(read: datetime, window: Window) -> list[str]:
    """Say so if the objects were read long after a window."""
    after = read - window.end
    if after < _SOON:
        return []
    length = format_duration(timedelta(minutes=after // timedelta(minutes=1)))
    return [
        f"Kubernetes was read {length} after the end of the window: nodes, pods and policies are"
        " as they were then, and what was deleted before is not among them."
    ]


def some(names: Collection[str], most: int = 3) -> str:
    """Write the first few of many names."""
    return ", ".join([*names][:most]) + (", …" if len(names) > most else "")


def nodes_in_metrics(source: Source, window: Window, *, match: str = "") -> set[str]:
    """Ask for names and addresses of the nodes whose agents are in the metrics.

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
    return names_of_targets(table[table["component"] == "agent"])


def names_of_targets(targets: pd.DataFrame) -> set[str]:
    """Give the names and addresses of the nodes of scrape targets.

    Parameters
    ----------
    targets
        With ``instance`` and ``node``.
    """
    return {*targets["node"], *map(naming.host, targets["instance"])} - {""}


def differ(metrics: set[str], nodes: pd.DataFrame) -> bool:
    """Tell whether metrics and Kubernetes both name nodes, but none in common."""
    known = {*nodes["name"], *(one for row in nodes["addresses"] for one in row)} - {""}
    return bool(metrics and known and not metrics & known)


def cluster_notes(
    metrics: set[str], nodes: pd.DataFrame, *, unread: Sequence[str] = ()
) -> list[str]:
    """Say so if the two are of different clusters, or if nothing tells.

    Parameters
    ----------
    metrics
        As from `nodes_in_metrics`.
    nodes
        Kubernetes' nodes.
    unread
        Tables that could not be read.
    """
    if differ(metrics, nodes):
        named = some(sorted(set(nodes["name"])))
        return [
            "The Kubernetes API and the metrics seem to be of different clusters: no node is in"
            f" both (Kubernetes: {named}; metrics: {some(sorted(metrics))}). Choose the context"
            " with --kubernetes, or the cluster with --match."
        ]
    if metrics and "nodes" in unread:
        return [
            "Nothing tells whether the Kubernetes API and the metrics are of the same cluster:"
            " the nodes could not be listed."
        ]
    return []


def without_agent(data: Setup, objects: Objects) -> list[str]:
    """Give the nodes on which no agent runs; none if that is unknown.

    Nodes that came after the window are left out.
    """
    running = set(labelled(objects, AGENT)["node"])
    if {"pods", "nodes"} & set(objects.unread) or not running:
        return []
    return [name for name in _old(data, objects)["name"] if name not in running]


def not_scraped(data: Setup, objects: Objects) -> list[str]:
    """Give the nodes with an agent that is no target of Prometheus, where others are."""
    targets = names_of_targets(data.now.targets[data.now.targets["component"] == "agent"])
    running = set(labelled(objects, AGENT)["node"])
    if {"pods", "nodes"} & set(objects.unread) or not targets:
        return []
    return [
        row["name"]
        for _, row in _old(data, objects).iterrows()
        if row["name"] in running and not {row["name"], *row["addresses"]} & targets
    ]


def _old(data: Setup, objects: Objects) -> pd.DataFrame:
    """Give the nodes that were there before the end of the window."""
    return objects.nodes[~(objects.nodes["created"] > data.window.end)]
