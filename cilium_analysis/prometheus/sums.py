"""What many counters gained, from their sums: the answer of a costly query, at a part of its cost.

To tell what counters gained, a server compares every series with itself one step earlier, which
costs more than all else that topics ask. The answer holds sums of it; and as long as no counter
vanishes or begins again, the differences of the sums are the same. So the sums are asked for, and
rarely whether any counter vanished or began again; the query itself, only around such times.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from cilium_analysis.source import Record, Sums
    from cilium_analysis.window import Window

    Ask = Callable[[str, Window], tuple[pd.DataFrame, Record]]

#: With fewer blocks, or with more of the steps in doubt, the query itself is asked for all.
_FEWEST_BLOCKS = 3
_MOST_IN_DOUBT = 0.5


def by_sums(ask: Ask, promql: str, sums: Sums, window: Window) -> tuple[pd.DataFrame, Record]:
    """Answer a query about what counters gained in each step.

    Parameters
    ----------
    ask
        Fetches a query.
    promql
        The query itself.
    sums
        The cheaper way to its answer.
    window
        To ask for.

    Returns
    -------
    pandas.DataFrame
        What the query itself gives.
    Record
        Of all that was asked for it.
    """
    if window.points < _FEWEST_BLOCKS * sums.steps:
        return ask(promql, window)
    total, record = ask(sums.total, window.extended(before=window.step))
    if total.empty:
        return ask(promql, window)
    # The last block ends with the window, and the first may begin before it.
    block, blocks = sums.steps * window.step, -(-window.points // sums.steps)
    last = window.start + (window.points - 1) * window.step
    checks = replace(window, start=last - (blocks - 1) * block, end=last, step=block)
    broken, checked = ask(sums.broken, checks)
    total = total.reindex(_grid(window, total.index))
    gained = total.diff().where(total.shift().notna(), total).iloc[1:]
    doubt = _in_doubt(gained, broken, sums, block=pd.Timedelta(block))
    records = [record, checked]
    if doubt.mean() > _MOST_IN_DOUBT:
        frame, record = ask(promql, window)
        return frame, _together(promql, window, [record, *records], frame)
    parts = [gained.loc[~doubt]]
    for rows in _runs(doubt):
        at = gained.index[rows]
        first, end = at[0].to_pydatetime(), at[-1].to_pydatetime()
        piece = replace(window, start=first, end=max(end, first + window.step))
        exact, record = ask(promql, piece)
        parts.append(exact.reindex(at))
        records.append(record)
    names = sorted({str(name) for part in parts for name in part.columns.names})
    frame = pd.concat([frames.with_levels(part, names) for part in parts]).sort_index()
    frame = frame.loc[:, frame.notna().any()].sort_index(axis=1)
    return frame, _together(promql, window, records, frame)


def _grid(window: Window, answered: pd.Index) -> pd.DatetimeIndex:
    """Give the times of the window and one step before, in the phase of the answer."""
    step = round(window.step.total_seconds() * 1000)
    begin = round(window.start.timestamp() * 1000) - step
    begin += int(frames.milliseconds(answered)[0] - begin) % step
    return frames.time_index(begin + step * np.arange(window.points + 1, dtype=np.int64))


def _in_doubt(
    gained: pd.DataFrame, broken: pd.DataFrame, sums: Sums, *, block: pd.Timedelta
) -> NDArray[np.bool_]:
    """Tell in which steps the differences of the sums may not be what the counters gained."""
    # Nothing that is not found below should make a sum fall; if one does, it is asked about.
    doubt: NDArray[np.bool_] = np.array((gained < 0).any(axis=1))
    rows = gained.index.searchsorted(sums.unsteady)
    # A target's other metrics may have been scraped in the step beside.
    for row in {row + by for row in rows.tolist() for by in (-1, 0, 1)}:
        if 0 <= row < len(doubt):
            doubt[row] = True
    # VictoriaMetrics shows a series for a step after its last sample, so that only the next check
    # may tell that it vanished: a block is good if that is, too, and the last one never is.
    checked = broken.index[(broken == 0).all(axis=1)] if broken.shape[1] else broken.index[:0]
    good = checked[:-1][np.diff(checked) == block] if len(checked) else checked
    ends = good.searchsorted(gained.index)
    known = ends < len(good)
    covered = np.zeros(len(gained), dtype=bool)
    covered[known] = good[ends[known]] - gained.index[known] < block
    return doubt | ~covered


def _runs(chosen: NDArray[np.bool_]) -> list[slice]:
    """Give the runs of rows that are chosen."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(np.int8)))
    return [slice(first, end) for first, end in edges.reshape(-1, 2)]


def _together(promql: str, window: Window, records: list[Record], frame: pd.DataFrame) -> Record:
    """Make one record of several requests."""
    return replace(
        records[0],
        promql=promql,
        window=window,
        series=frame.shape[1],
        samples=sum(record.samples for record in records),
        bytes=sum(record.bytes for record in records),
        seconds=sum(record.seconds for record in records),
        warnings=tuple(dict.fromkeys(text for record in records for text in record.warnings)),
    )
