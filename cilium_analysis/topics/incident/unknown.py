"""Which questions about an incident cannot be answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis.findings import Unknown
from cilium_analysis.topics.incident.data import TOPICS
from cilium_analysis.topics.verdict import ABOUT_MONITORING

if TYPE_CHECKING:
    from cilium_analysis.topics.incident.data import Incident


def unknown(data: Incident) -> tuple[Unknown, ...]:
    """Give what is not known, by topic; the incident itself is among it if all other topics are.

    Parameters
    ----------
    data
        As from `load`.
    """
    reasons = dict.fromkeys(data.missing, ("not in this bundle",))
    reasons |= {name: TOPICS[name].unknown(loaded) for name, loaded in data.topics.items()}
    found = [Unknown(name, reasons[name]) for name in TOPICS if reasons.get(name)]
    if {each.topic for each in found} >= set(TOPICS) - ABOUT_MONITORING:
        every = dict.fromkeys(reason for each in found for reason in each.reasons)
        found.insert(0, Unknown("incident", tuple(every)))
    return tuple(found)
