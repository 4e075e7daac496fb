"""Endpoints that became more and stayed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from cilium_analysis.findings import Finding, Severity
from cilium_analysis.statistics.forecast import Trend, Trends
from cilium_analysis.topics.endpoints import levels as of
from cilium_analysis.topics.endpoints.telling import (
    STUCK,
    doubts_about,
    query_for,
    steps_of,
    stretches,
)
from cilium_analysis.topics.telling import place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from cilium_analysis.topics.endpoints.data import Endpoints


#: Growth worth reporting: so many endpoints, and this share of what there was.
LEAST = 10.0
SHARE = 0.2
#: Growth stays for so long, or until the window ends.
LASTING = timedelta(minutes=15)
#: A node that began to grow within this time of another's rise grew for the same reason.
SAME = timedelta(minutes=15)
_TRENDS = Trends()


@dataclass(frozen=True)
class _Grown:
    """Endpoints that became more and stayed so, on one node or several."""

    nodes: tuple[str, ...]
    start: pd.Timestamp
    crossed: pd.Timestamp
    end: pd.Timestamp
    value: float
    usual: float
    started_before: bool
    compared: bool


def growths(data: Endpoints) -> Iterator[Finding]:
    """Look for growth on each node, and on all others together."""
    nodes = of.stable(data)
    now = of.settled(data.now.counts[nodes], data.now.agents)
    usual = of.settled(data.usual.counts, data.usual.agents).reindex(columns=nodes)
    single = [_grown(data, (node,), now[node], usual[node]) for node in nodes]
    grown = [each for each in single if each]
    rest = [node for node in nodes if node not in {name for each in grown for name in each.nodes}]
    grown += _everywhere(data, now[rest], usual[rest])
    for group in _groups(grown, SAME):
        if not _moved(data, group):
            yield _grown_finding(data, group, now)


def _everywhere(data: Endpoints, now: pd.DataFrame, usual: pd.DataFrame) -> list[_Grown]:
    """Look at all other nodes together: a little on each may be much."""
    nodes = [str(node) for node in now if usual[node].notna().any() or not usual.size]
    if len(nodes) < 2:
        return []
    found = _grown(data, tuple(nodes), of.together(now[nodes]), of.together(usual[nodes]))
    return [found] if found else []


def _grown(
    data: Endpoints, nodes: tuple[str, ...], level: pd.Series, usual: pd.Series
) -> _Grown | None:
    """Tell whether a level rose above its baseline, and stayed there."""
    compared = int(usual.notna().sum()) >= of.ENOUGH_USUAL
    before = (usual if compared else level.iloc[: max(len(level) // 4, 1)]).dropna()
    if not len(before) or not level.notna().any():
        return None
    base, busiest = float(before.median()), float(before.quantile(0.99))
    aim = max(base + max(LEAST, SHARE * base), busiest + max(LEAST, SHARE * base) / 2)
    even = of.smooth(level, of.LATELY, data.window.step).ffill()
    long_runs = [
        run
        for run in stretches((even >= aim).to_numpy(), bridge=steps_of(data, LASTING))
        if _lasts(data, run, len(even))
    ]
    if not long_runs:
        return None
    first, stop = max(long_runs, key=lambda run: (run[1] == len(even), run[1] - run[0]))
    calm = level.iloc[:first] <= max(base, float(before.quantile(0.9)))
    onset = np.flatnonzero(calm.to_numpy())
    known = level.dropna()
    still = stop == len(even)
    return _Grown(
        nodes=nodes,
        start=level.index[_began(even, int(onset[-1]), first, steps_of(data, LASTING))]
        if len(onset)
        else level.index[0] - data.window.step,
        crossed=level.index[first],
        end=level.index[stop - 1],
        value=float(known.iloc[-1]) if still else float(even.iloc[first:stop].max()),
        usual=base,
        started_before=not len(onset),
        compared=compared,
    )


def _began(even: pd.Series, calm: int, first: int, most: int) -> int:
    """Carry a rise back from the last calm row to the level from before, by its slope.

    A level that was low in the usual range rises for a while before it leaves that range.
    """
    begin = max(calm - most, 0)
    slope = (even.iloc[first] - even.iloc[calm]) / (first - calm)
    rise = even.iloc[calm] - even.iloc[begin : calm + 1].median()
    return max(calm - round(rise / slope), begin) if slope > 0 and rise > 0 else calm


def _lasts(data: Endpoints, run: tuple[int, int], size: int) -> bool:
    least = LASTING if run[1] < size else STUCK
    return run[1] - run[0] >= max(steps_of(data, least), 2)


def _groups(grown: list[_Grown], within: timedelta) -> list[list[_Grown]]:
    """Put together what rose at about the same time."""
    groups: list[list[_Grown]] = []
    for each in sorted(grown, key=lambda one: one.start):
        if groups and each.start <= max(one.crossed for one in groups[-1]) + within:
            groups[-1].append(each)
        else:
            groups.append([each])
    return groups


def _moved(data: Endpoints, group: Sequence[_Grown]) -> bool:
    """Tell whether nodes that left explain it: their pods went to other nodes."""
    table = of.lives(data)
    gone = [str(node) for node in table.index[table["left"].notna()]]
    lost = data.usual.counts.reindex(columns=gone).median().fillna(0.0).sum()
    return bool(lost >= 0.5 * sum(each.value - each.usual for each in group))


def _grown_finding(data: Endpoints, group: Sequence[_Grown], now: pd.DataFrame) -> Finding:
    value, usual = sum(each.value for each in group), sum(each.usual for each in group)
    start, end = _main(group).start, max(each.end for each in group)
    nodes = _largest(group)
    labels = {"node": nodes[0]} if len(nodes) == 1 and len(group) == 1 else {}
    compared = all(each.compared for each in group)
    trend = _TRENDS.latest(of.together(now[list(nodes)]))
    return Finding(
        kind="endpoint_growth",
        # What fell again by itself was no leak.
        severity=Severity.INFO if _ended(data, end) else Severity.WARNING,
        title=_grown_title(data, group, nodes, trend),
        start=start.to_pydatetime(),
        end=end.to_pydatetime(),
        labels=labels,
        value=value,
        baseline_value=usual if compared else float("nan"),
        unit="endpoints",
        trust_reasons=(
            *doubts_about(data, nodes, start, end),
            *(() if compared else ("no baseline: compared with the beginning of the window",)),
        ),
        query=query_for("sum by (node) (cilium_endpoint{})", labels),
        next_step="See which workloads grew (kubectl get pods -A -o wide --field-selector"
        " spec.nodeName=…, replicas, jobs that never end), and whether the node's IP pool and"
        " policy maps have room for them.",
    )


def _ended(data: Endpoints, end: pd.Timestamp) -> bool:
    return bool(end < data.now.counts.index[-1])


def _main(group: Sequence[_Grown]) -> _Grown:
    """Give the part that grew most: when that began counts."""
    return max(group, key=lambda each: each.value - each.usual)


def _largest(group: Sequence[_Grown]) -> tuple[str, ...]:
    """Name the nodes, those with the largest growth first."""
    ordered = sorted(group, key=lambda each: each.usual - each.value)
    return tuple(node for each in ordered for node in each.nodes)


def _grown_title(
    data: Endpoints, group: Sequence[_Grown], nodes: Sequence[str], trend: Trend | None
) -> str:
    value, usual = sum(each.value for each in group), sum(each.usual for each in group)
    start, end = _main(group).start, max(each.end for each in group)
    ended = _ended(data, end)
    since = "before the window" if _main(group).started_before else f"{start:%H:%M}Z"
    how = f"since {since}" + (f", and fell again at {end:%H:%M}Z" if ended else "")
    pace = ""
    if not ended and trend is not None:
        flat = f", and are no more since {trend.start:%H:%M}Z"
        pace = _pace(trend) if trend.rising else flat if trend.slope == 0 else ""
    where = place(nodes, len(data.now.counts.columns), ranked=False)
    return f"Endpoints {where} grew from {usual:.0f} to {value:.0f} {how}{pace}"


def _pace(trend: Trend) -> str:
    """Write the rate in the unit that fits the length of what was seen."""
    short = trend.length < timedelta(days=1)
    scale, unit = (24.0, "hour") if short else (1.0, "day")
    high = "more" if np.isinf(trend.high) else f"{trend.high / scale:.3g}"
    return f", now by {trend.slope / scale:.3g} ({trend.low / scale:.3g} to {high}) per {unit}"
