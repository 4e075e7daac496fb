"""When nothing can be said about flows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis.topics import verdict

if TYPE_CHECKING:
    from cilium_analysis.topics.flows.data import Flows


def unknown(data: Flows) -> tuple[str, ...]:
    """Give the reasons why it is not known whether flows are unusual; none if it is.

    Parameters
    ----------
    data
        As from `load`.
    """
    if refused := verdict.refused(data.remarks):
        return refused
    if not data.now.there:
        had = ", though there were some in the baseline" if data.usual.there else ""
        return (f"no flow metrics of Hubble in this window{had}",)
    usual = data.usual
    return (
        *verdict.rarely_scraped(data.now.seen, "Hubble's servers"),
        *verdict.no_baseline(usual.flows, usual.flags, usual.icmp, what="no flow metrics"),
    )
