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
    refused = verdict.refused(data.remarks)
    if refused or data.state == "zero" or _counted_by_hubble(data):
        return refused
    if data.state == "not scraped":
        return (verdict.NO_AGENTS,)
    if data.state == "not exported":
        return (
            "neither cilium_drop_count_total nor cilium_forward_count_total is in the data: whether"
            " packets were dropped is not known",
        )
    dropped = float(data.counts.to_numpy(dtype="float64", na_value=0.0).sum())
    before = () if not dropped else verdict.no_baseline(data.usual, data.usual_seen, what=_BASELINE)
    return (*verdict.rarely_scraped(data.seen, "agents"), *before)


_BASELINE = "no metrics of Cilium agents"


def _counted_by_hubble(data: Drops) -> bool:
    """Tell whether Hubble's events stand in for agents that count nothing."""
    known = bool(data.hubble.notna().to_numpy().any())
    return known and data.state in ("not exported", "not scraped")
