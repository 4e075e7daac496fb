"""The setup of the monitoring: what this cluster exports, and what it lacks."""

from cilium_analysis.topics.setup.data import QUERIES, Setup, load
from cilium_analysis.topics.setup.findings import findings, judge, unknown
from cilium_analysis.topics.setup.kubernetes import kubernetes
from cilium_analysis.topics.setup.newest import Newest, newest
from cilium_analysis.topics.setup.sentence import nothing, sentence
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
    "Newest",
    "Setup",
    "checks",
    "configurations",
    "findings",
    "gaps",
    "judge",
    "kubernetes",
    "load",
    "newest",
    "notes",
    "nothing",
    "sentence",
    "targets",
    "unknown",
    "versions",
]
