"""Answers to simple queries, computed from the recorded answers to others. Pure.

A recorded metric has one sample per step, or none where no scrape fell into the step. A plain
metric and its aggregations are exact: a server evaluates them at the same steps. What stands
between two samples, and what a counter gained, is in `cilium_analysis.bundle.samples`.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cilium_analysis import frames
from cilium_analysis.bundle.samples import LOOKBACK, at_all_steps, increases, intervals, kept
from cilium_analysis.bundle.simple import OVER_TIME, RATES, Simple
from cilium_analysis.errors import ParameterError
from cilium_analysis.metrics import find
from cilium_analysis.metrics.known import CONTEXT, CONTEXT_LABELS
from cilium_analysis.queries import check_pattern
from cilium_analysis.source import iso
from cilium_analysis.times import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from cilium_analysis.queries import Matcher
    from cilium_analysis.window import Window


@dataclass(frozen=True)
class Answer:
    """A recorded answer to a range query.

    Parameters
    ----------
    row
        Of the manifest.
    window
        That it was recorded for.
    """

    row: Mapping[str, Any]
    window: Window

    @property
    def promql(self) -> str:
        """The query that it answers."""
        return str(self.row["promql"])

    def has(self, window: Window) -> bool:
        """Tell whether it has every step of a window."""
        return covers(self.window, window)


@dataclass(frozen=True)
class Held(Answer):
    """A recorded answer to a query for one metric.

    Parameters
    ----------
    row, window
        As of `Answer`.
    query
        The query that it answers, read.
    """

    query: Simple

    @property
    def labels(self) -> frozenset[str] | None:
        """The labels that its series have; None if they have all."""
        return frozenset(self.query.labels) if self.query.aggregation else None

    @property
    def is_of_series(self) -> bool:
        """Whether it tells the series of the metric apart: no two of a target are one.

        Topics ask for ``max by (labels) (max_over_time(metric[step]))``, which is the same where
        the labels are all that Cilium exports with the metric, beside those of the target.
        """
        query = self.query
        if not query.aggregation:
            return not query.function
        known = find(query.metric)
        if known is None or query.without or query.aggregation not in ("max", "min"):
            return False
        if query.function not in OVER_TIME or query.over > self.window.step:
            return False
        own = known.labels - {CONTEXT} | (
            {*CONTEXT_LABELS} if CONTEXT in known.labels else frozenset()
        )
        return own | ({"le"} if query.metric.endswith("_bucket") else set()) <= {*query.labels}

    def nearest(self, asked: Simple, *, pair: timedelta = timedelta()) -> Simple:
        """Give the query nearest to the one asked for that can be computed from this answer.

        Parameters
        ----------
        asked
            The query.
        pair
            How far apart a sample and the second after it are, if it is known: a range takes in
            the steps at both its ends, and needs two samples.
        """
        own = self.query.matchers
        mended = replace(asked, matchers=tuple(dict.fromkeys((*own, *asked.matchers))))
        if set(mended.matchers) == set(asked.matchers):
            mended = asked
        if asked.function in RATES:
            step = self.window.step
            over = max(asked.over, 2 * step)
            mended = replace(mended, over=over if over + step >= pair else pair)
        elif asked.function:
            mended = replace(mended, function="", over=timedelta())
        if self.labels is None:
            return mended
        kept = tuple(m for m in mended.matchers if m in own or m.label in self.labels)
        by = tuple(label for label in asked.labels if label in self.labels)
        if not asked.aggregation or asked.without:
            by = tuple(sorted(self.labels - ({*asked.labels} if asked.without else frozenset())))
        return replace(
            mended,
            matchers=kept,
            aggregation=asked.aggregation or ("sum" if mended.function else "max"),
            labels=by or tuple(sorted(self.labels)) if asked.labels else by,
            without=False,
        )

    def answers(self, asked: Simple) -> bool:
        """Tell whether a query can be computed from it."""
        return self.nearest(asked) == asked and self.reaches(asked)

    def reaches(self, asked: Simple) -> bool:
        """Tell whether it is as long as the range of a query."""
        return self.window.start + asked.over <= self.window.end

    def works(self, asked: Simple, *, pair: timedelta) -> Simple:
        """Give a query as of `nearest`, whose range is not longer than the recording."""
        near = self.nearest(asked, pair=pair)
        short = replace(near, over=max(pair, 2 * self.window.step))
        plain = self.nearest(replace(asked, function="", over=timedelta()))
        return next((one for one in (near, short) if self.reaches(one)), plain)

    def mark(self, asked: Simple, window: Window) -> str:
        """Say what the answer rests on."""
        step, query = format_duration(self.window.step), self.query
        which = {"max": "highest", "min": "lowest", "last": "last"}.get(query.function[:-10])
        samples = f"its {which} value of each {step}" if which else f"one sample per {step}"
        said = f"Computed from the recorded {Simple(query.metric, query.matchers)}, {samples}"
        if asked.function or which:
            said += "; a server may give slightly different values"
        if which and not asked.function:
            lookback = format_duration(LOOKBACK)
            said += f", or show a series for up to {lookback} after its last sample"
        if self.labels is not None and asked.aggregation in ("count", "sum"):
            said += "; a server counts what a pair of servers has stored twice, and this may not"
        known = self.window.start + asked.over
        if window.start < known:
            rest = format_duration(known - window.start)
            said += f"; the first {rest} are unknown, as the recording does not begin earlier"
        return said


def covers(held: Window, wanted: Window) -> bool:
    """Return whether every point of the wanted window is a point of the one held."""
    inside = held.start <= wanted.start and wanted.end <= held.end
    in_phase = not (wanted.start - held.start) % held.step
    return held.step == wanted.step and inside and in_phase


def chosen(held: Sequence[Held], asked: Simple, window: Window) -> Held | None:
    """Give the recorded answer to compute from; None if there is none."""
    able = [one for one in held if one.answers(asked) and one.has(window)]
    # Samples from before the window first, then all labels.
    return min(
        able,
        key=lambda one: (one.window.start + asked.over > window.start, one.labels is not None),
        default=None,
    )


def instead(
    promql: str,
    asked: Simple,
    held: Sequence[Held],
    there: Iterable[str],
    window: Window,
    *,
    load: Callable[[Held], pd.DataFrame],
) -> str:
    """Say what is held of a metric instead of an answer, and a query that can be answered.

    Parameters
    ----------
    promql, asked
        The query, as it was written and read.
    held
        All that is held of its metric.
    there
        All queries that are answered in the window.
    window
        That was asked for.
    load
        Reads the frame of a recorded answer.

    Raises
    ------
    ParameterError
        If RE2 refuses a pattern of a matcher.
    """
    if not held:
        named = [one for one in there if re.search(rf"\b{re.escape(asked.metric)}\b", one)]
        near = difflib.get_close_matches(promql, named or there, n=1, cutoff=0.0)
        what = f"{asked.metric} in other queries only" if named else f"nothing of {asked.metric}"
        return f"{promql}: it holds {what}" + "".join(f"; this works: {one}" for one in near)
    fitting = [one for one in held if one.has(window)]
    if not fitting:
        spans = dict.fromkeys(
            f"{iso(one.window.start)} to {iso(one.window.end)}"
            f" every {format_duration(one.window.step)}"
            for one in held
        )
        return f"{promql}: it holds {asked.metric} for {', '.join(spans)}"
    one = max(fitting, key=lambda each: _alike(each, asked))
    own, pair = one.query.matchers, 2 * one.window.step
    if asked.function in RATES:
        selected = _selected(load(one), one, one.nearest(asked))
        pair = _pair(selected, step=one.window.step)
    works = one.works(asked, pair=pair)
    only = f" of {{{','.join(map(str, own))}}}" if own else ""
    labels = f"the labels {', '.join(sorted(one.labels))}" if one.labels else "all labels"
    return (
        f"{promql}: it holds {asked.metric}{only} with {labels}, one sample per"
        f" {format_duration(pair / 2)} from {iso(one.window.start)} on; this works: {works}"
    )


def _pair(frame: pd.DataFrame, *, step: timedelta) -> timedelta:
    """Give how far apart a sample and the second after it are, where that is farthest."""
    found = intervals(frame, step=step, scrapes=2)
    return timedelta(seconds=float(found.max())) if len(found) else 2 * step


def _alike(held: Held, asked: Simple) -> tuple[int, int]:
    """Tell how little of a query has to change, to be answered from what is held."""
    near = held.nearest(asked)
    same = (near.matchers == asked.matchers) + (near.aggregation == asked.aggregation)
    return same, len({*near.labels} & {*asked.labels})


def compute(frame: pd.DataFrame, held: Held, asked: Simple, window: Window) -> pd.DataFrame:
    """Compute the answer to a simple query from a recorded answer.

    Parameters
    ----------
    frame
        Of the recorded answer, whole: also from before the window.
    held
        What it answers.
    asked
        A query to which `held` is the nearest.
    window
        With the step of the recording.

    Raises
    ------
    ParameterError
        If RE2 refuses a pattern of a matcher, or a range is too short for two samples.
    """
    frame = _selected(frame, held, asked)
    step, start = held.window.step, held.window.start
    if asked.function:
        pair = _pair(frame, step=step)
        works = held.works(asked, pair=pair)
        if works != asked:
            raise ParameterError(
                f"samples of {asked.metric} are up to {format_duration(pair / 2)} apart, and"
                f" {asked.function} needs two in its range; this works: {works}"
            )
    frame = at_all_steps(frame, step=step, end=window.end)
    if asked.function:
        frame = increases(frame, asked.over, since=start)
        frame = frame / asked.over.total_seconds() if asked.function == "rate" else frame
    elif held.labels is not None:
        frame = kept(frame, step=step)
    frame = frame.loc[(frame.index >= window.start) & (frame.index <= window.end)]
    if asked.aggregation:
        frame = _aggregated(frame, asked)
    elif asked.function:
        names = [str(name) for name in frame.columns.names if name != "__name__"]
        frame = frames.group(frame, names)
    there = frame.notna().to_numpy()
    # Steps at which nothing can be known stay, as such.
    rows = there.any(axis=1) | (frame.index < start + asked.over)
    frame = frame.iloc[np.flatnonzero(rows), np.flatnonzero(there.any(axis=0))]
    if not frame.shape[1]:
        return frames.empty()
    names = [str(name) for name in frame.columns.names if any(frames.values(frame, str(name)))]
    return frames.with_levels(frame, names or ["__name__"])


def _selected(frame: pd.DataFrame, held: Held, asked: Simple) -> pd.DataFrame:
    """Give the series of a recorded answer that a query selects."""
    for matcher in asked.matchers:
        if matcher not in held.query.matchers:
            fitting = _matched(frames.values(frame, matcher.label), matcher)
            frame = frame.iloc[:, np.flatnonzero(fitting)]
    return frame


def _matched(texts: list[str], matcher: Matcher) -> NDArray[np.bool_]:
    """Tell which labels a matcher selects; patterns are read by RE2, as Prometheus does."""
    if matcher.operator in ("=", "!="):
        found = np.array([text == matcher.value for text in texts], dtype=bool)
    else:
        # First, so that no bracket of it closes ours.
        check_pattern(matcher)
        whole = pc.match_substring_regex(pa.array(texts, pa.string()), f"^(?s:{matcher.value})$")
        found = np.asarray(whole.to_numpy(zero_copy_only=False), dtype=bool)
    return found if matcher.operator in ("=", "=~") else ~found


def _aggregated(frame: pd.DataFrame, asked: Simple) -> pd.DataFrame:
    names = {str(name) for name in frame.columns.names}
    by = sorted(names - {*asked.labels, "__name__"} if asked.without else {*asked.labels} & names)
    if asked.aggregation == "count":
        return frames.group(frame.notna().astype("float64").where(frame.notna()), by)
    how = {"avg": "mean", "max": "max", "min": "min", "sum": "sum"}[asked.aggregation]
    return frames.group(frame, by, how=how)  # type: ignore[arg-type]
