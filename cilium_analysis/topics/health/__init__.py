"""Agents and operators: restarts, errors, resources, BPF maps, and the APIs they depend on.

What restarted, logged errors, filled up or answered slowly, against the baseline.
"""

from cilium_analysis.topics.health.activity import (
    failed,
    forwarded,
    forwarded_over_time,
    latency,
)
from cilium_analysis.topics.health.catalogue import QUERIES
from cilium_analysis.topics.health.data import Health, load
from cilium_analysis.topics.health.findings import findings, notes, unknown
from cilium_analysis.topics.health.tables import (
    clustermesh,
    cpu,
    errors,
    errors_over_time,
    memory,
    operator,
    pressure,
    pressure_over_time,
    resources,
    restarts,
)

__all__ = [
    "QUERIES",
    "Health",
    "clustermesh",
    "cpu",
    "errors",
    "errors_over_time",
    "failed",
    "findings",
    "forwarded",
    "forwarded_over_time",
    "latency",
    "load",
    "memory",
    "notes",
    "operator",
    "pressure",
    "pressure_over_time",
    "resources",
    "restarts",
    "unknown",
]
