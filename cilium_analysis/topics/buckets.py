"""Histograms: classic or native ones read alike, bounds in one spelling, quantiles. Pure."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cilium_analysis.queries import Query

#: Columns of a table of quantiles: the bound of the first bucket, and the last finite one [s].
BOUNDS = ("first bound", "last bound")
#: A running count may fall by this share where buckets were read at different moments.
TORN = 0.05


def quantile(q: float, buckets: Mapping[str, float]) -> float:
    """Estimate a quantile, as PromQL's ``histogram_quantile`` does (promql/quantile.go).

    Parameters
    ----------
    q
        0 to 1.
    buckets
        By the bound ``le``: how many were at most so large.

    Returns
    -------
    float
        Interpolated within the bucket; the highest finite bound if it lies beyond; NaN without
        any observation, and where processes with different bounds were added up, as in the
        middle of an upgrade that changed them.
    """
    steps = sorted((bound_of(le), max(count, 0.0)) for le, count in buckets.items())
    total = steps[-1][1] if steps else 0.0
    if not total > 0 or not math.isinf(steps[-1][0]):
        return math.nan
    if _mixed([count for _, count in steps]):
        return math.nan
    below, low = 0.0, 0.0
    for bound, count in steps:
        # Scrapes may tear a histogram; a running count that falls is held.
        count = max(count, below)
        if count >= q * total and count > below:
            if math.isinf(bound):
                return low
            return min(low + (bound - low) * (q * total - below) / (count - below), bound)
        below, low = count, low if math.isinf(bound) else bound
    return low


def quantiles(
    buckets: Mapping[str, float], chosen: Sequence[float], *, before: str = ""
) -> dict[str, float]:
    """Estimate quantiles for a table; infinite where one lies beyond the highest finite bound.

    Parameters
    ----------
    buckets
        As for `quantile`.
    chosen
        Which, 0 to 1.
    before
        A word before their names ``p50``, ``p99``, …
    """
    _, last = bounds(buckets)
    within = max((n for le, n in buckets.items() if bound_of(le) <= last), default=math.nan)
    total = max(buckets.values(), default=math.nan)
    return {
        f"{before}p{100 * q:.0f}": math.inf if within < q * total else quantile(q, buckets)
        for q in chosen
    }


def bounds(*told: Mapping[str, float]) -> tuple[float, float]:
    """Give the bound of the first bucket and the last finite one; NaN without buckets.

    A quantile below the first one is an interpolation from 0, of which nothing more is known.

    Parameters
    ----------
    told
        Buckets, each as for `quantile`.
    """
    finite = {bound_of(le) for each in told for le in each} - {math.inf}
    return (min(finite), max(finite)) if finite else (math.nan, math.nan)


def by_bound(counts: pd.DataFrame, by: Sequence[str]) -> dict[tuple[str, ...], dict[str, float]]:
    """Give what each bucket counted, by its bound ``le``, per combination of other labels.

    Parameters
    ----------
    counts
        Label frame (``le``, …) of increases.
    by
        The other labels.
    """
    found: dict[tuple[str, ...], dict[str, float]] = {}
    sums = frames.totals(counts, [*by, "le"]).rename("total").reset_index()
    for *key, le, total in sums.itertuples(index=False):
        found.setdefault(tuple(map(str, key)), {})[str(le)] = float(total)
    return found


def _mixed(counts: Sequence[float]) -> bool:
    """Tell whether a running count falls by more than scrapes may tear it apart."""
    falls = (high - low for high, low in itertools.pairwise(counts))
    return max(falls, default=0.0) > TORN * max(counts, default=0.0)


def bound_of(le: str) -> float:
    """Read the bound of a bucket; what is none sorts first and never holds a quantile."""
    try:
        return float(le)
    except ValueError:
        return 0.0


_SELECTOR = r"""(?P<name{0}>[a-zA-Z_:][\w:]*)_(?P<part{0}>bucket|sum|count)
    \{{(?P<match{0}>(?:[^"{{}}]|"(?:[^"\\]|\\.)*")*)\}}"""
#: A series of a classic histogram: of a range of time in a function, or of a moment.
_SERIES = re.compile(
    rf"""(?P<over>\w+)\({_SELECTOR.format(1)}(?P<range>\[[^\]]*\])(?P<back1>\ offset\ [\w<>]+)?\)
    | {_SELECTOR.format(2)}(?P<back2>\ offset\ [\w<>]+)?""",
    re.VERBOSE,
)
_LE = re.compile(r'le=~"([^"]*)",?')


def as_stored(query: Query, native: Mapping[str, Sequence[float]]) -> Query:
    """Give a query that reads classic histograms, or native ones where there are no classic ones.

    Prometheus 3 can store classic histograms as native ones with the same bounds
    (``convert_classic_histograms_to_nhcb``), beside the classic ones or instead of them. A series
    that is stored as both counts once, and one that goes on as the other goes on counting.

    Parameters
    ----------
    query
        Of classic histograms, with braces at every selector.
    native
        Bounds of the histograms that are stored as native ones, as `Targets.native`.
    """
    if not native:
        return query

    def both(found: re.Match[str]) -> str:
        kind = "1" if found["over"] else "2"
        name, part, match, back = (found[n + kind] for n in ("name", "part", "match", "back"))
        if name not in native:
            return found[0]
        le = _LE.search(match)
        bounds = [b for b in native[name] if le is None or re.fullmatch(le[1], repr(b))]
        selector = f"{name}{{{_LE.sub('', match)}}}"
        stored = _part(part, selector, found["over"] or "", found["range"], back or "", bounds)
        # A classic series without a stale marker would hide the native one for minutes.
        return f"({stored} or {found[0]})"

    return replace(query, promql=_SERIES.sub(both, query.promql))


def _part(
    part: str, selector: str, over: str, period: str, back: str, bounds: Sequence[float]
) -> str:
    """Write PromQL that reads a part of a native histogram as a function reads the classic one."""
    if over == "deriv":
        return f"deriv(histogram_{part}({selector})[{period[1:-1]}:]{back})"
    rated = over in ("increase", "rate")
    # Floats have a maximum; of a counter the last value is that, but where it began anew.
    function = over if rated or not over else "last_over_time"
    histogram = f"{function}({selector}{period}{back})" if over else f"{selector}{back}"
    if part == "bucket":
        return f"({from_native(histogram, bounds, whole=not rated)})"
    return f"histogram_{part}({histogram})"


def for_people(promql: str, native: Mapping[str, Sequence[float]]) -> str:
    """Write a query that people may copy for native histograms, where it is of such.

    Parameters
    ----------
    promql
        Of classic histograms.
    native
        As for `as_stored`.
    """
    for name in native:
        if f"{name}_bucket" in promql:
            promql = promql.replace(f"{name}_bucket", name)
            promql = promql.replace("by (le, ", "by (").replace(" by (le)", "")
        promql = re.sub(
            rf"(increase|rate)\({name}_(sum|count)((?:{{.*?}})?\[\w+\])\)",
            rf"histogram_\2(\1({name}\3))",
            promql,
        )
    return promql


def from_native(histogram: str, bounds: Sequence[float], *, whole: bool = True) -> str:
    """Write PromQL that reads a native histogram as the buckets of a classic one.

    Parameters
    ----------
    histogram
        An instant vector of native histograms.
    bounds
        Of the classic buckets; of those that the histogram has, the counts are exact.
    whole
        Whether the counts are those of a counter, rather than rates.

    Returns
    -------
    str
        Counts with the label ``le`` as Prometheus 3 spells it, and without a name.
    """
    count = f"histogram_count({histogram})"
    below = {
        repr(bound): f"histogram_fraction(-Inf, {bound!r}, {histogram}) * {count}"
        for bound in bounds
    }
    if whole:
        # A count that is less by the last digit would read as a reset.
        below = {le: f"round({counted}, 0.000001)" for le, counted in below.items()}
    return " or ".join(
        f'label_replace({counted}, "le", "{le}", "", "")'
        for le, counted in {**below, "+Inf": count}.items()
    )


def untold(
    name: str,
    what: str,
    counts: pd.DataFrame,
    *,
    when: str = "window",
    unread: str = "",
    mixed: bool = False,
) -> list[str]:
    """Say why quantiles cannot be had; nothing where there are some.

    Parameters
    ----------
    name
        Of the histogram.
    what
        What is timed, such as "request".
    counts
        Label frame (``le``) of its buckets.
    when
        Which time it is about.
    unread
        Why the server does not read native histograms, as `Targets.unread`.
    mixed
        Whether there is no quantile though something was timed.
    """
    unknown = f"Durations in the {when} are unknown:"
    if counts.shape[1] and not counts.sum().sum() > 0:
        return [f"{unknown} no {what} was timed ({name})."]
    if counts.shape[1]:
        torn = (
            f"Some durations in the {when} are unknown: counts of the buckets of {name} contradict"
            " each other, as where agents have different ones in the middle of an upgrade."
        )
        return [torn] if mixed else []
    if unread:
        return [
            f"{unknown} there are no classic buckets of {name}, and the server does not read native"
            f" histograms ({unread})."
        ]
    return [
        f"{unknown} {name} is not stored, neither as classic buckets nor as a native histogram."
    ]


def plain_bounds(frame: pd.DataFrame, *, increases: bool) -> pd.DataFrame:
    """Write the bounds of buckets in one way: Prometheus 2 stores ``1`` what 3 stores ``1.0``.

    Parameters
    ----------
    frame
        Label frame; one without ``le`` stays as it is.
    increases
        Whether the server gave increases: what appears under another spelling in them brings its
        whole past, and is left out.
    """
    if "le" not in frame.columns.names:
        return frame
    spelled = frames.values(frame, "le")
    bounds = [plain_number(le) for le in spelled]
    if increases and bounds != spelled and len(frame):
        values = frame.to_numpy(dtype="float64").copy()
        known = ~np.isnan(values)
        first = np.where(known.any(axis=0), known.argmax(axis=0), len(frame))
        for bound in {b for b, le in zip(bounds, spelled, strict=True) if b != le}:
            of_bound = [place for place, each in enumerate(bounds) if each == bound]
            begun = min(first[place] for place in of_bound)
            for place in of_bound:
                if begun < first[place] < len(frame):
                    values[first[place], place] = np.nan
        frame = pd.DataFrame(values, index=frame.index, columns=frame.columns)
    return frames.relabel(frame, "le", bounds)


def plain_number(text: str) -> str:
    """Write a number as Prometheus 2 does: ``1``, ``0.5``, ``+Inf``; other text stays."""
    try:
        number = float(text)
    except ValueError:
        return text
    if number == float("inf"):
        return "+Inf"
    return f"{number:.0f}" if number.is_integer() else repr(number)
