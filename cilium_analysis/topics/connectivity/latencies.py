"""How long probes took: what is asked, which nodes became slow, and findings about them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import counters, frames
from cilium_analysis.findings import Finding, Severity
from cilium_analysis.queries import Matcher, any_of
from cilium_analysis.texts import duration, lasting
from cilium_analysis.topics.buckets import BOUNDS
from cilium_analysis.topics.commands import plain
from cilium_analysis.topics.connectivity.asking import (
    FAILED,
    MOST_SLOW,
    QUANTILES,
    QUERIES,
    ROUNDS,
    Asker,
    Names,
    by_observer,
    slow_observers,
    slow_targets,
    times,
)
from cilium_analysis.topics.connectivity.reading import keys, no_frame
from cilium_analysis.topics.intervals import runs

if TYPE_CHECKING:
    from cilium_analysis.topics.connectivity.data import Connectivity
    from cilium_analysis.topics.connectivity.pace import Pace
    from cilium_analysis.window import Window

#: Latency rose if it is at least so many times the baseline's, and at least so much more [s] …
RATIO, LEAST = 3.0, 0.005
#: … beyond the busiest moments of the baseline, in at least so much time and so many results.
QUANTILE = 0.99
LASTING, LASTING_RESULTS = timedelta(minutes=3), 3
BRIDGE, BRIDGE_RESULTS = timedelta(minutes=5), 2
#: One slow node slows the others' means down by a part of its own rise.
SPILL = 0.5
FEW = 3
_LEVELS = ["node", "protocol", "type"]
_LABELS = ["address_type", "protocol", "type"]


def slow(
    asker: Asker, fine: Window, baseline: Window, names_: Names, pace: Pace, *, named: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ask for the latency of those nodes for which it rose most, in the window and before."""
    back = fine.end - baseline.end
    query = (slow_targets if named else slow_observers)(baseline.length, back)
    found = asker.at_end(query, fine).sort_values(ascending=False, kind="stable")
    label = "target_node_name" if named else "instance"
    if not len(found) or label not in found.index.names:
        nothing = no_frame(times(fine)[:0], _LEVELS)
        return nothing, nothing
    chosen = list(dict.fromkeys(found.index.get_level_values(label)))[:MOST_SLOW]
    those = any_of(label, sorted(chosen))
    spans = (fine, replace(baseline, step=fine.step))
    if named:
        told = [asker.over("target_latency", span, those) for span in spans]
        now, then = (names_.give(frame, "target", "node", _LEVELS[1:]) for frame in told)
        return now, then
    now, then = (_means(asker, span, those, pace) for span in spans)
    return now, then


def _means(asker: Asker, window: Window, those: Matcher, pace: Pace) -> pd.DataFrame:
    """Give the mean of what did not fail, over the last rounds of probes [s]."""
    raw = by_observer(asker, "took", window, ["part", *_LEVELS], those)
    parts = {}
    for name in ("sum", "count", "bucket"):
        chosen = raw.columns.get_level_values("part") == name
        grown = counters.increase(
            frames.group(raw.loc[:, chosen], _LEVELS, how="max"), pinned=False
        )
        parts[name] = grown.rolling(ROUNDS * pace.shown, min_periods=1).sum()
    reached = parts["bucket"].where(parts["bucket"] > 0.5)
    failed = (parts["count"] - reached).clip(lower=0.0)
    return (parts["sum"] - FAILED * failed) / reached


def quantiles(asker: Asker, window: Window, *, named: bool) -> pd.DataFrame:
    """Give quantiles of latency by type, protocol and address, without failed probes."""
    if named:
        found = {name: asker.at_end(QUERIES[f"latency_{name}"], window) for name in QUANTILES}
        told = {name: _labelled(values) for name, values in found.items() if len(values)}
        return pd.DataFrame(told, columns=list(QUANTILES))
    buckets = asker.at_end(QUERIES["buckets"], window)
    if "le" not in buckets.index.names:
        return pd.DataFrame(columns=[*QUANTILES, "failed"], dtype="float64")
    table = _labelled(buckets.rename("probes")).reset_index()
    parts = list(table.groupby(_LABELS))
    rows = [_of_buckets(part.set_index("le")["probes"]) for _, part in parts]
    return pd.DataFrame(rows, index=pd.MultiIndex.from_tuples([k for k, _ in parts], names=_LABELS))


