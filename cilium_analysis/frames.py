"""The label frame, which a range query returns, and its operations. Pure.

A label frame is a plain `pandas.DataFrame`:

- the index is a `DatetimeIndex` named ``time``, in UTC, increasing, in whole milliseconds;
- the columns are a `MultiIndex` with one level per label name, sorted by name; a label that a
  series lacks is ``""``; without any label the only level is ``__name__``, holding ``""``;
- the values are float64; NaN means that the series has no sample at that time.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from cilium_analysis.source import iso

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from cilium_analysis.window import Window

#: In ``frame.attrs`` of an answer that was computed here: what it rests on.
NOTE = "cilium_analysis.note"
How = Literal["sum", "max", "min", "mean"]


def build(
    times: NDArray[np.int64], values: NDArray[np.float64], series: Sequence[Mapping[str, str]]
) -> pd.DataFrame:
    """Make a label frame.

    Parameters
    ----------
    times
        Increasing [ms since 1970 UTC], shape (T,).
    values
        Shape (T, S); NaN where a series has no sample.
    series
        The labels of each of the S columns, in any order.

    Returns
    -------
    pandas.DataFrame
        A label frame; its columns are sorted by their labels.
    """
    columns = label_index(series)
    order = columns.argsort() if len(columns) and not columns.is_monotonic_increasing else None
    if order is not None:
        columns, values = columns[order], values[:, order]
    return pd.DataFrame(values, index=time_index(times), columns=columns, copy=False)


def time_index(times: NDArray[np.int64]) -> pd.DatetimeIndex:
    """Make the index of a label frame from milliseconds since 1970 UTC."""
    return pd.DatetimeIndex(times.astype("datetime64[ms]"), tz="UTC", name="time")


def milliseconds(index: pd.Index) -> NDArray[np.int64]:
    """Give the times of a label frame as milliseconds since 1970 UTC."""
    return pd.DatetimeIndex(index).as_unit("ms").asi8


def step_seconds(frame: pd.DataFrame) -> float:
    """Give the step of a frame [s], which may be longer than asked for; 0 if it has no two rows."""
    times = milliseconds(frame.index[:2])
    return float(times[1] - times[0]) / 1000.0 if len(times) == 2 else 0.0


def label_index(series: Sequence[Mapping[str, str]]) -> pd.MultiIndex:
    """Make the columns of a label frame: one level per label name, sorted by name."""
    names = sorted(set().union(*series)) or ["__name__"]
    return _columns({name: _level([labels.get(name, "") for labels in series]) for name in names})


def empty(names: Sequence[str] = ()) -> pd.DataFrame:
    """Make a label frame without series or times.

    Parameters
    ----------
    names
        The label names it would have.
    """
    columns = _columns({name: _level([]) for name in sorted(names) or ["__name__"]})
    return pd.DataFrame(
        np.empty((0, 0)), index=time_index(np.empty(0, dtype=np.int64)), columns=columns
    )


def tidy(frame: pd.DataFrame) -> pd.DataFrame:
    """Give a label frame with one row per sample.

    Parameters
    ----------
    frame
        A label frame.

    Returns
    -------
    pandas.DataFrame
        Columns ``time``, one per label, ``value``; series by series, each in order of time.

    Examples
    --------
    >>> times = np.array([1_774_080_000_000, 1_774_080_030_000])
    >>> frame = build(times, np.array([[1.0], [3.0]]), [{"node": "worker-1"}])
    >>> tidy(frame)
                           time      node  value
    0 2026-03-21 08:00:00+00:00  worker-1    1.0
    1 2026-03-21 08:00:30+00:00  worker-1    3.0
    """
    present = ~np.isnan(frame.to_numpy()).T
    which, when = np.nonzero(present)
    rows = frame.columns[which].to_frame(index=False)
    rows.insert(0, "time", frame.index[when])
    rows["value"] = frame.to_numpy().T[present]
    return rows


def astray(frame: pd.DataFrame, window: Window) -> str:
    """Describe a sample that is more than a step outside of a window; empty if none is.

    Parameters
    ----------
    frame
        A label frame.
    window
        That was asked for.
    """
    # As numbers: a step before the window may be out of the range of dates.
    step = window.step // timedelta(milliseconds=1)
    first, last = (round(moment.timestamp() * 1000) for moment in (window.start, window.end))
    times = milliseconds(frame.index)
    far = (times < first - step) | (times > last + step)
    if not far.any():
        return ""
    moment, row = int(times[far][0]), frame.loc[far].iloc[0]
    labels = row.index[int(row.notna().to_numpy().argmax())]
    asked = f"{iso(window.start)} to {iso(window.end)}"
    key = tuple(zip(map(str, row.index.names), labels, strict=True))
    return f"{selector(key)} has a sample at {written(moment)}, outside of {asked}"


def selector(key: Iterable[tuple[str, str]]) -> str:
    """Write labels as PromQL does, without the empty ones."""
    shown = (f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in key if value)
    return "{" + ", ".join(shown) + "}"


def written(moment: int) -> str:
    """Write a time [ms since 1970 UTC]; as a number if it is out of the range of dates."""
    try:
        return iso(pd.Timestamp(moment, unit="ms", tz="UTC"))
    except (pd.errors.OutOfBoundsDatetime, OverflowError):
        return f"{moment / 1000:.3f} s since 1970"


def labels(frame: pd.DataFrame) -> pd.DataFrame:
    """Give the labels of a frame as a table, one row per series."""
    return frame.columns.to_frame(index=False)


def with_levels(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Give the frame with exactly these labels, sorted; a label it lacks becomes ``""``.

    Parameters
    ----------
    frame
        A label frame.
    names
        Label names to keep or add. Columns are not merged: see `group` for that.
    """
    return _with_columns(frame, _chosen(frame, names))


