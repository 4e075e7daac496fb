"""Samples that are downsampled or stored late, as their times show. Pure.

Thanos keeps old samples 5 min or 1 h apart (docs/components/compact.md, "Downsampling"), and its
answers do not say so. Remote write and uploads store samples later than they were scraped. Only
the times of the samples show either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from cilium_analysis.window import Window

#: How far apart samples are after downsampling [s].
TIERS = (300.0, 3600.0)
#: So many intervals in a row are a spacing, and no scrape gap.
_IN_A_ROW = 3
#: What so many of the targets share, is no fault of one of them.
_MOST = 0.8
#: All that is scraped is stored within so many scrape intervals.
_SOON = 3


def downsampled(*scraped: pd.DataFrame, window: Window) -> list[str]:
    """Say until when samples are downsampled: regularly 5 min or 1 h apart, and denser later.

    Parameters
    ----------
    scraped
        In order of time, such as of the baseline and of the window: one column per target, true
        (or a level, not NaN) in each step in which a sample of it was scraped. Between two
        scrapes it is false. The step has to be shorter than 5 min.
    window
        That was asked for.

    Returns
    -------
    list of str
        One sentence per spacing. Samples 5 min apart without denser ones later may as well be
        scraped so; samples an hour apart never are.
    """
    return [said for tier in TIERS for said in _tier(scraped, tier, window)]


def late(scraped: pd.DataFrame, window: Window) -> list[str]:
    """Say since when all targets lack samples at once, up to the end of a window.

    Parameters
    ----------
    scraped
        As of `downsampled`.
    window
        That was asked for.
    """
    there = _present(scraped)
    there = there[:, there.any(axis=0)]
    if not there.size:
        return []
    index = pd.DatetimeIndex(scraped.index)
    newest = len(there) - 1 - there[::-1].argmax(axis=0)
    interval = pd.Timedelta(seconds=max(_median(there, scraped), frames.step_seconds(scraped)))
    last = index[newest.max()]
    together = (last - index[newest] <= interval).mean() >= _MOST
    missing = pd.Timestamp(window.end) - last
    if not together or missing <= _SOON * interval:
        return []
    count = there.shape[1]
    whose = f"of all {count} targets" if count > 1 else "of the only target"
    return [
        f"The newest samples {whose} are of {window.told(last)},"
        f" {_apart(missing.total_seconds())} before the window ends: they are stored late (remote"
        " write, uploads), or nothing was scraped since. What happened after is unknown: let the"
        " window end there, or ask again later."
    ]


def _tier(scraped: tuple[pd.DataFrame, ...], tier: float, window: Window) -> Iterator[str]:
    """Say until when samples are so many seconds apart, for most targets."""
    parts = [part for part in scraped if part.shape[1] and frames.step_seconds(part) < tier]
    ends: dict[object, pd.Timestamp] = {}
    denser: dict[object, float] = {}
    for part in parts:
        slack, times = frames.step_seconds(part), frames.milliseconds(part.index) / 1000.0
        for target, column in zip(part.columns, _present(part).T, strict=True):
            rows = np.flatnonzero(column)
            gaps = np.diff(times[rows])
            last = _last_run(np.abs(gaps - tier) <= slack)
            if last >= 0:
                ends[target] = part.index[rows[last + 1]]
                denser.pop(target, None)
            after = gaps[last + 1 :]
            if target in ends and len(after) >= _IN_A_ROW and np.median(after) < tier / 2:
                denser[target] = float(np.median(after))
    told = ends if tier == TIERS[-1] else {t: end for t, end in ends.items() if t in denser}
    targets = {
        target
        for part in parts
        for target in part.columns[np.flatnonzero(_present(part).any(axis=0))]
    }
    if told and len(told) >= _MOST * len(targets):
        until, now = max(told.values()), [denser[t] for t in told if t in denser]
        later = f", later ones {_apart(float(np.median(now)))}" if now else ""
        yield (
            f"Samples up to {window.told(until)} are {_apart(tier)} apart{later}: older data"
            " are downsampled (as Thanos does), or were scraped more rarely. Totals of counters"
            f" hold; what is shorter than {_apart(tier)} cannot be seen there, and no onset is"
            " sharper."
        )


def _last_run(sparse: NDArray[np.bool_]) -> int:
    """Give the place of the last of several in a row; -1 if there are none."""
    if np.count_nonzero(sparse) < _IN_A_ROW:
        return -1
    runs = np.lib.stride_tricks.sliding_window_view(sparse, _IN_A_ROW).all(axis=1)
    found = np.flatnonzero(runs)
    return int(found[-1]) + _IN_A_ROW - 1 if len(found) else -1


def _present(scraped: pd.DataFrame) -> NDArray[np.bool_]:
    values = scraped.to_numpy()
    return values if values.dtype == bool else ~pd.isna(values) & (values != 0)


def _median(there: NDArray[np.bool_], scraped: pd.DataFrame) -> float:
    """Give the median time between samples of one target [s]; 0 if none has two."""
    times = frames.milliseconds(scraped.index) / 1000.0
    gaps = [np.diff(times[column]) for column in there.T]
    together = np.concatenate(gaps)
    return float(np.median(together)) if len(together) else 0.0


def _apart(seconds: float) -> str:
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
