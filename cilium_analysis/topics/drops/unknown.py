"""When nothing can be said about drops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis.topics import verdict

if TYPE_CHECKING:
    from cilium_analysis.topics.drops.data import Drops


def unknown(data: Drops) -> tuple[str, ...]:
    """Give the reasons why it is not known whether drops are unusual; none if it is.

    Parameters
    ----------
    data
        As from `load`.
    """
    if not data.counts.shape[1]:
        return _without_counter(data)
    dropped = float(data.counts.to_numpy(dtype="float64", na_value=0.0).sum())
    before = () if not dropped else verdict.no_baseline(data.usual, data.usual_seen, what=_BASELINE)
    return (*verdict.rarely_scraped(data.seen, "agents"), *before)


_BASELINE = "no metrics of Cilium agents"


def _without_counter(data: Drops) -> tuple[str, ...]:
    """Tell agents that are not scraped from those that do not export the counter."""
    if not data.seen.shape[1]:
        return (verdict.NO_AGENTS,)
    return (
        "cilium_drop_count_total is not in the data: no packet was dropped since the agents count,"
        " or it is not exported",
    )
