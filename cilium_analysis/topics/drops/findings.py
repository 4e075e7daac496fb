"""Findings about drops: which rises a person should act on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from cilium_analysis.findings import Finding, Findings, Severity
from cilium_analysis.frames import totals
from cilium_analysis.queries import Matcher
from cilium_analysis.statistics.baseline import Rises, join
from cilium_analysis.texts import percent
from cilium_analysis.topics import rises, verdict
from cilium_analysis.topics.drops.tables import parties
from cilium_analysis.topics.drops.unknown import unknown
from cilium_analysis.topics.reasons import explain

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from cilium_analysis.topics.drops.data import Drops

#: One node, workload or protocol is named as the place when it has this share of a rise.
NAMED_FROM = 0.8
#: Nodes with this share of a rise have all of it: of the others only the ordinary is left.
WHOLE = 0.95
#: A loss at this rate [packets/s] for this long is critical, and so is this many packets.
CRITICAL_RATE = 1.0
CRITICAL_LENGTH = timedelta(minutes=2)
CRITICAL_TOTAL = 5_000.0
#: Fewer than three packets a minute in the whole place are told, and wake nobody.
FEW = 0.05
#: An agent that was scraped in less than this share of a rise's steps makes it doubtful.
ENOUGH_SCRAPED = 0.98
#: A restart so long before a rise may still explain it.
RESTART_BEFORE = timedelta(minutes=5)
_RISES = Rises()


@dataclass(frozen=True)
class _Rise:
    """One rise of drops with one reason and direction, on one or more nodes."""

    reason: str
    direction: str
    first: int
    last: int
    counts: pd.DataFrame
    usual: pd.DataFrame
    nodes: tuple[str, ...]


def findings(data: Drops) -> Findings:
    """Say what about the drops is worth acting on.

    Parameters
    ----------
    data
        As from `load`.

    Returns
    -------
    Findings
        ``drop_spike`` for every rise above the baseline; ``missing_metrics`` if there is nothing
        to look at. Empty when nothing is unusual.
    """
    found = [_finding(data, rise) for rise in _rises(data)]
    if not data.seen.shape[1] and not data.counts.shape[1]:
        found.append(_blind(data))
    return verdict.told(data, found, topic="drop_reasons", unknown=unknown(data))


def _rises(data: Drops) -> list[_Rise]:
    keys = sorted({(str(r), str(d)) for d, r in _pairs(data.counts)})
    return [rise for reason, direction in keys for rise in _rises_of(data, reason, direction)]


def _pairs(counts: pd.DataFrame) -> list[tuple[str, str]]:
    return list(
        zip(
            counts.columns.get_level_values("direction"),
            counts.columns.get_level_values("reason"),
            strict=True,
        )
    )


def _pick(counts: pd.DataFrame, reason: str, direction: str) -> pd.DataFrame:
    """Give the counts with this reason and direction, one column per node."""
    chosen = [pair == (direction, reason) for pair in _pairs(counts)]
    picked = counts.loc[:, chosen]
    picked.columns = picked.columns.get_level_values("node")
    return picked


def _rises_of(data: Drops, reason: str, direction: str) -> list[_Rise]:
    """Look for rises on each node, and on all together; those that overlap are one."""
    counts = _pick(data.counts, reason, direction)
    usual = _usual(data, _pick(data.usual, reason, direction), list(counts.columns))
    found = _RISES.find(_all(counts), _all(usual))
    for node in counts.columns:
        found += _RISES.find(_observed(counts[node]), _observed(usual[node]))
    return [
        _Rise(reason, direction, first, last, counts, usual, _culprits(counts, usual, first, last))
        for first, last in join(found, bridge=_RISES.bridge)
    ]


def _usual(data: Drops, usual: pd.DataFrame, nodes: list[str]) -> pd.DataFrame:
    """Give the baseline of these nodes: 0 where an agent was scraped and had nothing to count."""
    usual = usual.reindex(columns=nodes)
    seen = data.usual_seen.reindex(index=usual.index, columns=nodes, fill_value=False)
    if not data.usual_seen.shape[1]:
        # Nothing tells when agents were scraped; where others counted, these did too.
        seen = seen.mask(data.usual.notna().any(axis=1), other=True)
    return usual.mask(usual.isna() & seen.astype(bool), 0.0)


def _observed(counts: pd.Series) -> NDArray[np.float64]:
    return counts.to_numpy(dtype="float64")


def _all(counts: pd.DataFrame) -> NDArray[np.float64]:
    return counts.sum(axis=1, min_count=1).to_numpy(dtype="float64")


def _culprits(counts: pd.DataFrame, usual: pd.DataFrame, first: int, last: int) -> tuple[str, ...]:
    """Name the fewest nodes that together make up most of the excess, the largest first."""
    excess = _excess(counts, usual, first, last)
    return rises.fewest(excess.sort_values(ascending=False, kind="stable"))


def _excess(counts: pd.DataFrame, usual: pd.DataFrame, first: int, last: int) -> pd.Series:
    expected = usual.mean().fillna(0.0) * (last - first)
    return (counts.iloc[first:last].sum() - expected).clip(lower=0.0)


def _finding(data: Drops, rise: _Rise) -> Finding:
    one = rise.nodes[0] if len(rise.nodes) == 1 else None
    inside = rise.counts.iloc[rise.first : rise.last]
    counted = list(rise.nodes) if one or _is_whole(rise) else list(rise.counts.columns)
    total = float(inside[counted].to_numpy(na_value=0.0).sum())
    index = data.counts.index
    start, end = index[rise.first] - data.window.step, index[rise.last - 1]
    value = total / (end - start).total_seconds()
    labels = {"reason": rise.reason, "direction": rise.direction}
    labels |= ({"node": one} if one else {}) | _whose(data, rise, start, end)
    before = _rate(data, rise.usual[counted])
    whole = float(totals(data.counts, ["reason"]).sum())
    return Finding(
        kind="drop_spike",
        severity=_severity(rise.reason, value, total, end - start),
        title=_title(rise, labels, value, before, total, len(rise.counts.columns)),
        start=start.to_pydatetime(),
        end=end.to_pydatetime(),
        labels=labels,
        value=value,
        baseline_value=before,
        unit="packets/s",
        total=total,
        share=total / whole if whole else None,
        trust_reasons=_doubts(data, rise, start, end),
        query=_query(labels),
        next_step=explain(rise.reason).next_step,
    )


def _is_whole(rise: _Rise) -> bool:
    """Tell whether the named nodes have all of a rise, but for what is ordinary on the others."""
    excess = _excess(rise.counts, rise.usual, rise.first, rise.last)
    return bool(excess[list(rise.nodes)].sum() >= WHOLE * excess.sum())


def _rate(data: Drops, usual: pd.DataFrame) -> float:
    """Give the baseline's mean rate [packets/s] over the steps that were observed."""
    return float(usual.mean().sum(min_count=1) / data.window.step.total_seconds())


