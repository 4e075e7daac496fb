"""The overview: when anything was dropped, or answered with an error, around the window."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import counters, frames
from cilium_analysis.errors import BudgetExceeded, QueryRejected
from cilium_analysis.topics import drops, http, hubble, loading
from cilium_analysis.topics.http.data import OVER_NODES
from cilium_analysis.topics.http.statuses import BAD, status_class

if TYPE_CHECKING:
    from cilium_analysis.source import Source
    from cilium_analysis.window import Window

DROPPED = "Packets dropped per second"
FAILED = "HTTP errors per second"


def load(source: Source, extent: Window, *, match: str = "") -> pd.DataFrame:
    """Ask for what the overview shows.

    Parameters
    ----------
    source
        A server or a bundle.
    extent
        What to show.
    match
        Label matchers that narrow every query.

    Returns
    -------
    pandas.DataFrame
        Columns `DROPPED` and `FAILED` [1/s], one row per step of the extent. Where both ends of a
        request report it, the one that saw more counts. A column is missing if it is not known.
    """
    reader = hubble.reader(source, extent, match=match)
    found = {DROPPED: _dropped(source, extent, reader.agents.starts, match=match)}
    # An overview is worth no more than the budget allows.
    with suppress(BudgetExceeded, QueryRejected):
        found[FAILED] = _failed(reader)
    known = {name: one for name, one in found.items() if one is not None}
    return pd.DataFrame(known) / extent.step.total_seconds()


def _dropped(
    source: Source, extent: Window, agents: pd.DataFrame, *, match: str
) -> pd.Series | None:
    values = loading.fetch(source, drops.QUERIES["drops"], extent, match=match)
    values = frames.with_levels(values, ["direction", "node", "reason"])
    grown = counters.increase(values, scraped=agents if agents.shape[1] else None)
    return _sum(loading.inside(grown, extent)) if grown.shape[1] else None


def _failed(reader: hubble.Reader) -> pd.Series | None:
    found = []
    for name in ("requests", "responses"):
        grown = reader.gained(http.QUERIES[name], OVER_NODES[name])
        if grown.shape[1] and "status" in grown.columns.names:
            statuses = grown.columns.get_level_values("status")
            bad = [status_class(str(status)) in BAD for status in statuses]
            found.append(frames.group(grown.loc[:, bad], ["reporter"]).max(axis=1))
    return _sum(pd.concat(found, axis=1)) if found else None


def _sum(frame: pd.DataFrame) -> pd.Series:
    return frame.sum(axis=1, min_count=1) if frame.shape[1] else frame.sum(axis=1)
