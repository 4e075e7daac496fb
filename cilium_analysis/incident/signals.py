"""What each story was seen in: one series over the window, to be drawn beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.cards import Signal
from cilium_analysis.topics.buckets import quantile
from cilium_analysis.topics.dns.outcomes import ended
from cilium_analysis.topics.endpoints.tables import failures
from cilium_analysis.topics.flows.traffic import forwarded
from cilium_analysis.topics.health.failures import counted
from cilium_analysis.topics.reasons import from_hubble
from cilium_analysis.topics.telling import only

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cilium_analysis.findings import Finding, Findings
    from cilium_analysis.incident.data import Incident


def signals(data: Incident, found: Findings) -> dict[int, Signal]:
    """Give the series that each story was seen in.

    Parameters
    ----------
    data
        As from `load`.
    found
        As from `findings`.

    Returns
    -------
    dict
        By the rank of the story, from 1. What is a moment, such as one restart, has none.
    """
    drawn = {}
    for rank, lead in enumerate(found, start=1):
        seen = _SEEN[lead.kind](data, lead) if lead.kind in _SEEN else None
        series = (
            None
            if seen is None
            else frames.between(seen.series.to_frame(), data.window.start, data.window.end).iloc[
                :, 0
            ]
        )
        if seen is None or series is None or series.notna().sum() < 2:
            continue
        times = [time.to_pydatetime() for time in pd.DatetimeIndex(series.index)]
        level = lead.baseline_value if seen.level is None else seen.level
        drawn[rank] = Signal(times, series.tolist(), level, seen.unit or lead.unit)
    return drawn


@dataclass(frozen=True)
class _Seen:
    """A series with its baseline: that of the finding, and in its unit, if none is given."""

    series: pd.Series
    level: float | None = None
    unit: str = ""


def _drops(data: Incident, lead: Finding) -> _Seen:
    now = data.topics["drop_reasons"].now
    wanted = _of(lead, "reason", "direction", "node")
    if lead.unit == "packets/s":
        return _Seen(_rate(only(now.counts, wanted)))
    spelled = frames.values(now.hubble, "reason")
    wanted["reason"] = [name for name in spelled if from_hubble(name) == lead.labels["reason"]]
    return _Seen(_rate(only(now.hubble, wanted)))


def _requests(data: Incident, lead: Finding) -> _Seen:
    counts = data.topics["http_status"].now.counts
    wanted = _destination(lead)
    statuses = frames.values(counts, "status")
    failed = [status for status in statuses if status.startswith("5")]
    whole = only(counts, wanted)
    wanted["status"] = [lead.labels["status"]] if "status" in lead.labels else failed
    return _Seen(_rate(only(counts, wanted), of=whole))


def _destination(lead: Finding) -> dict[str, list[str]]:
    parts = (lead.labels.get(f"destination_{part}", "") for part in ("namespace", "workload"))
    destination = "/".join(filter(None, parts)) or lead.labels.get("destination", "")
    return {"destination": [destination]} if destination else {}


def _lookups(data: Incident, lead: Finding) -> _Seen:
    now = data.topics["dns"].now
    counts = ended(now.asked, now.counts)
    mine = only(counts, _of(lead, *map(str, counts.columns.names)))
    return _Seen(_rate(mine, of=counts), unit="lookups/s")


def _connections(data: Incident, lead: Finding) -> _Seen:
    now, ends = data.topics["flows"].now, _of(lead, "source", "destination")
    if lead.labels["flag"] == "RST":
        return _Seen(_rate(only(now.flags, ends | {"flag": ["RST"]})))
    return _Seen(_rate(only(now.handshakes.missing, ends)))


def _probes(data: Incident, lead: Finding) -> _Seen | None:
    now, node = data.topics["node_connectivity"].now, lead.labels.get("node", "")
    wanted = {"node": [node], "type": [lead.labels["type"]]}
    failing = only(now.target_failing, wanted)
    if not node or not failing.shape[1]:
        return None
    share = failing.sum(axis=1, min_count=1) / only(now.target_observers, wanted).sum(axis=1)
    return _Seen(100.0 * share, 100.0 * lead.baseline_value, "% of probes")


def _endpoints(data: Incident, lead: Finding) -> _Seen:
    counts = data.topics["endpoint_growth"].now.counts
    nodes = [n for n in counts.columns if n == lead.labels.get("node", n)]
    return _Seen(counts[nodes].sum(axis=1, min_count=1))


def _not_ready(data: Incident, lead: Finding) -> _Seen:
    states = data.topics["endpoint_growth"].now.states
    every = set(frames.values(states, "endpoint_state")) - {"ready"}
    wanted = _of(lead, "node") | {"endpoint_state": [lead.labels.get("state", s) for s in every]}
    return _Seen(only(states, wanted).sum(axis=1, min_count=1))


def _fill(data: Incident, lead: Finding) -> _Seen | None:
    pressure = data.topics["endpoint_growth"].now.pressure
    if "map_name" not in lead.labels:
        return None
    filled = 100.0 * only(pressure, _of(lead, "map_name", "node")).max(axis=1)
    level = lead.baseline_value * (1.0 if lead.unit.startswith("%") else 100.0)
    return _Seen(filled, level, "% full")


def _durations(data: Incident, lead: Finding) -> _Seen | None:
    """Give the 95th percentile of each step, as far as the buckets tell it."""
    topic = data.topics["http_status"]
    wanted = _destination(lead)
    now, before = (only(part.durations, wanted) for part in (topic.now, topic.baseline))
    level = _slowest(before.sum()) if before.shape[1] else math.nan
    return _Seen(now.apply(_slowest, axis=1), level, "s (p95)") if now.shape[1] else None


def _slowest(counts: pd.Series) -> float:
    sums = counts.groupby(level="le").sum()
    return quantile(0.95, {str(le): float(count) for le, count in sums.items()})


def _latencies(data: Incident, lead: Finding) -> _Seen | None:
    slow = only(data.topics["node_connectivity"].now.slow, _of(lead, "node"))
    return _Seen(slow.max(axis=1)) if slow.shape[1] else None


def _traffic(data: Incident, lead: Finding) -> _Seen:
    flows = forwarded(data.topics["flows"].now.flows)
    return _Seen(_rate(only(flows, _of(lead, "source", "destination", "protocol"))))


def _errors(data: Incident, lead: Finding) -> _Seen | None:
    wanted = [lead.labels.get(name, "") for name in ("subsystem", "map_name")]
    for each in counted(data.topics["agent_health"]):
        mine = each.kind == lead.kind and each.metric in lead.query
        if mine and [each.subsystem, each.map_name] == wanted:
            return _per_minute(each.counts, lead)
    return None


def _regenerations(data: Incident, lead: Finding) -> _Seen:
    return _per_minute(failures(data.topics["endpoint_growth"].now), lead)


def _per_minute(counts: pd.DataFrame, lead: Finding) -> _Seen:
    """Give counts of the nodes of a finding, whose value and baseline are of its whole time."""
    mine = counts[[node for node in counts if node == lead.labels.get("node", node)]]
    minutes = (lead.end - lead.start).total_seconds() / 60.0
    values = 60.0 * mine.sum(axis=1, min_count=1) / (frames.step_seconds(counts) or 1.0)
    return _Seen(values, lead.baseline_value / minutes if minutes else math.nan, "per minute")


def _scraped(data: Incident, lead: Finding) -> _Seen | None:
    agents = data.topics["agent_health"].now.scraped
    if "metric" in lead.labels or not agents.shape[1]:  # of an operator, or of no agent
        return None
    return _Seen(agents.sum(axis=1), float(agents.shape[1]), "agents scraped")


def _starts(data: Incident, lead: Finding) -> _Seen | None:
    now, node = data.topics["agent_health"].now, lead.labels.get("node", "")
    times = pd.DatetimeIndex(sorted(start.time for start in now.starts if node in ("", start.node)))
    if len(times) < 2:
        return None
    index = now.scraped.index
    so_far = pd.Series(times.searchsorted(index, side="right"), index, dtype="float64")
    return _Seen(so_far, math.nan, "starts so far")


def _of(lead: Finding, *names: str) -> dict[str, list[str]]:
    return {name: [lead.labels[name]] for name in names if lead.labels.get(name)}


def _rate(counts: pd.DataFrame, *, of: pd.DataFrame | None = None) -> pd.Series:
    """Give the sum of what was counted in each step, per second; NaN where nothing is known.

    Where others of its kind were counted on the same nodes, there was none of it.
    """
    summed = counts.sum(axis=1, min_count=1)
    if of is not None:
        there = only(of, {"node": frames.values(counts, "node")})
        summed = summed.mask(summed.isna() & there.notna().any(axis=1), 0.0)
    return summed / (frames.step_seconds(counts) or 1.0)


_SEEN: Mapping[str, Callable[[Incident, Finding], _Seen | None]] = {
    "drop_spike": _drops,
    "http_errors": _requests,
    "http_denied": _requests,
    "dns_failures": _lookups,
    "tcp_failures": _connections,
    "node_unreachable": _probes,
    "endpoint_growth": _endpoints,
    "endpoint_not_ready": _not_ready,
    "map_pressure": _fill,
    "endpoint_limit": _fill,
    "http_latency": _durations,
    "node_latency": _latencies,
    "traffic_shift": _traffic,
    "agent_errors": _errors,
    "operator_errors": _errors,
    "regeneration_failures": _regenerations,
    "scrape_gap": _scraped,
    "agent_restart": _starts,
}
