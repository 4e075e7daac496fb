"""How many endpoints there are, where, and how full what they need is: levels over time. Pure.

An agent that restarts shows no endpoints, and then ever more of them while it restores them; a
node that joins fills up with pods. Neither is growth.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis.statistics.forecast import RunsOut, Trend, Trends, runs_out
from cilium_analysis.topics import verdict
from cilium_analysis.topics.endpoints.data import pick

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cilium_analysis.topics.endpoints.data import Endpoints, Span

#: A restarted agent or node has its endpoints back within this time.
RESTORED = timedelta(minutes=15)
#: It has them back when it shows this share of what it had.
BACK = 0.9
#: Who was missing for no longer than this neither joined nor left.
TOLERANCE = timedelta(minutes=5)
#: A node whose agent began so long before the window is still filling up.
YOUNG = timedelta(hours=1)
#: A node is compared if it was seen in this share of the steps.
ENOUGH_SEEN = 0.5
#: Samples that a baseline needs.
ENOUGH_USUAL = 5
#: A fill is what it was in the middle of this time; shorter peaks do not count.
LATELY = timedelta(minutes=5)
#: Identities that a cluster has for its pods: 256 to 65535 (pkg/identity/numericidentity.go).
IDENTITIES = 65_280.0
#: A trend is not carried on for longer than so many times what was seen of it.
FORESIGHT = 10.0
#: A line that ends so far from the fill does not describe it.
MISFIT = 0.05
_TRENDS = Trends()


def settled(levels: pd.DataFrame, agents: pd.DataFrame) -> pd.DataFrame:
    """Leave out what agents show while they restore their endpoints.

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

    Parameters
    ----------
    data
        As from `load`.

    Returns
    -------
    pandas.DataFrame
        One row per node: ``scraped`` (share of the steps), ``joined`` and ``left`` (NaT if it
        did not).
    """
    now, usual = seen(data.now), seen(data.usual)
    rows = [_life(data, now, usual, str(node)) for node in now.columns]
    names = ["node", "scraped", "joined", "left"]
    table = pd.DataFrame(rows, columns=names).set_index("node")
    table["scraped"] = table["scraped"].astype("float64")
    for name in ("joined", "left"):
        table[name] = pd.to_datetime(table[name], utc=True)
    return table


def seen(span: Span) -> pd.DataFrame:
    """Tell when each node was seen, by either metric."""
    agents, counts = span.agents.notna(), span.counts.notna()
    names = agents.columns.union(counts.columns)
    return agents.reindex(columns=names, fill_value=False) | counts.reindex(
        columns=names, fill_value=False
    )


def _life(data: Endpoints, now: pd.DataFrame, usual: pd.DataFrame, node: str) -> dict[str, object]:
    mine = now.index[now[node]]
    anyone = now.index[now.any(axis=1)]
    tolerance = max(TOLERANCE, 3 * data.window.step)
    left = len(mine) > 0 and anyone[-1] - mine[-1] > tolerance
    return {
        "node": node,
        "scraped": float(verdict.scraped(now[[node]]).iloc[0]),
        "joined": _joined(data, usual, node, mine, anyone) if len(mine) else pd.NaT,
        "left": mine[-1] if left else pd.NaT,
    }


def _joined(
    data: Endpoints, usual: pd.DataFrame, node: str, mine: pd.Index, anyone: pd.Index
) -> object:
    """Say when a node joined, or was first scraped; NaT if it was in the data before."""
    known = usual.index[usual[node]] if node in usual else usual.index[:0]
    starts = _moments(data.now.agents[node]) if node in data.now.agents else []
    first = min(starts, default=mine[0])
    late = mine[0] - anyone[0] > max(TOLERANCE, 3 * data.window.step)
    young = usual.to_numpy().any() and bool(starts) and first > data.window.start - YOUNG
    # Whose agent started before the baseline began was there all along it.
    unknown = not len(known) or bool(starts and known[0] >= first >= data.baseline.start)
    if not unknown or not (late or young):
        return pd.NaT
    # An agent that had long been running was only not scraped.
    return min(first, mine[0]) if first > data.window.start - YOUNG else mine[0]


def stable(data: Endpoints) -> list[str]:
    """Name the nodes that were there all along, as far as they were scraped."""
    table = lives(data)
    there = table["joined"].isna() & table["left"].isna() & (table["scraped"] >= ENOUGH_SEEN)
    return [str(node) for node in table.index[there] if node in data.now.counts]


def together(levels: pd.DataFrame) -> pd.Series:
    """Add nodes up; where one was not scraped, a straight line stands for it.

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
class Fill:
    """How full one thing on one node is.

    Parameters
    ----------
    name
        Such as ``BPF map ct4_global``.
    labels
        That single it out.
    node
        Empty for the whole cluster.
    levels, usual
        Fill over time, in the window and in the baseline; 1 is full.
    elastic
        Whether the limit grows by itself, so that being nearly full means nothing.
    """

    name: str
    labels: dict[str, str]
    node: str
    levels: pd.Series
    usual: pd.Series
    elastic: bool = False

    def now(self) -> float:
        """Give the fill at the end; NaN if it is not known by then."""
        known = self.levels.dropna()
        return float(known.iloc[-1]) if len(known) else float("nan")

    def trend(self) -> Trend | None:
        """Fit the newest course of the fill; None if that is no straight line to its end."""
        trend = None if self.elastic else _TRENDS.latest(self.levels)
        lately = self.levels.dropna().iloc[-5:].median()
        return trend if trend and abs(trend.level - lately) <= MISFIT else None


