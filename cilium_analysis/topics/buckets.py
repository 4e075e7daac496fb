"""Histograms: their bounds in one spelling, and quantiles from their buckets. Pure."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


def from_native(histogram: str, bounds: Sequence[float]) -> str:
    """Write PromQL that reads a native histogram as the buckets of a classic one.

    Prometheus 3 can store classic histograms as native ones with the same bounds
    (``convert_classic_histograms_to_nhcb``); then the counts are exact, as no bucket is cut.

    Parameters
    ----------
    histogram
        An instant vector of native histograms.
    bounds
        Of the classic buckets.

    Returns
    -------
    str
        Counters with the label ``le`` and without a name.
    """
    count = f"histogram_count({histogram})"
    # Rounded: a count that is less by the last digit would read as a reset.
    below = {
        f"{bound:g}": f"round(histogram_fraction(-Inf, {bound:g}, {histogram}) * {count})"
        for bound in bounds
    }
    return " or ".join(
        f'label_replace({counted}, "le", "{le}", "", "")'
        for le, counted in {**below, "+Inf": count}.items()
    )


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
