"""Drops: which reasons, where, since when, how much against the baseline, and whose packets.

Amounts come from the datapath's ``cilium_drop_count_total``, and are set against
``cilium_forward_count_total``. ``hubble_drop_total`` counts events (a denied packet can have two),
so that its shares tell source and destination; its amounts are used only for drops that no agent
counts, and are called events.
"""

from cilium_analysis.topics.drops.data import QUERIES, Drops, load
from cilium_analysis.topics.drops.findings import findings
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
from cilium_analysis.topics.drops.unknown import unknown

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
