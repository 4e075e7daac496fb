"""Stretches in which requests took longer than the baseline makes one expect."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cilium_analysis import frames
from cilium_analysis.statistics.baseline import Rises
from cilium_analysis.topics.buckets import bound_of, quantile

if TYPE_CHECKING:
    from datetime import timedelta

    import pandas as pd
    from numpy.typing import NDArray

    from cilium_analysis.topics.http.data import Http

#: In the baseline this share of the requests was faster than what now counts as slow.
USUALLY_FASTER = 0.99
#: The quantile reported rises by this factor at least; the share of slow requests by its own.
SLOWER_BY = 1.5
MORE_BY = 3.0
QUANTILES = (0.95, 0.99)
_RISES = Rises()


@dataclass(frozen=True)
class Slow:
    """Requests to one destination that took long.

    Parameters
    ----------
    destination
        Who answered.
    first, last
        Positions of the first step, and of the one after the last.
    quantile
        Which one rose, 0 to 1.
    value, usual
        Of the duration, then and in the baseline [s].
    beyond
        Whether the value lies beyond the highest bucket, so that it was longer than that.
    """

    destination: str
    first: int
    last: int
    quantile: float
    value: float
    usual: float
    beyond: bool


def slow_stretches(data: Http) -> list[Slow]:
    """Find the stretches in which more requests than usual took long, per destination.

    Parameters
    ----------
    data
        As from `load`.
    """
    now, then = (_tables(frame) for frame in (data.durations, data.usual_durations))
    return [
        slow
        for destination in sorted(set(now) & set(then))
        for slow in _of(destination, now[destination], then[destination], data.window.step)
    ]


def _tables(durations: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Give each destination's requests per step, by the bound of their duration."""
    grouped = frames.group(durations, ["destination", "le"])
    found: dict[str, pd.DataFrame] = {}
    for name in sorted(set(grouped.columns.get_level_values("destination"))):
        table = grouped.loc[:, grouped.columns.get_level_values("destination") == name]
        table.columns = table.columns.get_level_values("le")
        bounds = sorted(table.columns, key=lambda le: bound_of(str(le)))
        found[str(name)] = table[bounds]
    return {name: table for name, table in found.items() if "+Inf" in table}


def _of(destination: str, now: pd.DataFrame, then: pd.DataFrame, step: timedelta) -> list[Slow]:
    bound = _bound(then)
    if bound is None or bound not in now:
        return []
    slow, usual = (_slow(table, bound) for table in (now, then))
    found = []
    for first, last in _RISES.at(step).find(slow, usual):
        ratio = np.nansum(slow[first:last]) / max(float(now["+Inf"].iloc[first:last].sum()), 1.0)
        before = np.nansum(usual) / max(float(then["+Inf"].sum()), 1.0)
        risen = _risen(now.iloc[first:last], then) if ratio >= MORE_BY * before else None
        if risen:
            found.append(Slow(destination, first, last, *risen))
    return found


def _bound(then: pd.DataFrame) -> str | None:
    """Give the lowest bound below which nearly all requests of the baseline stayed."""
    sums = then.sum()
    enough = [le for le in then.columns if sums[le] >= USUALLY_FASTER * sums["+Inf"] > 0]
    finite = [str(le) for le in enough if not math.isinf(bound_of(str(le)))]
    return finite[0] if finite else None


def _slow(table: pd.DataFrame, bound: str) -> NDArray[np.float64]:
    late = (table["+Inf"] - table[bound]).clip(lower=0.0)
    return late.to_numpy(dtype="float64")


def _risen(now: pd.DataFrame, then: pd.DataFrame) -> tuple[float, float, float, bool] | None:
    """Give the first quantile that rose enough, its values, and whether it left the buckets."""
    sums, usual = ({str(le): float(n) for le, n in t.sum().items()} for t in (now, then))
    highest = max(bound_of(le) for le in sums if not math.isinf(bound_of(le)))
    for q in QUANTILES:
        value, before = quantile(q, sums), quantile(q, usual)
        if value >= SLOWER_BY * before:
            return q, value, before, value >= highest
    return None
