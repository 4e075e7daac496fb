"""What catches everybody who reads a metric of Cilium for the first time."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cilium_analysis.metrics import defects

if TYPE_CHECKING:
    from cilium_analysis.metrics.known import Metric

_BORN = (
    "A series is born with its first event, at a value above 0: rate() and increase() lose that"
    " step, often the whole burst. counters.increase counts it."
)
_PINNED = (
    "It lives in a pinned BPF map and survives a restart of the agent; up to Cilium 1.14 it falls"
    " to 0 then and jumps back, which increase() reads as a gigantic spike. counters.increase"
    " does not."
)
_EXTRAPOLATED = (
    "increase() extrapolates: totals come from the counter itself, per series, before any sum."
)
_SPELLED = (
    "Cilium's own counters and Hubble's spell reasons differently"
    " (“Policy denied”, “POLICY_DENIED”)."
)
_EVENTS = (
    "It counts events: a denied packet shows up about twice. Amounts come from"
    " cilium_drop_count_total; who and where from Hubble."
)
_MANY = (
    "A cluster of N nodes has at least 2·N² series of it: never fetch them whole, let the server"
    " add them up, as in sum by (target_node_name) (…)."
)
_NO_TARGET = (
    "It names no target and counts addresses; failed probes are recorded as 10 s."
    " cilium_node_connectivity_* named the target up to Cilium 1.17."
)
_FORBIDDEN = (
    'A 403 may come from a policy or from the application: cilium_policy_l7_total{rule="denied"}'
    " tells them apart."
)
_TWICE = (
    "With L7 rules at both ends each request counts twice: select one reporter. httpV2 differs"
    " from http (v1) in labels, and v1 swaps source and destination."
)
_SEEN = (
    "It exists only where an L7 CiliumNetworkPolicy matches the traffic: an empty answer means"
    " “not visible”, not “no traffic”."
)
_PODS = (
    "Series of deleted pods vanish after a minute, and pod labels change with every rollout:"
    " group by node or workload."
)
_RING = (
    "Events of hubble_ring_buffer are lost to readers of flows: Hubble's metrics are counted before"
    " the ring is written. Only perf_event_ring_buffer and observer_events_queue lower them."
)

#: Which metrics each applies to, and how it reads.
_TRAPS = (
    (r"cilium_drop_(count|bytes)_total|hubble_drop_total|hubble_http_requests_total", _BORN),
    (r"cilium_(drop|forward)_(count|bytes)_total", _PINNED),
    (r"cilium_drop_count_total|hubble_drop_total", _SPELLED),
    (r"hubble_drop_total", _EVENTS),
    (r"cilium_node_connectivity_\w+", _MANY),
    (r"cilium_node_health_connectivity_\w+", _NO_TARGET),
    (r"hubble_http_requests_total", _FORBIDDEN),
    (r"hubble_http_\w+", _TWICE),
    (r"hubble_(http|dns)_\w+|cilium_policy_l7_total", _SEEN),
    (r"hubble_lost_events_total", _RING),
    (r"hubble_(?!lost_)\w+", _PODS),
)


def traps(metric: Metric) -> tuple[str, ...]:
    """Give what to know before a metric is read, in sentences; none if it has no trap."""
    own = [text for names, text in _TRAPS if re.fullmatch(names, metric.name)]
    wrong = [f"Known defect of {d.told()}" for d in defects.known() if metric.name in d.metrics]
    return (*own, *wrong, *([_EXTRAPOLATED] if metric.kind == "counter" else []))
