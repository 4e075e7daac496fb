"""How topics ask: from before the window on, on its grid of times, with the nodes named."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames, targets
from cilium_analysis.queries import Query, parse_matchers
from cilium_analysis.source import Once
from cilium_analysis.topics import answers
from cilium_analysis.topics.buckets import as_stored, plain_bounds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cilium_analysis.source import Source
    from cilium_analysis.targets.stored import Component
    from cilium_analysis.window import Window

#: Counters are read from so long before the window on, so that a series which begins in the
#: window is known not to have been there before.
LEAD = timedelta(minutes=5)
#: Points that all nodes together may have of a metric in which no finding is looked for: of more,
#: longer steps are asked for.
AT_REST = 12_000
#: The same of levels in which findings are looked for, but which move slowly.
SLOW = 4 * AT_REST
#: What stands for the start of an agent that is not known [s since 1970].
LONG_AGO = 1.0
#: When each process started; no value while it was not scraped.
STARTS: Mapping[str, Query] = {
    component: Query(
        f"max by (<target>) (max_over_time({metric}{{<match>}}[<range>]))",
        "s since 1970",
        f"when each {component} started; no value while it was not scraped",
    )
    for component, metric in (
        ("agent", "cilium_process_start_time_seconds"),
        ("operator", "cilium_operator_process_start_time_seconds"),
    )
}
#: With more nodes than this, Hubble's counters are added up over the nodes by the server.
CROWD = 100


def fetch(
    source: Source,
    query: Query,
    window: Window,
    *,
    match: str,
    every: int = 1,
    strict: bool = False,
) -> pd.DataFrame:
    """Ask a query from `LEAD` before the window on.

    One that the server refuses has no series, and `topics.remarks.remarks` tells of it.

    Parameters
    ----------
    source
        What answers.
    query
        With ``<target>`` or ``<cluster>`` among the labels that it keeps.
    window
        What it is about.
    match
        Label matchers of the user.
    every
        Steps of the window that one step of the answer takes.
    strict
        Whether a refusal is an error, for who can ask for less.

    Returns
    -------
    pandas.DataFrame
        Label frame with ``node``; every step of the wider window is a row. A number in the label
        ``le`` is written in one way.

    Raises
    ------
    BudgetExceeded, QueryRejected
        If it is refused, and `strict`.
    """
    known = targets.of(source, window, match=match)
    wide = led(window)
    if every > 1:
        step = every * window.step
        # Longer steps cover it too, and end with it.
        wide = replace(wide, start=wide.end - -(-wide.length // step) * step, step=step)
    asked = as_stored(query, known.native)
    promql = known.render(asked, match=parse_matchers(match), step=wide.step)
    frame = answers.answered(source, query, lambda: source.range(promql, wide), strict=strict)
    by = "".join(re.findall(r"<target>, ([^()]*)", query.promql))
    own = [label for label in known.labels if re.search(rf"\b{label}\b", by)]
    named = known.resolve(plain_bounds(frame, increases=" offset " in promql), keep=own)
    return named.reindex(_grid(wide, frame.index))


@dataclass(frozen=True)
class Scrapes:
    """When the targets of a component were scraped, from `LEAD` before a window on.

    Parameters
    ----------
    raw
        Label frame (``node``): 1 in each step with a scrape, 0 where it failed, NaN without one.
    starts
        Label frame (``node``) of when each process started [s since 1970], in each step in which
        its target was scraped or none was due; `LONG_AGO` where no start is known; NaN in a gap.
    """

    raw: pd.DataFrame
    starts: pd.DataFrame

    def scraped(self, window: Window) -> pd.DataFrame:
        """Tell for each step of the window whether nothing of a target is missing.

        Returns
        -------
        pandas.DataFrame
            bool, one plain column per node.
        """
        frame = inside(self.starts, window).notna()
        frame.columns = frame.columns.get_level_values("node")
        return frame

    def restarts(self, window: Window) -> pd.DataFrame:
        """List ``time`` and ``node`` of the starts in the window."""
        starts = frames.tidy(self.starts.round()).drop_duplicates(["node", "value"])
        # Of a node whose clock is fast it is not later than what was seen of it.
        times = pd.to_datetime(starts["value"], unit="s", utc=True).clip(upper=starts["time"])
        inside = (times > window.start) & (times <= window.end)
        table = pd.DataFrame({"time": times[inside], "node": starts["node"][inside]})
        return table.sort_values(["time", "node"], ignore_index=True)


def scrapes(source: Source, window: Window, component: Component, *, match: str) -> Scrapes:
    """Ask when the targets of a component were scraped, and when their processes started.

    Parameters
    ----------
    source, window, match
        As for `fetch`.
    component
        Whose targets. Hubble is part of the agent: its process is that of the agent.
    """
    key = (window, component, match)
    return _SCRAPES(source, key, lambda: _scrapes(source, window, component, match=match))


_SCRAPES: Once[tuple[Window, Component, str], Scrapes] = Once()


def _scrapes(source: Source, window: Window, component: Component, *, match: str) -> Scrapes:
    known = targets.of(source, window, match=match)
    mine = known.table[known.table["component"] == component]
    query = known.presence.get(component)
    if query is None or not len(mine):
        nothing = frames.empty(["node"]).reindex(_grid(led(window), pd.Index([])))
        return Scrapes(nothing, nothing)
    raw = fetch(source, query, window, match=match)
    named = [node in set(mine["node"]) for node in frames.values(raw, "node")]
    raw = frames.with_levels(raw.loc[:, named], ["node"])
    there = _between(raw, mine.groupby("node")["interval"].max())
    starts = fetch(
        source, STARTS["operator" if component == "operator" else "agent"], window, match=match
    )
    starts = frames.group(starts, ["node"], how="max")
    began = starts.reindex(index=there.index, columns=there.columns).ffill().bfill()
    return Scrapes(raw, began.fillna(LONG_AGO).where(there))


def _between(raw: pd.DataFrame, intervals: pd.Series) -> pd.DataFrame:
    """Tell where no scrape is missing: in the steps with one, and between two that are due."""
    values = raw.to_numpy(dtype="float64") > 0
    step = frames.step_seconds(raw)
    for place, node in enumerate(frames.values(raw, "node")):
        column = values[:, place]
        rows = np.flatnonzero(column)
        if not len(rows) or not step:
            continue
        unit = max(float(intervals.get(node, step)), step)
        # Scrapes come a little late, and steps cut between them.
        reach, due = int(1.5 * unit / step), max(int(unit / step), 1)
        for gap in np.flatnonzero(np.diff(rows) > 1):
            before, after = rows[gap], rows[gap + 1]
            column[before : after if after - before <= reach else before + due] = True
        if rows[0] < reach:
            column[: rows[0]] = True
        column[rows[-1] : rows[-1] + due] = True
    return pd.DataFrame(values, index=raw.index, columns=raw.columns)


def crowded(targets: pd.DataFrame | None) -> bool:
    """Tell whether there are so many nodes that Hubble's counters are added up over them.

    Parameters
    ----------
    targets
        One column per node.
    """
    return targets is not None and targets.shape[1] > CROWD


def crowd_note(targets: pd.DataFrame | None) -> tuple[str, ...]:
    """Say what that means for the answers; nothing where it is not so."""
    if targets is None or not crowded(targets):
        return ()
    return (
        f"There are {targets.shape[1]} nodes: Hubble's counters were added up over them by the"
        " server, so that no node is named, and what a gap in the scrapes hides is missing.",
    )


def every(window: Window, *, nodes: int, most: int = AT_REST) -> int:
    """Tell how many steps may become one where a metric is only shown, or moves slowly.

    Parameters
    ----------
    window
        To be asked for.
    nodes
        Each of which has a series or more.
    most
        `AT_REST` or `SLOW`.

    Returns
    -------
    int
        1 as long as nodes times points stay below that.
    """
    return max(1, -(-nodes * window.points // most))


def spread(levels: pd.DataFrame, window: Window) -> pd.DataFrame:
    """Lay levels that were asked for in longer steps onto the steps of the window.

    Between them is nothing, as if scrapes were as rare.
    """
    grid = _grid(led(window), levels.index)
    return levels.reindex(grid, method="nearest", tolerance=pd.Timedelta(window.step) / 2)


def held(
    levels: pd.DataFrame, *, scraped: pd.DataFrame | None = None, every: int = 1
) -> pd.DataFrame:
    """Keep levels until their target's next scrape, where scrapes are rarer than steps.

    A series that this scrape lacks has ended, or is empty and therefore not exported: it is not
    carried over it. A gap in the scrapes stays a gap but for its first steps.

    Parameters
    ----------
    levels
        Label frame with ``node``, which tells the targets apart.
    scraped
        When the same targets were scraped, as `Scrapes.raw`.
    every
        Steps of the window that one step of the answer took, as `spread` laid it out.

    Returns
    -------
    pandas.DataFrame
        The same series.
    """
    values, rows = levels.to_numpy(dtype="float64"), np.arange(len(levels))[:, None]
    if not values.size:
        return levels
    owner, nodes = pd.factorize(levels.columns.get_level_values("node"), sort=True)
    seen = _seen(levels, nodes)
    if scraped is not None and every == 1:
        seen = seen | _seen(scraped.where(scraped > 0).reindex(levels.index), nodes)
    last = np.maximum.accumulate(np.where(seen, rows, -1))
    # One step more than between two scrapes, as a scrape may come a little late.
    most = np.array([max(spacing(column), every) for column in seen.T])
    reached = (last >= 0) & (rows - last <= most)
    kept = np.take_along_axis(values, np.maximum(last, 0)[:, owner], axis=0)
    kept[~reached[:, owner]] = np.nan
    return pd.DataFrame(kept, index=levels.index, columns=levels.columns)


def _seen(levels: pd.DataFrame, nodes: pd.Index) -> np.ndarray:
    """Tell in which steps anything of each node is known."""
    most = frames.group(levels, ["node"], how="max")
    most.columns = most.columns.get_level_values("node")
    known: np.ndarray = most.reindex(columns=nodes).notna().to_numpy()
    return known


def spacing(seen: np.ndarray | pd.Series) -> int:
    """Give the usual distance between two samples [steps].

    Parameters
    ----------
    seen
        Whether there is one, for each step.
    """
    rows = np.flatnonzero(seen)
    return max(int(np.median(np.diff(rows))), 1) if len(rows) > 1 else 1


def gained(selector: str, *, there: str) -> str:
    """Write PromQL for what each series of a counter gained in a step.

    A series without an earlier value began at 0 if its target was there; one that fell began at
    0 again. What a gap in the scrapes hides is lost, so that this is for sums that would be too
    many series to fetch.

    Parameters
    ----------
    selector
        Of the counter, with its braces.
    there
        Selector of what the target exposes all along: the counter itself, where some series of
        it always are.
    """
    selector, there = (text.replace("<match>", "<single>") for text in (selector, there))
    before = f"{selector} offset <range>"
    return f"({selector} - {before} >= 0) or ({selector} and on (<target>) {there} offset <range>)"


def led(window: Window) -> Window:
    """Give the window with `LEAD` before it, in whole steps."""
    return window.extended(before=-(-LEAD // window.step) * window.step)


def _grid(window: Window, answered: pd.Index) -> pd.DatetimeIndex:
    """Give all times of the window, in the phase of the answer: some servers move the start."""
    step = round(window.step.total_seconds() * 1000)
    begin = round(window.start.timestamp() * 1000)
    if len(answered):
        begin += (round(answered[0].timestamp() * 1000) - begin) % step
    return frames.time_index(begin + step * np.arange(window.points, dtype=np.int64))


def plain(levels: pd.DataFrame) -> pd.DataFrame:
    """Give a label frame that has only ``node`` one plain column per node."""
    result = levels.copy(deep=False)
    result.columns = pd.Index(levels.columns.get_level_values("node"), name="node")
    return result


def events_inside(events: pd.DataFrame, window: Window) -> pd.DataFrame:
    """Keep the rows of a table whose ``time`` is in the window."""
    chosen = (events["time"] > window.start) & (events["time"] <= window.end)
    return events[chosen].reset_index(drop=True)


def inside(frame: pd.DataFrame, window: Window) -> pd.DataFrame:
    """Cut off what was asked from before the window; a row is what happened up to its time."""
    return frames.between(frame, window.start, window.end)
