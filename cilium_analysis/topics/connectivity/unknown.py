"""When nothing can be said about connectivity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis import frames
from cilium_analysis.topics import verdict

if TYPE_CHECKING:
    from cilium_analysis.topics.connectivity.data import Connectivity


def unknown(data: Connectivity) -> tuple[str, ...]:
    """Give the reasons why it is not known whether nodes reach each other; none if it is.

    Parameters
    ----------
    data
        As from `load`.
    """
    if refused := verdict.refused(data.remarks):
        return refused
    if not data.observers.shape[1] and not data.targets_named:
        return ("no connectivity metrics in this window",)
    inside = frames.between(data.observers, data.window.start, data.window.end)
    return verdict.rarely_scraped(inside.notna(), "observers")
