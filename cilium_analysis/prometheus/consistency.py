"""Answers that cannot be true, and so are refused. Pure.

A series has one value at a time. Where an answer gives two, no rule says which one is right; the
same value twice is harmless, since it does not matter which one counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cilium_analysis.errors import AnswerContradictory, NotPrometheus
from cilium_analysis.frames import astray, selector, written
from cilium_analysis.prometheus.replies import shortened

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from cilium_analysis.prometheus.columns import Columns
    from cilium_analysis.prometheus.decode import Answer
    from cilium_analysis.window import Window

    Key = tuple[tuple[str, str], ...]

_ADVICE = (
    "no rule says which of them is right: let the server, or the proxy before it, keep one copy of"
    " each series (deduplication, replica labels), or add a matcher that selects one"
)


def check(part: Columns, *, query: str) -> list[Key]:
    """Give the name of each series of one answer, if the answer does not contradict itself.

    Parameters
    ----------
    part
        The series of one answer.
    query
        What was asked, for those who read the error.

    Raises
    ------
    AnswerContradictory
        If a series has two values at one time, or times that go back.
    """
    keys = [_key(labels) for labels in part.labels]
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


def with_samples(answer: Answer, *, query: str) -> Columns:
    """Give the series of an answer, each of which has samples, or else histograms.

    Parameters
    ----------
    answer
        Of an instant or a range query.
    query
        What was asked, for those who read the error.

    Raises
    ------
    NotPrometheus
        If the samples of a series are an empty list.
    """
    if answer.hollow is not None:
        text = f"the answer has a series without samples, {selector(answer.hollow.items())}"
        raise NotPrometheus(f"{text}: see what is between the server and here{_of(query)}")
    return answer.columns.without_empty()


def contradiction(key: Key, moment: int, query: str) -> AnswerContradictory:
    """Give the error about a series that has two values at one time [ms since 1970 UTC]."""
    return AnswerContradictory(
        f"the answer gives {selector(key)} twice, and not the same at {written(moment)}:"
        f" {_ADVICE}{_of(query)}"
    )


def check_times(frame: pd.DataFrame, window: Window, *, query: str) -> None:
    """Refuse an answer about another time than the one that was asked for.

    Servers may move start and end to multiples of the step, and so by less than a step.

    Parameters
    ----------
    frame
        Made of the answer.
    window
        That was asked for.
    query
        As of `check`.

    Raises
    ------
    AnswerContradictory
        If a sample is more than a step outside of the window.
    """
    if strayed := astray(frame, window):
        raise AnswerContradictory(
            f"the answer is not about the time that was asked for: {strayed}; look at the clock of"
            f" the server, and at caches and proxies before it{_of(query)}"
        )


def _key(labels: Mapping[str, str]) -> Key:
    """Name a series; an empty label is no label (Prometheus' data model)."""
    return tuple(sorted((name, value) for name, value in labels.items() if value))


def _check_order(
    key: Key, times: NDArray[np.int64], values: NDArray[np.float64], query: str
) -> None:
    """Refuse times that go back, and two values at one time."""
    back = np.flatnonzero(times[1:] < times[:-1])
    if len(back):
        late, early = (written(int(moment)) for moment in times[back[0] : back[0] + 2])
        raise AnswerContradictory(
            f"the samples of {selector(key)} are not in order of time: {early} comes after {late};"
            f" see what writes these series, and what is between the server and here{_of(query)}"
        )
    doubled = np.flatnonzero((times[1:] == times[:-1]) & _differ(values[1:], values[:-1]))
    if len(doubled):
        raise contradiction(key, int(times[doubled[0]]), query)


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
            raise contradiction(key, int(moments[0]), query)


def _differ(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.bool_]:
    unlike: NDArray[np.bool_] = (one != other) & ~(np.isnan(one) & np.isnan(other))
    return unlike


def _of(query: str) -> str:
    return f" (query: {shortened(query)})" if query else ""
