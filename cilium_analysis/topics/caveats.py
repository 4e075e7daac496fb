"""Reasons not to trust numbers fully: nodes not scraped, agents that started, events lost.

Caveats of a finding are about the time that it lasted, notes of a page about the whole window.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from cilium_analysis import frames
from cilium_analysis.metrics import defects
from cilium_analysis.texts import percent
from cilium_analysis.topics import verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    from cilium_analysis.window import Window

#: A node that was scraped in less than this share of a finding's steps makes it doubtful.
ENOUGH_SCRAPED = 0.98
#: A restart so long before a finding may still explain it.
RESTART_BEFORE = timedelta(minutes=5)
#: Hubble lost so much, as a share of what a finding is about, that it may be wrong.
LOST_SHARE = 0.1
#: Events that readers of Hubble's ring were too slow for: counters are written before the ring is.
RING = "hubble_ring_buffer"
NO_BASELINE = "no data in the baseline: compared with the quieter half of the window"


def not_scraped(
    seen: pd.DataFrame, nodes: Iterable[str], start: object, end: object, *, of: str = ""
) -> list[str]:
    """Give a caveat for each node that was scraped in too few steps of an interval.

    Parameters
    ----------
    seen
        Frame of bool, one column per node: whether it was scraped in the step.
    nodes
        Those that a finding is about.
    start, end
        Of the interval.
    of
        What runs on the nodes, if it is not the agent.
    """
    scraped = frames.between(seen, start, end).mean()
    return [
        f"{of}{node} was scraped in only {percent(scraped[node])} of the steps"
        for node in nodes
        if node in scraped and scraped[node] < ENOUGH_SCRAPED
    ]


def restarted(
    restarts: pd.DataFrame, nodes: Iterable[str], start: pd.Timestamp, end: pd.Timestamp
) -> list[str]:
    """Give a caveat for each node whose agent started in an interval, or shortly before it.

    Parameters
    ----------
    restarts
        ``time`` and ``node`` of the agents' starts.
    nodes, start, end
        As for `not_scraped`.
    """
    near = restarts[restarts["time"].between(start - RESTART_BEFORE, end)]
    return [f"the agent on {node} restarted" for node in sorted(set(near["node"]) & set(nodes))]


def of_hubble(
    seen: pd.DataFrame,
    restarts: pd.DataFrame,
    lost: pd.DataFrame,
    *,
    amount: float,
    nodes: Sequence[str],
    start: pd.Timestamp,
    end: pd.Timestamp,
) -> list[str]:
    """Give the caveats about numbers that Hubble counted in an interval.

    Parameters
    ----------
    seen, restarts
        As for `not_scraped` and `restarted`; it is Hubble that was scraped.
    lost
        Label frame (``source``) of events that Hubble lost.
    amount
        What a loss is compared with [events].
    nodes
        Those that the finding is about.
    start, end
        Of the interval.
    """
    found = not_scraped(seen, nodes, start, end, of="Hubble on ")
    found += restarted(restarts, nodes, start, end)
    # Counters lack all lost events but those of the readers of Hubble's ring.
    counted = [source != RING for source in frames.values(lost, "source")]
    gone = float(frames.between(lost.loc[:, counted], start, end).sum().sum())
    if gone > LOST_SHARE * amount:
        found.append(f"Hubble lost {gone:,.0f} events in that time, of any kind")
    return found


def hubble_notes(
    seen: pd.DataFrame,
    restarts: pd.DataFrame,
    lost: pd.DataFrame,
    window: Window,
    *,
    versions: Sequence[str] = (),
) -> list[str]:
    """Say when Hubble was not scraped, began to count anew, or lost events.

    Parameters
    ----------
    seen, restarts, lost
        As for `of_hubble`.
    window
        Of the frames.
    versions
        Of Cilium, as far as they are known.
    """
    said = [*verdict.gaps(seen, window, of="Hubble on "), *verdict.started(restarts, window)]
    if len(restarts):
        said.append("Hubble's counters begin anew with their agent.")
    by_source = lost.sum().groupby(level="source").sum()
    for where, amount in by_source[by_source > 0].items():
        if where != RING:
            said.append(
                f"Hubble lost {amount:,.0f} events of any kind ({where}): its counts are low."
            )
            continue
        said.append(
            f"Hubble's ring was too small for its readers ({amount:,.0f} events, {where}): flows"
            " that were observed may be incomplete. Metrics are not: they are counted before."
        )
        said += defects.notes(versions, ["hubble_lost_events_total"])
    return said
