"""The series of an answer, and the label frame that is made of them. Pure.

An answer that cannot be true is refused. A series has one value at a time: where an answer gives
two, no rule says which one is right. The same value twice is harmless, whichever one counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from cilium_analysis import frames
from cilium_analysis.errors import AnswerContradictory, NotPrometheus, QueryRejected, of_query
from cilium_analysis.frames import astray, selector, written

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from cilium_analysis.window import Window

    Key = tuple[tuple[str, str], ...]

#: Latest time that is accepted; up to it a float holds every millisecond [s].
FARTHEST = 2**53 / 1000
#: Two requests for one moment may differ by so much, since servers add floats in any order.
_ROUNDING = 1e-9
#: Python reads more as a number than servers write, such as 1_000.
_NUMERALS = re.compile(r"[0-9eE+\-. InfNa]*")
_ADVICE = (
    "no rule says which of them is right: let the server, or the proxy before it, keep one copy of"
    " each series (deduplication, replica labels), or add a matcher that selects one"
)


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
        """Append one series of pairs as JSON has them: time [s], value as text.

        Raises
        ------
        ArithmeticError, TypeError, ValueError
            If they are something else.
        """
        times = np.array([milliseconds(time) for time, _ in samples], dtype=np.int64)
        self.add(labels, times, numbers([value for _, value in samples]))

    def without_empty(self) -> Columns:
        """Return the series that have samples."""
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


@dataclass
class Answer:
    """A decoded answer.

    Parameters
    ----------
    envelope
        The document without the series of a matrix.
    columns
        The series of a matrix; none for other results.
    histograms
        Number of native histogram samples that were left out.
    size
        Size of the body [bytes].
    hollow
        Labels of a series whose samples are an empty list, if there is one.
    """

    envelope: dict[str, Any]
    columns: Columns
    histograms: int = 0
    size: int = 0
    hollow: Mapping[str, str] | None = None

    @property
    def data(self) -> dict[str, Any]:
        """Content of ``data``; empty if there is none."""
        found = self.envelope.get("data")
        return found if isinstance(found, dict) else {}


def milliseconds(seconds: float) -> int:
    """Return a time of an answer in whole milliseconds."""
    if seconds is True or seconds is False or not abs(float(seconds)) <= FARTHEST:
        raise ValueError(f"{seconds} is not a time")
    return round(float(seconds) * 1000)


def numbers(values: Sequence[Any]) -> NDArray[np.float64]:
    """Read values of JSON, where they are texts or numbers."""
    texts = "".join(value for value in values if isinstance(value, str))
    if bool in set(map(type, values)) or not _NUMERALS.fullmatch(texts):
        raise ValueError("not a number")
    return np.array([float(value) for value in values], dtype=np.float64)


def add_instant(answer: Answer) -> int:
    """Make a vector or a scalar into columns; return the number of histograms left out."""
    kind, result = answer.data.get("resultType"), answer.data.get("result") or []
    if kind == "string":
        raise QueryRejected("the query gives a string, not numbers")
    rows = [{"metric": {}, "value": result}] if kind == "scalar" else result
    plain = [row for row in rows if "value" in row]
    if kind != "matrix":
        answer.columns = Columns()
        for row in plain:
            answer.columns.add_samples(row["metric"], [row["value"]])
    return len(rows) - len(plain)


def with_samples(answer: Answer, *, query: str) -> Columns:
    """Return the series of an answer that have samples; the others have histograms.

    Raises
    ------
    NotPrometheus
        If the samples of a series are an empty list.
    """
    if answer.hollow is not None:
        text = f"the answer has a series without samples, {selector(answer.hollow.items())}"
        raise NotPrometheus(f"{text}: see what is between the server and here{of_query(query)}")
    return answer.columns.without_empty()


def join(parts: Sequence[Columns], *, query: str = "") -> pd.DataFrame:
    """Make one label frame of the parts of a window; a series may be in several of them.

    Parameters
    ----------
    parts
        In any order; emptied while the frame is filled, so that memory is not held twice.
    query
        The query, for the error.

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
    distinct = {id(times): times for part in parts for times in part.times}
    times: NDArray[np.int64] = np.unique(np.concatenate(list(distinct.values())))
    # Each series lies in one piece, so that it is written in one stroke.
    values = np.full((len(order), len(times)), np.nan)
    for part, own in zip(parts, keys, strict=True):
        if clash := _fill(values, times, part, [places[key] for key in own]):
            place, when = clash
            raise _contradiction(order[place], int(times[when]), query)
    return frames.build(times, values.T, [dict(key) for key in order])


