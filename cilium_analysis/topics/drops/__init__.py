"""Drops: reasons, nodes, onset, amounts against the baseline, sources and destinations.

Amounts come from the datapath's ``cilium_drop_count_total``, and are compared with
``cilium_forward_count_total``. ``hubble_drop_total`` counts events (a denied packet can have two):
its shares name source and destination. Its amounts are used only for drops that no agent counts,
and are called events.
"""

from cilium_analysis.topics.drops.data import QUERIES, Drops, load
from cilium_analysis.topics.drops.findings import findings, unknown
from cilium_analysis.topics.drops.tables import (
    by_node,
    by_reason,
    changes,
    matrix,
    notes,
    rates,
    silence,
    volume_rates,
    volumes,
    who,
)

__all__ = [
    "QUERIES",
    "Drops",
    "by_node",
    "by_reason",
    "changes",
    "findings",
    "load",
    "matrix",
    "notes",
    "rates",
    "silence",
    "unknown",
    "volume_rates",
    "volumes",
    "who",
]
