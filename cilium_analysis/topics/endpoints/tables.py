"""Tables about endpoints: frames in, frames out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.statistics.forecast import Trend, Trends
from cilium_analysis.texts import number
from cilium_analysis.topics.buckets import BOUNDS, bounds, by_bound, quantiles
from cilium_analysis.topics.endpoints.data import not_ready as waiting
from cilium_analysis.topics.endpoints.data import pick
from cilium_analysis.topics.endpoints.growth import lives, settled, stable, together
from cilium_analysis.topics.endpoints.limits import NEVER, Fill, dates, fills, foreseeable, foretell

if TYPE_CHECKING:
    from cilium_analysis.topics.endpoints.data import Endpoints, Levels

#: What the sum of all nodes is called.
CLUSTER = "nodes there all along"
_TRENDS = Trends()


def counts(data: Endpoints, *, most: int | None = None) -> pd.DataFrame:
    """Give the endpoints over time, one column per node.

    Parameters
    ----------
    most
        Number of nodes, those that moved most first; all by name if not given.
    """
    levels = data.now.counts
    moved = (levels.max() - levels.min()).sort_values(ascending=False, kind="stable")
    return levels if most is None else levels[moved.index[:most]]


def not_ready(data: Endpoints) -> pd.DataFrame:
    """Give the endpoints that are not ready over time, one column per node that has any."""
    levels = waiting(data.now.states)
    return levels.loc[:, levels.max() > 0]


def by_node(data: Endpoints) -> pd.DataFrame:
    """Give each node's endpoints and policies.

    Returns
    -------
    pandas.DataFrame
        By ``node``: ``endpoints`` at the end (of those that left, when last seen), ``usual`` (the
        baseline's median), ``change``, ``not ready``, ``policies`` and ``identities`` at the end,
        ``restarts``, ``scraped`` (share of the steps), ``joined``, ``left``; most endpoints
        first.
    """
    table = lives(data)
    ready = waiting(data.now.states)
    ends = {
        "endpoints": frames.last(data.now.counts),
        "usual": data.baseline.counts.median(),
        "not ready": frames.last(ready),
        "policies": frames.last(data.now.policies),
        "identities": frames.last(_sum_by_node(data.now.identities)),
        "restarts": data.now.restarts["node"].value_counts(),
    }
    table = table.assign(
        **{name: series.reindex(table.index).astype("float64") for name, series in ends.items()}
    )
    table["restarts"] = table["restarts"].fillna(0).astype("int64")
    table["change"] = table["endpoints"] - table["usual"]
    names = ["endpoints", "usual", "change", "not ready", "policies", "identities", "restarts"]
    table = table[[*names, "scraped", "joined", "left"]]
    return table.sort_values(["endpoints"], ascending=False, kind="stable")


def states(data: Endpoints) -> pd.DataFrame:
    """Give the endpoints in each state.

    Returns
    -------
    pandas.DataFrame
        By ``state``: ``endpoints`` at the end, ``mean`` and ``most`` over the window, ``usual``
        (the baseline's mean), and the ``node`` with the most of them.
    """
    return _by_label(data.now.states, data.baseline.states, "endpoint_state", "state")


def enforcement(data: Endpoints) -> pd.DataFrame:
    """Give the endpoints by what policies enforce on them.

    Returns
    -------
    pandas.DataFrame
        By ``enforcement`` (``none``, ``ingress``, ``egress``, ``both``, and the same with
        ``audit-``); columns as `states`.
    """
    now, baseline = data.now.enforcement, data.baseline.enforcement
    return _by_label(now, baseline, "enforcement", "enforcement")


def _by_label(now: pd.DataFrame, baseline: pd.DataFrame, label: str, name: str) -> pd.DataFrame:
    rows = []
    for value in sorted(set(now.columns.get_level_values(label))):
        mine, before = (pick(levels, label, value) for levels in (now, baseline))
        whole = mine.sum(axis=1, min_count=1)
        rows.append(
            {
                name: value,
                "endpoints": float(frames.last(mine).sum()),
                "mean": float(whole.mean()),
                "most": float(whole.max()),
                # A state that no endpoint was in has no series.
                "usual": float(before.sum(axis=1).where(baseline.notna().any(axis=1)).mean()),
                "node": str(mine.mean().idxmax()) if mine.max().max() > 0 else "",
            }
        )
    names = [name, "endpoints", "mean", "most", "usual", "node"]
    table = pd.DataFrame(rows, columns=names).set_index(name)
    return table.sort_values("mean", ascending=False, kind="stable")


def growth(data: Endpoints, *, most: int = 30) -> pd.DataFrame:
    """Tell how fast endpoints become more, per node and in the whole cluster.

    Parameters
    ----------
    most
        Number of nodes, those that changed most.

    Returns
    -------
    pandas.DataFrame
        By ``node``, the sum of the nodes that were there all along first: ``now``, ``change``
        (against the baseline's median), ``per day`` with its 95 % interval ``low`` to ``high``
        (NaN where the window says too little), the same in words as ``trend``, and ``since`` when
        it goes like this.
    """
    nodes = stable(data)
    now = settled(data.now.counts[nodes], data.now.agents)
    baseline = data.baseline.counts.reindex(columns=nodes).median()
    change = frames.last(now) - baseline
    order = change.abs().sort_values(ascending=False, kind="stable").index[:most]
    rows = [_growth(str(n), now[n], float(baseline[n])) for n in order if now[n].notna().any()]
    if rows:
        rows.insert(
            0, _growth(CLUSTER, together(now), float(baseline.sum(min_count=len(baseline))))
        )
    names = ["node", "now", "change", "per day", "low", "high", "trend", "since"]
    return pd.DataFrame(rows, columns=names).set_index("node")


def _growth(name: str, level: pd.Series, baseline: float) -> dict[str, object]:
    trend = _TRENDS.latest(level)
    now = float(level.dropna().iloc[-1])
    return {"node": name, "now": now, "change": now - baseline} | _slope(trend)


def _slope(trend: Trend | None) -> dict[str, object]:
    if trend is None:
        return {"per day": np.nan, "low": np.nan, "high": np.nan} | {
            "trend": "unknown",
            "since": pd.NaT,
        }
    ends = [value if np.isfinite(value) else np.nan for value in (trend.low, trend.high)]
    numbers = {"per day": trend.slope, "low": ends[0], "high": ends[1]}
    return numbers | {"trend": _said(trend), "since": pd.Timestamp(trend.start)}


def _said(trend: Trend) -> str:
    """Write a trend in words; one whose interval holds 0 is none."""
    if trend.low <= 0 <= trend.high:
        return "no trend"
    low, high = (number(end) if np.isfinite(end) else "more" for end in (trend.low, trend.high))
    return f"{number(trend.slope)} per day ({low} to {high})"


def limits(data: Endpoints, *, most: int = 15) -> pd.DataFrame:
    """Tell how full the limits are, and when they run out.

    Parameters
    ----------
    most
        Number of rows, the fullest first.

    Returns
    -------
    pandas.DataFrame
        ``limit``, ``node``, ``fill`` and ``usual fill`` (1 is full), ``per day`` with its 95 %
        interval ``low`` to ``high``, and ``runs out``: the date and its interval in words, or
        why there is none.
    """
    found = [fill for fill in fills(data) if not np.isnan(fill.now())]
    found.sort(key=lambda fill: (-fill.now(), fill.name, fill.node))
    names = ["limit", "node", "fill", "usual fill", "per day", "low", "high", "runs out"]
    return pd.DataFrame([_limit(data, fill) for fill in found[:most]], columns=names)


def _limit(data: Endpoints, fill: Fill) -> dict[str, object]:
    trend = fill.trend()
    slope = _slope(trend)
    del slope["trend"], slope["since"]
    head = {"limit": fill.name, "node": fill.node, "fill": fill.now()}
    head |= {"usual fill": float(fill.baseline.median())}
    return head | slope | {"runs out": _when(data, fill, trend)}


def _when(data: Endpoints, fill: Fill, trend: Trend | None) -> str:
    if fill.elastic:
        return "the pool's size changes by itself"
    if trend is None:
        return "too little is known"
    if fill.now() >= 1.0:
        return "it is full"
    if not trend.rising:
        return NEVER
    if not foreseeable(trend, data.window.end):
        return "later than this window can tell"
    return dates(foretell(trend, data.window.end), data.window.timezone)


def regenerations(data: Endpoints) -> pd.DataFrame:
    """Tell how many regenerations each node did, how many failed, and how long they took.

    Returns
    -------
    pandas.DataFrame
        By ``node``: ``done``, ``failed``, ``expected failed`` (what the baseline makes one
        expect), ``mean time`` and ``usual mean time`` [s]; most failures first.
    """
    scale = data.window.length / data.baseline.length
    done = _sum_by_node(data.now.regenerations).sum()
    failed = failures(data.now).sum().reindex(done.index, fill_value=0.0)
    table = pd.DataFrame(
        {
            "done": done - failed,
            "failed": failed,
            "expected failed": failures(data.baseline).sum() * scale,
            "mean time": data.now.seconds.sum() / data.now.regenerated.sum().replace(0.0, np.nan),
            "usual mean time": data.baseline.seconds.sum()
            / data.baseline.regenerated.sum().replace(0.0, np.nan),
        },
        dtype="float64",
    )
    table[["done", "failed", "expected failed"]] = table[
        ["done", "failed", "expected failed"]
    ].fillna(0.0)
    table.index.name = "node"
    return table.sort_values(["failed", "done"], ascending=False, kind="stable")


def regeneration_times(data: Endpoints) -> pd.DataFrame:
    """Tell how long each step of a regeneration took, in the whole cluster.

    Returns
    -------
    pandas.DataFrame
        By ``step`` (``policyCalculation``, …, ``total``): ``done``, the quantiles ``p50``,
        ``p90`` and ``p99`` [s], interpolated within the buckets of their histogram, and
        ``usual p90`` and ``usual p99``; NaN where agents have different buckets, as in an upgrade
        that changed them. The longest first.
    """
    now, baseline = (
        by_bound(levels.regeneration_times, ["scope"]) for levels in (data.now, data.baseline)
    )
    rows = [
        {
            "step": step,
            "done": max(buckets.values()),
            **quantiles(buckets, (0.5, 0.9, 0.99)),
            **quantiles(baseline.get((step,), {}), (0.9, 0.99), before="usual "),
            **dict(zip(BOUNDS, bounds(buckets, baseline.get((step,), {})), strict=True)),
        }
        for (step,), buckets in now.items()
        if any(buckets.values())
    ]
    names = ["step", "done", "p50", "p90", "p99", "usual p90", "usual p99", *BOUNDS]
    table = pd.DataFrame(rows, columns=names).set_index("step")
    return table.sort_values("p90", ascending=False, kind="stable")


def failures(levels: Levels) -> pd.DataFrame:
    """Give the regenerations that failed in each step, one column per node.

    Parameters
    ----------
    levels
        Of the window or the baseline.
    """
    outcomes = levels.regenerations.columns.get_level_values("outcome")
    return _sum_by_node(levels.regenerations.loc[:, outcomes != "success"])


def _sum_by_node(increases: pd.DataFrame) -> pd.DataFrame:
    nodes = increases.columns.get_level_values("node")
    columns = {
        str(n): increases.loc[:, nodes == n].sum(axis=1, min_count=1) for n in sorted(set(nodes))
    }
    return pd.DataFrame(columns, index=increases.index, dtype="float64")
