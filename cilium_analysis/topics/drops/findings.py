"""Findings about drops: which rises a person should act on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.findings import Finding, Findings, Severity
from cilium_analysis.frames import totals
from cilium_analysis.queries import Matcher
from cilium_analysis.statistics.baseline import Rises, join
from cilium_analysis.texts import percent
from cilium_analysis.topics import held, rises, telling, verdict
from cilium_analysis.topics.drops import judging
from cilium_analysis.topics.drops.events import parties
from cilium_analysis.topics.drops.unknown import unknown
from cilium_analysis.topics.parties import namespace_of
from cilium_analysis.topics.reasons import explain, from_hubble

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from cilium_analysis.topics.drops.data import Drops
    from cilium_analysis.topics.drops.judging import Counted

#: Nodes with this share of a rise have all of it: of the others only the ordinary is left.
WHOLE = 0.95
#: An agent that was scraped in less than this share of a rise's steps makes it doubtful.
ENOUGH_SCRAPED = 0.98
#: A restart so long before a rise may still explain it.
RESTART_BEFORE = timedelta(minutes=5)
_PLAIN = re.compile(r"[a-z][-a-z0-9]*")
_RISES = Rises()


@dataclass(frozen=True)
class _Rise:
    """One rise of drops with one reason and direction, on one or more nodes.

    Parameters
    ----------
    of
        The counts in which it was found.
    reason, direction
        Of the drops; the direction is ``""`` where it is not known.
    first, last
        Its first step, and the one after its last.
    counts, usual
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
    usual: pd.DataFrame
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
        return rises.fewest(self.excess)

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
        return bool(self.usual[self.counted].notna().to_numpy().any())

    @property
    def usual_rate(self) -> float:
        """Mean rate in the steps of the baseline that are known [1/s]; NaN if none is."""
        counts = self.usual[self.counted].mean().sum(min_count=1)
        return float(counts / self.of.step.total_seconds())


@held.found
def findings(data: Drops) -> Findings:
    """Say what about the drops is worth acting on.

    Parameters
    ----------
    data
        As from `load`.

    Returns
    -------
    Findings
        ``drop_spike`` for every rise above the baseline, in packets, or in Hubble's events where
        no agent counts them; ``missing_metrics`` if neither tells of drops. Empty when nothing
        is unusual.
    """
    found = [_finding(data, rise) for of in judging.counted(data) for rise in _rises(of)]
    if data.state == "not scraped" and not data.hubble.shape[1]:
        found.append(_blind(data))
    return verdict.told(data, found, topic="drop_reasons", unknown=unknown(data))


def _rises(of: Counted) -> Iterator[_Rise]:
    labels = (frames.values(of.counts, name) for name in ("reason", "direction"))
    for reason, direction in sorted(set(zip(*labels, strict=True))):
        yield from _rises_of(of, reason, direction)


def _rises_of(of: Counted, reason: str, direction: str) -> Iterator[_Rise]:
    """Look for rises on each node, and on all together; those that overlap are one."""
    counts = _pick(of.counts, reason, direction)
    nodes = [str(node) for node in counts.columns]
    usual = _usual(of, _pick(of.usual, reason, direction), nodes)
    traffic = judging.traffic(of.forwarded, direction, nodes).reindex(counts.index)
    more = judging.exposure(traffic, judging.traffic(of.usual_forwarded, direction, nodes))
    levels = usual.mean()
    expected = more * levels.fillna(0.0)
    those = _RISES.at(of.step)
    found = those.find(_all(counts), _all(usual), exposure=_together(more, levels, counts))
    for node in nodes:
        found += those.find(_one(counts[node]), _one(usual[node]), exposure=_one(more[node]))
    dropped, passed = float(counts.sum().sum()), float(traffic.sum().sum())
    notable = dropped >= max(judging.MANY, judging.NOTABLE_SHARE * (dropped + passed))
    if not found and not of.compared and notable:
        # Nothing tells since when, so that it is told of the whole window.
        found = [(0, len(counts))]
    for first, last in join(found, bridge=those.bridge):
        yield _Rise(of, reason, direction, first, last, counts, usual, traffic, expected)


