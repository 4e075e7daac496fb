"""The setup of the monitoring: what this cluster exports, and what it lacks."""

from cilium_analysis.topics.setup.data import QUERIES, Setup, load
from cilium_analysis.topics.setup.findings import findings, judge, unknown
from cilium_analysis.topics.setup.kubernetes import kubernetes
from cilium_analysis.topics.setup.tables import (
    checks,
    configurations,
    gaps,
    notes,
    targets,
    versions,
)

__all__ = [
    "QUERIES",
    "Setup",
    "checks",
    "configurations",
    "findings",
    "gaps",
    "judge",
    "kubernetes",
    "load",
    "notes",
    "targets",
    "unknown",
    "versions",
]
