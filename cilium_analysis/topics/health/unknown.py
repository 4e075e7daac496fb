"""When nothing can be said about agents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis.topics import verdict

if TYPE_CHECKING:
    from cilium_analysis.topics.health.data import Health


def unknown(data: Health) -> tuple[str, ...]:
    """Give the reasons why it is not known whether agents are well; none if it is.

    Parameters
    ----------
    data
        As from `load`.
    """
    if refused := verdict.refused(data.remarks):
        return refused
    if data.blind:
        return (verdict.NO_AGENTS,)
    return verdict.rarely_scraped(data.now.seen, "agents")
