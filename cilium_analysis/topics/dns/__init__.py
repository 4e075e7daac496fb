"""DNS: lookups that fail or get no response, by client, server and name, and since when.

Hubble sees DNS only where a policy with DNS rules sends it through Cilium's proxy. An empty
answer says nothing about the traffic.
"""

from cilium_analysis.topics.dns.data import QUERIES, Dns, load
from cilium_analysis.topics.dns.findings import findings, unknown
from cilium_analysis.topics.dns.tables import (
    by_client,
    by_ips,
    by_name,
    by_qtype,
    by_rcode,
    by_server,
    by_type,
    changes,
    flow,
    missing,
    notes,
    proxy_latency,
    rates,
    waits,
)

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
