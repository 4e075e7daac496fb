"""Series of samples as they arrive, and one frame made of them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from cilium_analysis import frames
from cilium_analysis.prometheus.consistency import check, contradiction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

#: Times beyond this are none; up to it a float holds every millisecond [s].
FARTHEST = 2**53 / 1000
#: Two requests for one moment may differ by so much, since servers add floats in any order.
_ROUNDING = 1e-9
#: Python reads more as a number than servers write, such as 1_000.
_NUMERALS = re.compile(r"[0-9eE+\-. InfNa]*")


@dataclass
class Columns:
    """Series: labels, times [ms since 1970 UTC], and values as floats.

    Neighbours that have the same times share one array of them, so that a regular answer takes
    little more memory than its values.
    """

    labels: list[Mapping[str, str]] = field(default_factory=list)
    times: list[NDArray[np.int64]] = field(default_factory=list)
    floats: list[NDArray[np.float64]] = field(default_factory=list)

    def add(
        self, labels: Mapping[str, str], times: NDArray[np.int64], values: NDArray[np.float64]
    ) -> None:
        """Append one series."""
        if self.times and np.array_equal(self.times[-1], times):
            times = self.times[-1]
        self.labels.append(labels)
        self.times.append(times)
        self.floats.append(values)

    def add_samples(self, labels: Mapping[str, str], samples: Sequence[tuple[float, Any]]) -> None:
        """Append one series of pairs as they stand in JSON: time [s], value as text.

        Raises
        ------
        ArithmeticError, TypeError, ValueError
            If they are something else.
        """
        times = np.array([milliseconds(time) for time, _ in samples], dtype=np.int64)
        self.add(labels, times, numbers([value for _, value in samples]))

    def without_empty(self) -> Columns:
        """Give those series that have samples."""
        if all(map(len, self.floats)):
            return self
        kept = Columns()
        for labels, times, values in zip(self.labels, self.times, self.floats, strict=True):
            if len(values):
                kept.add(labels, times, values)
        return kept

    @property
    def samples(self) -> int:
        """Number of samples in all series."""
        return sum(map(len, self.floats))


def milliseconds(seconds: float) -> int:
    """Give a time of an answer in whole milliseconds."""
    if seconds is True or seconds is False or not abs(float(seconds)) <= FARTHEST:
        raise ValueError(f"{seconds} is not a time")
    return round(float(seconds) * 1000)


def numbers(values: Sequence[Any]) -> NDArray[np.float64]:
    """Read values as they stand in JSON: as text, or as numbers."""
    texts = "".join(value for value in values if isinstance(value, str))
    if bool in set(map(type, values)) or not _NUMERALS.fullmatch(texts):
        raise ValueError("not a number")
    return np.array([float(value) for value in values], dtype=np.float64)


def join(parts: Sequence[Columns], *, query: str = "") -> pd.DataFrame:
    """Make one label frame of the parts of a window; a series may be in several of them.

    Parameters
    ----------
    parts
        In any order; emptied while the frame is filled, so that memory is not held twice.
    query
        What was asked, for those who read the error.

    Returns
    -------
    pandas.DataFrame
        A label frame.

    Raises
    ------
    AnswerContradictory
        If a series has two values at one time, or times that go back.
    """
    keys = [check(part, query=query) for part in parts]
    known = set().union(*keys)
    if not known:
        return frames.empty()
    names = sorted({name for key in known for name, _ in key})
    order = sorted(known, key=lambda key: [dict(key).get(name, "") for name in names])
    places = {key: place for place, key in enumerate(order)}
    times = _union(parts)
    # Each series lies in one piece, so that it is written in one stroke.
    values = np.full((len(order), len(times)), np.nan)
    for part, own in zip(parts, keys, strict=True):
        if clash := _fill(values, times, part, [places[key] for key in own]):
            place, when = clash
            raise contradiction(order[place], int(times[when]), query)
    return frames.build(times, values.T, [dict(key) for key in order])


def _union(parts: Sequence[Columns]) -> NDArray[np.int64]:
    """Give all times there are, in order."""
    distinct = {id(times): times for part in parts for times in part.times}
    everything = np.concatenate(list(distinct.values()))
    union: NDArray[np.int64] = np.unique(everything)
    return union


def _fill(
    values: NDArray[np.float64],
    times: NDArray[np.int64],
    part: Columns,
    places: list[int],
) -> tuple[int, int] | None:
    """Write the series of one part into their rows, and let go of them.

    Gives the row and the column of a value that another part has already given otherwise.
    """
    known: tuple[NDArray[np.int64] | None, NDArray[np.intp] | slice] = (None, slice(0, 0))
    while part.labels:
        part.labels.pop()
        own, samples, place = part.times.pop(), part.floats.pop(), places.pop()
        if known[0] is not own:
            known = (own, _where(times, own))
        row = values[place]
        before = row[known[1]]
        both = ~np.isnan(before) & ~np.isnan(samples)
        if both.any():
            differ = both & ~np.isclose(before, samples, rtol=_ROUNDING, atol=0.0)
            if differ.any():
                return place, int(np.searchsorted(times, own[differ][0]))
        row[known[1]] = samples
    return None


def _where(times: NDArray[np.int64], own: NDArray[np.int64]) -> NDArray[np.intp] | slice:
    """Find the times of a series among all; neighbours as a slice, which is faster to fill."""
    found = np.searchsorted(times, own)
    if len(own) and (np.diff(found) == 1).all():
        return slice(int(found[0]), int(found[-1]) + 1)
    return found