def relabel(frame: pd.DataFrame, name: str, values: Sequence[str]) -> pd.DataFrame:
    """Give the frame with one label set (or added), one value per series."""
    held = _levels(frame) | {name: _level(values)}
    return _with_columns(frame, {name: held[name] for name in sorted(held)})


def values(frame: pd.DataFrame, name: str) -> list[str]:
    """Give one label of every series; ``""`` where it is missing."""
    found = _levels(frame).get(name)
    if found is None:
        return [""] * frame.shape[1]
    level, codes = found
    texts = level.tolist()
    return [texts[code] for code in codes]


#: The values of a label that occur, and for each series the position of its own.
_Level = tuple[Any, Any]


def _chosen(frame: pd.DataFrame, names: Sequence[str]) -> dict[str, _Level]:
    held = _levels(frame)
    blank = (pd.Index([""]), np.zeros(frame.shape[1], dtype=np.intp))
    return {name: held.get(name, blank) for name in sorted(names)}


def _level(values: Sequence[str]) -> _Level:
    known = sorted(set(values))
    places = {value: place for place, value in enumerate(known)}
    return pd.Index(known), np.array([places[value] for value in values], dtype=np.intp)


def _levels(frame: pd.DataFrame) -> dict[str, _Level]:
    """Give the levels of the columns, from which columns are made without comparing labels."""
    columns = frame.columns
    if not isinstance(columns, pd.MultiIndex):
        columns = pd.MultiIndex.from_arrays([columns], names=[columns.name])
    pairs = zip(columns.levels, columns.codes, strict=True)
    return {
        str(name): (level, np.asarray(codes))
        for name, (level, codes) in zip(columns.names, pairs, strict=True)
    }


def _with_columns(frame: pd.DataFrame, levels: Mapping[str, _Level]) -> pd.DataFrame:
    result = frame.copy(deep=False)
    result.columns = _columns(levels)
    return result


