"""What the findings about agents and operators share: intervals, wording, caveats. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis.queries import Matcher
from cilium_analysis.topics import caveats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

    import pandas as pd

    from cilium_analysis.topics.health.data import Health


def pick(frame: pd.DataFrame, label: str, chosen: str | Callable[[str], bool]) -> pd.DataFrame:
    """Give the series whose label has a value, or one that is chosen.

    Parameters
    ----------
    frame
        Label frame with the label.
    label
        Its name.
    chosen
        The value, or what tells whether a value is chosen.
    """
    values = frame.columns.get_level_values(label)
    if isinstance(chosen, str):
        return frame.loc[:, values == chosen]
    return frame.loc[:, [chosen(str(value)) for value in values]]


def steps(data: Health, length: timedelta) -> int:
    """Give the number of whole steps in a length of time; at least one."""
    return max(int(length / data.window.step), 1)


def interval(data: Health, index: pd.Index, first: int, stop: int) -> tuple[datetime, datetime]:
    """Give the start and the end of some steps.

    Parameters
    ----------
    data
        As from `load`.
    index
        The ends of all steps.
    first, stop
        Positions of the first step, and of the one after the last.
    """
    return (
        (index[first] - data.window.step).to_pydatetime(),
        index[stop - 1].to_pydatetime(),
    )


def where(nodes: Sequence[str], of: int, *, foremost: str = "most") -> str:
    """Name the nodes if they are few; else give their number and name the foremost.

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


def braces(labels: Mapping[str, str]) -> str:
    """Write labels as the matchers of a selector; nothing for none."""
    inner = ",".join(str(Matcher(name, "=", text)) for name, text in sorted(labels.items()))
    return f"{{{inner}}}" if inner else ""


def not_scraped(data: Health, nodes: Iterable[str], first: int, stop: int) -> list[str]:
    """Give a caveat for each node whose agent was not scraped in some of the steps.

    Parameters
    ----------
    data
        As from `load`.
    nodes
        Those that a finding is about.
    first, stop
        As for `interval`.
    """
    return caveats.not_scraped(
        data.now.scraped, nodes, *interval(data, data.now.scraped.index, first, stop)
    )


def from_server(data: Health) -> tuple[str, ...]:
    """Give the server's warnings as caveats."""
    return tuple(f"server: {text}" for text in data.warnings)
