"""Which versions of Cilium run, and which known defects of its metrics that means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis import frames
from cilium_analysis.queries import Query
from cilium_analysis.topics import loading

if TYPE_CHECKING:
    from cilium_analysis.source import Source
    from cilium_analysis.window import Window

VERSIONS = Query(
    "count by (<cluster>, version) (max_over_time(cilium_version{<match>}[<range>]))",
    "agents",
    "agents of each version of Cilium",
    spare=True,
)


def ask(source: Source, window: Window, *, match: str) -> tuple[str, ...]:
    """Give the versions of Cilium that ran in a window; none if nothing tells.

    Parameters
    ----------
    source, window, match
        As for a topic's ``load``.
    """
    found = frames.labels(loading.fetch(source, VERSIONS, window, match=match))
    return tuple(sorted({str(one) for one in found.get("version", ())} - {""}))
