"""When targets were scraped and processes started; which columns are one series. Pure.

`cilium_analysis.counters` uses it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    #: Each label of all series, in their order.
    Labels = Mapping[str, list[str]]

#: Labels that tell one scrape target from another.
TARGET_LABELS = ("cluster", "instance", "job", "node", "pod")

#: Labels that change when a pod is replaced, although the series continues.
CHURN_LABELS = frozenset(
    {"controller_revision_hash", "helm_sh_chart", "pod", "pod_template_generation"}
)

#: The start of a process is computed from the clock: so small a difference is no restart [s].
SAME_START = 3.0


def scraped_at(
    frame: pd.DataFrame, labels: Labels, scraped: pd.DataFrame | None, pinned: Flags
) -> Flags:
    """Tell, for each series, at which times its target was scraped: shape (T, S)."""
    at: Flags = np.asarray(~np.isnan(frame.to_numpy(dtype="float64")), dtype=np.bool_)
    names = [n for n in TARGET_LABELS if n in labels]
    if scraped is None:
        for members in positions(keys_of(labels, names, at.shape[1])).values():
            together: Flags = at[:, members]
            at[:, members] = together.any(axis=1, keepdims=True)
        return at
    starts, targets = _starts(scraped, frame.index, names)
    any_target: Flags = np.asarray((~np.isnan(starts)).any(axis=1), dtype=np.bool_)
    own = [n for n in names if n in scraped.columns.names]
    for column, key in enumerate(keys_of(labels, own, at.shape[1])):
        if key in targets:
            own_starts = starts[:, targets[key]]
            # A pinned map belongs to the node, and may be older than the agent.
            known = (
                ~np.isnan(own_starts)
                if pinned[column]
                else _scraped(own_starts, any_target, frame.index)
            )
            at[:, column] |= known
    return at


def _starts(
    scraped: pd.DataFrame, index: pd.Index, names: Sequence[str]
) -> tuple[Floats, Mapping[tuple[str, ...], int]]:
    """Give the start times of the targets, shape (T, N), and the column of each target."""
    labels = labels_of(scraped)
    own = [n for n in names if n in labels]
    values = scraped.reindex(index).to_numpy(dtype="float64")
    groups = positions(keys_of(labels, own, values.shape[1]))
    merged = [highest(values[:, members]) for members in groups.values()]
    starts = np.column_stack(merged) if merged else np.empty((len(index), 0))
    return starts, {key: place for place, key in enumerate(groups)}  # type: ignore[misc]


def _scraped(starts: Floats, any_target: Flags, index: pd.Index) -> Flags:
    """Tell when one target was scraped; before its process existed, when any other was."""
    at: Flags = ~np.isnan(starts)
    if not at.any():
        return at
    first = int(at.argmax())
    if starts[first] >= index[0].timestamp():
        at[:first] |= any_target[:first]
    return at


def restarts_of(frame: pd.DataFrame, labels: Labels, scraped: pd.DataFrame | None) -> list[Flags]:
    """Tell, for each series, in which rows its process had started since the row before."""
    never = np.zeros(len(frame), dtype=np.bool_)
    if scraped is None or not len(frame):
        return [never] * frame.shape[1]
    names = [n for n in TARGET_LABELS if n in labels and n in scraped.columns.names]
    starts, targets = _starts(scraped, frame.index, names)
    filled = pd.DataFrame(starts).ffill().to_numpy()
    anew = np.zeros(starts.shape, dtype=bool)
    with np.errstate(invalid="ignore"):
        anew[1:] = filled[1:] - filled[:-1] > SAME_START
        # A target that was not scraped before, such as a new pod, may have started meanwhile.
        anew[1:] |= np.isnan(filled[:-1]) & (filled[1:] >= frame.index[0].timestamp())
    keys = keys_of(labels, names, frame.shape[1])
    return [anew[:, targets[key]] if key in targets else never for key in keys]


def starts_of(
    frame: pd.DataFrame, labels: Labels, scraped: pd.DataFrame | None
) -> tuple[list[tuple[str, ...]], Mapping[tuple[str, ...], Floats]]:
    """Give the target of each series, and when the processes of those that restarted began [s]."""
    if scraped is None:
        return [()] * frame.shape[1], {}
    names = [n for n in TARGET_LABELS if n in labels and n in scraped.columns.names]
    starts, targets = _starts(scraped, frame.index, names)
    times = frames.milliseconds(frame.index) / 1000.0
    found = {}
    for key, place in targets.items():
        known = np.unique(starts[:, place][~np.isnan(starts[:, place])])
        inside = known[(known > times[:1]) & (known <= times[-1:])] if len(times) else known[:0]
        if len(inside):
            found[key] = inside
    return keys_of(labels, names, frame.shape[1]), found


def restarted_between(
    levels: Sequence[Floats], began: Floats, index: pd.Index
) -> tuple[tuple[int, int], ...]:
    """Give between which rows the counters of a process began anew.

    A row is what was scraped in the step up to its time, so that the one of a start may be from
    before it or after it: a counter that falls there tells which.

    Parameters
    ----------
    levels
        Counters of the process.
    began
        When it started, within the index [s since 1970].
    index
        Times of the rows.
    """
    times = frames.milliseconds(index) / 1000.0
    step = float(np.diff(times).min())
    row = np.searchsorted(times, began, side="left")
    after = np.searchsorted(times - step, began + SAME_START, side="left")
    found = set(zip((row - 1).tolist(), after.tolist(), strict=True))
    for values in levels:
        rows = np.flatnonzero(~np.isnan(values))
        for fall in np.flatnonzero(np.diff(values[rows]) < 0):
            first, last = int(rows[fall]), int(rows[fall + 1])
            if ((first <= row) & (row <= last)).any():
                found.add((first, last))
    return tuple(sorted(found))


def labels_of(frame: pd.DataFrame) -> Labels:
    """Give each label of all series."""
    return {str(name): frames.values(frame, str(name)) for name in frame.columns.names}


def highest(values: Floats) -> Floats:
    """Give the highest sample of the columns of one chain at each time."""
    merged: Floats = np.fmax.reduce(values, axis=1)
    return merged


def keys_of(labels: Labels, names: Sequence[str], series: int) -> list[tuple[str, ...]]:
    """Give some labels of each series; without names, an empty key."""
    return list(zip(*(labels[name] for name in names), strict=True)) if names else [()] * series


def positions(keys: Sequence[Hashable]) -> Mapping[Hashable, list[int]]:
    """Give the positions of equal keys."""
    found: dict[Hashable, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        found[key].append(position)
    return found


def chains_of(labels: Labels, series: int) -> Mapping[Hashable, list[int]]:
    """Group the columns that are one series under a changing pod name."""
    kept = anchored(labels)
    names = [n for n in labels if not (kept and n in CHURN_LABELS)]
    return positions(keys_of(labels, names, series))


def anchored(labels: Labels) -> bool:
    """Tell whether each series names its target by more than a pod, which is replaced."""
    return any("" not in labels.get(name, [""]) for name in ("instance", "node"))