def _labelled(values: pd.Series) -> pd.Series:
    """Give values by all labels; a label that a relabeling dropped is empty."""
    rows = values.index.to_frame(index=False)
    rows = rows.assign(**{name: "" for name in _LABELS if name not in rows})
    return values.set_axis(pd.MultiIndex.from_frame(rows))


def _of_buckets(counts: pd.Series) -> dict[str, float]:
    """Read quantiles off a cumulative histogram, of probes that did not fail."""
    # One bound may be spelled in two ways, whose counts add up.
    counts = counts.groupby(counts.index.astype("float64")).sum().sort_index()
    whole = float(counts.iloc[-1])
    good = counts[counts.index < FAILED]
    reached = float(good.iloc[-1]) if len(good) else 0.0
    if not reached:
        return dict.fromkeys(QUANTILES, np.nan) | {"failed": 1.0 if whole else np.nan}
    edges = np.concatenate([[0.0], good.index.to_numpy()])
    levels = np.maximum.accumulate(np.concatenate([[0.0], good.to_numpy()]))
    found = {name: float(np.interp(q * reached, levels, edges)) for name, q in QUANTILES.items()}
    return found | {"failed": 1.0 - reached / whole, BOUNDS[0]: float(good.index[0])}


@dataclass(frozen=True)
class Slow:
    """An interval in which a node was slow.

    Parameters
    ----------
    node
        Its name; empty if it is most nodes.
    types, protocols
        Of the probes that were slow.
    start, end
        Within the window.
    value, baseline
        Typical latency, and that of the baseline [s].
    compared
        Whether there is a baseline; else `baseline` is that of the quieter part of the window.
    nodes
        How many nodes were slow at the same time.
    """

    node: str
    types: tuple[str, ...]
    protocols: tuple[str, ...]
    start: pd.Timestamp
    end: pd.Timestamp
    value: float
    baseline: float
    compared: bool
    nodes: int = 1

    @property
    def rise(self) -> float:
        """Latency above the usual one [s]."""
        return self.value - self.baseline


def rises(data: Connectivity) -> list[Slow]:
    """Give the nodes that became slow, the slowest first."""
    found: list[Slow] = []
    for key in keys(data.now.slow):
        node, protocol, kind = key
        baseline = (
            data.baseline.slow[key] if key in data.baseline.slow.columns else pd.Series(dtype=float)
        )
        for each in _intervals(data, data.now.slow[key], baseline):
            found = _added(found, replace(each, node=node, types=(kind,), protocols=(protocol,)))
    return sorted(_worth_reporting(data, found), key=lambda s: (-s.rise, s.node, s.start))


def _intervals(data: Connectivity, level: pd.Series, baseline: pd.Series) -> list[Slow]:
    known = baseline.dropna()
    compared = len(known) > 0
    base = float(known.median()) if compared else float(level.quantile(0.25))
    busy = float(known.quantile(QUANTILE)) if compared else base
    limit = max(RATIO * base, base + LEAST, 1.5 * busy)
    step, index, shown = data.now.fine.step, level.index, data.now.pace.shown
    lasting, bridge = max(LASTING, LASTING_RESULTS * shown), max(BRIDGE, BRIDGE_RESULTS * shown)
    found = []
    for first, stop in runs(level > limit, bridge=int(bridge / step)):
        inside = level.iloc[first:stop]
        high = inside[inside > limit]
        start = max(index[first] - step, pd.Timestamp(data.window.start))
        if len(high) * step < lasting or index[stop - 1] <= data.window.start:
            continue
        # A mean over several rounds stays high for as long after the last slow one.
        late = timedelta() if data.now.targets_named else (ROUNDS - 1) * shown
        end = max(index[stop - 1] - late, index[first])
        found.append(Slow("", (), (), start, end, float(high.median()), base, compared))
    return found