def _pick(counts: pd.DataFrame, reason: str, direction: str) -> pd.DataFrame:
    """Give the counts with this reason and direction, one column per node."""
    if not counts.shape[1]:
        return pd.DataFrame(index=counts.index, dtype="float64")
    picked = telling.only(counts, {"reason": reason, "direction": direction})
    picked.columns = picked.columns.get_level_values("node")
    return picked


def _usual(of: Counted, usual: pd.DataFrame, nodes: list[str]) -> pd.DataFrame:
    """Give the baseline of these nodes: 0 where an agent was scraped and had nothing to count."""
    usual = usual.reindex(columns=nodes)
    seen = of.usual_seen.reindex(index=usual.index, columns=nodes, fill_value=False)
    if not of.usual_seen.shape[1]:
        # Nothing tells when agents were scraped; where others counted, these did too.
        seen = seen.mask(of.usual.notna().any(axis=1), other=True)
    return usual.mask(usual.isna() & seen.astype(bool) & of.compared, 0.0)


def _one(counts: pd.Series) -> NDArray[np.float64]:
    return counts.to_numpy(dtype="float64")


def _all(counts: pd.DataFrame) -> NDArray[np.float64]:
    return _one(counts.sum(axis=1, min_count=1))


def _together(
    more: pd.DataFrame, levels: pd.Series, counts: pd.DataFrame
) -> NDArray[np.float64] | None:
    """Give the traffic of all nodes, each weighed by the drops that are usual on it."""
    weights = levels.fillna(counts.mean()).fillna(0.0)
    return _one((more * weights).sum(axis=1) / weights.sum()) if weights.sum() else None


def _finding(data: Drops, rise: _Rise) -> Finding:
    length = rise.end - rise.start
    labels = {"reason": rise.reason, "direction": rise.direction}
    labels |= {"node": rise.nodes[0]} if len(rise.nodes) == 1 else {}
    ends, most = _ends(data, rise)
    labels |= ends
    labels = {name: text for name, text in labels.items() if text}
    value, part = rise.total / length.total_seconds(), _share(rise)
    whole = telling.total(rise.of.counts)
    return Finding(
        kind="drop_spike",
        severity=_severity(rise, length, part),
        title=_title(rise, telling.between(labels, most), value, part),
        start=rise.start.to_pydatetime(),
        end=rise.end.to_pydatetime(),
        labels=labels,
        value=value,
        baseline_value=rise.usual_rate,
        unit=f"{rise.of.unit}/s",
        total=rise.total,
        share=rise.total / whole if whole else None,
        trust_reasons=tuple(_caveats(data, rise)),
        query=_query(data, rise, labels),
        next_step=explain(rise.reason).next_step,
    )


def _severity(rise: _Rise, length: timedelta, part: float | None) -> Severity:
    # Over all nodes together: what is by chance above the ordinary on one is below it on another.
    excess = rise.total - telling.total(rise.expected[rise.counted].iloc[rise.first : rise.last])
    found = judging.severity(rise.reason, total=rise.total, excess=excess, length=length, part=part)
    lasting = rise.first == 0 and rise.last == len(rise.counts)
    if not rise.compared and lasting and (part is None or part < judging.NOTABLE_SHARE):
        # It may always be so.
        return Severity.INFO
    return found


def _share(rise: _Rise) -> float | None:
    """Give its drops as a share of all packets in its direction, on its nodes, meanwhile."""
    rows, every = slice(rise.first, rise.last), rise.of.counts
    mine = [
        way == rise.direction and node in rise.counted
        for way, node in zip(
            frames.values(every, "direction"), frames.values(every, "node"), strict=True
        )
    ]
    others = telling.total(every.loc[:, mine].iloc[rows]) - rise.total
    return judging.share(rise.total, rise.traffic[rise.counted].iloc[rows], others)


