"""How topics ask: from before the window on, on its grid of times, with the nodes named."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames, nodes
from cilium_analysis.queries import parse_matchers

if TYPE_CHECKING:
    from cilium_analysis.queries import Query
    from cilium_analysis.source import Source
    from cilium_analysis.window import Window

#: Counters are read from so long before the window on, so that a series which begins in the
#: window is known not to have been there before.
LEAD = timedelta(minutes=5)
#: Points that all nodes together may have of a metric in which no finding is looked for: of more,
#: longer steps are asked for.
AT_REST = 12_000
#: The same of levels in which findings are looked for, but which move slowly.
SLOW = 4 * AT_REST
#: With more nodes than this, Hubble's counters are added up over the nodes by the server.
CROWD = 100


def fetch(
    source: Source, query: Query, window: Window, *, match: str, every: int = 1
) -> pd.DataFrame:
    """Ask a query from `LEAD` before the window on.

    Parameters
    ----------
    source
        What answers.
    query
        Its answer keeps the labels of `cilium_analysis.nodes.NODE_LABELS`.
    window
        What it is about.
    match
        Label matchers of the user.
    every
        Steps of the window that one step of the answer takes.

    Returns
    -------
    pandas.DataFrame
        Label frame with ``node``; every step of the wider window is a row.
    """
    matchers = parse_matchers(match)
    wide = led(window) if every == 1 else _longer(led(window), every)
    frame = source.range(query.render(match=matchers, step=wide.step), wide)
    known = nodes.names(source, window, match=matchers) if nodes.unnamed(frame) else {}
    return nodes.resolve(frame, names=known).reindex(_grid(wide, frame.index))


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


def _longer(window: Window, every: int) -> Window:
    """Give a window that ends with this one and covers it in steps as long as so many of its."""
    step = every * window.step
    return replace(window, start=window.end - -(-window.length // step) * step, step=step)


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
        A level that the same targets always export, with ``node``.
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
        seen = seen | _seen(scraped.reindex(levels.index), nodes)
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


def inside(frame: pd.DataFrame, window: Window) -> pd.DataFrame:
    """Cut off what was asked from before the window; a row is what happened up to its time."""
    return frames.between(frame, window.start, window.end)


def warnings(source: Source, began: int) -> tuple[str, ...]:
    """Collect what the server said since its journal had so many records, each thing once."""
    return tuple(sorted({text for record in source.journal[began:] for text in record.warnings}))
