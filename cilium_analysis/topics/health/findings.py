"""Findings about agents and operators: what a person should act on."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from cilium_analysis.findings import Finding, Findings, Severity
from cilium_analysis.queries import Matcher
from cilium_analysis.statistics.baseline import join
from cilium_analysis.topics import held, verdict
from cilium_analysis.topics.health.absence import absences
from cilium_analysis.topics.health.agents import OLD_POLICY_MAPS
from cilium_analysis.topics.health.complaints import complaints
from cilium_analysis.topics.health.degraded import degraded
from cilium_analysis.topics.health.restarts import Restarts, restarts, scrape_interval, unexplained
from cilium_analysis.topics.health.troubles import stretches
from cilium_analysis.topics.health.unknown import unknown
from cilium_analysis.topics.health.words import (
    bare,
    braces,
    duration,
    edges,
    keys,
    rarely_scraped,
    server_said,
    steps,
    where,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

    from cilium_analysis.topics.health.data import Health
    from cilium_analysis.topics.health.restarts import Blackout

#: A BPF map this full is worth a warning, or critical.
NEARLY_FULL, FULL = 0.9, 0.98
#: Stretches so near to each other are one.
BRIDGE = timedelta(minutes=10)
#: How long an agent is away is told from this length on.
LONG_AWAY = timedelta(minutes=2)
#: A gap in the scrapes of an agent so long is worth a warning.
LONG_GAP = timedelta(minutes=5)


@held.found
def findings(data: Health) -> Findings:
    """Say what about agents and operators is worth acting on.

    Parameters
    ----------
    data
        As from `load`.

    Returns
    -------
    Findings
        ``agent_restart``, ``agent_errors``, ``operator_errors``, ``map_pressure`` and
        ``scrape_gap``; ``missing_metrics`` if there is nothing to look at. Empty when nothing is
        unusual.
    """
    restarted = restarts(data)
    found = [
        *(_restart(data, each) for each in restarted),
        *_pressures(data),
        *complaints(data),
        *degraded(data),
        *(_gap(data, each) for each in unexplained(data, restarted)),
        *absences(data),
        *([_blind(data)] if data.blind else []),
    ]
    told = verdict.told(data, found, topic="agent_health", unknown=unknown(data))
    return replace(told, items=tuple(sorted(told, key=_order)), ranked=True)


def _order(finding: Finding) -> tuple[float, bool, float, str]:
    """Most severe first; a restart before what follows from it; then the largest amount."""
    amount = finding.value if finding.total is None else finding.total
    known = -amount if math.isfinite(amount) else 0.0
    return (-finding.severity, finding.kind != "agent_restart", known, finding.title)


# Restarts


def _restart(data: Health, found: Restarts) -> Finding:
    nodes, one = found.nodes, len(found.nodes) == 1
    before = sum(s.node in nodes and s.last_seen is not None for s in data.usual.starts)
    return Finding(
        kind="agent_restart",
        severity=Severity.WARNING if found.serious else Severity.INFO,
        title=_restart_title(found, of=data.now.seen.shape[1]),
        start=found.begin.to_pydatetime(),
        end=found.end.to_pydatetime(),
        labels={"node": nodes[0]} if one else {},
        value=float(len(found.starts)),
        baseline_value=float(before) if data.usual.seen.shape[1] else math.nan,
        unit="count",
        trust_reasons=_restart_doubts(data, found),
        query=f"cilium_process_start_time_seconds{braces({'node': nodes[0]} if one else {})}",
        next_step=_RESTART_NEXT[found.how if not found.looping else "loop"],
    )


_RESTART_NEXT = {
    "in place": "Ask why the container ended: kubectl -n kube-system describe pod -l"
    " k8s-app=cilium (last state, exit code, OOMKilled, liveness), and kubectl logs --previous.",
    "loop": "Read the log of the run before: kubectl -n kube-system logs -l k8s-app=cilium -c"
    " cilium-agent --previous; look at memory and the events of the pod.",
    "replaced": "Compare with the rollouts of the DaemonSet: kubectl -n kube-system rollout"
    " history ds/cilium.",
    "reboot": "Look at the node's events and its kernel log from before the reboot.",
    "unknown": "Look at the restarts and the age of the agent's pod: kubectl -n kube-system get"
    " pods -l k8s-app=cilium -o wide.",
}


def _restart_title(found: Restarts, *, of: int) -> str:
    place = where(found.nodes, of, foremost="first")
    times = f"{len(found.starts)} times" if found.looping else ""
    away = f", not scraped for {duration(found.away)}" if found.away >= LONG_AWAY else ""
    moment = f"{found.starts[0].time:%H:%M:%S}Z"
    many = len(found.nodes) > 1
    agents = "Agents" if many else "The agent"
    span = f"from {moment} to {found.end:%H:%M:%S}Z" if len(found.starts) > 1 else f"at {moment}"
    change = f", Cilium {found.versions[0]} became {found.versions[1]}" if found.versions else ""
    if found.looping:
        started = f"{agents} {place} started {times} {span}"
        return f"{started}: a crash loop, if nobody restarted {'them' if many else 'it'}{away}"
    if found.how == "reboot":
        who = "Nodes rebooted" if many else "The node rebooted"
        return f"{who} ({place}): {agents.lower()} started {span}{away}"
    if found.how == "replaced":
        what = "Rollout: new pods replaced the agents" if many else "A new pod replaced the agent"
        return f"{what} {place} {span}{change}{away}"
    why = " in place (crash, kill, or failed liveness probe)" if found.how == "in place" else ""
    return f"{agents} {place} restarted{why} {span}{change}{away}"


def _restart_doubts(data: Health, found: Restarts) -> tuple[str, ...]:
    said: list[str] = []
    step = data.window.step
    if found.looping and step > timedelta(minutes=1):
        said.append(f"more than two starts within one step ({duration(step)}) count as two")
    if found.how == "unknown":
        said.append("whether pods were replaced is not in the data")
    if any(start.last_seen is None for start in found.starts):
        said.append("the process before was only seen in the baseline")
    return (*said, *server_said(data))


# Maps


def _pressures(data: Health) -> Iterator[Finding]:
    pressure = data.now["pressure"]
    for name in sorted(set(pressure.columns.get_level_values("map_name"))):
        chosen = pressure.columns.get_level_values("map_name") == name
        levels = pressure.loc[:, chosen]
        levels.columns = levels.columns.get_level_values("node")
        runs = [
            run for node in levels for run in _bridged(data, stretches(levels[node] >= NEARLY_FULL))
        ]
        for first, last in join(runs, bridge=steps(data, BRIDGE)):
            yield _pressure(data, str(name), levels, first, last)


def _bridged(data: Health, runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return join(runs, bridge=steps(data, BRIDGE))


def _pressure(data: Health, name: str, levels: pd.DataFrame, first: int, last: int) -> Finding:
    peaks = levels.iloc[first:last].max().dropna().sort_values(ascending=False, kind="stable")
    nodes = tuple(str(node) for node in peaks.index[peaks >= NEARLY_FULL])
    value = float(peaks.iloc[0])
    failed = _failed_updates(data, name, nodes, first, last)
    start, end = edges(data, levels.index, first, last)
    serious = value >= FULL or failed > 0
    lost = f"; {failed:,.0f} updates failed" if failed else ""
    usual = data.usual["pressure"]
    before = usual.loc[
        :,
        (usual.columns.get_level_values("map_name") == name)
        & usual.columns.get_level_values("node").isin(nodes),
    ]
    labels = {"map_name": name} | ({"node": nodes[0]} if len(nodes) == 1 else {})
    highest = float(before.max().max()) if before.shape[1] else math.nan
    usual_words = "" if math.isnan(highest) else f" instead of {highest:.1%}"
    lasting = "" if end < levels.index[-1] else ", to the end of the window"
    return Finding(
        kind="map_pressure",
        severity=Severity.CRITICAL if serious else Severity.WARNING,
        title=f"BPF map {name} {where(nodes, data.now.seen.shape[1])} was {value:.1%} full"
        f"{usual_words}{lasting}{lost}",
        start=start,
        end=end,
        labels=labels,
        value=value,
        baseline_value=highest,
        unit="ratio",
        trust_reasons=(*rarely_scraped(data, nodes, first, last), *server_said(data)),
        query=_map_query(labels),
        next_step=_map_advice(name),
    )


def _map_query(labels: Mapping[str, str]) -> str:
    """Give a query for it; up to Cilium 1.14 policy maps have series of their own."""
    own = labels["map_name"] == OLD_POLICY_MAPS
    matchers = {"map_name": Matcher("map_name", "=", labels["map_name"])}
    if own:
        matchers = {"map_name": Matcher("map_name", "=~", "policy_[0-9]+")}
    if "node" in labels:
        matchers["node"] = Matcher("node", "=", labels["node"])
    inner = ",".join(str(matchers[name]) for name in sorted(matchers))
    return f"max by (node, map_name) (cilium_bpf_map_pressure{{{inner}}})"


def _failed_updates(data: Health, name: str, nodes: Sequence[str], first: int, last: int) -> float:
    """Count failed updates; operations name a map without what its pressure's name may add."""
    failures = data.now["map_failures"]
    wanted = bare(name)
    chosen = [
        str(node) in nodes and bare(str(map_name)) == wanted for map_name, node in keys(failures)
    ]
    return float(failures.loc[:, chosen].iloc[first:last].sum().sum())


