"""Connectivity between nodes: who could not reach whom, from when to when, and how slowly.

The probes are those of cilium-health. Up to Cilium 1.17 a gauge names both ends
(``cilium_node_connectivity_status``); its successor, the only one from 1.18 on, counts paths per
observer and names no target, so that the target is narrowed down from what all observers saw.
"""

from cilium_analysis.topics.connectivity.data import Connectivity, load
from cilium_analysis.topics.connectivity.findings import findings
from cilium_analysis.topics.connectivity.notes import empty, notes
from cilium_analysis.topics.connectivity.promql import QUERIES
from cilium_analysis.topics.connectivity.tables import (
    latency,
    matrix,
    missed,
    outages,
    pairs,
    timeline,
)
from cilium_analysis.topics.connectivity.unknown import unknown

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
