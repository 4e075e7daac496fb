"""Agents and operators: restarts, errors, resources, BPF maps, and the APIs they depend on.

Whether the machinery itself was well: what restarted, what complained, what filled up, and
what answered slowly, against the baseline.
"""

from cilium_analysis.topics.health.catalogue import QUERIES
from cilium_analysis.topics.health.data import Health, load
from cilium_analysis.topics.health.durations import activity, latency
from cilium_analysis.topics.health.findings import findings
from cilium_analysis.topics.health.notes import notes
from cilium_analysis.topics.health.operators import clustermesh, operator
from cilium_analysis.topics.health.tables import (
    cpu,
    errors,
    errors_over_time,
    memory,
    pressure,
    pressure_over_time,
    resources,
    restarts,
)
from cilium_analysis.topics.health.unknown import unknown
from cilium_analysis.topics.health.watched import (
    calls,
    events,
    forwarded,
    forwarded_over_time,
    told,
)

__all__ = [
    "QUERIES",
    "Health",
    "activity",
    "calls",
    "clustermesh",
    "cpu",
    "errors",
    "errors_over_time",
    "events",
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
    "told",
    "unknown",
]
