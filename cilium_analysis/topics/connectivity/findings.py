"""Findings about connectivity: which nodes a person should look at."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from cilium_analysis.findings import Finding, Findings, Severity
from cilium_analysis.queries import Matcher
from cilium_analysis.topics import held, verdict
from cilium_analysis.topics.connectivity.blame import tell
from cilium_analysis.topics.connectivity.notes import UNKNOWN, blind, why
from cilium_analysis.topics.connectivity.pace import short
from cilium_analysis.topics.connectivity.reading import column
from cilium_analysis.topics.connectivity.slowness import rises
from cilium_analysis.topics.connectivity.unknown import unknown
from cilium_analysis.window import zone

if TYPE_CHECKING:
    import pandas as pd

    from cilium_analysis.topics.connectivity.data import Connectivity
    from cilium_analysis.topics.connectivity.reading import Outage
    from cilium_analysis.topics.connectivity.slowness import Slow

#: What most observers see for so long is critical.
CRITICAL_LENGTH = timedelta(minutes=2)
#: Outages that only few observers see are told up to this number; all are in the table.
MOST_PARTIAL = 5
#: An outage of this share in the baseline too is nothing new.
AS_BEFORE = 0.9
_PORTS = "ICMP and TCP 4240, for tunnels UDP 8472 (VXLAN) or 6081 (Geneve)"


@held.found
def findings(data: Connectivity) -> Findings:
    """Say what about connectivity is worth acting on.

    Parameters
    ----------
    data
        As from `load`.

    Returns
    -------
    Findings
        ``node_unreachable`` for every outage, ``node_latency`` for every node that became slow,
        ``missing_metrics`` if there is nothing to look at. Empty when nothing is unusual.
    """
    outages = tell(data)
    partial = [o for o in outages if not o.most][:MOST_PARTIAL]
    found = [_outage(data, o) for o in outages if o.most or o in partial]
    found += [_slow(data, slow) for slow in rises(data)]
    if blind(data):
        found.append(_blind(data))
    return verdict.told(data, found, topic="node_connectivity", unknown=unknown(data))


def _outage(data: Connectivity, outage: Outage) -> Finding:
    usual = _usual(data, outage)
    kind = "node" if "node" in outage.types else outage.types[0]
    return Finding(
        kind="node_unreachable",
        severity=_severity(outage, usual),
        title=_title(data, outage, usual),
        start=outage.start.to_pydatetime(),
        end=outage.end.to_pydatetime(),
        labels=({"node": outage.node} if outage.node else {}) | {"type": kind},
        value=outage.value,
        baseline_value=usual,
        unit="share of probes",
        trust_reasons=_doubts(data, outage),
        query=_query(outage),
        next_step=_next_step(outage),
    )


def _usual(data: Connectivity, outage: Outage) -> float:
    """Give the share of the same probes that failed in the baseline; NaN if nothing tells."""
    if outage.likely or outage.role in ("unknown", "observer"):
        # Which paths failed then is not known, but that none did is.
        none = len(data.usual_paths) and not data.usual_paths.any()
        return 0.0 if none else float("nan")
    role = "source" if outage.role == "source" else "target"
    shares = [
        float(series.iloc[-1])
        for kind in outage.types
        if len(series := column(data.usual, role=role, node=outage.node, type=kind).dropna())
    ]
    return max(shares, default=float("nan"))


def _severity(outage: Outage, usual: float) -> Severity:
    lasting = outage.longest >= CRITICAL_LENGTH
    certain = outage.role in ("target", "unknown", "split") and outage.own != "reaches"
    new = not usual >= AS_BEFORE * outage.value
    # That a node reaches the others does not help those who cannot reach it.
    whole = outage.role == "target" and outage.most
    whole |= outage.role == "split"
    serious = (outage.most or outage.role == "split") and lasting and new and (certain or whole)
    return Severity.CRITICAL if serious else Severity.WARNING


def _title(data: Connectivity, outage: Outage, usual: float) -> str:
    kinds = " and ".join(filter(None, outage.types))
    protocols = " and ".join(protocol.upper() for protocol in outage.protocols)
    address = f"only {outage.address} addresses" if outage.address else ""
    how = ", ".join(part for part in (kinds, protocols, address) if part)
    text = f"{_what(data, outage)} {_when(data, outage)}" + (f" ({how})" if how else "")
    aside = _aside(outage)
    if usual >= AS_BEFORE * outage.value:
        aside += "; it was so in the baseline already"
    return text + aside


def _what(data: Connectivity, outage: Outage) -> str:
    if outage.role == "split":
        return _torn(outage)
    if outage.role == "unknown":
        one_of = f", perhaps {_list(outage.peers)}," if outage.peers else ""
        number = f"{outage.failing:.0f} of {outage.among:.0f} nodes"
        return f"A node that the data does not name{one_of} unreachable from {number}"
    remaining = outage.likely and round(outage.among) < data.observers.shape[1] - 1
    number = _count(outage, "remaining" if remaining else "other")
    if outage.role in ("source", "observer"):
        whom = f" ({_list(outage.peers)})" if outage.peers else ""
        return f"{outage.node} could not reach {number}{whom}"
    if outage.own == "cut off" and len(outage.peers) == 1 and not outage.most:
        return f"{outage.node} and {outage.peers[0]} could not reach each other"
    whom = f" ({_list(outage.peers)})" if outage.peers else ""
    likely = " was likely" if outage.likely else ""
    return f"{outage.node}{likely} unreachable from {number}{whom}"


def _torn(outage: Outage) -> str:
    if len(outage.peers) == 2:
        return f"{outage.peers[0]} and {outage.peers[1]} could not reach each other"
    if 1 < len(outage.parts) <= 3:
        parts = " | ".join(_list(part) for part in outage.parts)
        return f"The cluster was split: {parts} could not reach each other"
    if len(outage.parts) == 1:
        size = round(outage.among + 1 - outage.failing)
        return (
            f"The cluster was split in {len(outage.parts[0]) // size} parts of {size} nodes, which"
            f" the data does not tell apart: each node could not reach"
            f" {outage.failing:.0f} of {outage.among:.0f} others"
        )
    number = f"{outage.failing:.0f} of {outage.among:.0f}"
    return f"Most nodes ({_list(outage.peers)}) could not reach most others ({number})"


def _count(outage: Outage, which: str) -> str:
    failing, among = round(outage.failing), round(outage.among)
    if outage.paths > 1:
        return f"{failing} of {among} addresses of {which} nodes"
    if failing < len(outage.peers) < among:
        return f"up to {len(outage.peers)} of {among} {which} nodes"
    if failing < among:
        return f"{failing} of {among} {which} nodes"
    every = {1: f"the only {which} node", 2: f"both {which} nodes"}
    return every.get(among, f"all {among} {which} nodes")


def _list(names: tuple[str, ...], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _when(data: Connectivity, outage: Outage) -> str:
    tz = zone(data.window.timezone)
    days = data.window.length > timedelta(days=1)
    start = outage.start.tz_convert(tz)
    clock = f"{start:%Y-%m-%d %H:%M:%S}" if days else f"{start:%H:%M:%S}"
    begin = "since before the window" if outage.before else f"from {clock} {data.window.timezone}"
    lasts = f"for {short(outage.end - outage.start)}"
    if outage.after:
        lasts += " until the end of the window"
    if outage.times > 1:
        lasts += f", failing {outage.times} times"
    known = "" if outage.before and outage.after else f", {data.pace.told(outage.within)}"
    return f"{begin} {lasts}{known}"


def _aside(outage: Outage) -> str:
    said = {
        "cut off": "; it could not reach them either",
        "reaches": "; it reached them itself: asymmetric",
        "silent": "; its own agent was not scraped meanwhile",
        "unknown": "",
    }
    if outage.role in ("source", "observer"):
        return "; they reached it: asymmetric" if outage.role == "source" else ""
    if outage.role != "target" or (outage.own == "cut off" and not outage.most):
        return ""
    return said[outage.own]


def _doubts(data: Connectivity, outage: Outage) -> tuple[str, ...]:
    said = []
    if outage.likely:
        said.append(
            "the target is not in the data of this version of Cilium: it is concluded from what"
            " all observers saw together"
        )
    elif outage.role in ("unknown", "observer"):
        said.append("the target is not in the data of this version of Cilium")
    if outage.likely and outage.role == "target" and not outage.most:
        said.append("it may have been too short for all observers to notice")
    if outage.before:
        said.append("it began before the window")
    if outage.unseen >= 1.0:
        said.append(f"nothing was scraped for {outage.unseen:.0f} min of it")
    if data.crowded:
        said.append("more nodes were concerned than are looked at one by one")
    named = not outage.likely and outage.role not in ("unknown", "observer")
    if (data.fine if named else data.every).step > data.pace.sight:
        said.append("it is seen in steps longer than a round of probes")
    return (*said, *(f"server: {text}" for text in data.warnings))


def _query(outage: Outage) -> str:
    if outage.likely or outage.role in ("unknown", "observer"):
        return 'cilium_node_health_connectivity_status{status="unreachable"} > 0'
    if outage.role == "split":
        return "cilium_node_connectivity_status == 0"
    name = "source" if outage.role == "source" else "target"
    matcher = Matcher(f"{name}_node_name", "=", outage.node.rpartition("/")[2])
    return f"sum by (type) (1 - cilium_node_connectivity_status{{{matcher}}})"


def _next_step(outage: Outage) -> str:
    node = outage.node or "an affected node"
    if outage.own == "silent":
        return (
            f"Check whether {node} is up (kubectl get node, its console, the cloud provider's"
            " events) and its Cilium agent runs (kubectl -n kube-system get pods -o wide)."
        )
    if outage.types == ("endpoint",):
        return (
            f"The node answers, its health endpoint does not: check the overlay or routes for pods"
            f" ({_PORTS}) and the agent's log on {node}; cilium-health status --probe there."
        )
    if outage.role in ("source", "observer", "unknown"):
        return (
            f"Run cilium-health status --probe in the agent on {node}: it names the targets."
            f" Then check its routes, its underlay and what firewalls let through ({_PORTS})."
        )
    return (
        f"Run cilium-health status --probe in the agents on {node} and on one that cannot reach it;"
        f" check the agent's log there, the underlay and what firewalls let through ({_PORTS})."
    )


def _slow(data: Connectivity, slow: Slow) -> Finding:
    where = slow.node or f"{slow.nodes} nodes"
    whose = "to" if data.targets_named else "from"
    protocols = " and ".join(protocol.upper() for protocol in slow.protocols)
    how = ", ".join(filter(None, (protocols, " and ".join(filter(None, slow.types)))))
    kind = "node" if "node" in slow.types else slow.types[0]
    reasons = [f"server: {text}" for text in data.warnings]
    if not slow.compared:
        reasons.insert(0, "no baseline: compared with the quieter part of the window")
    if not data.targets_named:
        reasons.insert(0, "a mean over all targets of an observer, itself included")
    return Finding(
        kind="node_latency",
        severity=Severity.WARNING,
        title=f"Latency {whose} {where} rose to {_short(slow.value)} instead of"
        f" {_short(slow.usual)} {_lasting(data, slow.start, slow.end)}"
        + (f" ({how})" if how else ""),
        start=slow.start.to_pydatetime(),
        end=slow.end.to_pydatetime(),
        labels=({"node": slow.node} if slow.node else {}) | {"type": kind},
        value=slow.value,
        baseline_value=slow.usual if slow.compared else float("nan"),
        unit="s",
        trust_reasons=tuple(reasons),
        query=_latency_query(data, slow),
        next_step=f"Check load, network interface and links of {slow.node or 'what they share'}"
        " (its errors and queues); cilium-health status --probe shows each path.",
    )


def _lasting(data: Connectivity, start: pd.Timestamp, end: pd.Timestamp) -> str:
    local = start.tz_convert(zone(data.window.timezone))
    days = data.window.length > timedelta(days=1)
    clock = f"{local:%Y-%m-%d %H:%M}" if days else f"{local:%H:%M}"
    minutes = (end - start).total_seconds() / 60
    return f"from {clock} {data.window.timezone} for {minutes:.0f} min"


def _short(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def _latency_query(data: Connectivity, slow: Slow) -> str:
    if not data.targets_named:
        name = "cilium_node_health_connectivity_latency_seconds_bucket"
        return f"histogram_quantile(0.9, sum by (le, protocol, type) (rate({name}[5m])))"
    name = "cilium_node_connectivity_latency_seconds"
    if not slow.node:
        return f"quantile by (protocol, type) (0.5, {name} > 0)"
    matcher = Matcher("target_node_name", "=", slow.node.rpartition("/")[2])
    return f"quantile by (protocol, type) (0.5, {name}{{{matcher}}} > 0)"


def _blind(data: Connectivity) -> Finding:
    return Finding(
        kind="missing_metrics",
        severity=Severity.WARNING,
        title=f"{UNKNOWN}: nothing can be said about connectivity",
        start=data.window.start,
        end=data.window.end,
        labels={"metric": "cilium_node_connectivity_status"},
        value=0.0,
        baseline_value=float("nan"),
        unit="agents",
        query="count(cilium_node_connectivity_status) or"
        " count(cilium_node_health_connectivity_status)",
        trust_reasons=(why(data),),
        next_step="Check that the agents are scraped (Helm: prometheus.enabled=true), that health"
        " checking is on (healthChecking=true), that neither metric is switched off in"
        " prometheus.metrics (cilium_node_connectivity_status up to 1.17,"
        " cilium_node_health_connectivity_status from 1.17 on), and the label matchers.",
    )
