"""Flows: verdicts, TCP handshakes, ICMP, ports and talkers, as Hubble saw them.

Hubble counts events: neither packets nor connections. Only changes and shares mean something.
"""

from cilium_analysis.topics.flows.data import QUERIES, Counts, Flows, load
from cilium_analysis.topics.flows.findings import findings
from cilium_analysis.topics.flows.handshakes import echoes, handshakes
from cilium_analysis.topics.flows.policy import denials, denied, policy
from cilium_analysis.topics.flows.tables import (
    by_node,
    flags,
    icmp,
    notes,
    ports,
    rates,
    talkers,
    verdicts,
    world,
)
from cilium_analysis.topics.flows.unknown import unknown

__all__ = [
    "QUERIES",
    "Counts",
    "Flows",
    "by_node",
    "denials",
    "denied",
    "echoes",
    "findings",
    "flags",
    "handshakes",
    "icmp",
    "load",
    "notes",
    "policy",
    "ports",
    "rates",
    "talkers",
    "unknown",
    "verdicts",
    "world",
]
