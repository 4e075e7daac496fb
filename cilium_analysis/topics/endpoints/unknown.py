"""When nothing can be said about endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis.topics import verdict

if TYPE_CHECKING:
    from cilium_analysis.topics.endpoints.data import Endpoints


def unknown(data: Endpoints) -> tuple[str, ...]:
    """Give the reasons why it is not known whether endpoints grow; none if it is.

    Parameters
    ----------
    data
        As from `load`. Without a baseline the window is compared with its own beginning.
    """
    if refused := verdict.refused(data.remarks):
        return refused
    if data.blind:
        return (verdict.NO_AGENTS,)
    if not data.now.counts.shape[1]:
        return ("cilium_endpoint is not in the data",)
    return verdict.rarely_scraped(data.now.counts.notna(), "agents")
