"""How long HTTP requests took: queries, quantiles, and when more requests than usual were slow."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.statistics.rises import Rises
from cilium_analysis.texts import within
from cilium_analysis.topics import buckets, hubble
from cilium_analysis.topics.buckets import BOUNDS, bound_of, bounds, quantile

if TYPE_CHECKING:
    from datetime import timedelta

    from cilium_analysis.topics.http.data import Http

NAME = "hubble_http_request_duration_seconds"
_COUNTER = hubble.Counter(
    f"{NAME}_bucket",
    ("le", "method", "reporter"),
    "requests",
    "HTTP requests answered within so many seconds",
)
EACH = _COUNTER.whole
OVER_NODES = replace(_COUNTER, labels=("le", "reporter")).over_nodes
QUANTILES = (0.5, 0.95, 0.99)
#: In the baseline this share of the requests was faster than what now counts as slow.
USUALLY_FASTER = 0.99
#: The quantile reported rises by this factor at least; the share of slow requests by its own.
SLOWER_BY = 1.5
MORE_BY = 3.0
_RISES = Rises()


def latency(data: Http) -> pd.DataFrame:
    """Give quantiles of the duration of requests, per destination, beside the baseline's.

    Returns
    -------
    pandas.DataFrame
        ``destination``, then ``p50``, ``p95``, ``p99`` and ``usual p50`` … [s], interpolated
        within Hubble's buckets (of 5 ms to 10 s, `BOUNDS`): good to the width of a bucket.
    """
    now, baseline = (
        buckets.by_bound(each.durations, ["destination"]) for each in (data.now, data.baseline)
    )
    rows = [
        {"destination": key[0]}
        | buckets.quantiles(now.get(key, {}), QUANTILES)
        | buckets.quantiles(baseline.get(key, {}), QUANTILES, before="usual ")
        | dict(zip(BOUNDS, bounds(now.get(key, {}), baseline.get(key, {})), strict=True))
        for key in sorted({*now, *baseline})
    ]
    return pd.DataFrame(rows)


def untold(data: Http) -> list[str]:
    """Say why quantiles of the duration cannot be had, where they cannot."""
    return [
        text
        for each, when in ((data.now, "window"), (data.baseline, "baseline"))
        if each.counts.shape[1]
        for text in buckets.untold(
            NAME, "request", each.durations, when=when, unread=data.remarks.unread
        )
    ]


@dataclass(frozen=True)
class Slow:
    """Requests to one destination that took long.

    Parameters
    ----------
    destination
        Of the requests.
    first, last
        Positions of the first step, and of the one after the last.
    quantile
        Which one rose, 0 to 1.
    value, baseline
        Of the duration, then and in the baseline [s].
    bounds
        Of the first bucket, and the last finite one [s].
    beyond
        Whether the value lies beyond the highest bucket, so that it was longer than that.
    """

    destination: str
    first: int
    last: int
    quantile: float
    value: float
    baseline: float
    bounds: tuple[float, float]
    beyond: bool

    def told(self) -> tuple[str, str]:
        """Write the value and the baseline's, as far as the buckets tell."""
        value = math.inf if self.beyond else self.value
        return within(value, *self.bounds), within(self.baseline, *self.bounds)


def slow_requests(data: Http) -> list[Slow]:
    """Find when more requests than usual took long, per destination.

    Parameters
    ----------
    data
        As from `load`.
    """
    now, baseline = (_per_destination(each.durations) for each in (data.now, data.baseline))
    return [
        slow
        for destination in sorted(set(now) & set(baseline))
        for slow in _slow_to(destination, now[destination], baseline[destination], data.window.step)
    ]


def _per_destination(durations: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Give each destination's requests per step, by the bound of their duration."""
    grouped = frames.group(durations, ["destination", "le"])
    found: dict[str, pd.DataFrame] = {}
    for name in sorted(set(grouped.columns.get_level_values("destination"))):
        table = grouped.loc[:, grouped.columns.get_level_values("destination") == name]
        table.columns = table.columns.get_level_values("le")
        bounds = sorted(table.columns, key=lambda le: bound_of(str(le)))
        found[str(name)] = table[bounds]
    return {name: table for name, table in found.items() if "+Inf" in table}


def _slow_to(
    destination: str, now: pd.DataFrame, baseline: pd.DataFrame, step: timedelta
) -> list[Slow]:
    bound = _bound(baseline)
    if bound is None or bound not in now:
        return []
    slow, before = (
        (table["+Inf"] - table[bound]).clip(lower=0.0).to_numpy(dtype="float64")
        for table in (now, baseline)
    )
    found = []
    for first, last in _RISES.at(step).find(slow, before):
        share = np.nansum(slow[first:last]) / max(float(now["+Inf"].iloc[first:last].sum()), 1.0)
        baseline_share = np.nansum(before) / max(float(baseline["+Inf"].sum()), 1.0)
        slower = (
            _slower(now.iloc[first:last], baseline) if share >= MORE_BY * baseline_share else None
        )
        if slower:
            found.append(Slow(destination, first, last, *slower))
    return found


def _bound(baseline: pd.DataFrame) -> str | None:
    """Give the lowest bound below which nearly all requests of the baseline stayed."""
    sums = baseline.sum()
    enough = [le for le in baseline.columns if sums[le] >= USUALLY_FASTER * sums["+Inf"] > 0]
    finite = [str(le) for le in enough if not math.isinf(bound_of(str(le)))]
    return finite[0] if finite else None


def _slower(
    now: pd.DataFrame, baseline: pd.DataFrame
) -> tuple[float, float, float, tuple[float, float], bool] | None:
    """Give the first quantile that rose enough, its values, and how far the buckets tell them."""
    sums, before = ({str(le): float(n) for le, n in t.sum().items()} for t in (now, baseline))
    told = bounds(sums)
    for q in QUANTILES[1:]:
        value, level = quantile(q, sums), quantile(q, before)
        if value >= SLOWER_BY * level:
            return q, value, level, told, value >= told[1]
    return None
