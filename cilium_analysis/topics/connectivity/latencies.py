"""How long probes took, as far as it is asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import counters, frames
from cilium_analysis.topics.connectivity.asking import Asker, Names, among, by_observer, times
from cilium_analysis.topics.connectivity.promql import (
    FAILED,
    MOST_SLOW,
    QUANTILES,
    QUERIES,
    ROUNDS,
    slow_observers,
    slow_targets,
)
from cilium_analysis.topics.connectivity.reading import no_frame

if TYPE_CHECKING:
    from cilium_analysis.queries import Matcher
    from cilium_analysis.topics.connectivity.pace import Pace
    from cilium_analysis.window import Window


_LABELS = ["address_type", "protocol", "type"]


def slow(
    asker: Asker, fine: Window, baseline: Window, names_: Names, pace: Pace, *, named: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ask for the latency of those nodes for which it rose most, in the window and before."""
    back = fine.end - baseline.end
    query = (slow_targets if named else slow_observers)(baseline.length, back)
    found = asker.at_end(query, fine).sort_values(ascending=False, kind="stable")
    levels = ["node", "protocol", "type"]
    label = "target_node_name" if named else "instance"
    if not len(found) or label not in found.index.names:
        return tuple(no_frame(times(fine)[:0], levels) for _ in "ab")  # type: ignore[return-value]
    chosen = list(dict.fromkeys(found.index.get_level_values(label)))[:MOST_SLOW]
    those = among(label, sorted(chosen))
    spans = (fine, replace(baseline, step=fine.step))
    if named:
        told = [asker.over("target_latency", span, those) for span in spans]
        now, then = (names_.give(frame, "target", "node", levels[1:]) for frame in told)
        return now, then
    now, then = (_means(asker, span, those, pace) for span in spans)
    return now, then


def _means(asker: Asker, window: Window, those: Matcher, pace: Pace) -> pd.DataFrame:
    """Give the mean of what did not fail, over the last rounds of probes [s]."""
    levels = ["node", "protocol", "type"]
    raw = by_observer(asker, "took", window, ["part", *levels], those)
    parts = {}
    for name in ("sum", "count", "bucket"):
        chosen = raw.columns.get_level_values("part") == name
        grown = counters.increase(frames.group(raw.loc[:, chosen], levels, how="max"), pinned=False)
        parts[name] = grown.rolling(ROUNDS * pace.sight, min_periods=1).sum()
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
    """Give values by all labels: one that a relabeling dropped is empty."""
    rows = values.index.to_frame(index=False)
    rows = rows.assign(**{name: "" for name in _LABELS if name not in rows})
    return values.set_axis(pd.MultiIndex.from_frame(rows))


def _of_buckets(counts: pd.Series) -> dict[str, float]:
    """Read quantiles off a cumulative histogram, of probes that did not fail."""
    # One bound may be spelled in two ways: what was counted under each adds up.
    counts = counts.groupby(counts.index.astype("float64")).sum().sort_index()
    whole = float(counts.iloc[-1])
    good = counts[counts.index < FAILED]
    reached = float(good.iloc[-1]) if len(good) else 0.0
    if not reached:
        return dict.fromkeys(QUANTILES, np.nan) | {"failed": 1.0 if whole else np.nan}
    edges = np.concatenate([[0.0], good.index.to_numpy()])
    levels = np.maximum.accumulate(np.concatenate([[0.0], good.to_numpy()]))
    found = {name: float(np.interp(q * reached, levels, edges)) for name, q in QUANTILES.items()}
    return found | {"failed": 1.0 - reached / whole}
