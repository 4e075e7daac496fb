"""HTTP: requests by status, source and destination; errors, denials and durations.

Hubble sees HTTP only where a layer 7 policy sends it through the proxy.
"""

from cilium_analysis.topics.http.data import QUERIES, Http, load
from cilium_analysis.topics.http.durations import latency
from cilium_analysis.topics.http.findings import findings, unknown
from cilium_analysis.topics.http.tables import (
    by_destination,
    by_protocol,
    by_status,
    changes,
    failures,
    forbidden,
    notes,
    proxies,
    rates,
    redirects,
    traces,
)

__all__ = [
    "QUERIES",
    "Http",
    "by_destination",
    "by_protocol",
    "by_status",
    "changes",
    "failures",
    "findings",
    "forbidden",
    "latency",
    "load",
    "notes",
    "proxies",
    "rates",
    "redirects",
    "traces",
    "unknown",
]
