"""When nothing can be said about HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis.frames import totals
from cilium_analysis.topics import verdict
from cilium_analysis.topics.http.statuses import status_class

if TYPE_CHECKING:
    from cilium_analysis.topics.http.data import Http


def unknown(data: Http) -> tuple[str, ...]:
    """Give the reasons why it is not known whether requests fail; none if it is.

    Parameters
    ----------
    data
        As from `load`.
    """
    if refused := verdict.refused(data.remarks):
        return refused
    if not data.counts.shape[1] and data.statusless:
        return (f"no label tells how {data.statusless:,.0f} requests ended",)
    if not data.counts.shape[1]:
        before = ", though there were some in the baseline" if data.usual.shape[1] else ""
        return (f"no HTTP request is visible in this window{before}",)
    sums = totals(data.counts, ["status"])
    failed = sum(n for status, n in sums.items() if status_class(str(status)) in ("4xx", "5xx"))
    fact = f"{sums.sum():,.0f} requests were answered, {failed:,.0f} of them with 4xx or 5xx"
    return verdict.no_baseline(data.usual, what="no HTTP request is visible", fact=fact)
