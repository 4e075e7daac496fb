"""When agents started, and how: in place, replaced, or with their node. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.topics import loading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cilium_analysis.window import Window

How = Literal["in place", "replaced", "reboot", "unknown"]

#: The start time is computed from the clock, which may be set: so much is no other start [s].
SAME_START = 3.0
#: A counter of a pinned map that comes back within this time was only copied late (up to 1.14).
RETURN_WITHIN = timedelta(minutes=5)
#: After a reboot a node has forwarded less than this share of what it had before.
FORGOTTEN = 0.5


@dataclass(frozen=True)
class Start:
    """One start of an agent.

    Parameters
    ----------
    node
        Where.
    time
        When the process started.
    last_seen
        When the process before it was seen last; None if none was.
    how
        ``in place`` (the same pod), ``replaced`` (another pod), ``reboot`` (the node's BPF maps
        are gone), or ``unknown``.
    versions
        Of Cilium before and after; empty where not known.
    """

    node: str
    time: pd.Timestamp
    last_seen: pd.Timestamp | None
    how: How
    versions: tuple[str, str] = ("", "")


@dataclass
class _Process:
    start: float
    pod: str
    first: pd.Timestamp
    last: pd.Timestamp


def starts(raw: Mapping[str, pd.DataFrame], window: Window) -> tuple[Start, ...]:
    """List the starts of agents in a window.

    Parameters
    ----------
    raw
        The answers ``starts``, ``first_starts``, ``forwarded`` and ``versions``.
    window
        What is looked at; the answers begin somewhat before.
    """
    rows = pd.concat([frames.tidy(raw["starts"]), frames.tidy(raw["first_starts"])])
    found = []
    for node, mine in rows.groupby("node", sort=True):
        before: _Process | None = None
        for process in _processes(mine, window.step):
            moment = pd.Timestamp(process.start, unit="s", tz="UTC").round("ms")
            if window.start < moment <= window.end:
                found.append(_start(str(node), moment, before, process, raw))
            before = process
    return tuple(sorted(found, key=lambda start: (start.time, start.node)))


def _processes(rows: pd.DataFrame, step: timedelta) -> list[_Process]:
    """Tell processes apart by their start; a clock that was set makes no other process."""
    found: list[_Process] = []
    ordered = rows.sort_values(["value", "time"], kind="stable")
    for value, mine in ordered.groupby("value", sort=True):
        start, first, last = float(str(value)), mine["time"].min(), mine["time"].max()
        pod = str(mine["pod"].iloc[-1])
        if found and _same(found[-1], start, step):
            found[-1].first, found[-1].last = min(found[-1].first, first), max(found[-1].last, last)
            found[-1].pod = pod
        else:
            found.append(_Process(start, pod, first, last))
    return found


def _same(before: _Process, start: float, step: timedelta) -> bool:
    """Tell whether a later start is that of the process before: it was still seen after it."""
    still = (before.last - step).timestamp() > start + SAME_START
    return start - before.start <= SAME_START or still


def _start(
    node: str,
    moment: pd.Timestamp,
    before: _Process | None,
    process: _Process,
    raw: Mapping[str, pd.DataFrame],
) -> Start:
    if before is None:
        return Start(node, moment, None, "unknown")
    versions = _versions(raw["versions"], node, before, process)
    last = min(before.last, moment)
    return Start(node, moment, last, _how(raw["forwarded"], node, before, process), versions)


def _how(forwarded: pd.DataFrame, node: str, before: _Process, process: _Process) -> How:
    if _rebooted(_of(forwarded, node), before.last, process.first):
        return "reboot"
    if not before.pod or not process.pod:
        return "unknown"
    return "in place" if before.pod == process.pod else "replaced"


def _of(frame: pd.DataFrame, node: str) -> pd.DataFrame:
    return frame.loc[:, frame.columns.get_level_values("node") == node]


def _rebooted(forwarded: pd.DataFrame, last: pd.Timestamp, first: pd.Timestamp) -> bool:
    """Tell whether the pinned counters of forwarded packets began anew.

    They outlive an agent. The step in which the new one was first seen may still show the old
    value, so that only later ones count.
    """
    old = forwarded.loc[forwarded.index <= last].max()
    after = forwarded.loc[forwarded.index > first]
    new = after.loc[after.index <= first + max(RETURN_WITHIN, 2 * _step(forwarded))].max()
    known = old.notna() & new.notna() & (old > 0)
    return bool(known.any() and (new[known] < FORGOTTEN * old[known]).all())


def _step(frame: pd.DataFrame) -> timedelta:
    if len(frame) < 2:
        return timedelta()
    return (frame.index[1] - frame.index[0]).to_pytimedelta()  # type: ignore[no-any-return]


def _versions(
    versions: pd.DataFrame, node: str, before: _Process, process: _Process
) -> tuple[str, str]:
    mine = _of(versions, node)
    old = _last_version(mine.loc[mine.index <= before.last].iloc[::-1])
    return old, _last_version(mine.loc[mine.index > process.first])


def _last_version(rows: pd.DataFrame) -> str:
    """Give the version that the first row with any shows."""
    shown = rows.notna().to_numpy()
    if not shown.any():
        return ""
    row = int(shown.any(axis=1).argmax())
    return str(rows.columns.get_level_values("version")[int(shown[row].argmax())])


# Gaps


@dataclass(frozen=True)
class Gap:
    """Time in which an agent should have been scraped and was not, though it was before.

    Parameters
    ----------
    node
        Where.
    start, end
        When it was scraped last, and when again; the window's end if not again.
    length
        Without the usual time between two scrapes.
    answered
        False if the scrapes failed, None if none were tried.
    over
        Whether it was scraped again.
    """

    node: str
    start: pd.Timestamp
    end: pd.Timestamp
    length: timedelta
    answered: bool | None
    over: bool


def gaps(
    agents: pd.DataFrame,
    up: pd.DataFrame,
    *,
    least: timedelta,
    intervals: pd.Series | None = None,
) -> list[Gap]:
    """List the gaps in the scrapes of each agent.

    Parameters
    ----------
    agents
        One column per node, with a value where its agent was scraped, or no scrape was due.
    up
        1 where it answered, 0 where it did not, NaN where no scrape was tried.
    least
        Shortest gap to list.
    intervals
        Scrape interval of each node's agent [s]; a single scrape that is missing is no gap yet.
    """
    found = []
    for node, column in agents.items():
        rows = np.flatnonzero(column.notna())
        if not len(rows):
            continue
        apart = loading.spacing(column.notna())
        own = float(intervals.get(node, 0.0)) if intervals is not None else 0.0
        tried = up[node] if node in up else pd.Series(np.nan, index=column.index)
        pairs = [(int(a), int(b), True) for a, b in pairwise(rows)]
        pairs.append((int(rows[-1]), len(column) - 1 + apart, False))
        for first, last, over in pairs:
            length = (last - first - apart) * _step(agents)
            if length < max(least, timedelta(seconds=1.5 * own)):
                continue
            end = agents.index[min(last, len(column) - 1)]
            # A node that left fails a few scrapes too, until it is forgotten.
            since = first + 1 if over else max(first + 1, len(column) - 2 * apart)
            failed = bool((tried.iloc[since:last] == 0).any())
            if over or failed:
                answered = False if failed else None
                found.append(Gap(str(node), agents.index[first], end, length, answered, over))
    return found


T = TypeVar("T")


def together(
    things: Sequence[T], *, when: Callable[[T], pd.Timestamp], within: timedelta
) -> list[list[T]]:
    """Put things together that follow each other closely.

    Parameters
    ----------
    things
        In any order.
    when
        The moment of each.
    within
        Longest time between two neighbours.
    """
    found: list[list[T]] = []
    latest: pd.Timestamp | None = None
    for thing in sorted(things, key=when):
        if latest is not None and when(thing) - latest <= within:
            found[-1].append(thing)
        else:
            found.append([thing])
        latest = when(thing)
    return found
