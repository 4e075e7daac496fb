"""Findings about the amount of forwarded traffic: far more than usual, far less, or none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.findings import Finding, Severity
from cilium_analysis.queries import Matcher
from cilium_analysis.topics import rises
from cilium_analysis.topics.flows.shifts import Shift, Shifts
from cilium_analysis.topics.telling import between, doubts, only, short, total

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cilium_analysis.topics.flows.data import Counts, Flows

#: Traffic must be another for so long, and be so much [flows/s].
SHIFT_LENGTH = timedelta(minutes=5)
SHIFT_RATE = 1.0
#: Traffic at less than this share of its baseline has stopped.
STOPPED = 0.02
#: Of all traffic, what stops must have had this share to be worth a warning.
WARNING_SHARE = 0.01
#: The parties whose traffic is looked at one by one, the largest.
MOST_PARTIES = 200
#: A node that carries less than this share of a party's traffic may be out of sight.
MINOR_NODE = 0.02
FORWARDED = ("FORWARDED", "REDIRECTED")
_NEXT = {
    "stopped": "See whether the workload still runs, whether its clients can resolve and reach it,"
    " and whether Hubble still counts flows there (lost events, dynamic metrics, filters).",
    "rose": "See what was rolled out or scaled then, and whether a client retries or a job runs.",
    "fell": "See what was rolled out or scaled then, and whether clients still reach it.",
}


def shifts(data: Flows) -> list[Finding]:
    """Find where forwarded traffic is far from its baseline.

    All traffic is looked at, then each party's; what a larger shift explains is left out.

    Parameters
    ----------
    data
        As from `cilium_analysis.topics.flows.load`.
    """
    now, usual = forwarded(data.now.flows), forwarded(data.usual.flows)
    if not now.shape[1] or not usual.shape[1]:
        return []
    accepted: list[_Change] = []
    candidates = _changes(data, now, usual, None)
    for party in _parties(now, usual):
        candidates += _changes(data, now, usual, party)
    for change in sorted(candidates, key=lambda c: -float(c.pairs.abs().sum())):
        if not any(_explains(known, change) for known in accepted):
            accepted.append(change)
    return [_shifted(data, change) for change in accepted]


@dataclass(frozen=True)
class _Change:
    """One shift of forwarded traffic: whose, and by how much each pair of parties changed."""

    shift: Shift
    labels: dict[str, str]
    pairs: pd.Series
    counts: pd.DataFrame
    usual: pd.DataFrame


def forwarded(flows: pd.DataFrame) -> pd.DataFrame:
    """Give the flow events of forwarded packets.

    Those of layer 7, and the verdicts of policies, would count them again.
    """
    table = frames.labels(flows).reindex(columns=["type", "verdict"], fill_value="")
    chosen = table["verdict"].isin(FORWARDED) & ~table["type"].isin(["L7", "PolicyVerdict"])
    return flows.loc[:, chosen.to_numpy(dtype=bool)]


def _parties(now: pd.DataFrame, usual: pd.DataFrame) -> list[str]:
    sums = [
        frame.sum().groupby(level=side).sum()
        for frame in (now, usual)
        for side in ("source", "destination")
    ]
    whole = pd.concat(sums).groupby(level=0).max().sort_values(ascending=False, kind="stable")
    return [str(name) for name in whole.index if name][:MOST_PARTIES]


def _changes(
    data: Flows, now: pd.DataFrame, usual: pd.DataFrame, party: str | None
) -> list[_Change]:
    mine, before = _of_party(now, party), _of_party(usual, party)
    seconds = data.window.step.total_seconds()
    width = max(1, math.ceil(SHIFT_LENGTH / data.window.step))
    counts, levels = _one(mine, data.now, before), _one(before, data.usual, before)
    counts[_restarting(data, mine, before)] = np.nan
    found = Shifts(width, least=SHIFT_RATE * seconds).find(counts, levels)
    return [_change(shift, mine, before) for shift in found]


def _of_party(flows: pd.DataFrame, party: str | None) -> pd.DataFrame:
    if party is None:
        return flows
    source, destination = (flows.columns.get_level_values(n) for n in ("source", "destination"))
    return flows.loc[:, (source == party) | (destination == party)]


def _one(mine: pd.DataFrame, counts: Counts, usual: pd.DataFrame) -> NDArray[np.float64]:
    """Add up to one array; NaN where a node that carries some of it was out of sight."""
    values = mine.sum(axis=1).to_numpy(dtype="float64", copy=True)
    hidden = ~sight(counts).anything.to_numpy(dtype=bool)
    for node in _carriers(mine, usual):
        if node in counts.seen:
            hidden |= ~counts.seen[node].to_numpy(dtype=bool)
    values[hidden] = np.nan
    return values


def _carriers(mine: pd.DataFrame, usual: pd.DataFrame) -> set[str]:
    found: set[str] = set()
    for frame in (mine, usual):
        sums = frame.sum().groupby(level="node").sum()
        found |= {str(n) for n in sums.index[sums >= max(MINOR_NODE * sums.sum(), 1.0)]}
    return found


def _restarting(data: Flows, mine: pd.DataFrame, usual: pd.DataFrame) -> NDArray[np.bool_]:
    """Tell the steps next to a restart of an agent that carries some of the traffic."""
    hidden = np.zeros(len(mine), dtype=bool)
    near = data.restarts[data.restarts["node"].isin(_carriers(mine, usual))]
    for time in near["time"]:
        place = int(mine.index.searchsorted(time))
        hidden[max(place - 1, 0) : place + 2] = True
    return hidden


def _change(shift: Shift, now: pd.DataFrame, usual: pd.DataFrame) -> _Change:
    """Name what changed, as far as one pair, party or protocol has most of the change."""
    length = shift.last - shift.first
    pairs, protocols = (
        _grown(now.iloc[shift.first : shift.last], usual, by, length)
        for by in (["source", "destination"], ["protocol"])
    )
    labels = {"verdict": "FORWARDED"}
    for name, changed in (
        ("protocol", protocols),
        ("source", pairs.groupby(level="source").sum()),
        ("destination", pairs.groupby(level="destination").sum()),
    ):
        mine = changed if shift.up else -changed
        mine = mine.clip(lower=0.0).sort_values(ascending=False, kind="stable")
        labels |= {name: rises.culprit(mine)} if rises.culprit(mine) else {}
    own = {name: text for name, text in labels.items() if name != "verdict"}
    return _Change(shift, labels, pairs, only(now, own), only(usual, own))


def _grown(now: pd.DataFrame, usual: pd.DataFrame, by: list[str], length: int) -> pd.Series:
    scale = length / max(len(usual), 1)
    sums = [f.sum().groupby(level=by).sum() for f in (now, usual)]
    return sums[0].sub(sums[1] * scale, fill_value=0.0)


def _explains(known: _Change, change: _Change) -> bool:
    """Tell whether most of a change is already part of another at the same time."""
    apart = known.shift.last <= change.shift.first or change.shift.last <= known.shift.first
    if apart or known.shift.up != change.shift.up:
        return False
    mine = change.pairs.clip(lower=0.0) if change.shift.up else (-change.pairs).clip(lower=0.0)
    covered = np.ones(len(mine), dtype=bool)
    for side in ("source", "destination"):
        if side in known.labels:
            covered &= mine.index.get_level_values(side) == known.labels[side]
    return float(mine[covered].sum()) >= 0.5 * float(mine.sum())


def _shifted(data: Flows, change: _Change) -> Finding:
    shift = change.shift
    start, end = data.span(shift.first, shift.last)
    inside = change.counts.iloc[shift.first : shift.last]
    amount = total(inside)
    seconds = (end - start).total_seconds()
    value, before = amount / seconds, usually(data, change.usual)
    stopped = not shift.up and value <= STOPPED * before
    verb = "stopped" if stopped else ("rose" if shift.up else "fell")
    parties = {n: text for n, text in change.labels.items() if n in ("source", "destination")}
    what = f"{change.labels.get('protocol', '')} traffic".strip()
    nodes = rises.fewest(inside.sum().groupby(level="node").sum().sort_values(ascending=False))
    share = _share(data, change)
    of = f", {share:.1%} of all forwarded flows" if share < 1 else ""
    return Finding(
        kind="traffic_shift",
        severity=Severity.WARNING if stopped and share >= WARNING_SHARE else Severity.INFO,
        title=f"Forwarded {what}{between(parties)} {verb}:"
        f" {short(value)} flows/s instead of {short(before)}{of}",
        start=start.to_pydatetime(),
        end=end.to_pydatetime(),
        labels=change.labels,
        value=value,
        baseline_value=before,
        unit="flows/s",
        total=amount,
        trust_reasons=doubts_about(
            data, shift.first, shift.last, nodes=nodes, amount=max(amount, before * seconds)
        ),
        query=_shift_query(change.labels),
        next_step=_NEXT[verb],
    )


def _share(data: Flows, change: _Change) -> float:
    """Tell which share of all forwarded flows the traffic has, or had before it fell."""
    rows = slice(change.shift.first, change.shift.last)
    if change.shift.up:
        return total(change.counts.iloc[rows]) / total(forwarded(data.now.flows).iloc[rows])
    return total(change.usual) / total(forwarded(data.usual.flows))


def _shift_query(labels: dict[str, str]) -> str:
    matchers = ",".join(
        str(Matcher(n, "=", labels[n])) for n in ("protocol", "verdict") if n in labels
    )
    by = "source, source_namespace, source_workload, destination, destination_namespace,"
    return (
        f"sum by ({by} destination_workload) (rate(hubble_flows_processed_total{{{matchers}}}[5m]))"
    )


def sight(counts: Counts) -> rises.Sight:
    """Tell when Hubble could be seen."""
    return rises.Sight.of(counts.seen, counts.flows, counts.flags)


def usually(data: Flows, usual: pd.DataFrame) -> float:
    """Give the baseline's mean rate [flows/s]; NaN without a baseline."""
    if not data.usual.there:
        return math.nan
    return total(usual) / data.baseline.length.total_seconds()


def doubts_about(
    data: Flows, first: int, last: int, *, nodes: Sequence[str], amount: float
) -> tuple[str, ...]:
    """Collect what speaks against the numbers of a stretch.

    Parameters
    ----------
    data
        As from `cilium_analysis.topics.flows.load`.
    first, last
        Positions of the stretch: its first step, and the one after its last.
    nodes
        Those that it is about.
    amount
        What a loss of Hubble is compared with [events].
    """
    start, end = data.span(first, last)
    said = doubts(
        data.now.seen,
        data.restarts,
        data.lost,
        amount=amount,
        nodes=nodes,
        start=start,
        end=end,
    )
    if not data.usual.there:
        said.append("no data in the baseline: compared with the quieter half of the window")
    return (*said, *(f"server: {text}" for text in data.warnings))
