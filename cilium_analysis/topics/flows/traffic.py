"""Findings about forwarded traffic: level shifts to far more than usual, far less, or none."""

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
from cilium_analysis.statistics.rises import join
from cilium_analysis.topics import bursts, caveats, commands
from cilium_analysis.topics.telling import between, only, short, total

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from cilium_analysis.topics.flows.data import Counts, Flows

    _Floats = NDArray[np.float64]

#: Traffic must be another for so long, and be so much [flows/s].
SHIFT_LENGTH = timedelta(minutes=5)
SHIFT_RATE = 1.0
#: Traffic at less than this share of its baseline has stopped.
STOPPED = 0.02
#: Of all traffic, what stops must have had this share to be worth a warning.
WARNING_SHARE = 0.01
#: Workloads whose traffic is looked at one by one, the largest.
MOST_PARTIES = 200
#: A node that carries less than this share of a workload's traffic need not be scraped.
MINOR_NODE = 0.02
FORWARDED = ("FORWARDED", "REDIRECTED")
_NEXT = {
    "stopped": "See whether the workload still runs{pods}, whether its clients can resolve and"
    " reach it, and whether Hubble still counts flows there (lost events, filters).",
    "rose": "See what was rolled out or scaled then, and whether a client retries or a job runs.",
    "fell": "See what was rolled out or scaled then, and whether clients still reach it.",
}


@dataclass(frozen=True)
class Shift:
    """A level shift: first bin, the bin after the last, and whether the level rose."""

    first: int
    last: int
    up: bool


@dataclass(frozen=True)
class Shifts:
    """Find intervals that are above or below all that a baseline shows, by a factor.

    Sums over neighbouring bins are compared with the largest and the smallest of the baseline's,
    so that a baseline which swings allows for as much in the window.

    Parameters
    ----------
    factor
        Between an interval and the baseline.
    width
        Bins that are summed; no shorter interval is found.
    least
        A level worth looking at [counts per bin].
    quantile
        Above it, and below one less it, sums of the baseline are left out of account.
    """

    width: int
    least: float
    factor: float = 3.0
    quantile: float = 0.99

    def find(self, counts: _Floats, baseline: _Floats) -> list[Shift]:
        """Give the level shifts, in order of time.

        Parameters
        ----------
        counts, baseline
            Per bin; NaN where it is not known, which is never part of a sum.
        """
        known = self._sums(baseline)
        known = known[~np.isnan(known)]
        if len(known) < self.width:
            return []
        high = float(np.quantile(known, self.quantile))
        low = float(np.quantile(known, 1.0 - self.quantile))
        sums, enough = self._sums(counts), self.least * self.width
        with np.errstate(invalid="ignore"):
            above = (sums >= self.factor * high) & (sums >= enough)
            below = (sums <= low / self.factor) & (low >= enough)
        level = float(known.mean()) / self.width
        found = [
            *self._intervals(counts, above, lambda values: values > 2.0 * level, up=True),
            *self._intervals(counts, below, lambda values: values < level / 2.0, up=False),
        ]
        return sorted(found, key=lambda shift: shift.first)

    def _sums(self, counts: _Floats) -> _Floats:
        """Sum so many neighbouring bins; the last of them is the position; NaN if unknown."""
        result = np.full(len(counts), np.nan)
        if len(counts) >= self.width:
            view = np.lib.stride_tricks.sliding_window_view(counts, self.width)
            result[self.width - 1 :] = view.sum(axis=1)
        return result

    def _intervals(
        self,
        counts: _Floats,
        flagged: NDArray[np.bool_],
        shifted: Callable[[_Floats], NDArray[np.bool_]],
        *,
        up: bool,
    ) -> list[Shift]:
        """Join the windows that are flagged, and cut off the bins at their ends that are not."""
        spans = [(int(i) - self.width + 1, int(i) + 1) for i in np.flatnonzero(flagged)]
        found = []
        for first, last in join(spans):
            inside = np.flatnonzero(shifted(np.nan_to_num(counts[first:last])))
            if len(inside):
                found.append(Shift(first + int(inside[0]), first + int(inside[-1]) + 1, up))
        return found


