"""How many endpoints there are, and whether they became more and stayed; findings about it.

An agent that restarts shows no endpoints at first, and then ever more of them while it restores
them; a node that joins fills up with pods. Neither is growth.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis.findings import Finding, Severity
from cilium_analysis.statistics.forecast import Trend, Trends
from cilium_analysis.texts import number
from cilium_analysis.topics import verdict
from cilium_analysis.topics.endpoints.common import STUCK, caveats, query_for, steps_of
from cilium_analysis.topics.intervals import runs
from cilium_analysis.topics.telling import place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cilium_analysis.topics.endpoints.data import Endpoints, Levels

#: A restarted agent or node has its endpoints back within this time.
RESTORED = timedelta(minutes=15)
#: It has them back when it shows this share of what it had.
BACK = 0.9
#: A node that was missing for no longer than this neither joined nor left.
TOLERANCE = timedelta(minutes=5)
#: A node whose agent started so shortly before the window is still filling up.
YOUNG = timedelta(hours=1)
#: A node is compared if it was scraped in this share of the steps.
ENOUGH_SCRAPED = 0.5
#: Samples that a baseline needs.
ENOUGH_USUAL = 5
#: Levels are smoothed over this time: shorter peaks do not count.
LATELY = timedelta(minutes=5)
#: Growth worth reporting: so many endpoints, and this share of what there was.
LEAST = 10.0
SHARE = 0.2
#: Growth stays for so long, or until the window ends.
LASTING = timedelta(minutes=15)
#: A node that began to grow within this time after another grew for the same reason.
SAME = timedelta(minutes=15)
_TRENDS = Trends()


def settled(levels: pd.DataFrame, agents: pd.DataFrame) -> pd.DataFrame:
    """Mask the levels that agents show while they restore their endpoints.

    Parameters
    ----------
    levels
        One column per node.
    agents
        When each node's agent started [s since 1970], one column per node.
    """
    kept = levels.copy()
    for position, node in enumerate(levels.columns):
        if node in agents:
            column = levels.iloc[:, position]
            kept.isetitem(position, column.mask(_restoring(column, agents[node])).to_numpy())
    return kept


def _restoring(level: pd.Series, starts: pd.Series) -> pd.Series:
    """Tell when an agent had started but was not back at the level from before."""
    restoring = pd.Series(data=False, index=level.index)
    for moment in _moments(starts):
        after = (level.index >= moment) & (level.index < moment + RESTORED)
        before = level[level.index < moment].dropna()
        if after.any() and len(before):
            back = level.index[after & (level >= BACK * before.iloc[-1]).to_numpy()]
            after &= level.index < back[0] if len(back) else True
        restoring |= after
    return restoring


def _moments(starts: pd.Series) -> list[pd.Timestamp]:
    return list(pd.to_datetime(starts.dropna().round().unique(), unit="s", utc=True))


def lives(data: Endpoints) -> pd.DataFrame:
    """Tell which nodes came and went.

    Returns
    -------
    pandas.DataFrame
        One row per node: ``scraped`` (share of the steps), ``joined`` and ``left`` (NaT if it
        did not).
    """
    now, baseline = scraped(data.now), scraped(data.baseline)
    rows = [_life(data, now, baseline, str(node)) for node in now.columns]
    names = ["node", "scraped", "joined", "left"]
    table = pd.DataFrame(rows, columns=names).set_index("node")
    table["scraped"] = table["scraped"].astype("float64")
    for name in ("joined", "left"):
        table[name] = pd.to_datetime(table[name], utc=True)
    return table


def scraped(levels: Levels) -> pd.DataFrame:
    """Tell when each node was scraped, by either metric."""
    agents, counts = levels.agents.notna(), levels.counts.notna()
    names = agents.columns.union(counts.columns)
    return agents.reindex(columns=names, fill_value=False) | counts.reindex(
        columns=names, fill_value=False
    )


def _life(
    data: Endpoints, now: pd.DataFrame, baseline: pd.DataFrame, node: str
) -> dict[str, object]:
    mine = now.index[now[node]]
    anyone = now.index[now.any(axis=1)]
    tolerance = max(TOLERANCE, 3 * data.window.step)
    left = len(mine) > 0 and anyone[-1] - mine[-1] > tolerance
    return {
        "node": node,
        "scraped": float(verdict.scraped(now[[node]]).iloc[0]),
        "joined": _joined(data, baseline, node, mine, anyone) if len(mine) else pd.NaT,
        "left": mine[-1] if left else pd.NaT,
    }


def _joined(
    data: Endpoints, baseline: pd.DataFrame, node: str, mine: pd.Index, anyone: pd.Index
) -> object:
    """Say when a node joined, or was first scraped; NaT if it was in the data before."""
    known = baseline.index[baseline[node]] if node in baseline else baseline.index[:0]
    starts = _moments(data.now.agents[node]) if node in data.now.agents else []
    first = min(starts, default=mine[0])
    late = mine[0] - anyone[0] > max(TOLERANCE, 3 * data.window.step)
    young = baseline.to_numpy().any() and bool(starts) and first > data.window.start - YOUNG
    # A node whose agent started before the baseline was there all along.
    unknown = not len(known) or bool(starts and known[0] >= first >= data.baseline.window.start)
    if not unknown or not (late or young):
        return pd.NaT
    # An agent that had been running for long was only not scraped.
    return min(first, mine[0]) if first > data.window.start - YOUNG else mine[0]


def stable(data: Endpoints) -> list[str]:
    """Name the nodes that neither joined nor left, as far as they were scraped."""
    table = lives(data)
    there = table["joined"].isna() & table["left"].isna() & (table["scraped"] >= ENOUGH_SCRAPED)
    return [str(node) for node in table.index[there] if node in data.now.counts]


def together(levels: pd.DataFrame) -> pd.Series:
    """Add nodes up; a straight line stands for one that was not scraped.

    Parameters
    ----------
    levels
        One column per node; where none of them is known, nothing is.
    """
    bridged = levels.interpolate(method="time", limit_area="inside").ffill().bfill()
    return bridged.sum(axis=1).where(levels.notna().any(axis=1))


def smooth(level: pd.Series, over: timedelta, step: timedelta) -> pd.Series:
    """Give the running median of a level, without short peaks.

    Parameters
    ----------
    level
        NaN where nothing is known.
    over
        Length of time that the median is taken over; at least three steps.
    step
        Between two rows.
    """
    width = max(round(over / step), 3) // 2 * 2 + 1
    middle: pd.Series = level.rolling(width, center=True, min_periods=1).median()
    return middle.where(level.notna())


@dataclass(frozen=True)
class _Growth:
    """Endpoints that became more and stayed, on one node or several."""

    nodes: tuple[str, ...]
    start: pd.Timestamp
    crossed: pd.Timestamp
    end: pd.Timestamp
    value: float
    baseline: float
    started_before: bool
    compared: bool


def growths(data: Endpoints) -> Iterator[Finding]:
    """Look for growth on each node, and on all others together."""
    nodes = stable(data)
    now = settled(data.now.counts[nodes], data.now.agents)
    baseline = settled(data.baseline.counts, data.baseline.agents).reindex(columns=nodes)
    single = {node: _grown(data, (node,), now[node], baseline[node]) for node in nodes}
    grown = [each for each in single.values() if each]
    # A little on each of the other nodes may be much together.
    compared = baseline.notna().any() if len(baseline) else pd.Series(data=True, index=nodes)
    rest = [node for node in nodes if not single[node] and compared[node]]
    if len(rest) > 1:
        whole = _grown(data, tuple(rest), together(now[rest]), together(baseline[rest]))
        grown += [whole] if whole else []
    fallen = _fallen(now, baseline)
    for group in _groups(grown):
        if not _moved(data, group):
            yield _finding(data, group, now, fallen)


def _grown(
    data: Endpoints, nodes: tuple[str, ...], level: pd.Series, baseline: pd.Series
) -> _Growth | None:
    """Tell whether a level rose above its baseline, and stayed there."""
    compared = int(baseline.notna().sum()) >= ENOUGH_USUAL
    before = (baseline if compared else level.iloc[: max(len(level) // 4, 1)]).dropna()
    if not len(before) or not level.notna().any():
        return None
    base, busiest = float(before.median()), float(before.quantile(0.99))
    aim = max(base + max(LEAST, SHARE * base), busiest + max(LEAST, SHARE * base) / 2)
    even = smooth(level, LATELY, data.window.step).ffill()
    lasting = steps_of(data, LASTING)
    # A rise that lasts until the window ends need not have lasted for so long yet.
    least = {True: max(lasting, 2), False: max(steps_of(data, STUCK), 2)}
    found = [
        run
        for run in runs(even >= aim, bridge=lasting)
        if run[1] - run[0] >= least[run[1] < len(even)]
    ]
    if not found:
        return None
    first, stop = max(found, key=lambda run: (run[1] == len(even), run[1] - run[0]))
    calm = level.iloc[:first] <= max(base, float(before.quantile(0.9)))
    onset = np.flatnonzero(calm.to_numpy())
    known = level.dropna()
    still = stop == len(even)
    return _Growth(
        nodes=nodes,
        start=level.index[_began(even, int(onset[-1]), first, lasting)]
        if len(onset)
        else level.index[0] - data.window.step,
        crossed=level.index[first],
        end=level.index[stop - 1],
        value=float(known.iloc[-1]) if still else float(even.iloc[first:stop].max()),
        baseline=base,
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


def _groups(grown: list[_Growth]) -> list[list[_Growth]]:
    """Put together what rose at about the same time."""
    groups: list[list[_Growth]] = []
    for each in sorted(grown, key=lambda one: one.start):
        if groups and each.start <= max(one.crossed for one in groups[-1]) + SAME:
            groups[-1].append(each)
        else:
            groups.append([each])
    return groups


def _moved(data: Endpoints, group: Sequence[_Growth]) -> bool:
    """Tell whether nodes that left explain it: their pods went to other nodes."""
    table = lives(data)
    gone = [str(node) for node in table.index[table["left"].notna()]]
    lost = data.baseline.counts.reindex(columns=gone).median().fillna(0.0).sum()
    return bool(lost >= 0.5 * sum(each.value - each.baseline for each in group))


def _fallen(now: pd.DataFrame, baseline: pd.DataFrame) -> pd.DataFrame:
    """Give the nodes that have fewer endpoints than before, as after a drain or a reboot.

    Returns
    -------
    pandas.DataFrame
        Endpoints ``before`` and ``after``, one row per node, the largest fall first.
    """
    table = pd.DataFrame({"before": baseline.median(), "after": now.ffill().iloc[-1:].max()})
    fall = table["before"] - table["after"]
    return table.loc[fall[fall >= LEAST].sort_values(ascending=False, kind="stable").index]


def _finding(
    data: Endpoints, group: Sequence[_Growth], now: pd.DataFrame, fallen: pd.DataFrame
) -> Finding:
    value, baseline = sum(each.value for each in group), sum(each.baseline for each in group)
    # When the part that grew most began counts.
    main = max(group, key=lambda each: each.value - each.baseline)
    start, end = main.start, max(each.end for each in group)
    ordered = sorted(group, key=lambda each: each.baseline - each.value)
    nodes = tuple(node for each in ordered for node in each.nodes)
    labels = {"node": nodes[0]} if len(nodes) == 1 and len(group) == 1 else {}
    compared = all(each.compared for each in group)
    ended = bool(end < data.now.counts.index[-1])
    how = " since before the window" if main.started_before else ""
    how += ", and fell again" if ended else ""
    pace = "" if ended else _pace(_TRENDS.latest(together(now[list(nodes)])))
    where = place(nodes, len(data.now.counts.columns), ranked=False)
    before, after = fallen["before"].sum(), fallen["after"].sum()
    # Pods that went from one node to another are no growth of the cluster.
    moved = bool(before - after >= 0.5 * (value - baseline))
    elsewhere = place([str(node) for node in fallen.index], len(now.columns), ranked=False)
    other = f", while those {elsewhere} fell from {before:.0f} to {after:.0f}" if moved else ""
    return Finding(
        kind="endpoint_growth",
        # What fell again by itself was no leak.
        severity=Severity.INFO if ended or moved else Severity.WARNING,
        title=f"Endpoints {where} grew from {baseline:.0f} to {value:.0f}{how}{pace}{other}",
        start=start.to_pydatetime(),
        end=end.to_pydatetime(),
        labels=labels,
        value=value,
        baseline_value=baseline if compared else float("nan"),
        unit="endpoints",
        trust_reasons=(
            *caveats(data, nodes, start, end),
            *(() if compared else ("no baseline: compared with the beginning of the window",)),
        ),
        query=query_for("sum by (node) (cilium_endpoint{})", labels),
        next_step="See which workloads grew (`kubectl get pods -A -o wide"
        " --sort-by=.metadata.creationTimestamp`, replicas, jobs that never end), and whether the"
        " node's IP pool and policy maps have room for them.",
    )


def _pace(trend: Trend | None) -> str:
    """Write how fast a level goes on growing, in the unit that fits the length of its trend."""
    if trend is None or (not trend.rising and trend.slope != 0):
        return ""
    if not trend.rising:
        return ", and no longer grow"
    short = trend.length < timedelta(days=1)
    scale, unit = (24.0, "hour") if short else (1.0, "day")
    high = "more" if np.isinf(trend.high) else number(trend.high / scale)
    return (
        f", now by {number(trend.slope / scale)} ({number(trend.low / scale)} to {high}) per {unit}"
    )
