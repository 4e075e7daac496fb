"""How long requests took: the queries, and quantiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.queries import Query
from cilium_analysis.topics import buckets, hubble
from cilium_analysis.topics.buckets import quantile
from cilium_analysis.topics.parties import CONTEXT

if TYPE_CHECKING:
    from cilium_analysis.topics.http.data import Http

NAME = "hubble_http_request_duration_seconds"
EACH = Query(
    f"max by (<target>, le, method, reporter, {CONTEXT})"
    f" (max_over_time({NAME}_bucket{{<match>}}[<range>]))",
    "requests",
    "HTTP requests answered within so many seconds",
)
OVER_NODES = Query(
    hubble.growth(f"{NAME}_bucket{{<match>}}", f"<cluster>, le, reporter, {CONTEXT}"),
    "requests",
    "HTTP requests answered within so many seconds, on all nodes together",
)
QUANTILES = (0.5, 0.95, 0.99)


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
    return [
        text
        for durations, counts, when in (
            (data.durations, data.counts, "window"),
            (data.usual_durations, data.usual, "baseline"),
        )
        if counts.shape[1]
        for text in buckets.untold(
            NAME, "request", durations, when=when, unread=data.remarks.unread
        )
    ]