def shifts(data: Flows) -> list[Finding]:
    """Find where forwarded traffic is far from its baseline.

    All traffic is looked at, then that of each workload. What a larger shift explains is left out.

    Parameters
    ----------
    data
        As from `cilium_analysis.topics.flows.load`.
    """
    now, baseline = forwarded(data.now.flows), forwarded(data.baseline.flows)
    if not now.shape[1] or not baseline.shape[1]:
        return []
    accepted: list[_Change] = []
    candidates = _changes(data, now, baseline, None)
    for party in _parties(now, baseline):
        candidates += _changes(data, now, baseline, party)
    for change in sorted(candidates, key=lambda c: -float(c.pairs.abs().sum())):
        if not any(_explains(known, change) for known in accepted):
            accepted.append(change)
    return [_shifted(data, change) for change in accepted]


@dataclass(frozen=True)
class _Change:
    """One level shift of forwarded traffic, and by how much each source and destination changed."""

    shift: Shift
    labels: dict[str, str]
    pairs: pd.Series
    counts: pd.DataFrame
    baseline: pd.DataFrame


def forwarded(flows: pd.DataFrame) -> pd.DataFrame:
    """Give the flow events of forwarded packets.

    Those of layer 7, and the verdicts of policies, would count them again.
    """
    table = frames.labels(flows).reindex(columns=["type", "verdict"], fill_value="")
    chosen = table["verdict"].isin(FORWARDED) & ~table["type"].isin(["L7", "PolicyVerdict"])
    return flows.loc[:, chosen.to_numpy(dtype=bool)]


def _parties(now: pd.DataFrame, baseline: pd.DataFrame) -> list[str]:
    sums = [
        frame.sum().groupby(level=side).sum()
        for frame in (now, baseline)
        for side in ("source", "destination")
    ]
    whole = pd.concat(sums).groupby(level=0).max().sort_values(ascending=False, kind="stable")
    return [str(name) for name in whole.index if name][:MOST_PARTIES]


def _changes(
    data: Flows, now: pd.DataFrame, baseline: pd.DataFrame, party: str | None
) -> list[_Change]:
    mine, before = _of_party(now, party), _of_party(baseline, party)
    seconds = data.window.step.total_seconds()
    width = max(1, math.ceil(SHIFT_LENGTH / data.window.step))
    counts, levels = _one(mine, data.now, before), _one(before, data.baseline, before)
    counts[_restarting(data, mine, before)] = np.nan
    found = Shifts(width, least=SHIFT_RATE * seconds).find(counts, levels)
    return [_change(shift, mine, before) for shift in found]


def _of_party(flows: pd.DataFrame, party: str | None) -> pd.DataFrame:
    if party is None:
        return flows
    source, destination = (flows.columns.get_level_values(n) for n in ("source", "destination"))
    return flows.loc[:, (source == party) | (destination == party)]


def _one(mine: pd.DataFrame, counts: Counts, baseline: pd.DataFrame) -> NDArray[np.float64]:
    """Give the sum per step; NaN where a node that carries some of it was not scraped."""
    values = mine.sum(axis=1).to_numpy(dtype="float64", copy=True)
    hidden = ~scraped(counts).anything.to_numpy(dtype=bool)
    for node in _carriers(mine, baseline):
        if node in counts.scraped:
            hidden |= ~counts.scraped[node].to_numpy(dtype=bool)
    values[hidden] = np.nan
    return values


def _carriers(mine: pd.DataFrame, baseline: pd.DataFrame) -> set[str]:
    found: set[str] = set()
    for frame in (mine, baseline):
        sums = frame.sum().groupby(level="node").sum()
        found |= {str(n) for n in sums.index[sums >= max(MINOR_NODE * sums.sum(), 1.0)]}
    return found


