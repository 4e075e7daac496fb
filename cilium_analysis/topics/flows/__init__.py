"""Flows: verdicts, TCP handshakes, ICMP, ports, sources and destinations, as Hubble counts them.

Hubble counts events, not packets or connections. Only changes and shares mean something.
"""

from cilium_analysis.topics.flows.data import QUERIES, Counts, Flows, load, seen
from cilium_analysis.topics.flows.findings import findings, unknown
from cilium_analysis.topics.flows.tables import (
    by_node,
    denied,
    echoes,
    flags,
    handshakes,
    icmp,
    notes,
    policy,
    ports,
    rates,
    talkers,
    verdicts,
    world,
)

__all__ = [
    "QUERIES",
    "Counts",
    "Flows",
    "by_node",
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
    "seen",
    "talkers",
    "unknown",
    "verdicts",
    "world",
]