def _added(found: list[Slow], slow: Slow) -> list[Slow]:
    """Add an interval to that of the same node at the same time; the worst gives the numbers."""
    for place, other in enumerate(found):
        if other.node == slow.node and _overlap(other, slow):
            worse = max(other, slow, key=lambda s: s.rise)
            both = replace(
                worse,
                types=tuple(sorted({*other.types, *slow.types}, reverse=True)),
                protocols=tuple(sorted({*other.protocols, *slow.protocols})),
                start=min(other.start, slow.start),
                end=max(other.end, slow.end),
            )
            return [*found[:place], both, *found[place + 1 :]]
    return [*found, slow]


def _overlap(one: Slow, other: Slow) -> bool:
    return bool(one.start <= other.end and other.start <= one.end)


def _worth_reporting(data: Connectivity, found: list[Slow]) -> list[Slow]:
    """Leave out what the slowest node explains, and join what most nodes have in common."""
    known = data.now.observers.shape[1]
    kept: list[Slow] = []
    for slow in sorted(found, key=lambda s: (-s.rise, s.node)):
        worse = [other for other in kept if _overlap(other, slow)]
        spilt = bool(worse) and (known <= FEW or not data.now.targets_named)
        if spilt and (known <= FEW or slow.rise < SPILL * worse[0].rise):
            continue
        kept.append(slow)
    for first in list(kept):
        together = [slow for slow in kept if _overlap(slow, first)]
        if len(together) > max(known / 2, 2):
            kept = [slow for slow in kept if slow not in together]
            start, end = min(s.start for s in together), max(s.end for s in together)
            median = sorted(together, key=lambda s: s.rise)[len(together) // 2]
            kept.append(replace(median, node="", start=start, end=end, nodes=len(together)))
    return kept


def slow_finding(data: Connectivity, slow: Slow) -> Finding:
    """Give the finding about a node that became slow."""
    where = slow.node or f"{slow.nodes} nodes"
    whose = "to" if data.now.targets_named else "from"
    protocols = " and ".join(protocol.upper() for protocol in slow.protocols)
    how = ", ".join(filter(None, (protocols, " and ".join(filter(None, slow.types)))))
    kind = "node" if "node" in slow.types else slow.types[0]
    reasons = [f"server: {text}" for text in data.warnings]
    if not slow.compared:
        reasons.insert(0, "no baseline: compared with the quieter part of the window")
    if not data.now.targets_named:
        reasons.insert(0, "a mean over all targets of an observer, itself included")
    return Finding(
        kind="node_latency",
        severity=Severity.WARNING,
        title=f"Latency {whose} {where} rose to {duration(slow.value)} instead of"
        f" {duration(slow.baseline)} for"
        f" {lasting(slow.end - slow.start)}" + (f" ({how})" if how else ""),
        start=slow.start.to_pydatetime(),
        end=slow.end.to_pydatetime(),
        labels=({"node": slow.node} if slow.node else {}) | {"type": kind},
        value=slow.value,
        baseline_value=slow.baseline if slow.compared else float("nan"),
        unit="s",
        trust_reasons=tuple(reasons),
        query=_latency_query(data, slow),
        next_step="Check load, network interface and links of"
        f" {plain(slow.node) or 'what they share'} (its errors and queues);"
        " `cilium-health status --probe` shows each path.",
    )


def _latency_query(data: Connectivity, slow: Slow) -> str:
    if not data.now.targets_named:
        name = "cilium_node_health_connectivity_latency_seconds_bucket"
        return f"histogram_quantile(0.9, sum by (le, protocol, type) (rate({name}[5m])))"
    name = "cilium_node_connectivity_latency_seconds"
    if not slow.node:
        return f"quantile by (protocol, type) (0.5, {name} > 0)"
    matcher = Matcher("target_node_name", "=", slow.node.rpartition("/")[2])
    return f"quantile by (protocol, type) (0.5, {name}{{{matcher}}} > 0)"
