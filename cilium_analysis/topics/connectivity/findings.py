"""What a person should act on about connectivity, and what limits the answer."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from cilium_analysis import frames
from cilium_analysis.findings import Finding, Findings, Severity
from cilium_analysis.queries import Matcher
from cilium_analysis.texts import counted, lasting
from cilium_analysis.topics import commands, verdict
from cilium_analysis.topics.connectivity.asking import PROBE
from cilium_analysis.topics.connectivity.latencies import rises, slow_finding
from cilium_analysis.topics.connectivity.outages import detect
from cilium_analysis.topics.connectivity.pace import short
from cilium_analysis.topics.connectivity.reading import column
from cilium_analysis.topics.intervals import runs
from cilium_analysis.topics.model import found_once

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cilium_analysis.topics.connectivity.data import Connectivity
    from cilium_analysis.topics.connectivity.reading import Outage

UNKNOWN = "Unknown: no connectivity metrics in this window"
REFUSED = "Unknown: the server refused to tell of connectivity"
#: An outage that most observers see for so long is critical.
CRITICAL_LENGTH = timedelta(minutes=2)
#: A node that is removed from the cluster is missed for so long at most before all forget it.
FORGOTTEN_WITHIN = timedelta(minutes=5)
#: Of outages that only few observers see so many are findings; all are in the table.
MOST_PARTIAL = 5
#: An outage is nothing new if the baseline has this share of it too.
AS_BEFORE = 0.9
_PORTS = "ICMP and TCP 4240, for tunnels UDP 8472 (VXLAN) or 6081 (Geneve)"


@found_once
def findings(data: Connectivity) -> Findings:
    """Say what about connectivity is worth acting on.

    Returns
    -------
    Findings
        ``node_unreachable`` for every outage, ``node_latency`` for every node that became slow,
        ``missing_metrics`` if probes are not in the data, beside what agents themselves say then.
        Empty when nothing is unusual.
    """
    outages = detect(data)
    partial = [o for o in outages if not o.most][:MOST_PARTIAL]
    found = [_outage(data, o) for o in outages if o.most or o in partial]
    found += [slow_finding(data, slow) for slow in rises(data)]
    if _blind(data):
        found += [_no_metrics(data), *_missed(data)]
    return verdict.told(data, found, topic="node_connectivity", unknown=unknown(data))


def _outage(data: Connectivity, outage: Outage) -> Finding:
    baseline = _usual(data, outage)
    kind = "node" if "node" in outage.types else outage.types[0]
    return Finding(
        kind="node_unreachable",
        severity=_severity(outage, baseline),
        title=_title(data, outage, baseline),
        start=outage.start.to_pydatetime(),
        end=outage.end.to_pydatetime(),
        labels=({"node": outage.node} if outage.node else {}) | {"type": kind},
        value=outage.value,
        baseline_value=baseline,
        unit="share of probes",
        trust_reasons=_caveats(data, outage),
        query=_query(outage),
        next_step=_next_step(outage),
        brief=f"{_what(outage)}{_aside(outage)}",
    )


def _usual(data: Connectivity, outage: Outage) -> float:
    """Give the share of the same probes that failed in the baseline; NaN if it is unknown."""
    if outage.likely or outage.role in ("unknown", "observer"):
        # Which paths failed then is not known, but that none did is.
        none = len(data.baseline.paths) and not data.baseline.paths.any()
        return 0.0 if none else float("nan")
    role = "source" if outage.role == "source" else "target"
    shares = [
        float(series.iloc[-1])
        for kind in outage.types
        if len(
            series := column(data.baseline.shares, role=role, node=outage.node, type=kind).dropna()
        )
    ]
    return max(shares, default=float("nan"))


def _severity(outage: Outage, baseline: float) -> Severity:
    if outage.left and outage.end - outage.start <= FORGOTTEN_WITHIN:
        return Severity.INFO
    lasting = outage.longest >= CRITICAL_LENGTH
    certain = outage.role in ("target", "unknown", "split") and outage.own != "reaches"
    new = not baseline >= AS_BEFORE * outage.value
    # That a node reaches the others does not help the others.
    whole = outage.role == "target" and outage.most
    whole |= outage.role == "split"
    serious = (outage.most or outage.role == "split") and lasting and new and (certain or whole)
    return Severity.CRITICAL if serious else Severity.WARNING


def _title(data: Connectivity, outage: Outage, baseline: float) -> str:
    kinds = " and ".join(filter(None, outage.types))
    protocols = " and ".join(protocol.upper() for protocol in outage.protocols)
    address = f"only {outage.address} addresses" if outage.address else ""
    how = ", ".join(part for part in (kinds, protocols, address) if part)
    text = f"{_what(outage)} {_when(data, outage)}" + (f" ({how})" if how else "")
    old = baseline >= AS_BEFORE * outage.value
    return text + _aside(outage) + ("; it was so in the baseline already" if old else "")


def _what(outage: Outage) -> str:
    if outage.role == "split":
        return _split(outage)
    if outage.role == "unknown":
        one_of = f", perhaps {_list(outage.peers)}," if outage.peers else ""
        number = f"{outage.failing:.0f} of {outage.among:.0f} nodes"
        which = f"{outage.targets} nodes" if outage.targets > 1 else "A node"
        return f"{which} that the data does not name{one_of} unreachable from {number}"
    remaining = outage.likely and round(outage.among) < outage.observers - 1
    number = _count(outage, "remaining" if remaining else "other")
    if outage.role in ("source", "observer"):
        whom = f" ({_list(outage.peers)})" if outage.peers else ""
        return f"{outage.node} could not reach {number}{whom}"
    if outage.own == "cut off" and len(outage.peers) == 1 and not outage.most:
        return f"{outage.node} and {outage.peers[0]} could not reach each other"
    whom = f" ({_list(outage.peers)})" if outage.peers else ""
    likely = " was likely" if outage.likely else ""
    return f"{outage.node}{likely} unreachable from {number}{whom}"


def _split(outage: Outage) -> str:
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
    begin = "since before the window " if outage.before else ""
    lasts = f"for {short(outage.end - outage.start)}{' or longer' if any(outage.dark) else ''}"
    if outage.after:
        lasts += " until the end of the window"
    if outage.times > 1:
        lasts += f", failing {outage.times} times"
    if any(outage.dark) or (outage.before and outage.after):
        return f"{begin}{lasts}"
    return f"{begin}{lasts}, {data.now.pace.told(outage.within)}"


def _aside(outage: Outage) -> str:
    said = {
        "cut off": "; it could not reach them either",
        "reaches": "; it reached them itself: asymmetric",
        "silent": "; its own agent was not scraped in that time",
        "unknown": "",
    }
    if outage.role in ("source", "observer"):
        return "; they reached it: asymmetric" if outage.role == "source" else ""
    if outage.role != "target" or (outage.own == "cut off" and not outage.most):
        return ""
    return said[outage.own] + ("; then it left the cluster" if outage.left else "")


def _caveats(data: Connectivity, outage: Outage) -> tuple[str, ...]:
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
    for dark, side in zip(outage.dark, ("before", "after"), strict=True):
        if dark:
            said.append(f"nothing was scraped for {short(dark)} {side} it: it may be longer")
    if data.now.crowded:
        said.append("more nodes were concerned than are looked at one by one")
    named = not outage.likely and outage.role not in ("unknown", "observer")
    if (data.now.fine if named else data.now.every).step > data.now.pace.shown:
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
    node = commands.plain(outage.node) or "an affected node"
    if outage.own == "silent":
        name = commands.node_of(outage.node)
        here = f" --field-selector spec.nodeName={name}" if name else ""
        look = f"kubectl describe node {name}" if name else "kubectl get nodes -o wide"
        return (
            f"Check whether {node} is up, or was started anew (`{look}`, its console, the cloud"
            " provider's events), and its Cilium agent runs (`kubectl -n kube-system get pods -l"
            f" k8s-app=cilium{here} -o wide`)."
        )
    if outage.types == ("endpoint",):
        return (
            f"The node answers, its health endpoint does not: check the overlay or routes for pods"
            f" ({_PORTS}) and the agent's log on {node}; `cilium-health status --probe` there."
        )
    if outage.role in ("source", "observer", "unknown"):
        return (
            f"Run `cilium-health status --probe` in the agent on {node}: it names the targets."
            f" Then check its routes, its underlay and what firewalls let through ({_PORTS})."
        )
    return (
        f"Run `cilium-health status --probe` in the agents on {node} and on one that cannot reach"
        f" it; check the agent's log there, the underlay and what firewalls let through ({_PORTS})."
    )


def _no_metrics(data: Connectivity) -> Finding:
    return Finding(
        kind="missing_metrics",
        severity=Severity.WARNING,
        title=f"{UNKNOWN}: {_extent(data)}",
        start=data.window.start,
        end=data.window.end,
        labels={"metric": "cilium_node_connectivity_status"},
        value=0.0,
        baseline_value=float("nan"),
        unit="agents",
        query="count(cilium_node_connectivity_status) or"
        " count(cilium_node_health_connectivity_status)",
        trust_reasons=(_why(data),),
        next_step="Check that the agents are scraped (Helm: prometheus.enabled=true), that health"
        " checking is on (healthChecking=true), that neither metric is switched off in"
        " prometheus.metrics (cilium_node_connectivity_status up to 1.17,"
        " cilium_node_health_connectivity_status from 1.17 on), and the label matchers.",
    )


def _missed(data: Connectivity) -> Iterator[Finding]:
    """Give what agents themselves say that they could not reach, where no probe is in the data."""
    counts, step, agents = data.now.missed, data.window.step, data.now.agents
    for first, last in runs((counts > 0).any(axis=1), bridge=round(PROBE / step)):
        start, end = counts.index[first] - step, counts.index[last - 1]
        part = counts.iloc[first:last].loc[:, (counts.iloc[first:last] > 0).any()]
        types = part.columns.get_level_values("type")
        kind = "node" if "node" in types else "endpoint"
        part = part.loc[:, types == kind].fillna(0.0)
        if end - start < CRITICAL_LENGTH:
            continue
        most, of = int(part.max().max()), "" if kind == "node" else "the health endpoint of "
        whom = f"{of}{'up to ' if most > 1 else ''}{counted(most, 'other node')}"
        who = f"{part.shape[1]} of {counted(agents, 'agent')}"
        always = first == 0 and last == len(counts)  # it may be so every day
        yield Finding(
            kind="node_unreachable",
            severity=Severity.INFO if always else Severity.WARNING,
            title=f"{who} could not reach {whom} for {lasting(end - start)}",
            start=start.to_pydatetime(),
            end=end.to_pydatetime(),
            labels={"type": kind},
            nodes=tuple(str(node) for node in part.columns.get_level_values("node")),
            value=float(part.sum(axis=1).mean()) / max(agents * (agents - 1), 1),
            baseline_value=float("nan"),
            unit="share of probes",
            trust_reasons=("which nodes were not reached is not in the data",),
            query=f"cilium_unreachable_{'nodes' if kind == 'node' else 'health_endpoints'} > 0",
            next_step="Run `cilium-health status --probe` in one of these agents: it names what it"
            f" cannot reach. Then check routes, underlay and firewalls ({_PORTS}).",
        )


def unknown(data: Connectivity) -> tuple[str, ...]:
    """Give the reasons why it is unknown whether nodes reach each other; none if it is known."""
    if refused := verdict.refused(data.remarks):
        return refused
    if _blind(data):
        return ("no connectivity metrics in this window",)
    inside = frames.between(data.now.observers, data.window.start, data.window.end)
    return verdict.rarely_scraped(inside.notna(), "observers")


def notes(data: Connectivity) -> list[str]:
    """Say in words what the data cannot show, and how far to trust it."""
    if _blind(data):
        said = [f"{UNKNOWN}: {_extent(data)}.", _why(data)]
        said = [f"{REFUSED}."] if data.remarks.refused else said
        return verdict.with_source_notes(said, data)
    said = []
    if data.now.paths.shape[1]:
        said.append(
            "These versions of Cilium count failing paths without naming their targets: nodes that"
            " were likely the target are concluded from what all observers saw together."
        )
    if data.now.paths.shape[1] and data.now.targets_named:
        said.append("Some observers name the targets of their probes, others do not.")
    said += [_pace(data), *_latency(data)]
    if data.now.crowded:
        said.append("More nodes were concerned than are looked at one by one: the worst are shown.")
    looked = data.now.fine if data.now.targets_named else data.now.every
    if looked.step > data.now.pace.shown:
        step = short(looked.step)
        said.append(f"Seen in steps of {step}: shorter outages look weaker than they were.")
    if not data.now.agents:
        said.append("Unknown: what each agent itself missed (cilium_unreachable_nodes is missing).")
    return verdict.with_source_notes(said + _gaps(data), data)


def _blind(data: Connectivity) -> bool:
    """Tell whether there is nothing to look at."""
    return not data.now.observers.shape[1] and not data.now.targets_named


def _extent(data: Connectivity) -> str:
    """Say what is unknown without connectivity metrics."""
    if data.now.agents:
        return "which probes failed is not known"
    return "nothing can be said about connectivity"


def _why(data: Connectivity) -> str:
    """Say why there are no connectivity metrics, as far as it is known."""
    if data.now.agents:
        return (
            f"{data.now.agents} agents do say how many nodes they could not reach, so that health"
            " checking is on: cilium_node_connectivity_status (gone from Cilium 1.18 on) and"
            " cilium_node_health_connectivity_status (from 1.17 on) are switched off or dropped."
        )
    return (
        "No metric of health checking is there: agents are not scraped, health checking is off, or"
        " the label matchers choose none."
    )


def empty(data: Connectivity, table: Literal["outages", "pairs", "missed", "latency"]) -> str:
    """Say why a table has no rows: nothing failed, or nothing is known.

    Parameters
    ----------
    data
        As from `load`.
    table
        Its name.
    """
    if table == "missed":
        known = "No agent missed another."
        return known if data.now.agents else "Unknown: no agent says how many nodes it missed."
    if table == "latency":
        return "Unknown: no latency of probes in this window."
    if _blind(data):
        return f"{REFUSED if data.remarks.refused else UNKNOWN}."
    if table == "outages":
        return "Every probe that is in the data succeeded."
    if data.now.targets_named:
        return "No pair of nodes is known to have failed."
    return "Unknown: the data names no targets of probes (Cilium 1.18 and later)."


def _pace(data: Connectivity) -> str:
    pace = data.now.pace
    how = {
        "measured": "measured by the number of latency samples",
        "fixed": "fixed in these versions of Cilium",
        "at most": "at most: it depends on the number of addresses, and there are no samples",
    }
    within = pace.told(pace.within)
    return (
        f"A path is probed every {short(pace.probe)} ({how[pace.known]}), and agents are scraped"
        f" at least every {short(pace.scrape)}: starts and ends are known {within}, and"
        " what is shorter may not be seen."
    )


def _latency(data: Connectivity) -> list[str]:
    if not len(data.now.quantiles):
        return ["Unknown: no latency of probes in this window."]
    if data.now.targets_named:
        said = [
            "Latency is the median of each pair of nodes over the window, and quantiles are over"
            " all pairs; pairs that mostly failed are left out."
        ]
    else:
        said = [
            "Latency is that of successful probes: a failed one is recorded as 10 s, so that what"
            " took longer than the last bound below is left out. Quantiles are as coarse as the"
            " histogram's buckets."
        ]
    if not len(data.baseline.quantiles):
        said.append("No baseline: no latency there, so that nothing is compared.")
    return said


def _gaps(data: Connectivity) -> list[str]:
    inside = frames.between(data.now.observers, data.window.start, data.window.end)
    step = data.now.every.step.total_seconds()
    missing = inside.isna().sum() * step / 60
    long = missing[missing > max(0.02 * len(inside) * step / 60, 1.0)].sort_values(ascending=False)
    nodes = long.index.get_level_values("node")
    said = [
        f"What {node} itself saw is not in the data for {minutes:.0f} of the window's minutes."
        for node, minutes in zip(nodes[:10], long[:10], strict=True)
    ]
    if len(long) > 10:
        said.append(f"The same holds for {len(long) - 10} more nodes.")
    return said