def _map_advice(name: str) -> str:
    if name.startswith(("ct", "snat", "nat")) or "nat_" in name:
        return (
            "Compare bpf.ctTcpMax, bpf.ctAnyMax and bpf.natMax (or bpf.mapDynamicSizeRatio) with"
            " the connections of the node; a full map evicts the oldest or drops new ones:"
            " cilium-dbg bpf ct list global, cilium-dbg bpf nat list."
        )
    if bare(name) == "policy":
        return (
            "Compare bpf.policyMapMax with what the policies select (identities times ports):"
            " cilium-dbg bpf policy get --all."
        )
    if name.startswith("lb"):
        return "Compare bpf.lbMapMax with the number of services and backends."
    return "Compare the size of the map with what fills it: cilium-dbg map list."


# Gaps


def _gap(data: Health, found: Blackout) -> Finding:
    of = len({*data.now.agents.columns, *found.nodes})
    length = found.length
    everyone = len(found.nodes) == of
    why = "did not answer" if found.failed else "were not scraped at all"
    still = "" if found.over else " and had not come back when the window ended"
    one = len(found.nodes) == 1
    labels = {"node": found.nodes[0]} if one else {}
    why = why if not one else why.replace("were", "was")
    who = f"{'The agent' if one else 'Agents'} {where(found.nodes, of)}"
    who = "All agents" if everyone and of > 1 else who
    return Finding(
        kind="scrape_gap",
        severity=Severity.WARNING
        if length >= LONG_GAP or (everyone and of > 1) or not found.over
        else Severity.INFO,
        title=f"{who} {why} for {duration(length)}{still}",
        start=max(found.start.to_pydatetime(), data.window.start),
        end=found.end.to_pydatetime(),
        labels=labels,
        value=length.total_seconds(),
        baseline_value=scrape_interval(data, found.nodes[0]).total_seconds(),
        unit="s",
        trust_reasons=server_said(data),
        query=f"count by (node) (cilium_process_start_time_seconds{braces(labels)})",
        next_step="Look at the node and its agent, and at the network from Prometheus to it."
        if found.failed
        else "Look at Prometheus itself: restarts, configuration, storage.",
    )


def _blind(data: Health) -> Finding:
    return Finding(
        kind="missing_metrics",
        severity=Severity.WARNING,
        title="No metrics of Cilium agents in this window: nothing can be said about their health",
        start=data.window.start,
        end=data.window.end,
        labels={"metric": "cilium_process_start_time_seconds"},
        value=0.0,
        baseline_value=float(data.usual.seen.shape[1]),
        unit="agents",
        query="count(cilium_process_start_time_seconds)",
        next_step="Check that the agents are scraped (Helm: prometheus.enabled=true), that the"
        " window is within the server's retention, and the label matchers.",
    )
