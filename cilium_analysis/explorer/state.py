"""What the explorer looks at, and the question that this asks. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cilium_analysis.errors import WindowError
from cilium_analysis.queries import Matcher, parse_matchers
from cilium_analysis.window import Window, format_duration, parse_time, sensible_step, zone

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cilium_analysis.explorer.place import Place

#: Topics that are looked at together, by the names of their notebooks, and what they are called.
TOPICS: Mapping[str, str] = {
    "drop_reasons": "Drops",
    "node_connectivity": "Connectivity",
    "endpoint_growth": "Endpoints",
    "http_status": "HTTP",
}
#: What each topic is grouped by at first.
GROUPS: Mapping[str, str] = {
    "drop_reasons": "reason",
    "node_connectivity": "node",
    "endpoint_growth": "node",
    "http_status": "class",
}
_CLOCK = re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?")


@dataclass(frozen=True)
class State:
    """All choices that somebody has made.

    Parameters
    ----------
    window
        What is looked at.
    baseline
        What it is compared with, as for `Window.baseline`.
    match
        Label matchers that narrow every query; checked.
    topic
        The one in focus: asked first, told in detail.
    groups
        What each topic is grouped by, as pairs.
    filters
        Dimension and the values of it that count, as pairs sorted by dimension; a dimension that
        is not named counts whole.
    """

    window: Window
    baseline: str = "previous"
    match: str = ""
    topic: str = "drop_reasons"
    groups: tuple[tuple[str, str], ...] = tuple(GROUPS.items())
    filters: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def group(self, topic: str) -> str:
        """Give what a topic is grouped by."""
        return dict(self.groups)[topic]

    def filter(self, dimension: str) -> tuple[str, ...]:
        """Give the values of a dimension that count; none if all do."""
        return dict(self.filters).get(dimension, ())

    def grouped(self, topic: str, dimension: str) -> State:
        """Give the state with a topic grouped by a dimension."""
        return replace(self, groups=tuple((dict(self.groups) | {topic: dimension}).items()))

    def filtered(self, dimension: str, values: Iterable[str]) -> State:
        """Give the state in which only these values of a dimension count; none means all."""
        chosen = dict(self.filters) | {dimension: tuple(sorted(set(values)))}
        return replace(self, filters=tuple(sorted((d, v) for d, v in chosen.items() if v)))


@dataclass(frozen=True)
class Asked:
    """What decides which queries are sent; equal if the same answers do.

    Parameters
    ----------
    window, baseline
        With the same step.
    match
        Label matchers for every query: the user's, and the filters that they can express.
    compared
        The baseline as one writes it, for the command line.
    note
        What is not as it was asked for; empty if all is.
    """

    window: Window
    baseline: Window
    match: str
    compared: str
    note: str = ""


def asked(state: State, place: Place) -> Asked:
    """Give the question that a state asks at a place.

    Raises
    ------
    UsageError
        If the baseline or the matchers cannot be.
    """
    match = matchers(state, place)
    base = state.window.baseline(state.baseline or "previous")
    written = state.baseline or "previous"
    if place.answers(base):
        return Asked(state.window, base, match, written)
    own = place.baseline
    if own is None or (own.end > state.window.start and own.start < state.window.end):
        return Asked(state.window, base, match, written)
    note = (
        f"The recording does not hold {written} of this window: it is compared with"
        f" {own.start:%Y-%m-%d %H:%M}Z to {own.end:%H:%M}Z, for the same length."
    )
    return Asked(state.window, own, match, f"{_iso(own.start)}/{_iso(own.end)}", note)


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def matchers(state: State, place: Place) -> str:
    """Write the user's matchers, and those filters that every query can take.

    A recording answers only the queries it holds, and a label that some metrics lack would hide
    them, such as ``reason`` the start times of agents. Such filters choose among what came.

    Raises
    ------
    ParameterError
        If the user's matchers cannot be read.
    """
    given = [str(matcher) for matcher in parse_matchers(state.match)]
    for dimension, values in state.filters:
        if dimension in place.labels:
            given.append(str(_any_of(dimension, values)))
    return ",".join(given)


def _any_of(label: str, values: tuple[str, ...]) -> Matcher:
    if len(values) == 1:
        return Matcher(label, "=", values[0])
    return Matcher(label, "=~", "|".join(_literal(value) for value in values))


def _literal(value: str) -> str:
    """Write a text as a regular expression (RE2) that matches just it."""
    return "".join(f"\\{char}" if char in r"\.+*?()|[]{}^$" else char for char in value)


def unsaid(state: State, place: Place) -> tuple[str, ...]:
    """Name the dimensions whose filters only choose among what came."""
    return tuple(dimension for dimension, _ in state.filters if dimension not in place.labels)


def window_from(
    start: str, end: str, place: Place, *, step: str, timezone: str, now: datetime | None = None
) -> Window:
    """Read a window as people write it, within what a place can answer.

    Parameters
    ----------
    start, end
        As for `Window.parse`; a time alone, such as ``08:30``, is of the day that is shown.
    step
        As for `Window.parse`; a recording has its own.

    Raises
    ------
    WindowError
        If that cannot be.
    """
    moments = [_moment(text, place, timezone=timezone, now=now) for text in (start, end)]
    if place.held:
        return inside(moments[0], moments[1], place, timezone=timezone)
    texts = [_iso(moment) for moment in moments]
    return Window.parse(texts[0], texts[1], step=step, timezone=timezone, now=now)


def _moment(text: str, place: Place, *, timezone: str, now: datetime | None) -> datetime:
    stripped = text.strip()
    if _CLOCK.fullmatch(stripped):
        day = place.extent.start.astimezone(zone(timezone)).date().isoformat()
        stripped = f"{day} {'0' * (stripped.index(':') == 1)}{stripped}"
    return parse_time(stripped, timezone=timezone, now=now)


def inside(start: datetime, end: datetime, place: Place, *, timezone: str) -> Window:
    """Give the window of two moments on the grid of a place, cut to what it shows.

    Raises
    ------
    WindowError
        If nothing of it is there.
    """
    extent, step = place.extent, place.extent.step
    first, last = (
        extent.start + round((min(max(at, extent.start), extent.end) - extent.start) / step) * step
        for at in (start, end)
    )
    last = min(last, extent.start + extent.length // step * step)
    if end <= start:
        raise WindowError("the window ends before it has begun: exchange From and To")
    if last - first < 2 * step:
        if start >= extent.end or end <= extent.start:
            shown = f"{_iso(extent.start)} to {_iso(extent.end)}"
            raise WindowError(f"nothing is known outside of {shown}: choose a time within it")
        first = max(extent.start, min(first, last - 2 * step))
        last = min(extent.end, max(last, first + 2 * step))
    return Window(first, last, step, timezone=timezone)


def dragged(start: datetime, end: datetime, place: Place, *, step: str, timezone: str) -> Window:
    """Give the window that was dragged over the overview.

    On a server a shorter window is seen in shorter steps, unless somebody has chosen one.
    """
    coarse = inside(start, end, place, timezone=timezone)
    if place.held:
        return coarse
    fine = step or format_duration(min(sensible_step(coarse.length), place.extent.step))
    return Window.parse(_iso(coarse.start), _iso(coarse.end), step=fine, timezone=timezone)


def context(window: Window, *, now: datetime | None = None) -> Window:
    """Give a longer window around one, to see it in its surroundings; not beyond the present."""
    present = now or datetime.now(UTC)
    around = max(window.length, timedelta(minutes=15))
    last = min(window.end + around, present)
    return Window.parse(
        _iso(window.start - 2 * around), _iso(last), timezone=window.timezone, now=present
    )
