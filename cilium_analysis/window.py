"""Windows: parsed from what people write, aligned to the step, kept in UTC."""

from __future__ import annotations

import math
import re
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cilium_analysis.errors import WindowError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

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
_SENSIBLE_STEPS = (30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
_SENSIBLE_POINTS = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Steps of short windows [s], and the most points of these: as of two hours in steps of 30 s.
_FINE_STEPS = (5, 10, 15, 20)
_FINE_POINTS = 240


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
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
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
    first, second = moment.replace(tzinfo=tz, fold=0), moment.replace(tzinfo=tz, fold=1)
    if first.utcoffset() != second.utcoffset():
        exists = first.astimezone(UTC).astimezone(tz).replace(tzinfo=None) == moment
        problem = "happens twice" if exists else "does not exist"
        raise WindowError(
            f"{moment.isoformat(' ')} {problem} in {tz.key}, the clocks change then:"
            " add the offset, as in 2026-03-21T08:00+01:00"
        )
    return first


def _floor(moment: datetime, step: timedelta) -> datetime:
    with _in_the_calendar():
        return _EPOCH + (moment - _EPOCH) // step * step


def _ceil(moment: datetime, step: timedelta) -> datetime:
    with _in_the_calendar():
        return _EPOCH - (_EPOCH - moment) // step * step


@contextmanager
def _in_the_calendar() -> Iterator[None]:
    """Refuse times before the year 1 or after 9999, which Python does not have."""
    try:
        yield
    except OverflowError:
        hint = "take a shorter window or step, nearer to now"
        raise WindowError(f"the window reaches beyond the years 1 to 9999: {hint}") from None


def sensible_step(length: timedelta) -> timedelta:
    """Choose a step that shows a window in at most 500 points, from 30 s upwards.

    Parameters
    ----------
    length
        Of the window.
    """
    wanted = length.total_seconds() / _SENSIBLE_POINTS
    for seconds in _SENSIBLE_STEPS:
        if seconds >= wanted:
            return timedelta(seconds=seconds)
    return timedelta(days=math.ceil(wanted / 86400))


@dataclass(frozen=True)
class Window:
    """A time range in steps, from start to end; both are points of it.

    Parameters
    ----------
    start, end
        Aware times, kept in UTC. `Window.parse` aligns them to the step, so that every
        server gives points at the same times whatever its own rounding.
    step
        Distance between two points, in whole milliseconds.
    timezone
        IANA name of the reader's zone. Windows that differ only in it are equal.

    Raises
    ------
    WindowError
        If a time has no zone, the end is not after the start, or the step is not positive.
    """

    start: datetime
    end: datetime
    step: timedelta
    timezone: str = field(default="UTC", compare=False, kw_only=True)

    def __post_init__(self) -> None:
        zone(self.timezone)
        for name in ("start", "end"):
            moment = getattr(self, name)
            if moment.tzinfo is None:
                raise WindowError(f"the {name} of a window needs a time zone; use Window.parse")
            with _in_the_calendar():
                object.__setattr__(self, name, moment.astimezone(UTC))
        if self.step < timedelta(milliseconds=1) or self.step % timedelta(milliseconds=1):
            raise WindowError(f"a step of {self.step} cannot be: use 1ms or more, such as 30s")
        if self.end <= self.start:
            raise WindowError(
                f"the window ends ({self.end:%Y-%m-%d %H:%M:%S}Z) before it has begun"
                f" ({self.start:%Y-%m-%d %H:%M:%S}Z): exchange start and end"
            )

    @classmethod
    def parse(
        cls,
        start: str,
        end: str = "now",
        *,
        step: str | None = None,
        timezone: str = "UTC",
        now: datetime | None = None,
    ) -> Window:
        """Read a window as people write it, and align it to its step.

        Parameters
        ----------
        start, end
            As for `parse_time`. An end in the future is cut to now.
        step
            As for `parse_duration`; chosen by `sensible_step` when not given or empty.
        timezone
            IANA name of the zone of times without an offset, and of the reader.
        now
            What ``now`` means; the clock if not given.

        Raises
        ------
        WindowError
            If anything cannot be read, the times are reversed, the window lies in the future
            or is shorter than the step.
        """
        present = now or datetime.now(UTC)
        first = parse_time(start, timezone=timezone, now=present)
        last = parse_time(end, timezone=timezone, now=present)
        if first >= present:
            raise WindowError(f"the window starts in the future ({start}): nothing is known yet")
        if last <= first:
            raise WindowError(f"the window ends ({end}) before it has begun ({start})")
        last = min(last, present)
        length = parse_duration(step) if step else sensible_step(last - first)
        if not length:
            raise WindowError("a step of zero cannot be: use 1ms or more, such as 30s")
        if length > last - first:
            raise WindowError(f"the step ({step or length}) is longer than the window")
        whole = cls(first, last, length, timezone=timezone)
        return whole._aligned(present)

    @classmethod
    def from_json(cls, row: Mapping[str, Any], *, timezone: str = "UTC") -> Window:
        """Read a window as `cilium_analysis.source.window_as_json` stores it."""
        start, end = (datetime.fromisoformat(row[name]) for name in ("start", "end"))
        return cls(start, end, timedelta(seconds=row["step_seconds"]), timezone=timezone)

    def _aligned(self, present: datetime) -> Window:
        """Widen to multiples of the step, though never beyond the present."""
        end = _ceil(self.end, self.step)
        end = end if end <= present else _floor(self.end, self.step)
        with _in_the_calendar():
            start = min(_floor(self.start, self.step), end - self.step)
        return replace(self, start=start, end=end)

    @property
    def length(self) -> timedelta:
        """Time from start to end."""
        return self.end - self.start

    def told(self, moment: datetime) -> str:
        """Write a time with the zone in a sentence; with its day unless it is the window's only.

        Parameters
        ----------
        moment
            Aware.
        """
        days = {t.astimezone(zone(self.timezone)).date() for t in (self.start, self.end, moment)}
        return f"{clock(moment, self.timezone, day=len(days) > 1)} {self.timezone}"

    @property
    def middle(self) -> datetime:
        """Point nearest to the middle, not after it."""
        return self.start + self.length // 2 // self.step * self.step

    @property
    def points(self) -> int:
        """Number of points: start, start + step, … up to the end."""
        return self.length // self.step + 1

    def split(self, max_points: int = 11_000) -> Iterator[Window]:
        """Cut into windows of at most so many points; every point is in exactly one.

        Parameters
        ----------
        max_points
            At least 3. Prometheus refuses more than 11,000 steps (web/api/v1/api.go).
        """
        if max_points < 3:
            raise WindowError("a window cannot be split into pieces of fewer than 3 points")
        pieces = -(-self.points // max_points)
        size, larger = divmod(self.points, pieces)
        for piece in range(pieces):
            before = piece * size + min(piece, larger)
            first = self.start + before * self.step
            last = first + (size - 1 + (piece < larger)) * self.step
            yield replace(self, start=first, end=last)

    def extended(
        self, *, before: timedelta = timedelta(), after: timedelta = timedelta()
    ) -> Window:
        """Give the window that begins earlier, or ends later, by so much."""
        with _in_the_calendar():
            return replace(self, start=self.start - before, end=self.end + after)

    def baseline(self, text: str = "previous") -> Window:
        """Give the window to compare with.

        Parameters
        ----------
        text
            ``previous`` (the same length, just before), a duration back such as ``1d`` or
            ``1w`` (whole days go by the wall clock of the reader's zone), or two times as
            ``T/T``.

        Returns
        -------
        Window
            With the same step and zone; never one that overlaps this window.

        Raises
        ------
        WindowError
            If the text cannot be read, or the baseline would overlap the window.
        """
        base = self._explicit(text) if "/" in text else self._shifted(text.strip())
        if base.end > self.start and base.start < self.end:
            raise WindowError(f"the baseline {text!r} overlaps the window: use previous or T/T")
        return base

    def _explicit(self, text: str) -> Window:
        """Read a baseline from two times.

        This window and the baseline were both widened to the step: if they overlap only because
        of that, the baseline ends at the start of the window.
        """
        first, _, last = text.partition("/")
        base = Window.parse(
            first, last, step=format_duration(self.step), timezone=self.timezone, now=self.end
        )
        end = parse_time(last, timezone=self.timezone, now=self.end)
        if base.start < self.start <= end < self.start + self.step:
            return replace(base, end=self.start)
        return base

    def _shifted(self, text: str) -> Window:
        back = self.length if text == "previous" else parse_duration(text)
        if not back:
            raise WindowError("a baseline of zero is the window itself: use previous or 1d")
        with _in_the_calendar():
            if back % timedelta(days=1) or text == "previous":
                start = self.start - back
            else:
                tz = zone(self.timezone)
                start = (self.start.astimezone(tz) - back).astimezone(UTC)
            start = _floor(start, self.step)
            return replace(self, start=start, end=start + self.length)


def fitting_step(window: Window, slowest: timedelta, intervals: Collection[float]) -> timedelta:
    """Return a step that holds as many scrapes of a target each time, else the window's own.

    Parameters
    ----------
    window
        With a step chosen by its length.
    slowest
        Scrape interval of most targets.
    intervals
        All scrape intervals [s].
    """
    if window.step < slowest <= window.length:
        return slowest
    for seconds in _FINE_STEPS if intervals else ():
        step = timedelta(seconds=seconds)
        even = not any(seconds % each for each in intervals)
        if even and step < window.step and window.length <= _FINE_POINTS * step:
            return step
    return window.step