def _ends(data: Drops, rise: _Rise) -> tuple[dict[str, str], set[str]]:
    """Name protocol and both ends, where Hubble's events agree, and the workload in question.

    Ends that have most of the events, and not all, are named a second time.
    """
    events = parties(frames.between(data.hubble, rise.start, rise.end))
    ways = {rise.direction, ""} if rise.direction else {"", "INGRESS", "EGRESS"}
    known = set(rise.nodes) & set(frames.values(events, "node"))
    by = ["reason", "direction", "node", "protocol", "source", "destination"]
    sums = totals(events, by)
    level = sums.index.get_level_values
    mine = (level("reason") == rise.reason) & level("direction").isin(ways)
    sums = sums[mine & level("node").isin(known or set(level("node")))]
    found, most = {}, set()
    for name in ("protocol", "source", "destination"):
        found[name], partly = telling.largest(sums.groupby(level=name).sum())
        most |= {name} if partly else set()
    side = "source" if rise.direction == "EGRESS" else "destination"
    namespace, workload = namespace_of(found[side])
    # An address, a name of the DNS and the labels of an identity are no workload.
    named = namespace or _PLAIN.fullmatch(workload)
    return found | {"namespace": namespace, "workload": workload if named else ""}, most


def _title(rise: _Rise, ends: str, value: float, part: float | None) -> str:
    # Hubble's counts cannot be compared with the traffic that agents count.
    unit, way = rise.of.unit, f" ({rise.direction.lower()})" if rise.direction else ""
    others = len(rise.counted) > len(rise.nodes)
    where = telling.place(rise.nodes, len(rise.counts.columns), elsewhere=others)
    usual = f"instead of {telling.short(rise.usual_rate)}" if rise.compared else "(no baseline)"
    whose = "their" if len(rise.counted) > 1 else "its"
    traffic = f"{whose} {rise.direction.lower()} packets" if rise.direction else f"{whose} packets"
    shown = "unknown share" if part is None else judging.written(part)
    tail = _HUBBLE.get(rise.of.metric, ("", f", {shown} of {traffic}"))[1]
    return (
        f"Drops “{rise.reason}”{way}{ends} {where}: {telling.short(value)}"
        f" {unit}/s {usual}, {rise.total:,.0f} {unit} in all{tail}"
    )


def _caveats(data: Drops, rise: _Rise) -> Iterator[str]:
    """Give the caveats about the numbers of this rise."""
    scraped = rise.of.seen.iloc[rise.first : rise.last].mean()
    for node in rise.nodes:
        if node in scraped and scraped[node] < ENOUGH_SCRAPED:
            yield f"{node} was scraped in only {percent(scraped[node])} of the steps"
    restarted = data.restarts[data.restarts["time"].between(rise.start - RESTART_BEFORE, rise.end)]
    for node in _shared(restarted["node"], rise.nodes):
        yield f"the agent on {node} restarted"
    if rise.of.metric in _HUBBLE:
        yield _HUBBLE[rise.of.metric][0]
    else:
        for event, text in _EVENTS.items():
            told = data.events.loc[data.events["event"] == event, "node"]
            for node in _shared(told, rise.nodes):
                yield text.format(node=node)
    if not rise.compared:
        yield "no data in the baseline: compared with the quieter half of the window"
    for text in data.warnings:
        yield f"server: {text}"


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


def _shared(nodes: Iterable[str], named: Iterable[str]) -> list[str]:
    return sorted(set(nodes) & set(named))


def _query(data: Drops, rise: _Rise, labels: dict[str, str]) -> str:
    metric = rise.of.metric
    if metric == "hubble_policy_verdicts_total":
        return f'sum by (match) (rate({metric}{{action="dropped"}}[5m]))'
    names = ["direction", "node", "reason"]
    if metric == "hubble_drop_total":
        spelled = {from_hubble(name): name for name in frames.values(data.hubble, "reason")}
        names, labels = ["reason"], {"reason": spelled[rise.reason]}
    matchers = ",".join(str(Matcher(n, "=", labels[n])) for n in names if n in labels)
    return f"sum by (node) (rate({metric}{{{matchers}}}[5m]))"


def _blind(data: Drops) -> Finding:
    return Finding(
        kind="missing_metrics",
        severity=Severity.WARNING,
        title="No metrics of Cilium agents in this window: nothing can be said about drops",
        start=data.window.start,
        end=data.window.end,
        labels={"metric": "cilium_drop_count_total"},
        value=0.0,
        baseline_value=float(data.usual_seen.shape[1]),
        unit="agents",
        query="count(cilium_process_start_time_seconds)",
        next_step="Check that the agents are scraped (Helm: prometheus.enabled=true), that the"
        " window is within the server's retention, and the label matchers.",
    )
