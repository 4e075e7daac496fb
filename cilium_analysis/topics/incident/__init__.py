"""What happened: the findings of all questions as stories, most worth acting on first."""

from cilium_analysis.topics.incident.data import QUERIES, Incident, load
from cilium_analysis.topics.incident.findings import findings
from cilium_analysis.topics.incident.movers import movers
from cilium_analysis.topics.incident.timeline import timeline
from cilium_analysis.topics.incident.trust import notes
from cilium_analysis.topics.incident.unknown import unknown
from cilium_analysis.topics.incident.where import where

__all__ = [
    "QUERIES",
    "Incident",
    "findings",
    "load",
    "movers",
    "notes",
    "timeline",
    "unknown",
    "where",
]