def _fill(
    values: NDArray[np.float64],
    times: NDArray[np.int64],
    part: Columns,
    places: list[int],
) -> tuple[int, int] | None:
    """Write the series of one part into their rows, and free them.

    Returns the row and the column of a value that another part contradicts, if there is one.
    """
    known: NDArray[np.int64] | None = None
    where: NDArray[np.intp] | slice = slice(0, 0)
    while part.labels:
        part.labels.pop()
        own, samples, place = part.times.pop(), part.floats.pop(), places.pop()
        if known is not own:
            known, where = own, np.searchsorted(times, own)
            if len(own) and (np.diff(where) == 1).all():
                where = slice(int(where[0]), int(where[-1]) + 1)  # faster to fill
        row = values[place]
        before = row[where]
        both = ~np.isnan(before) & ~np.isnan(samples)
        if both.any():
            differ = both & ~np.isclose(before, samples, rtol=_ROUNDING, atol=0.0)
            if differ.any():
                return place, int(np.searchsorted(times, own[differ][0]))
        row[where] = samples
    return None


def check(part: Columns, *, query: str) -> list[Key]:
    """Return the key of each series of one answer, which must not contradict itself.

    Raises
    ------
    AnswerContradictory
        If a series has two values at one time, or times that go back.
    """
    # An empty label is no label (Prometheus' data model).
    keys = [
        tuple(sorted((name, value) for name, value in labels.items() if value))
        for labels in part.labels
    ]
    checked: NDArray[np.int64] | None = None
    increasing = True
    for key, times, values in zip(keys, part.times, part.floats, strict=True):
        if times is not checked:
            checked, increasing = times, bool((times[1:] > times[:-1]).all())
        if not increasing:
            _check_order(key, times, values, query)
    if len(set(keys)) < len(keys):
        _check_repeated(part, keys, query)
    return keys


def _check_order(
    key: Key, times: NDArray[np.int64], values: NDArray[np.float64], query: str
) -> None:
    """Refuse times that go back, and two values at one time."""
    back = np.flatnonzero(times[1:] < times[:-1])
    if len(back):
        late, early = (written(int(moment)) for moment in times[back[0] : back[0] + 2])
        raise AnswerContradictory(
            f"the samples of {selector(key)} are not in order of time: {early} comes after {late};"
            " see what writes these series, and what is between the server and here"
            f"{of_query(query)}"
        )
    doubled = np.flatnonzero((times[1:] == times[:-1]) & _differ(values[1:], values[:-1]))
    if len(doubled):
        raise _contradiction(key, int(times[doubled[0]]), query)


def _check_repeated(part: Columns, keys: Sequence[Key], query: str) -> None:
    """Refuse a series that is there twice, unless both are the same to the last digit."""
    firsts: dict[Key, int] = {}
    for place, key in enumerate(keys):
        first = firsts.setdefault(key, place)
        times, others = part.times[first], part.times[place]
        if np.array_equal(times, others):
            moments = times[_differ(part.floats[first], part.floats[place])]
        else:
            moments = np.setxor1d(times, others)
        if len(moments):
            raise _contradiction(key, int(moments[0]), query)


def _differ(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.bool_]:
    unlike: NDArray[np.bool_] = (one != other) & ~(np.isnan(one) & np.isnan(other))
    return unlike


def _contradiction(key: Key, moment: int, query: str) -> AnswerContradictory:
    """Return the error about a series that has two values at one time [ms since 1970 UTC]."""
    return AnswerContradictory(
        f"the answer gives {selector(key)} twice, and not the same at {written(moment)}:"
        f" {_ADVICE}{of_query(query)}"
    )


def check_times(frame: pd.DataFrame, window: Window, *, query: str) -> None:
    """Refuse an answer with samples more than a step outside of the window.

    Servers may move start and end to multiples of the step, and so by less than a step.

    Raises
    ------
    AnswerContradictory
        If there is such a sample.
    """
    if strayed := astray(frame, window):
        raise AnswerContradictory(
            f"the answer is not about the time that was asked for: {strayed}; look at the clock of"
            f" the server, and at caches and proxies before it{of_query(query)}"
        )
