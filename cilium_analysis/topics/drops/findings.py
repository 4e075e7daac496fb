"""Findings about drops: bursts that a person should act on, and when drops are unknown.

How much a burst matters is decided in `judging`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.findings import Finding, Findings, Severity
from cilium_analysis.frames import totals
from cilium_analysis.queries import Matcher
from cilium_analysis.statistics.rises import Rises, join
from cilium_analysis.texts import percent
from cilium_analysis.topics import bursts, caveats, commands, telling, verdict
from cilium_analysis.topics.drops import events, judging
from cilium_analysis.topics.drops.events import parties
from cilium_analysis.topics.model import found_once
from cilium_analysis.topics.parties import RESERVED, namespace_of
from cilium_analysis.topics.reasons import explain, from_hubble

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import timedelta

    import numpy as np
    from numpy.typing import NDArray

    from cilium_analysis.topics.drops.data import Drops
    from cilium_analysis.topics.drops.judging import Counted

#: Nodes with this share of a burst have all of it: the others have what they usually have.
WHOLE = 0.95
_AGENTS = "count(cilium_process_start_time_seconds)"
_PLAIN = re.compile(r"[a-z][-a-z0-9]*")
_RISES = Rises()


@dataclass(frozen=True)
class _Burst:
    """One burst of drops with one reason and direction, on one or more nodes.

    Parameters
    ----------
    of
        The counts in which it was found.
    reason, direction
        Of the drops; the direction is ``""`` where it is not known.
    first, last
        Its first step, and the one after its last.
    counts, baseline
        One plain column per node.
    traffic, expected
        Likewise: packets forwarded, and drops that baseline and traffic make one expect.
    """

    of: Counted
    reason: str
    direction: str
    first: int
    last: int
    counts: pd.DataFrame
    baseline: pd.DataFrame
    traffic: pd.DataFrame
    expected: pd.DataFrame

    @property
    def start(self) -> pd.Timestamp:
        """When it began: a row is what happened up to its time."""
        begin: pd.Timestamp = self.counts.index[self.first] - self.of.step
        return begin

    @property
    def end(self) -> pd.Timestamp:
        """When it ended."""
        stop: pd.Timestamp = self.counts.index[self.last - 1]
        return stop

    @cached_property
    def excess(self) -> pd.Series:
        """Drops above what is expected, for each node, the largest first."""
        rows = slice(self.first, self.last)
        above = self.counts.iloc[rows].sum() - self.expected.iloc[rows].sum()
        return above.clip(lower=0.0).sort_values(ascending=False, kind="stable")

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """The fewest nodes that together have most of the excess, the largest first."""
        return bursts.fewest(self.excess)

    @property
    def among(self) -> int:
        """How many nodes there are: most of them may never have dropped for this reason."""
        nodes = set(map(str, self.counts.columns))
        return len(nodes if "" in nodes else nodes | set(map(str, self.of.seen.columns)))

    @cached_property
    def counted(self) -> list[str]:
        """The nodes whose drops are its total: all, if those named do not have nearly all."""
        enough = self.excess[list(self.nodes)].sum() >= WHOLE * self.excess.sum()
        named = len(self.nodes) == 1 or enough
        return list(self.nodes) if named else [str(node) for node in self.counts.columns]

    @cached_property
    def total(self) -> float:
        """Packets, or events."""
        return telling.total(self.counts[self.counted].iloc[self.first : self.last])

    @property
    def compared(self) -> bool:
        """Whether anything is known of these counts in the baseline."""
        return bool(self.baseline[self.counted].notna().to_numpy().any())

    @property
    def baseline_rate(self) -> float:
        """Mean rate in the steps of the baseline that are known [1/s]; NaN if none is."""
        counts = self.baseline[self.counted].mean().sum(min_count=1)
        return float(counts / self.of.step.total_seconds())


@found_once
def findings(data: Drops) -> Findings:
    """Say what about the drops is worth acting on.

    Parameters
    ----------
    data
        As from `load`.

    Returns
    -------
    Findings
        ``drop_spike`` for every burst above the baseline, in packets, or in Hubble's events where
        no agent counts them; ``missing_metrics`` if neither counts drops. Empty when nothing
        is unusual.
    """
    found = [_finding(data, burst) for of in judging.counted(data) for burst in _bursts(of)]
    if data.state == "not scraped" and not data.now.hubble.shape[1]:
        title = "No metrics of Cilium agents in this window: nothing can be said about drops"
        agents = data.baseline.scraped.shape[1]
        found.append(
            verdict.missing_metrics(
                data.window, title, "cilium_drop_count_total", before=agents, query=_AGENTS
            )
        )
    return verdict.told(data, found, topic="drop_reasons", unknown=unknown(data))


def unknown(data: Drops) -> tuple[str, ...]:
    """Give the reasons why it is not known whether drops are unusual; none if it is.

    Parameters
    ----------
    data
        As from `load`.
    """
    refused = verdict.refused(data.remarks)
    by_hubble = bool(data.now.hubble.notna().to_numpy().any())
    by_hubble |= events.DROPS.name in data.remarks.named
    uncounted = data.state in ("not exported", "not scraped")
    if refused or data.state == "zero" or (uncounted and by_hubble):
        return refused
    if data.state == "not scraped":
        return (verdict.NO_AGENTS,)
    if data.remarks.workloads:
        return (f"Hubble counts no drops by workload: none of {data.remarks.workloads} is known",)
    if data.state == "not exported":
        return (
            "neither cilium_drop_count_total nor cilium_forward_count_total is in the data: whether"
            " packets were dropped is not known",
        )
    rarely = verdict.rarely_scraped(data.now.scraped, "agents")
    if not telling.total(data.now.counts):
        return rarely
    what = "no metrics of Cilium agents"
    return (*rarely, *verdict.no_baseline(data.baseline.counts, data.baseline.scraped, what=what))


def _bursts(of: Counted) -> Iterator[_Burst]:
    labels = (frames.values(of.counts, name) for name in ("reason", "direction"))
    for reason, direction in sorted(set(zip(*labels, strict=True))):
        yield from _bursts_of(of, reason, direction)


def _bursts_of(of: Counted, reason: str, direction: str) -> Iterator[_Burst]:
    """Find bursts on each node, and on all together; those that overlap are one."""
    counts = _pick(of.counts, reason, direction)
    nodes = [str(node) for node in counts.columns]
    baseline = _usual(of, _pick(of.baseline, reason, direction), nodes)
    traffic = judging.traffic(of.forwarded, direction, nodes).reindex(counts.index)
    more = judging.exposure(traffic, judging.traffic(of.baseline_forwarded, direction, nodes))
    levels = baseline.mean()
    expected = more * levels.fillna(0.0)
    those = _RISES.at(of.step)
    together = _together(more, levels, counts)
    found = those.find(bursts.summed(counts), bursts.summed(baseline), exposure=together)
    for node in nodes:
        own, before, exposure = (frame[node].to_numpy() for frame in (counts, baseline, more))
        found += those.find(own, before, exposure=exposure)
    dropped, passed = float(counts.sum().sum()), float(traffic.sum().sum())
    notable = dropped >= max(judging.MANY, judging.NOTABLE_SHARE * (dropped + passed))
    if not found and not of.compared and notable:
        # Nothing shows when it began: the finding is about the whole window.
        found = [(0, len(counts))]
    for first, last in join(found, bridge=those.bridge):
        yield _Burst(of, reason, direction, first, last, counts, baseline, traffic, expected)


def _pick(counts: pd.DataFrame, reason: str, direction: str) -> pd.DataFrame:
    """Give the counts with this reason and direction, one column per node."""
    if not counts.shape[1]:
        return pd.DataFrame(index=counts.index, dtype="float64")
    picked = telling.only(counts, {"reason": reason, "direction": direction})
    picked.columns = picked.columns.get_level_values("node")
    return picked


def _usual(of: Counted, baseline: pd.DataFrame, nodes: list[str]) -> pd.DataFrame:
    """Give the baseline of these nodes: 0 where an agent was scraped and had nothing to count."""
    baseline = baseline.reindex(columns=nodes)
    seen = of.baseline_seen.reindex(index=baseline.index, columns=nodes, fill_value=False)
    if not of.baseline_seen.shape[1]:
        # Nothing tells when agents were scraped; where others counted, these did too.
        seen = seen.mask(of.baseline.notna().any(axis=1), other=True)
    return baseline.mask(baseline.isna() & seen.astype(bool) & of.compared, 0.0)


def _together(
    more: pd.DataFrame, levels: pd.Series, counts: pd.DataFrame
) -> NDArray[np.float64] | None:
    """Give the traffic of all nodes, each weighed by the drops that are usual on it."""
    weights = levels.fillna(counts.mean()).fillna(0.0)
    if not weights.sum():
        return None
    return ((more * weights).sum(axis=1) / weights.sum()).to_numpy(dtype="float64")


def _finding(data: Drops, burst: _Burst) -> Finding:
    length = burst.end - burst.start
    labels = {"reason": burst.reason, "direction": burst.direction}
    labels |= {"node": burst.nodes[0]} if len(burst.nodes) == 1 else {}
    events = _events(data, burst)
    ends, most = _ends(burst, events)
    labels |= ends
    labels = {name: text for name, text in labels.items() if text}
    value, part = burst.total / length.total_seconds(), _share(burst)
    whole = telling.total(burst.of.counts)
    return Finding(
        kind="drop_spike",
        severity=_severity(burst, length, part),
        title=_title(burst, telling.between(labels, most), value, part),
        start=burst.start.to_pydatetime(),
        end=burst.end.to_pydatetime(),
        labels=labels,
        nodes=burst.nodes,
        value=value,
        baseline_value=burst.baseline_rate,
        unit=f"{burst.of.unit}/s",
        total=burst.total,
        share=burst.total / whole if whole else None,
        trust_reasons=tuple(_caveats(data, burst)),
        query=_query(data, burst, labels),
        next_step=_next_step(burst, labels),
        brief=_brief(burst, events, burst.total / whole if whole else None),
    )


def _next_step(burst: _Burst, labels: Mapping[str, str]) -> str:
    """Say what to do about a reason, at the side and the workload that the drops are about."""
    text = explain(burst.reason).next_step
    sides = {"INGRESS": "the destination", "EGRESS": "the source"}
    if side := sides.get(burst.direction, ""):
        text = text.replace("the destination (INGRESS) or source (EGRESS)", side)
    to = "from" if burst.direction == "EGRESS" else "to"
    if name := commands.workload(labels.get("workload", "")):
        command = "hubble observe --verdict DROPPED"
        text = text.replace(f"`{command}`", f"`{command} --{to}-workload {name}`")
    return text


def _severity(burst: _Burst, length: timedelta, part: float | None) -> Severity:
    # Over all nodes together: what is by chance above the ordinary on one is below it on another.
    excess = burst.total - telling.total(
        burst.expected[burst.counted].iloc[burst.first : burst.last]
    )
    found = judging.severity(
        burst.reason, total=burst.total, excess=excess, length=length, part=part
    )
    lasting = burst.first == 0 and burst.last == len(burst.counts)
    if not burst.compared and lasting and (part is None or part < judging.NOTABLE_SHARE):
        # It may always be so.
        return Severity.INFO
    return found


def _share(burst: _Burst) -> float | None:
    """Give its drops as a share of all packets in its direction, on its nodes, meanwhile."""
    rows, every = slice(burst.first, burst.last), burst.of.counts
    mine = [
        way == burst.direction and node in burst.counted
        for way, node in zip(
            frames.values(every, "direction"), frames.values(every, "node"), strict=True
        )
    ]
    others = telling.total(every.loc[:, mine].iloc[rows]) - burst.total
    return judging.share(burst.total, burst.traffic[burst.counted].iloc[rows], others)


def _events(data: Drops, burst: _Burst) -> pd.Series:
    """Count Hubble's events of a burst by ``protocol``, ``source`` and ``destination``."""
    events = parties(frames.between(data.now.hubble, burst.start, burst.end))
    ways = {burst.direction, ""} if burst.direction else {"", "INGRESS", "EGRESS"}
    known = set(burst.nodes) & set(frames.values(events, "node"))
    by = ["reason", "direction", "node", "protocol", "source", "destination"]
    sums = totals(events, by)
    level = sums.index.get_level_values
    mine = (level("reason") == burst.reason) & level("direction").isin(ways)
    mine &= level("node").isin(known or set(level("node")))
    return sums[mine].groupby(level=["protocol", "source", "destination"]).sum()


