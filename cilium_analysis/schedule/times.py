"""Times of a schedule: reads intervals and cron expressions, and writes them for systemd.

Reads only what cron and Kubernetes understand alike. The libraries for cron expressions also take
``7``, ``L``, ``1#2`` and ``5/15``, and do not say which values a field may have.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from cilium_analysis.errors import ParameterError
from cilium_analysis.times import format_duration, parse_duration

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_LONGEST = dict(zip(range(1, 13), (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), strict=True))
_ITEM = re.compile(r"(?P<first>\*|\w+)(-(?P<last>\w+))?(/(?P<step>\d+))?", re.ASCII)
_INTERVALS = "1m, 5m, 15m, 1h, 6h, 12h, 1d or 1w"


@dataclass(frozen=True)
class _Field:
    """One of the five fields of a cron expression."""

    what: str
    first: int
    last: int
    names: tuple[str, ...] = ()

    def read(self, text: str) -> frozenset[int]:
        """Give the values that the text of a field names."""
        return frozenset(value for item in text.split(",") for value in self._item(item))

    def _item(self, item: str) -> range:
        match = _ITEM.fullmatch(item)
        if not match or (match["first"] == "*" and match["last"]):
            raise ParameterError(f"{item!r} is not {self.what}")
        every = match["first"] == "*"
        first = self.first if every else self._value(match["first"])
        last = self.last if every else self._value(match["last"] or match["first"])
        step = int(match["step"] or 1)
        if match["step"] and not (every or match["last"]):
            raise ParameterError(f"{item!r} has a step but no range: write {first}-{self.last}/…")
        if last < first or step < 1:
            raise ParameterError(f"{item!r} is an empty range")
        return range(first, last + 1, step)

    def _value(self, text: str) -> int:
        if text.lower() in self.names:
            return self.names.index(text.lower()) + self.first
        if not text.isdecimal() or not self.first <= int(text) <= self.last:
            raise ParameterError(f"{text!r} is not {self.what} ({self.first} to {self.last})")
        return int(text)


_MINUTE, _HOUR = _Field("a minute", 0, 59), _Field("an hour", 0, 23)
_DATE, _MONTH = _Field("a day of the month", 1, 31), _Field("a month", 1, 12, tuple(_MONTHS))
#: Not 7, which cron takes for Sunday too, and Kubernetes does not.
_WEEKDAY = _Field("a day of the week, Sunday being 0", 0, 6, tuple(_DAYS))
_FIELDS = (_MINUTE, _HOUR, _DATE, _MONTH, _WEEKDAY)


@dataclass(frozen=True)
class Timing:
    """The times at which a report is made.

    Parameters
    ----------
    cron
        Five fields, as cron and Kubernetes read them.
    interval
        Time between two reports; None if the expression was given.

    Raises
    ------
    ParameterError
        If the expression cannot be read, is never true, or means different days to cron and to
        Kubernetes.
    """

    cron: str
    interval: timedelta | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "cron", " ".join(self.cron.split()))
        try:
            _, _, dates, months, _ = _values(self.cron)
        except ParameterError as problem:
            hint = "write minute, hour, day, month, day of the week, as in '5 * * * *'"
            raise ParameterError(f"cron expression {self.cron!r}: {problem}; {hint}") from None
        _, _, date, _, weekday = self.cron.split()
        stepped = [part for part in (date, weekday) if part.startswith("*") and part != "*"]
        if stepped and "*" not in (date, weekday):
            raise ParameterError(
                f"cron expression {self.cron!r}: {stepped[0]!r} with another day field means other"
                " days to cron than to Kubernetes: list the days"
            )
        if self.cron.endswith("*") and all(min(dates) > _LONGEST[month] for month in months):
            raise ParameterError(f"cron expression {self.cron!r}: there is no such day")

    @classmethod
    def every(cls, text: str) -> Timing:
        """Give the timing of an interval; some minutes past it, to include the last scrape.

        Parameters
        ----------
        text
            As for `parse_duration`; it has to fit evenly into an hour, a day or a week.
        """
        interval = parse_duration(text)
        minutes, rest = divmod(interval, timedelta(minutes=1))
        expression = "" if rest else _expression(minutes)
        if not expression:
            raise ParameterError(
                f"every {text} does not fit evenly into an hour, a day or a week: use"
                f" {_INTERVALS}, or give --cron"
            )
        return cls(expression, interval)

    @property
    def often(self) -> str:
        """The timing, in words."""
        return f"every {format_duration(self.interval)}" if self.interval else f"at {self.cron}"

    def gap(self, window: str) -> str:
        """Give the time between two windows that is in no report; empty if there is none.

        Parameters
        ----------
        window
            Length of the window of each report.
        """
        left_out = self.interval - parse_duration(window) if self.interval else None
        return format_duration(left_out) if left_out and left_out.days >= 0 else ""

    def calendars(self, timezone: str) -> tuple[str, ...]:
        """Give the same times as systemd.time(7) writes them.

        Two where days of the month and of the week are named: cron takes either, and one
        calendar expression of systemd only days that are both.

        Parameters
        ----------
        timezone
            IANA name of the time zone of the expression.
        """
        texts, values = self.cron.split(), _values(self.cron)
        minute, hour, date, month = (
            _listed(value, field) for value, field in zip(values[:4], _FIELDS[:4], strict=True)
        )
        names = [_DAYS[value].title() for value in sorted(values[4])]
        weekdays = "" if texts[4] == "*" else ",".join(names)
        time = f"{hour}:{minute}:00 {timezone}"
        if weekdays and texts[2] != "*":
            return f"*-{month}-{date} {time}", f"{weekdays} *-{month}-* {time}"
        return (f"{weekdays} *-{month}-{date} {time}".strip(),)


def _values(cron: str) -> list[frozenset[int]]:
    """Give the values of each field of an expression."""
    parts = cron.split()
    if len(parts) != len(_FIELDS):
        raise ParameterError("it needs five fields")
    return [field.read(part) for field, part in zip(_FIELDS, parts, strict=True)]


def _expression(minutes: int) -> str:
    hours, odd = divmod(minutes, 60)
    if minutes in (60 * 24, 60 * 24 * 7):
        return "5 0 * * *" if hours == 24 else "5 0 * * 1"
    if 0 < minutes < 60 and 60 % minutes == 0:
        return "* * * * *" if minutes == 1 else f"*/{minutes} * * * *"
    if 0 < hours < 24 and not odd and 24 % hours == 0:
        return "5 * * * *" if hours == 1 else f"5 */{hours} * * *"
    return ""


def _listed(values: frozenset[int], field: _Field) -> str:
    if len(values) > field.last - field.first:
        return "*"
    return ",".join(f"{value:02}" for value in sorted(values))
