"""How findings about agents and operators are worded, and what makes them doubtful. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis import frames
from cilium_analysis.queries import Matcher
from cilium_analysis.texts import percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

    import pandas as pd

    from cilium_analysis.topics.health.data import Health

#: An agent that was scraped in less than this share of the steps makes a number doubtful.
ENOUGH_SCRAPED = 0.98


def edges(data: Health, index: pd.Index, first: int, last: int) -> tuple[datetime, datetime]:
    """Give when a stretch of steps began and ended.

    Parameters
    ----------
    data
        As from `load`.
    index
        The ends of the steps.
    first, last
        Positions of the first step, and of the one after the last.
    """
    return (
        (index[first] - data.window.step).to_pydatetime(),
        index[last - 1].to_pydatetime(),
    )


def steps(data: Health, length: timedelta) -> int:
    """Give the number of whole steps in a length of time; at least one."""
    return max(int(length / data.window.step), 1)


def where(nodes: Sequence[str], of: int, *, foremost: str = "most") -> str:
    """Name the nodes if they are few; else count them, and name the foremost.

    Parameters
    ----------
    nodes
        The foremost first.
    of
        Number of all nodes.
    foremost
        Why it is the foremost: ``most`` or ``first``.
    """
    if len(nodes) <= 3:
        return "on " + ", ".join(nodes)
    return f"on {len(nodes)} of {of} nodes ({foremost} on {nodes[0]})"


def duration(length: timedelta) -> str:
    """Write a length of time in minutes and seconds."""
    minutes, rest = divmod(round(length.total_seconds()), 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


def braces(labels: Mapping[str, str]) -> str:
    """Write labels as the matchers of a selector; nothing for none."""
    inner = ",".join(str(Matcher(name, "=", text)) for name, text in sorted(labels.items()))
    return f"{{{inner}}}" if inner else ""


def rarely_scraped(data: Health, nodes: Sequence[str], first: int, last: int) -> tuple[str, ...]:
    """Say which agents were not scraped in all of a stretch.

    Parameters
    ----------
    data
        As from `load`.
    nodes
        Those that matter.
    first, last
        Positions of the first step, and of the one after the last.
    """
    said = []
    for node in nodes:
        if node not in data.now.seen:
            continue
        seen = data.now.seen[node].iloc[first:last].mean()
        if seen < ENOUGH_SCRAPED:
            said.append(f"{node} was scraped in only {percent(seen)} of the time")
    return tuple(said)


def server_said(data: Health) -> tuple[str, ...]:
    """Give the server's warnings as reasons to doubt."""
    return tuple(f"server: {text}" for text in data.warnings)


def keys(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Give the map and the node of every series."""
    table = frames.labels(frame)
    return [(str(a), str(b)) for a, b in zip(table["map_name"], table["node"], strict=True)]


def bare(name: str) -> str:
    """Name a map as its operations do: policy maps are all ``policy`` there."""
    short = name.removeprefix("cilium_")
    return "policy" if short.startswith("policy") else short