def _restarting(data: Flows, mine: pd.DataFrame, baseline: pd.DataFrame) -> NDArray[np.bool_]:
    """Tell the steps next to a restart of an agent that carries some of the traffic."""
    hidden = np.zeros(len(mine), dtype=bool)
    near = data.now.restarts[data.now.restarts["node"].isin(_carriers(mine, baseline))]
    for time in near["time"]:
        place = int(mine.index.searchsorted(time))
        hidden[max(place - 1, 0) : place + 2] = True
    return hidden


def _change(shift: Shift, now: pd.DataFrame, baseline: pd.DataFrame) -> _Change:
    """Name what changed, as far as one pair, party or protocol has most of the change."""
    length = shift.last - shift.first
    pairs, protocols = (
        _grown(now.iloc[shift.first : shift.last], baseline, by, length)
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
        if found := bursts.dominant(mine):
            labels[name] = found
    own = {name: text for name, text in labels.items() if name != "verdict"}
    return _Change(shift, labels, pairs, only(now, own), only(baseline, own))


def _grown(now: pd.DataFrame, baseline: pd.DataFrame, by: list[str], length: int) -> pd.Series:
    scale = length / max(len(baseline), 1)
    sums = [f.sum().groupby(level=by).sum() for f in (now, baseline)]
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
    start, end = data.times(shift.first, shift.last)
    inside = change.counts.iloc[shift.first : shift.last]
    amount = total(inside)
    seconds = (end - start).total_seconds()
    value, before = amount / seconds, usually(data, change.baseline)
    stopped = not shift.up and value <= STOPPED * before
    verb = "stopped" if stopped else ("rose" if shift.up else "fell")
    parties = {n: text for n, text in change.labels.items() if n in ("source", "destination")}
    what = f"{change.labels.get('protocol', '')} traffic".strip()
    nodes = bursts.fewest(inside.sum().groupby(level="node").sum().sort_values(ascending=False))
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
        trust_reasons=caveats_of(
            data, shift.first, shift.last, nodes=nodes, amount=max(amount, before * seconds)
        ),
        query=_shift_query(change.labels),
        next_step=_NEXT[verb].format(
            pods=commands.pods_of(parties.get("destination", parties.get("source", "")))
        ),
    )


def _share(data: Flows, change: _Change) -> float:
    """Tell which share of all forwarded flows the traffic has, or had before it fell."""
    rows = slice(change.shift.first, change.shift.last)
    if change.shift.up:
        return total(change.counts.iloc[rows]) / total(forwarded(data.now.flows).iloc[rows])
    return total(change.baseline) / total(forwarded(data.baseline.flows))


def _shift_query(labels: dict[str, str]) -> str:
    matchers = ",".join(
        str(Matcher(n, "=", labels[n])) for n in ("protocol", "verdict") if n in labels
    )
    by = "source, source_namespace, source_workload, destination, destination_namespace,"
    return (
        f"sum by ({by} destination_workload) (rate(hubble_flows_processed_total{{{matchers}}}[5m]))"
    )


def scraped(counts: Counts) -> bursts.Scraped:
    """Tell when Hubble was scraped."""
    return bursts.Scraped.of(counts.scraped, counts.flows, counts.flags)


def usually(data: Flows, baseline: pd.DataFrame) -> float:
    """Give the baseline's mean rate [flows/s]; NaN without a baseline."""
    if not data.baseline.there:
        return math.nan
    return total(baseline) / data.baseline.length.total_seconds()


def caveats_of(
    data: Flows, first: int, last: int, *, nodes: Sequence[str], amount: float
) -> tuple[str, ...]:
    """Give the caveats about the numbers of an interval.

    Parameters
    ----------
    data
        As from `cilium_analysis.topics.flows.load`.
    first, last
        Positions of its first step, and of the one after its last.
    nodes
        Those that it is about.
    amount
        What a loss of Hubble is compared with [events].
    """
    start, end = data.times(first, last)
    found = caveats.of_hubble(
        data.now.scraped,
        data.now.restarts,
        data.now.lost,
        amount=amount,
        nodes=nodes,
        start=start,
        end=end,
    )
    if not data.baseline.there:
        found.append(caveats.NO_BASELINE)
    return (*found, *(f"server: {text}" for text in data.warnings))
