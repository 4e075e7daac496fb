"""When targets were scraped and their processes started: what proves a birth. Pure.

`cilium_analysis.counters` reads counters by it.
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

#: Labels that say which scrape target a series comes from.
TARGET_LABELS = ("cluster", "instance", "job", "node", "pod")

#: The start of a process is computed from the clock: so much is no other start [s].
SAME_START = 3.0


def scraped_at(
    frame: pd.DataFrame, labels: Labels, scraped: pd.DataFrame | None, pinned: Flags
) -> Flags:
    """Tell, for each series, at which times its target was scraped: shape (T, S)."""
    seen: Flags = np.asarray(~np.isnan(frame.to_numpy(dtype="float64")), dtype=np.bool_)
    names = [n for n in TARGET_LABELS if n in labels]
    if scraped is None:
        for members in positions(keys_of(labels, names, seen.shape[1])).values():
            together: Flags = seen[:, members]
            seen[:, members] = together.any(axis=1, keepdims=True)
        return seen
    starts, targets = _starts(scraped, frame.index, names)
    anyone: Flags = np.zeros(len(frame), dtype=np.bool_)
    if starts.size:
        anyone |= ~np.isnan(starts).all(axis=1)
    own = [n for n in names if n in scraped.columns.names]
    for column, key in enumerate(keys_of(labels, own, seen.shape[1])):
        if key in targets:
            mine = starts[:, targets[key]]
            # A pinned map belongs to the node: it may be older than the agent.
            known = ~np.isnan(mine) if pinned[column] else _watched(mine, anyone, frame.index)
            seen[:, column] |= known
    return seen


def _starts(
    scraped: pd.DataFrame, index: pd.Index, names: Sequence[str]
) -> tuple[Floats, Mapping[tuple[str, ...], int]]:
    """Lay out when targets were scraped: shape (T, N), and the column of each target."""
    labels = {str(name): frames.values(scraped, str(name)) for name in scraped.columns.names}
    own = [n for n in names if n in labels]
    values = scraped.reindex(index).to_numpy(dtype="float64")
    groups = positions(keys_of(labels, own, values.shape[1]))
    merged = [highest(values[:, members]) for members in groups.values()]
    starts = np.column_stack(merged) if merged else np.empty((len(index), 0))
    return starts, {key: place for place, key in enumerate(groups)}  # type: ignore[misc]


def _watched(starts: Floats, anyone: Flags, index: pd.Index) -> Flags:
    """Tell when one target was scraped; before it began to exist, when the others were."""
    seen: Flags = ~np.isnan(starts)
    if not seen.any():
        return seen
    first = int(seen.argmax())
    if first and starts[first] >= index[0].timestamp():
        seen[:first] |= anyone[:first]
    return seen


def restarts_of(
    frame: pd.DataFrame, labels: Labels, scraped: pd.DataFrame | None
) -> Mapping[tuple[str, ...], Flags]:
    """Tell after which rows the process of each target had started anew."""
    if scraped is None:
        return {}
    names = [n for n in TARGET_LABELS if n in labels and n in scraped.columns.names]
    starts, targets = _starts(scraped, frame.index, names)
    filled = pd.DataFrame(starts).ffill().to_numpy()
    anew = np.zeros(starts.shape, dtype=bool)
    with np.errstate(invalid="ignore"):
        anew[1:] = filled[1:] - filled[:-1] > SAME_START
    return {key: anew[:, place] for key, place in targets.items()}


def highest(values: Floats) -> Floats:
    """Take the highest sample of the columns of one chain at each time."""
    merged: Floats = np.fmax.reduce(values, axis=1)
    return merged


def keys_of(labels: Labels, names: Sequence[str], series: int) -> list[tuple[str, ...]]:
    """Give some labels of each series; without names, all are alike."""
    return list(zip(*(labels[name] for name in names), strict=True)) if names else [()] * series


def positions(keys: Sequence[Hashable]) -> Mapping[Hashable, list[int]]:
    """Give the places of everything that is equal."""
    found: dict[Hashable, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        found[key].append(position)
    return found
