"""Times and durations, as people write and read them."""

from __future__ import annotations

import re
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cilium_analysis.errors import WindowError

if TYPE_CHECKING:
    from collections.abc import Iterator

# https://prometheus.io/docs/prometheus/latest/querying/basics/#float-literals-and-time-durations
_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
    "y": timedelta(days=365),
}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdwy])")


def parse_duration(text: str) -> timedelta:
    """Read a duration as Prometheus writes it.

    Parameters
    ----------
    text
        ``30s``, ``1h30m``, ``500ms``, ``1d``, or a plain number of seconds.

    Returns
    -------
    datetime.timedelta
        Not negative.

    Raises
    ------
    WindowError
        If the text is no such duration.

    Examples
    --------
    >>> print(parse_duration("1h30m"))
    1:30:00
    """
    stripped = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", stripped):
        stripped += "s"
    parts = _DURATION_PART.findall(stripped)
    if not parts or "".join(number + unit for number, unit in parts) != stripped:
        raise WindowError(f"{text!r} is not a duration: write it as 30s, 5m, 1h30m or 1d")
    try:
        return sum((float(number) * _UNITS[unit] for number, unit in parts), timedelta())
    except OverflowError:
        raise WindowError(f"{text!r} is too long a duration") from None


def format_duration(duration: timedelta) -> str:
    """Write a duration as Prometheus reads it: ``1h30m``, ``30s``, ``500ms``.

    Parameters
    ----------
    duration
        Rounded to whole milliseconds.
    """
    rest = round(duration / timedelta(milliseconds=1))
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, rest = divmod(rest, round(_UNITS[unit] / timedelta(milliseconds=1)))
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "0s"


def zone(name: str) -> ZoneInfo:
    """Look up a time zone by its IANA name.

    Raises
    ------
    WindowError
        If there is no zone of that name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        hint = "use a name such as UTC, Europe/Berlin or Asia/Tokyo"
        raise WindowError(f"unknown time zone {name!r}: {hint}") from None


def clock(moment: datetime, timezone: str, *, day: bool = False, seconds: bool = False) -> str:
    """Write a time as the reader's clock shows it; the offset too where the clock changes that day.

    Parameters
    ----------
    moment
        Aware.
    timezone
        IANA name.
    day
        Whether to write the date.
    seconds
        Whether to write seconds that are 0 too, as in a column of times.
    """
    local = moment.astimezone(zone(timezone))
    form = "%H:%M:%S" if local.second or seconds else "%H:%M"
    midnight = datetime.combine(local.date(), time(), local.tzinfo)
    changes = midnight.utcoffset() != (midnight + timedelta(days=1)).utcoffset()
    offset = local.isoformat()[-6:] if changes else ""
    return f"{local:%Y-%m-%d} {local:{form}}{offset}" if day else f"{local:{form}}{offset}"


def interval(start: datetime, end: datetime, timezone: str, *, seconds: bool = False) -> str:
    """Write an interval with its zone; the day of its end only if it is another.

    Parameters
    ----------
    start, end
        Aware.
    timezone
        IANA name.
    seconds
        As for `clock`.
    """
    tz = zone(timezone)
    days = start.astimezone(tz).date() != end.astimezone(tz).date()
    first = clock(start, timezone, day=True, seconds=seconds)
    return f"{first} to {clock(end, timezone, day=days, seconds=seconds)} {timezone}"


def parse_time(text: str, *, timezone: str = "UTC", now: datetime | None = None) -> datetime:
    """Read a point in time as people write it.

    Parameters
    ----------
    text
        ISO 8601 with or without an offset, ``now``, or a time before now such as ``-2h``
        (or ``now-2h``).
    timezone
        IANA name of the zone of a time without an offset.
    now
        What ``now`` means; the clock if not given.

    Returns
    -------
    datetime.datetime
        Aware, in UTC.

    Raises
    ------
    WindowError
        If the text cannot be read, or if the local time does not exist or exists twice.

    Examples
    --------
    >>> print(parse_time("2026-03-21 08:10", timezone="Europe/Berlin"))
    2026-03-21 07:10:00+00:00
    """
    stripped = text.strip()
    present = now or datetime.now(UTC)
    relative = stripped.removeprefix("now")
    try:
        if not relative and stripped:
            return present
        if relative.startswith("-"):
            return present - parse_duration(relative[1:])
        moment = datetime.fromisoformat(stripped)
        return (moment if moment.tzinfo else _localize(moment, zone(timezone))).astimezone(UTC)
    except OverflowError:
        raise WindowError(f"{text!r} is out of the range of times") from None
    except WindowError:
        raise
    except ValueError:
        hint = "write it as 2026-03-21T08:00, 2026-03-21 08:00+09:00, now or -2h"
        raise WindowError(f"{text!r} is not a time: {hint}") from None


def _localize(moment: datetime, tz: ZoneInfo) -> datetime:
    """Put a wall-clock time into its zone; refuse one that a clock change makes ambiguous."""
    first, second = moment.replace(tzinfo=tz), moment.replace(tzinfo=tz, fold=1)
    if first.utcoffset() != second.utcoffset():
        exists = first.astimezone(UTC).astimezone(tz).replace(tzinfo=None) == moment
        problem = "happens twice" if exists else "does not exist"
        raise WindowError(
            f"{moment.isoformat(' ')} {problem} in {tz.key}, the clocks change then:"
            " add the offset, as in 2026-03-21T08:00+01:00"
        )
    return first


@contextmanager
def in_the_calendar() -> Iterator[None]:
    """Refuse times before the year 1 or after 9999, which Python does not have."""
    try:
        yield
    except OverflowError:
        hint = "take a shorter window or step, nearer to now"
        raise WindowError(f"the window reaches beyond the years 1 to 9999: {hint}") from None
