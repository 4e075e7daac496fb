"""The window around an incident: from before what is unusual began, to after it ended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cilium_analysis import targets
from cilium_analysis.around.signals import Unusual, grouped, step_for, unusual
from cilium_analysis.times import clock, format_duration, interval, zone
from cilium_analysis.window import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cilium_analysis.source import Source

#: How far before and after the time the window may reach,
REACH = timedelta(hours=6)
#: and how much earlier what is usual is looked for.
EARLIER = timedelta(hours=6)
#: What is unusual is of this incident if it is no farther from the time, or from the rest of it.
NEAR = timedelta(hours=1)
#: Left quiet on both sides, as far as there is time.
ROOM = timedelta(minutes=30)
#: Starts and ends are written as people write them.
ROUND = timedelta(minutes=5)
#: Of what lasted for days, the steps are longer.
MOST_STEPS = 2_000
_MOST_NAMED = 3


@dataclass(frozen=True)
class Around:
    """A window that was found, and why.

    Parameters
    ----------
    start, end
        Of the window.
    said
        In one line, for people.
    """

    start: datetime
    end: datetime
    said: str


@dataclass(frozen=True)
class Event:
    """What the window is to be around.

    Parameters
    ----------
    called
        In words.
    start, end
        The same for a time.
    known
        Whether it is known to have happened then, as an alert is: it is part of the window.
    """

    called: str
    start: datetime
    end: datetime
    known: bool = False


def around(
    source: Source, event: Event, *, match: str, timezone: str, now: datetime | None = None
) -> Around:
    """Find the window around a time, or around an alert.

    Parameters
    ----------
    source
        A server.
    event
        The time.
    match
        Label matchers of the user.
    timezone
        IANA name of the reader's zone.
    now
        The clock if not given.

    Raises
    ------
    PrometheusError
        If the source does not answer.
    """
    present = now or datetime.now(UTC)
    end = min(event.end + REACH, present)
    earliest = event.start - REACH
    whole = Window(earliest - EARLIER, end, timedelta(minutes=1), timezone=timezone)
    known = targets.of(source, whole, match=match)
    slowest = max(known.slowest, whole.length / MOST_STEPS)
    step = step_for(len(set(known.table["node"])), slowest)
    window = Window.parse(
        whole.start.isoformat(), end.isoformat(), step=f"{step.seconds}s", timezone=timezone
    )
    found, lacking = unusual(source, window, match=match)
    near = chosen(found, event)
    not_looked = f" (the server refused to tell of {', '.join(lacking)})" if lacking else ""
    if not near and not event.known:
        first, _ = _widened(min(event.start, end - ROOM) - ROOM, end, earliest, end)
        last = first + 2 * ROOM
        what = "nothing unusual was" if len(known.table) else "no metrics of Cilium were"
        shown = replace(window, start=earliest)
        apart = chosen([e for e in found if e.end > earliest], event, most=2 * REACH)
        if apart:
            far = format_duration(NEAR)
            said = f"an hour, as nothing unusual was within {far} of it; the nearest:"
            said += f" {told(apart, window=shown, tz=timezone)}{not_looked}"
        else:
            looked = interval(earliest, end, timezone)
            said = f"an hour, as {what} found from {looked}{not_looked}"
    else:
        began = min([each.start for each in near] + [event.start] * event.known)
        ended = max([each.end for each in near] + [event.end] * event.known)
        begin, stop = min(began - ROOM, event.start), max(ended + ROOM, event.end)
        first, last = _widened(begin, stop, earliest, end)
        shown = replace(window, start=earliest)
        said = f"as {told(near, window=shown, tz=timezone)}" if near else ""
        said += not_looked
    where = interval(first, last, timezone)
    return Around(first, last, f"Around {event.called}: {where}{', ' if said else ''}{said}")


def chosen(found: Sequence[Unusual], event: Event, *, most: timedelta = NEAR) -> list[Unusual]:
    """Choose what is of the event: all that goes on with what was then, or was nearest to it.

    Parameters
    ----------
    found
        In any order.
    event
        The time.
    most
        What is farther from it is not of it.
    """
    groups = grouped(found, bridge=ROOM)

    def distance(group: Sequence[Unusual]) -> timedelta:
        begins, ends = min(each.start for each in group), max(each.end for each in group)
        return max(begins - event.end, event.start - ends, timedelta())

    nearest = min(map(distance, groups), default=most)
    if nearest > most:
        return []
    # What happened while an alert fired is of it, though it may be apart.
    return [each for group in groups if distance(group) == nearest for each in group]


def _widened(
    first: datetime, last: datetime, earliest: datetime, latest: datetime
) -> tuple[datetime, datetime]:
    """Round outward, though not beyond what may be looked at."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    start = epoch + (max(first, earliest) - epoch) // ROUND * ROUND
    end = epoch - (epoch - last) // ROUND * ROUND
    return start, min(end, latest)


def told(near: Sequence[Unusual], *, window: Window, tz: str) -> str:
    """Say what was unusual, and from when to when.

    Parameters
    ----------
    near
        At least one.
    window
        That was looked at.
    tz
        IANA name of the reader's zone.
    """
    longest = sorted(near, key=lambda each: each.start - each.end)
    names = list(dict.fromkeys(each.what for each in longest))
    more = len(names) - _MOST_NAMED
    named = [*names[:_MOST_NAMED], f"{more} more"] if more > 0 else names
    listed = " and ".join(filter(None, (", ".join(named[:-1]), named[-1])))
    return f"{listed} were unusual {lasted(near, window=window, tz=tz)}"


def lasted(near: Sequence[Unusual], *, window: Window, tz: str) -> str:
    """Say from when to when something was unusual; parameters as for `told`."""
    began, ended = min(each.start for each in near), max(each.end for each in near)
    days = len({each.astimezone(zone(tz)).date() for each in (began, ended)}) > 1
    since = clock(began, tz, day=days)
    if began <= window.start:
        since = f"{clock(window.start, tz, day=days)} or before"
    until = f"to {clock(ended, tz, day=days)}"
    if ended >= window.end - 2 * window.step:
        until = "to the end, where it goes on"
    return f"from {since} {until}"
