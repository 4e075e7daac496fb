"""When nothing can be said about DNS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis.topics import verdict
from cilium_analysis.topics.dns.codes import UNKNOWN

if TYPE_CHECKING:
    from cilium_analysis.topics.dns.data import Dns


def unknown(data: Dns) -> tuple[str, ...]:
    """Give the reasons why it is not known whether lookups fail; none if it is.

    Parameters
    ----------
    data
        As from `load`.
    """
    if refused := verdict.refused(data.remarks):
        return refused
    there = bool(data.counts.shape[1] or data.asked.shape[1])
    before = bool(data.usual.shape[1] or data.usual_asked.shape[1])
    if not there:
        had = ", though some was in the baseline" if before else ""
        return (f"no DNS is visible in this window{had}",)
    codes = set(data.counts.columns.get_level_values("rcode"))
    return (
        *(("no label tells the code of any response",) if codes == {UNKNOWN} else ()),
        *verdict.rarely_scraped(data.seen, "Hubble's servers"),
        *verdict.no_baseline(data.usual, data.usual_asked, what="no DNS"),
    )
