"""Nodes without an agent, and agents that Prometheus does not scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis.topics.setup import identity
from cilium_analysis.topics.setup.objects import AGENT, labelled

if TYPE_CHECKING:
    import pandas as pd

    from cilium_analysis.topics.setup.data import Setup
    from cilium_analysis.topics.setup.objects import Objects


def without_agent(data: Setup, objects: Objects) -> list[str]:
    """Name the nodes on which no agent runs; none if nothing tells.

    Nodes that came after the window are left out.
    """
    running = set(labelled(objects, AGENT)["node"])
    if {"pods", "nodes"} & set(objects.unread) or not running:
        return []
    return [name for name in _old(data, objects)["name"] if name not in running]


def not_scraped(data: Setup, objects: Objects) -> list[str]:
    """Name the nodes with an agent that is no target of Prometheus, where others are."""
    targets = identity.scraped(data.targets[data.targets["component"] == "agent"])
    running = set(labelled(objects, AGENT)["node"])
    if {"pods", "nodes"} & set(objects.unread) or not targets:
        return []
    return [
        row["name"]
        for _, row in _old(data, objects).iterrows()
        if row["name"] in running and not {row["name"], *row["addresses"]} & targets
    ]


def _old(data: Setup, objects: Objects) -> pd.DataFrame:
    nodes = objects.nodes
    return nodes[~(nodes["created"] > data.window.end)]
