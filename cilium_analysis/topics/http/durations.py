"""How long requests took: from classic buckets or native histograms, and their quantiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.errors import QueryRejected
from cilium_analysis.queries import Query
from cilium_analysis.topics import hubble, loading
from cilium_analysis.topics.buckets import from_native, quantile
from cilium_analysis.topics.parties import CONTEXT

if TYPE_CHECKING:
    from cilium_analysis.topics.http.data import Http

#: Bounds of Hubble's buckets [s] (client_golang, ``DefBuckets``).
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
NAME = "hubble_http_request_duration_seconds"
CLASSIC = Query(
    f"max by (<target>, le, method, reporter, {CONTEXT})"
    f" (max_over_time({NAME}_bucket{{<match>}}[<range>]))",
    "requests",
    "HTTP requests answered within so many seconds",
)
NATIVE = Query(
    f"max by (<target>, le, method, reporter, {CONTEXT})"
    f" ({from_native(f'last_over_time({NAME}{{<match>}}[<range>])', BOUNDS)})",
    "requests",
    "HTTP requests answered within so many seconds, from native histograms",
)
CLASSIC_OVER_NODES = Query(
    hubble.growth(f"{NAME}_bucket{{<match>}}", f"<cluster>, le, reporter, {CONTEXT}"),
    "requests",
    "HTTP requests answered within so many seconds, on all nodes together",
)
_EACH = f"{NAME}{{<single>}}"
#: What native histograms gained in a step; one that began, or began anew, in it is left out.
_GAINED = (
    f"{_EACH} - {_EACH} offset <range>"
    f" and histogram_count({_EACH}) >= histogram_count({_EACH} offset <range>)"
)
NATIVE_OVER_NODES = Query(
    from_native(f"sum by (<cluster>, reporter, {CONTEXT}) ({_GAINED})", BOUNDS),
    "requests",
    "HTTP requests answered within so many seconds, from native histograms of all nodes",
)
#: Classic buckets that fill less of the time are not all there is.
MOST = 0.98
QUANTILES = (0.5, 0.95, 0.99)


@dataclass(frozen=True)
class Took:
    """How long requests took.

    Parameters
    ----------
    counts
        Label frame (``le`` and the context) of requests answered within ``le`` seconds per step.
    native
        Whether native histograms tell it, or a part of it.
    refused
        Why the server does not read native histograms, where they would be needed.
    """

    counts: pd.DataFrame
    native: bool = False
    refused: str = ""


def read(reader: hubble.Reader) -> Took:
    """Read how many requests were answered within so many seconds.

    Raises
    ------
    BudgetExceeded, QueryRejected
        If there are too many series.
    """
    crowd = reader.crowded
    found = reader.values(CLASSIC_OVER_NODES if crowd else CLASSIC)
    native, refused = frames.empty(), ""
    if not _fills(found):
        try:
            native = reader.values(NATIVE_OVER_NODES if crowd else NATIVE)
        except QueryRejected as error:
            refused = error.reason or str(error)
    # Before increases are read: one counter goes on from the one kind to the other.
    found = _merged(found, native, how="sum" if crowd else "max")
    counts = loading.inside(found, reader.window) if crowd else reader.increase(found)
    return Took(counts, bool(native.shape[1]), refused)


def _fills(classic: pd.DataFrame) -> bool:
    """Tell whether classic buckets were stored all along."""
    rows = np.flatnonzero(classic.notna().any(axis=1))
    return bool(len(rows)) and bool(rows[-1] - rows[0] >= MOST * (len(classic) - 1))


def _merged(classic: pd.DataFrame, native: pd.DataFrame, *, how: frames.How) -> pd.DataFrame:
    parts = [part for part in (classic, native) if part.shape[1]]
    if len(parts) < 2:
        return parts[0] if parts else classic
    names = sorted({str(name) for part in parts for name in part.columns.names})
    both = pd.concat([frames.with_levels(part, names) for part in parts], axis=1)
    return frames.group(both, names, how=how)


def by_destination(durations: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Give each destination's requests by the bound of their duration."""
    found: dict[str, dict[str, float]] = {}
    table = frames.totals(durations, ["destination", "le"]).rename("total").reset_index()
    for destination, bound, total in table.itertuples(index=False):
        found.setdefault(str(destination), {})[str(bound)] = float(total)
    return found


def latency(data: Http) -> pd.DataFrame:
    """Give quantiles of the duration of requests, per destination, beside the baseline's.

    Returns
    -------
    pandas.DataFrame
        ``destination``, then ``p50``, ``p95``, ``p99`` and ``usual p50`` … [s], interpolated
        within Hubble's buckets (of 5 ms to 10 s): good to the width of a bucket.
    """
    now, then = by_destination(data.durations), by_destination(data.usual_durations)
    rows = [
        {"destination": destination}
        | {f"p{q * 100:.0f}": quantile(q, now.get(destination, {})) for q in QUANTILES}
        | {f"usual p{q * 100:.0f}": quantile(q, then.get(destination, {})) for q in QUANTILES}
        for destination in sorted({*now, *then})
    ]
    return pd.DataFrame(rows)


def untold(data: Http) -> list[str]:
    """Say why quantiles of the duration cannot be had, where they cannot."""
    said = []
    for durations, counts, when in (
        (data.durations, data.counts, "window"),
        (data.usual_durations, data.usual, "baseline"),
    ):
        if not counts.shape[1]:
            continue
        if not durations.shape[1] and data.no_native:
            said.append(
                f"Durations in the {when} are unknown: there are no classic buckets of {NAME}, and"
                f" the server does not read native histograms ({data.no_native})."
            )
        elif not durations.shape[1]:
            said.append(
                f"Durations in the {when} are unknown: {NAME} is not stored, neither as classic"
                " buckets nor as a native histogram."
            )
        elif not durations.sum().sum() > 0:
            said.append(f"Durations in the {when} are unknown: no request was timed.")
    return said
