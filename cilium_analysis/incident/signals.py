"""What each story was seen in: one series over the window, to be drawn beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.cards import Signal
from cilium_analysis.topics.dns.outcomes import ended
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
        By the rank of the story, from 1; in the unit of its lead. Kinds that are a moment, such as
        a restart, have none.
    """
    drawn = {}
    for rank, lead in enumerate(found, start=1):
        series = _SERIES[lead.kind](data, lead) if lead.kind in _SERIES else None
        if series is None or series.notna().sum() < 2:
            continue
        times = [time.to_pydatetime() for time in pd.DatetimeIndex(series.index)]
        drawn[rank] = Signal(times, series.tolist(), lead.baseline_value, lead.unit)
    return drawn


def _drops(data: Incident, lead: Finding) -> pd.Series:
    now = data.topics["drop_reasons"].now
    wanted = _of(lead, "reason", "direction", "node")
    if lead.unit == "packets/s":
        return _rate(only(now.counts, wanted))
    spelled = frames.values(now.hubble, "reason")
    wanted["reason"] = [name for name in spelled if from_hubble(name) == lead.labels["reason"]]
    return _rate(only(now.hubble, wanted))


def _requests(data: Incident, lead: Finding) -> pd.Series:
    counts = data.topics["http_status"].now.counts
    parts = (lead.labels.get(f"destination_{part}", "") for part in ("namespace", "workload"))
    destination = "/".join(filter(None, parts)) or lead.labels.get("destination", "")
    wanted = {"destination": [destination]} if destination else {}
    statuses = frames.values(counts, "status")
    failed = [s for s in statuses if s == lead.labels.get("status") or s.startswith("5")]
    wanted["status"] = [lead.labels["status"]] if "status" in lead.labels else failed
    return _rate(only(counts, wanted))


def _lookups(data: Incident, lead: Finding) -> pd.Series:
    now = data.topics["dns"].now
    counts = ended(now.asked, now.counts)
    return _rate(only(counts, _of(lead, *map(str, counts.columns.names))))


def _connections(data: Incident, lead: Finding) -> pd.Series:
    now, ends = data.topics["flows"].now, _of(lead, "source", "destination")
    if lead.labels["flag"] == "RST":
        return _rate(only(now.flags, ends | {"flag": ["RST"]}))
    return _rate(only(now.handshakes.missing, ends))


def _probes(data: Incident, lead: Finding) -> pd.Series | None:
    now, node = data.topics["node_connectivity"].now, lead.labels.get("node", "")
    wanted = {"node": [node], "type": [lead.labels["type"]]}
    failing = only(now.target_failing, wanted)
    if not node or not failing.shape[1]:
        return None
    return failing.sum(axis=1, min_count=1) / only(now.target_observers, wanted).sum(axis=1)


def _endpoints(data: Incident, lead: Finding) -> pd.Series:
    counts = data.topics["endpoint_growth"].now.counts
    nodes = [n for n in counts.columns if n == lead.labels.get("node", n)]
    summed: pd.Series = counts[nodes].sum(axis=1, min_count=1)
    return summed


def _not_ready(data: Incident, lead: Finding) -> pd.Series:
    states = data.topics["endpoint_growth"].now.states
    every = set(frames.values(states, "endpoint_state")) - {"ready"}
    wanted = _of(lead, "node") | {"endpoint_state": [lead.labels.get("state", s) for s in every]}
    return only(states, wanted).sum(axis=1, min_count=1)


def _fill(data: Incident, lead: Finding) -> pd.Series | None:
    pressure = data.topics["endpoint_growth"].now.pressure
    if "map_name" not in lead.labels:
        return None
    scale = 100.0 if lead.unit.startswith("%") else 1.0
    filled: pd.Series = only(pressure, _of(lead, "map_name", "node")).max(axis=1) * scale
    return filled


def _of(lead: Finding, *names: str) -> dict[str, list[str]]:
    return {name: [lead.labels[name]] for name in names if lead.labels.get(name)}


def _rate(counts: pd.DataFrame) -> pd.Series:
    """Give the sum of what was counted in each step, per second; NaN where nothing is known."""
    return counts.sum(axis=1, min_count=1) / (frames.step_seconds(counts) or 1.0)


_SERIES: Mapping[str, Callable[[Incident, Finding], pd.Series | None]] = {
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
}