def _ends(burst: _Burst, events: pd.Series) -> tuple[dict[str, str], set[str]]:
    """Name protocol and both ends, where Hubble's events agree, and the workload in question.

    Ends that have most of the events, and not all, are named a second time.
    """
    found, most = {}, set()
    for name in ("protocol", "source", "destination"):
        found[name], partly = telling.largest(events.groupby(level=name).sum())
        most |= {name} if partly else set()
    side = "source" if burst.direction == "EGRESS" else "destination"
    namespace, workload = namespace_of(found[side])
    # An address, a name of the DNS, the labels of an identity and what is reserved are none.
    named = namespace or (_PLAIN.fullmatch(workload) and workload not in RESERVED)
    return found | {"namespace": namespace, "workload": workload if named else ""}, most


def _title(burst: _Burst, ends: str, value: float, part: float | None) -> str:
    # Hubble's counts cannot be compared with the traffic that agents count.
    unit, way = burst.of.unit, f" ({burst.direction.lower()})" if burst.direction else ""
    others = len(burst.counted) > len(burst.nodes)
    where = telling.place(burst.nodes, burst.among, elsewhere=others)
    baseline = (
        f"instead of {telling.short(burst.baseline_rate)}" if burst.compared else "(no baseline)"
    )
    of = f"{burst.direction.lower()} packets" if burst.direction else "packets"
    traffic = f"all {of} there"
    shown = "unknown share" if part is None else judging.written(part)
    tail = _HUBBLE.get(burst.of.metric, ("", f", {shown} of {traffic}"))[1]
    return (
        f"Drops {_why(burst)}{way}{ends} {where}: {telling.short(value)}"
        f" {unit}/s {baseline}, {burst.total:,.0f} {unit} in all{tail}"
    )


