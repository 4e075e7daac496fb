"""Connectivity between nodes: which node could not reach which, when, and how slowly.

The probes are those of cilium-health. Up to Cilium 1.17 a gauge names both ends
(``cilium_node_connectivity_status``); its successor, the only one from 1.18 on, counts paths per
observer and names no target, so that the target is narrowed down from what all observers saw.
"""

from cilium_analysis.topics.connectivity.asking import QUERIES
from cilium_analysis.topics.connectivity.data import Connectivity, load
from cilium_analysis.topics.connectivity.findings import empty, findings, notes, unknown
from cilium_analysis.topics.connectivity.tables import (
    latency,
    matrix,
    missed,
    outages,
    pairs,
    timeline,
)

__all__ = [
    "QUERIES",
    "Connectivity",
    "empty",
    "findings",
    "latency",
    "load",
    "matrix",
    "missed",
    "notes",
    "outages",
    "pairs",
    "timeline",
    "unknown",
]
