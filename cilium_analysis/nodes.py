"""Which node a series comes from, however Prometheus scrapes.

Cilium's agent and Hubble run on the host network, so that ``instance`` is the node's address; a
``node`` label is there only because of the chart's default relabelings
(install/kubernetes/cilium/values.yaml, ``serviceMonitor.relabelings``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from cilium_analysis import frames
from cilium_analysis.queries import Query

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from cilium_analysis.queries import Matcher
    from cilium_analysis.source import Source
    from cilium_analysis.window import Window

#: Labels to keep in a query so that `resolve` can find the node.
NODE_LABELS = ("cluster", "instance", "node")

QUERIES = {
    "agents": Query(
        "count by (<target>, source_node_name) ("
        '{__name__=~"cilium_node_connectivity_status|cilium_node_health_connectivity_status",'
        'source_node_name!="",type="node",<match>})',
        "series",
        "the name each agent gives its own node (Cilium up to 1.18)",
    ),
    "addresses": Query(
        "count by (cluster, internal_ip, node) (kube_node_info{<match>})",
        "nodes",
        "addresses of the nodes, from kube-state-metrics",
    ),
}


def host(instance: str) -> str:
    """Give the address of an ``instance`` label, without its port and brackets."""
    address, _, port = instance.rpartition(":")
    return (address if address and port.isdigit() else instance).strip("[]")


def names(source: Source, window: Window, *, match: Sequence[Matcher] = ()) -> Mapping[str, str]:
    """Ask for the names of the nodes by their addresses.

    Parameters
    ----------
    source
        What answers the queries.
    window
        The names are those at its end.
    match
        Label matchers of the user.

    Returns
    -------
    Mapping
        From address to node name; empty if nothing tells.
    """
    known = _KNOWN.setdefault(source, {})
    key = (window, tuple(match))
    if key not in known:
        known[key] = _ask(source, window, match)
    return known[key]


#: What sources have told: every query of every topic needs the same names.
_KNOWN: WeakKeyDictionary[Source, dict[tuple[Window, tuple[Matcher, ...]], Mapping[str, str]]] = (
    WeakKeyDictionary()
)


def _ask(source: Source, window: Window, match: Sequence[Matcher]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for key, address, name in (
        ("addresses", "internal_ip", "node"),
        ("agents", "instance", "source_node_name"),
    ):
        promql = QUERIES[key].render(match=match, step=window.step)
        table = frames.labels(source.instant(promql, window.end))
        if {address, name} <= set(table.columns):
            found |= {host(row[address]): row[name] for _, row in table.iterrows() if row[name]}
    return found


def unnamed(frame: pd.DataFrame) -> bool:
    """Tell whether any series lacks a ``node`` label, so that `names` would help."""
    if not frame.shape[1] or "instance" not in frame.columns.names:
        return False  # sums over nodes have no address to look up
    return "" in frames.values(frame, "node")


def resolve(
    frame: pd.DataFrame, *, names: Mapping[str, str] | None = None, how: frames.How = "max"
) -> pd.DataFrame:
    """Name the node of every series, and merge what comes from the same node.

    Parameters
    ----------
    frame
        Label frame with `NODE_LABELS` as far as the server has them.
    names
        From address to node name, as from the function `names`. Where nothing tells, the
        address stands for the node.
    how
        How to merge series that differ only in ``instance``: ``max`` is right for one counter
        scraped twice.

    Returns
    -------
    pandas.DataFrame
        Label frame with ``node``, without ``instance`` and ``cluster``; with more than one
        cluster the node is written as ``cluster/node``.
    """
    kept = {str(name) for name in frame.columns.names} - {"cluster", "instance"} | {"node"}
    if not frame.shape[1]:
        return frames.with_levels(frame, sorted(kept))
    nodes, clusters = frames.values(frame, "node"), frames.values(frame, "cluster")
    if "" in nodes:
        known = names or {}
        hosts = [host(instance) for instance in frames.values(frame, "instance")]
        nodes = [n or known.get(address, address) for n, address in zip(nodes, hosts, strict=True)]
    if len(set(clusters)) > 1:
        nodes = [f"{c}/{n}" if c else n for c, n in zip(clusters, nodes, strict=True)]
    return frames.group(frames.relabel(frame, "node", nodes), sorted(kept), how=how)