def _why(burst: _Burst) -> str:
    return f"“{burst.reason}”" if burst.reason else "for an unknown reason"


def _brief(burst: _Burst, events: pd.Series, share: float | None) -> str:
    """Say how many packets, between whom, why and where, and which part of all drops they are."""
    sides = {
        word: telling.several(events.groupby(level=end).sum())
        for word, end in (("from", "source"), ("to", "destination"))
    }
    ends = "".join(f" {word} {name}" for word, name in sides.items() if name)
    way = f" ({burst.direction.lower()})" if burst.direction else ""
    denied = burst.reason.startswith("Policy denied")
    how = (
        f"denied by policy{way}"
        if denied
        else f"dropped {'as ' if burst.reason else ''}{_why(burst)}{way}"
    )
    others = len(burst.counted) > len(burst.nodes)
    where = telling.place(burst.nodes, burst.among, elsewhere=others)
    part = "" if share is None else f" ({percent(share)} of all dropped {burst.of.unit})"
    return f"{burst.total:,.0f} {burst.of.unit}{ends} {how} {where}{part}"


def _caveats(data: Drops, burst: _Burst) -> Iterator[str]:
    """Give the caveats about the numbers of this burst."""
    yield from caveats.not_scraped(burst.of.seen, burst.nodes, burst.start, burst.end)
    yield from caveats.restarted(data.now.restarts, burst.nodes, burst.start, burst.end)
    if burst.of.metric in _HUBBLE:
        yield _HUBBLE[burst.of.metric][0]
    else:
        for event, text in _EVENTS.items():
            nodes = set(data.now.events.loc[data.now.events["event"] == event, "node"])
            yield from (text.format(node=node) for node in sorted(nodes & set(burst.nodes)))
    if not burst.compared:
        yield caveats.NO_BASELINE
    yield from (f"server: {text}" for text in data.warnings)


