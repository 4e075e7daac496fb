"""Endpoints: how many, where, how fast they grow, whether they are ready, and what runs out."""

from cilium_analysis.topics.endpoints.data import QUERIES, Endpoints, load
from cilium_analysis.topics.endpoints.findings import findings, notes, ready, unknown
from cilium_analysis.topics.endpoints.tables import (
    by_node,
    counts,
    enforcement,
    growth,
    limits,
    not_ready,
    regeneration_times,
    regenerations,
    states,
)
from cilium_analysis.topics.endpoints.unready import restorations

__all__ = [
    "QUERIES",
    "Endpoints",
    "by_node",
    "counts",
    "enforcement",
    "findings",
    "growth",
    "limits",
    "load",
    "not_ready",
    "notes",
    "ready",
    "regeneration_times",
    "regenerations",
    "restorations",
    "states",
    "unknown",
]
