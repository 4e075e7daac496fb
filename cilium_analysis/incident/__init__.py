"""What happened: the findings of all topics as stories, most worth acting on first."""

from cilium_analysis.incident.caveats import notes, unknown
from cilium_analysis.incident.data import QUERIES, Incident, load
from cilium_analysis.incident.findings import findings
from cilium_analysis.incident.other_changes import other_changes
from cilium_analysis.incident.path import hops, with_answer
from cilium_analysis.incident.signals import signals
from cilium_analysis.incident.timeline import timeline
from cilium_analysis.incident.where import where

__all__ = [
    "QUERIES",
    "Incident",
    "findings",
    "hops",
    "load",
    "notes",
    "other_changes",
    "signals",
    "timeline",
    "unknown",
    "where",
    "with_answer",
]