#: Why Hubble's counters are doubtful, and how a title names them.
_HUBBLE = {
    "hubble_drop_total": (
        "counted by Hubble, as no agent counts it: events, of which one dropped packet can have"
        " two",
        " of Hubble",
    ),
    "hubble_policy_verdicts_total": (
        "counted by Hubble, as no agent counts it: one verdict of a policy for each packet",
        ", by Hubble's policy verdicts",
    ),
}
#: What the reading of counters makes doubtful.
_EVENTS = {
    "unknown_start": "counters of {node} begin in the window with an unknown past",
    "renamed": "counters of {node} go on under other labels",
    "fall": "a sum of counters fell: a node may have left",
}


def _query(data: Drops, burst: _Burst, labels: dict[str, str]) -> str:
    metric = burst.of.metric
    if metric == "hubble_policy_verdicts_total":
        return f'sum by (match) (rate({metric}{{action="dropped"}}[5m]))'
    names = ["direction", "node", "reason"]
    if metric == "hubble_drop_total":
        spelled = {from_hubble(name): name for name in frames.values(data.now.hubble, "reason")}
        names, labels = ["reason"], {"reason": spelled[burst.reason]}
    matchers = ",".join(str(Matcher(n, "=", labels[n])) for n in names if n in labels)
    return f"sum by (node) (rate({metric}{{{matchers}}}[5m]))"