def foretell(trend: Trend, now: datetime) -> RunsOut:
    """Say when a fill that goes on like this is full.

    Parameters
    ----------
    trend
        Of a fill.
    now
        The end of the window: no date lies before it.
    """
    ahead = (now - trend.end).total_seconds() / 86_400.0
    level = trend.level + max(ahead, 0.0) * trend.slope
    return runs_out(level, trend.slope, (trend.low, trend.high), 1.0, now)


def fills(data: Endpoints) -> Iterator[Fill]:
    """Give the fill of every limit that the data know."""
    yield from _pools(data)
    yield from _maps(data)
    yield from _identities(data)


def _pools(data: Endpoints) -> Iterator[Fill]:
    for family in sorted(set(data.now.pools.columns.get_level_values("family"))):
        pools = pick(data.now.pools, "family", family)
        before = pick(data.usual.pools, "family", family)
        used = settled(pick(data.now.addresses, "family", family), data.now.agents)
        usual = settled(pick(data.usual.addresses, "family", family), data.usual.agents)
        for node in used.columns.intersection(pools.columns):
            sizes = pools[node].where(pools[node] > 0)
            earlier = _column(before, node)
            yield Fill(
                f"IP pool ({family})",
                {"family": family},
                str(node),
                used[node] / sizes,
                _column(usual, node) / earlier.where(earlier > 0),
                elastic=len({*sizes.dropna(), *earlier.dropna()}) > 1,
            )


def _maps(data: Endpoints) -> Iterator[Fill]:
    for name in sorted(set(data.now.pressure.columns.get_level_values("map_name"))):
        levels = pick(data.now.pressure, "map_name", name)
        usual = pick(data.usual.pressure, "map_name", name)
        for node in levels.columns:
            known = levels[node].dropna()
            # Gone at the end although its agent answered: empty by then.
            if len(known) and known.index[-1] >= _last(data.now.agents, node):
                labels = {"map_name": name}
                yield Fill(f"BPF map {name}", labels, str(node), levels[node], _column(usual, node))


def _identities(data: Endpoints) -> Iterator[Fill]:
    levels = pick(data.now.identities, "type", "cluster_local").max(axis=1)
    usual = pick(data.usual.identities, "type", "cluster_local").max(axis=1)
    if levels.notna().any():
        labels = {"type": "cluster_local"}
        yield Fill("identities", labels, "", levels / IDENTITIES, usual / IDENTITIES)


def _column(frame: pd.DataFrame, node: object) -> pd.Series:
    return frame[node] if node in frame else pd.Series(np.nan, index=frame.index, dtype="float64")


def _last(agents: pd.DataFrame, node: object) -> pd.Timestamp:
    """Give a time by which a level must have been seen to be there at the end."""
    seen = _column(agents, node).last_valid_index()
    return seen - TOLERANCE if isinstance(seen, pd.Timestamp) else pd.Timestamp(0, tz="UTC")