def _severity(reason: str, value: float, total: float, length: timedelta) -> Severity:
    harm = explain(reason).harm
    if harm == "none" or value < FEW:
        return Severity.INFO
    lasting = value >= CRITICAL_RATE and length >= CRITICAL_LENGTH
    serious = lasting or total >= CRITICAL_TOTAL
    return Severity.CRITICAL if serious and harm == "loss" else Severity.WARNING


def _whose(data: Drops, rise: _Rise, start: pd.Timestamp, end: pd.Timestamp) -> dict[str, str]:
    """Name namespace, workload and protocol, where Hubble's events agree on them."""
    events = parties(data.hubble.loc[(data.hubble.index > start) & (data.hubble.index <= end)])
    sums = totals(events, ["reason", "protocol", "source", "destination"])
    sums = sums[sums.index.get_level_values("reason") == rise.reason]
    side = "source" if rise.direction == "EGRESS" else "destination"
    found = {}
    for label, level in (("protocol", "protocol"), ("party", side)):
        shares = sums.groupby(level=level).sum() / sums.sum() if sums.sum() else sums.iloc[:0]
        if len(shares) and shares.max() >= NAMED_FROM and shares.idxmax():
            found[label] = str(shares.idxmax())
    namespace, _, workload = found.pop("party", "").rpartition("/")
    return found | {
        name: text for name, text in (("namespace", namespace), ("workload", workload)) if text
    }


def _title(
    rise: _Rise, labels: dict[str, str], value: float, before: float, total: float, nodes: int
) -> str:
    party = "/".join(labels[name] for name in ("namespace", "workload") if name in labels)
    side = "from" if rise.direction == "EGRESS" else "to"
    aim = f" {side} {party}" if party else ""
    return (
        f"Drops “{rise.reason}” ({rise.direction.lower()}){aim} {_place(rise.nodes, nodes)}:"
        f" {_short(value)} packets/s instead of {_short(before)}, {total:,.0f} packets in all"
    )


def _place(named: tuple[str, ...], nodes: int) -> str:
    if len(named) <= 3:
        return "on " + ", ".join(named)
    return f"on {len(named)} of {nodes} nodes, most on {named[0]}"


def _short(value: float) -> str:
    if math.isnan(value):
        return "an unknown rate"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _doubts(data: Drops, rise: _Rise, start: pd.Timestamp, end: pd.Timestamp) -> tuple[str, ...]:
    """Collect what speaks against the numbers of this rise."""
    scraped = data.seen.iloc[rise.first : rise.last].mean()
    said = [
        f"{node} was scraped in only {percent(scraped[node])} of the steps"
        for node in rise.nodes
        if node in scraped and scraped[node] < ENOUGH_SCRAPED
    ]
    restarted = data.restarts[data.restarts["time"].between(start - RESTART_BEFORE, end)]
    said += [f"the agent on {n} restarted" for n in _shared(restarted["node"], rise.nodes)]
    unknown = data.events[data.events["event"] == "unknown_start"]
    said += [
        f"counters of {node} begin in the window with an unknown past"
        for node in _shared(unknown["node"], rise.nodes)
    ]
    if not rise.usual.notna().to_numpy().any():
        said.append("no data in the baseline: compared with the quieter half of the window")
    return (*said, *(f"server: {text}" for text in data.warnings))


def _shared(nodes: Iterable[str], named: Iterable[str]) -> list[str]:
    return sorted(set(nodes) & set(named))


def _query(labels: dict[str, str]) -> str:
    names = ("direction", "node", "reason")
    matchers = ",".join(str(Matcher(n, "=", labels[n])) for n in names if n in labels)
    return f"sum by (node) (rate(cilium_drop_count_total{{{matchers}}}[5m]))"


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