def _columns(levels: Mapping[str, _Level]) -> pd.MultiIndex:
    return pd.MultiIndex(
        levels=[level for level, _ in levels.values()],
        codes=[codes for _, codes in levels.values()],
        names=list(levels),
        verify_integrity=False,
    )


def _numbered(levels: Iterable[_Level], series: int) -> NDArray[np.intp]:
    """Give each series the number of its combination of labels, in their order."""
    number = np.zeros(series, dtype=np.intp)
    for level, codes in levels:
        rank = np.empty(len(level), dtype=np.intp)
        rank[level.argsort()] = np.arange(len(level))
        number = np.unique(number * len(level) + rank[codes], return_inverse=True)[1]
    return number


def group(frame: pd.DataFrame, by: Sequence[str], *, how: How = "sum") -> pd.DataFrame:
    """Merge the series that agree in some labels, as PromQL's ``sum by (…)`` does.

    Parameters
    ----------
    frame
        A label frame.
    by
        Label names to keep; one that the frame lacks is ``""``.
    how
        ``sum``, ``max``, ``min`` or ``mean`` of the samples there are at each time.

    Returns
    -------
    pandas.DataFrame
        A label frame; NaN only where no series of the group has a sample.

    Examples
    --------
    >>> from cilium_analysis import connect, counters
    >>> source = connect("sample")
    >>> dropped = counters.increase(source.range("cilium_drop_count_total", source.window))
    >>> group(dropped, ["direction"]).tail(2)
    direction                 EGRESS INGRESS
    time
    2026-03-21 09:59:30+00:00    9.0     6.0
    2026-03-21 10:00:00+00:00   18.0     7.0
    """
    if not frame.shape[1]:
        return pd.DataFrame(index=frame.index, columns=empty(by).columns, dtype="float64")
    levels = _chosen(frame, by) if by else {"__name__": _level([""] * frame.shape[1])}
    groups = _numbered(levels.values(), frame.shape[1])
    first = np.unique(groups, return_index=True)[1]
    return pd.DataFrame(
        _merge(frame.to_numpy(), groups, len(first), how),
        index=frame.index,
        columns=_columns({name: (level, codes[first]) for name, (level, codes) in levels.items()}),
    )


def totals(counts: pd.DataFrame, by: Sequence[str]) -> pd.Series:
    """Sum increases over time, per combination of some labels.

    Parameters
    ----------
    counts
        Label frame of increases.
    by
        Label names, in the order of the levels of the result.

    Returns
    -------
    pandas.Series
        float64, sorted; empty, with these levels, if there are no series.
    """
    sums = group(counts, by).sum(axis=0).groupby(level=list(by)).sum()
    return sums.astype("float64")


def _merge(
    values: NDArray[np.float64], codes: NDArray[np.intp], groups: int, how: How
) -> NDArray[np.float64]:
    """Reduce columns (T, S) to groups (T, G), ignoring missing samples."""
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(groups))
    sorted_values = values[:, order]
    if how in ("max", "min"):
        reduce = np.fmax if how == "max" else np.fmin
        return reduce.reduceat(sorted_values, starts, axis=1)
    present = ~np.isnan(sorted_values)
    counts = np.add.reduceat(present, starts, axis=1, dtype=np.int64)
    sums = np.add.reduceat(np.where(present, sorted_values, 0.0), starts, axis=1)
    result = np.where(counts > 0, sums, np.nan)
    return result / np.maximum(counts, 1) if how == "mean" else result


def last(frame: pd.DataFrame) -> pd.Series:
    """Give the last known value of each column; empty for a frame without rows.

    Parameters
    ----------
    frame
        Levels over time.
    """
    return frame.ffill().iloc[-1] if len(frame) else pd.Series(dtype="float64")


def between(frame: pd.DataFrame, start: object, end: object) -> pd.DataFrame:
    """Give the rows with ``start < time <= end``: a row's step ends at its time."""
    return frame.loc[(frame.index > start) & (frame.index <= end)]
