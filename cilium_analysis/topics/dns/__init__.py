"""DNS: which lookups fail or stay without an answer, whose, since when, and of which names.

Hubble sees DNS only where a policy with DNS rules sends it through Cilium's proxy; an empty
answer says nothing about the traffic.
"""

from cilium_analysis.topics.dns.asking import by_ips, by_qtype, proxy_latency, waits
from cilium_analysis.topics.dns.data import QUERIES, Dns, load
from cilium_analysis.topics.dns.findings import findings
from cilium_analysis.topics.dns.tables import (
    by_client,
    by_name,
    by_rcode,
    by_server,
    by_type,
    changes,
    flow,
    missing,
    notes,
    rates,
)
from cilium_analysis.topics.dns.unknown import unknown

__all__ = [
    "QUERIES",
    "Dns",
    "by_client",
    "by_ips",
    "by_name",
    "by_qtype",
    "by_rcode",
    "by_server",
    "by_type",
    "changes",
    "findings",
    "flow",
    "load",
    "missing",
    "notes",
    "proxy_latency",
    "rates",
    "unknown",
    "waits",
]
