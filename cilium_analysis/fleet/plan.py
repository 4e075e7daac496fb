"""Plans a fleet: gives the list of reports to make. Pure, except for the names of the runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cilium_analysis.errors import ParameterError, UsageError
from cilium_analysis.source import iso
from cilium_analysis.storage.runs import run_name
from cilium_analysis.times import format_duration, parse_duration, parse_time, zone
from cilium_analysis.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cilium_analysis.fleet.file import Cluster, Fleet, Span

#: More reports than this are a mistake in the file.
MOST = 10_000
_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class How:
    """How the reports of a fleet are made.

    Parameters
    ----------
    notebooks
        Directory of notebooks to run instead of those of the package; empty for those.
    paper
        Whether each has a PDF.
    timeout
        Time limit of each query with all its retries [s].
    deadline
        Time limit of each report; what is done by then is kept [s].
    """

    notebooks: str = ""
    paper: bool = False
    timeout: float = 120.0
    deadline: float = 1800.0


@dataclass(frozen=True)
class Task:
    """A report to make.

    Parameters
    ----------
    cluster
        The cluster to report on.
    column
        Number of the window among those of the fleet, from 0, the oldest first.
    window, baseline
        The window, and what to compare it with.
    run
        Name of the run, the same for every attempt to make it.
    """

    cluster: Cluster
    column: int
    window: Window
    baseline: Window
    run: str

    @property
    def place(self) -> tuple[str, int]:
        """Cluster and column, which no other task of a plan has."""
        return self.cluster.name, self.column

    def plain(self, *, output: str, how: How) -> dict[str, Any]:
        """Give what a worker needs, as plain values, with references to credentials."""
        given = asdict(self.cluster)
        question = {key: given[key] for key in given if key not in ("name", "place", "topics")}
        return {
            "question": question
            | {
                "called": self.cluster.name,
                "start": iso(self.window.start),
                "end": iso(self.window.end),
                "step": format_duration(self.window.step),
                "baseline": f"{iso(self.baseline.start)}/{iso(self.baseline.end)}",
            },
            "topics": list(self.cluster.topics),
            "run": self.run,
            "output": output,
            **asdict(how),
        }


def tasks(fleet: Fleet, *, now: datetime) -> list[Task]:
    """Give the reports of a fleet, the newest windows of all clusters first.

    Parameters
    ----------
    fleet
        As its file says.
    now
        What ``now`` means in it.

    Raises
    ------
    ParameterError
        If a window or a baseline is not valid; the message names the line.
    """
    pieces = cut(fleet.span, now=now)
    if len(pieces) * len(fleet.clusters) > MOST:
        raise ParameterError(f"{fleet.span.place}: this makes more than {MOST:,} reports")
    return [
        _task(cluster, column, *pieces[column], now=now)
        for column in reversed(range(len(pieces)))
        for cluster in fleet.clusters
    ]


def _task(cluster: Cluster, column: int, start: datetime, end: datetime, *, now: datetime) -> Task:
    try:
        window = Window.parse(
            iso(start), iso(end), step=cluster.step, timezone=cluster.timezone, now=now
        )
        return Task(cluster, column, window, window.baseline(cluster.baseline), run_name(window))
    except UsageError as problem:
        raise ParameterError(f"{cluster.place}: {problem}") from None


def cut(span: Span, *, now: datetime) -> Sequence[tuple[datetime, datetime]]:
    """Cut a span into windows, the oldest first.

    Pieces of the ``last`` days are whole ones, by the calendar of the span's zone, and those of
    the last hours whole hours: what has not ended yet is left out.

    Raises
    ------
    ParameterError
        If it cannot be cut so; the message names the line.
    """
    try:
        start, end = _ends(span, now)
        piece = parse_duration(span.every) if span.every else end - start
        if piece > end - start:
            raise ParameterError(f"every {span.every} is longer than the window")
        if (end - start) / piece > MOST:
            raise ParameterError(f"this makes more than {MOST:,} windows")
        return list(_pieces(start, end, piece, span.timezone))
    except UsageError as problem:
        raise ParameterError(f"{span.place}: {problem}") from None


def _ends(span: Span, now: datetime) -> tuple[datetime, datetime]:
    if not span.last:
        # Refuses windows that are not valid.
        Window.parse(span.start, span.end, timezone=span.timezone, now=now)
        first = parse_time(span.start, timezone=span.timezone, now=now)
        return first, min(parse_time(span.end, timezone=span.timezone, now=now), now)
    length = parse_duration(span.last)
    end = _floor(now, parse_duration(span.every), span.timezone) if span.every else now
    return _moved(end, -length, span.timezone), end


def _floor(moment: datetime, piece: timedelta, timezone: str) -> datetime:
    """Give the last time at which a piece ends: midnight for days, otherwise a multiple of it."""
    if piece % _DAY:
        return _EPOCH + (moment - _EPOCH) // piece * piece
    local = moment.astimezone(zone(timezone))
    return local.replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)


def _pieces(
    start: datetime, end: datetime, piece: timedelta, timezone: str
) -> Iterator[tuple[datetime, datetime]]:
    """Give one piece after the other; the last may be shorter."""
    number = 1
    first = start
    while first < end:
        last = min(_moved(start, number * piece, timezone), end)
        yield first, last
        first, number = last, number + 1


def _moved(moment: datetime, by: timedelta, timezone: str) -> datetime:
    """Move a time by days of the calendar, which may have 23 or 25 hours, or by hours."""
    if by % _DAY:
        return moment + by
    return (moment.astimezone(zone(timezone)) + by).astimezone(UTC)
