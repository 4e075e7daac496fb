"""HTTP: requests by status, who asks whom, errors, denials and durations against the baseline.

Hubble sees HTTP only where a layer 7 policy sends it through the proxy.
"""

from cilium_analysis.topics.http.data import QUERIES, Http, load
from cilium_analysis.topics.http.durations import latency
from cilium_analysis.topics.http.findings import findings
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
from cilium_analysis.topics.http.unknown import unknown

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
