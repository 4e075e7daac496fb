"""Windows: parsed from what people write, aligned to the step, kept in UTC."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cilium_analysis.errors import WindowError
from cilium_analysis.times import (
    clock,
    format_duration,
    in_the_calendar,
    parse_duration,
    parse_time,
    zone,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

_SENSIBLE_STEPS = (30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
_SENSIBLE_POINTS = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Steps of short windows [s], and the most points of these: as of two hours in steps of 30 s.
_FINE_STEPS = (5, 10, 15, 20)
_FINE_POINTS = 240


def _floor(moment: datetime, step: timedelta) -> datetime:
    with in_the_calendar():
        return _EPOCH + (moment - _EPOCH) // step * step


def _ceil(moment: datetime, step: timedelta) -> datetime:
    with in_the_calendar():
        return _EPOCH - (_EPOCH - moment) // step * step


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
            with in_the_calendar():
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

        Examples
        --------
        >>> window = Window.parse("2026-03-21 08:10", "2026-03-21 09:00", timezone="Europe/Berlin")
        >>> print(window.start, window.step, window.points)
        2026-03-21 07:10:00+00:00 0:00:30 101
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
        return replace(self, start=_floor(self.start, self.step), end=end)

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
        with in_the_calendar():
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
            With the same step and zone; it ends where this window starts, or before.

        Raises
        ------
        WindowError
            If the text cannot be read, or the baseline would overlap the window or follow it.

        Examples
        --------
        >>> window = Window.parse("2026-03-21 08:00", "2026-03-21 10:00", step="30s")
        >>> print(window.baseline().start)
        2026-03-21 06:00:00+00:00
        >>> print(window.baseline("1w").start)
        2026-03-14 08:00:00+00:00
        """
        base = self._explicit(text) if "/" in text else self._shifted(text.strip())
        if base.end > self.start:
            raise WindowError(f"the baseline {text!r} overlaps the window: use previous or T/T")
        return base

    def _explicit(self, text: str) -> Window:
        """Read a baseline from two times.

        This window and the baseline were both widened to the step: if they overlap only because
        of that, the baseline ends at the start of the window.
        """
        first, _, last = text.partition("/")
        start, end = (
            parse_time(each, timezone=self.timezone, now=self.end) for each in (first, last)
        )
        if start >= self.end:
            raise WindowError(
                f"the baseline {text!r} is later than the window: use times before it"
            )
        base = Window.parse(
            first, last, step=format_duration(self.step), timezone=self.timezone, now=self.end
        )
        if base.start < self.start <= end < self.start + self.step:
            return replace(base, end=self.start)
        return base

    def _shifted(self, text: str) -> Window:
        back = self.length if text == "previous" else parse_duration(text)
        with in_the_calendar():
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
        if even and window.length <= _FINE_POINTS * step:
            return step
    return window.step
