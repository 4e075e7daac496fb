"""What the user has chosen in the explorer, and the question that follows from it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cilium_analysis.errors import UsageError, WindowError
from cilium_analysis.queries import Matcher, any_of, check_pattern, parse_matchers
from cilium_analysis.source import iso
from cilium_analysis.times import format_duration, parse_duration, parse_time, zone
from cilium_analysis.window import Window, sensible_step

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cilium_analysis.explorer.scope import Scope

#: The topics of the explorer, by the names of their notebooks, and their titles.
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
    """All choices of the user.

    Parameters
    ----------
    window
        Under analysis.
    baseline
        To compare it with, as for `Window.baseline`.
    match
        Label matchers that narrow every query; checked.
    topic
        The one in focus: asked first, shown in detail.
    groups
        The dimension that each topic is grouped by, as pairs.
    filters
        Dimensions and the values of them that count, as pairs sorted by dimension; of a dimension
        that is not named all values count.
    """

    window: Window
    baseline: str = "previous"
    match: str = ""
    topic: str = "drop_reasons"
    groups: tuple[tuple[str, str], ...] = tuple(GROUPS.items())
    filters: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def group(self, topic: str) -> str:
        """Give the dimension that a topic is grouped by."""
        return dict(self.groups)[topic]

    def filter(self, dimension: str) -> tuple[str, ...]:
        """Give the values of a dimension that count; empty if all do."""
        return dict(self.filters).get(dimension, ())

    def grouped(self, topic: str, dimension: str) -> State:
        """Give the state with a topic grouped by a dimension."""
        return replace(self, groups=tuple((dict(self.groups) | {topic: dimension}).items()))

    def filtered(self, dimension: str, values: Iterable[str]) -> State:
        """Give the state in which only these values of a dimension count; all if empty."""
        chosen = dict(self.filters) | {dimension: tuple(sorted(set(values)))}
        return replace(self, filters=tuple(sorted((d, v) for d, v in chosen.items() if v)))


@dataclass(frozen=True)
class Asked:
    """A question: equal questions have the same answers.

    Parameters
    ----------
    window, baseline
        With the same step.
    match
        Label matchers for every query: the user's, and those of filters.
    compared
        The baseline as the command line takes it.
    note
        Says what differs from the choice; empty if nothing does.
    """

    window: Window
    baseline: Window
    match: str
    compared: str
    note: str = ""


def asked(state: State, scope: Scope) -> Asked:
    """Give the question that follows from a state.

    Raises
    ------
    UsageError
        If the baseline or the matchers are invalid.
    """
    match = matchers(state, scope)
    base = state.window.baseline(state.baseline or "previous")
    written = state.baseline or "previous"
    if scope.answers(base):
        return Asked(state.window, base, match, written)
    own = scope.baseline
    if own is None or (own.end > state.window.start and own.start < state.window.end):
        return Asked(state.window, base, match, written)
    note = (
        f"The recording does not hold the baseline {written} of this window: it is compared with"
        f" {own.start:%Y-%m-%d %H:%M}Z to {own.end:%H:%M}Z, for the same length."
    )
    return Asked(state.window, own, match, f"{iso(own.start)}/{iso(own.end)}", note)


def matchers(state: State, scope: Scope) -> str:
    """Write the user's matchers, and those of the filters that every query can take.

    A recording answers only the queries that it holds, and a matcher would hide all metrics that
    lack its label, as ``reason`` hides the start times of agents. Filters that become no matcher
    select among the answers.

    Raises
    ------
    ParameterError
        If the user's matchers cannot be read.
    """
    given = [str(matcher) for matcher in parse_matchers(state.match)]
    for dimension, values in state.filters:
        if dimension in scope.labels:
            one = len(values) == 1
            given.append(
                str(Matcher(dimension, "=", values[0]) if one else any_of(dimension, values))
            )
    return ",".join(given)


def unsaid(state: State, scope: Scope) -> tuple[str, ...]:
    """Name the dimensions whose filters become no matcher: they select among the answers."""
    return tuple(dimension for dimension, _ in state.filters if dimension not in scope.labels)


def read(
    typed: Mapping[str, str], state: State, scope: Scope, *, now: datetime | None = None
) -> tuple[State, dict[str, str]]:
    """Read what was typed into the fields; one that is rejected changes nothing.

    Parameters
    ----------
    typed
        Texts of the fields `start`, `end`, `step`, `baseline` and `match`.
    state
        That holds so far.
    scope
        What the source can be asked. A recording takes no step and no matchers.
    now
        The clock if not given.

    Returns
    -------
    tuple
        The state that follows, and why each field was rejected that was.
    """
    wrong: dict[str, str] = {}
    window = _window(typed, state.window, scope, now=now, wrong=wrong)
    baseline, match = state.baseline, state.match
    try:
        baseline = _baseline(typed["baseline"], window)
    except UsageError as problem:
        wrong["baseline"] = str(problem)
        # One that no longer fits holds the window back: nothing would be compared.
        window = window if fits(state.baseline, window) else state.window
    if not scope.held:
        try:
            match = _checked(typed["match"])
        except UsageError as problem:
            wrong["match"] = str(problem)
    return replace(state, window=window, baseline=baseline, match=match), wrong


def _window(
    typed: Mapping[str, str],
    before: Window,
    scope: Scope,
    *,
    now: datetime | None,
    wrong: dict[str, str],
) -> Window:
    """Read the window; if that cannot be, give the one before, and add to what is wrong."""
    step, moments = "" if scope.held else typed["step"].strip(), []
    for name in ("start", "end"):
        try:
            moments.append(_moment(typed[name], scope, timezone=before.timezone, now=now))
        except WindowError as problem:
            wrong[name] = str(problem)
    try:
        parse_duration(step or "30s")
    except WindowError as problem:
        wrong["step"] = str(problem)
    if wrong:
        return before
    if moments[1] <= moments[0]:
        wrong["end"] = "not later than From: choose a later time here, or an earlier one there"
        return before
    for one in (step, ""):
        try:
            window = window_from(
                *(typed["start"], typed["end"], scope), step=one, timezone=before.timezone, now=now
            )
        except WindowError as problem:
            wrong["step" if one else "start"] = str(problem)
        else:
            return before if wrong else window
    wrong.pop("step", None)  # the times are to blame, whatever the step
    return before


def _baseline(text: str, window: Window) -> str:
    try:
        window.baseline(text.strip() or "previous")
    except WindowError as problem:
        more = "" if "previous" in str(problem) else "; or previous, or two times as T/T"
        raise WindowError(f"{problem}{more}") from None
    return text.strip()


def fits(baseline: str, window: Window) -> bool:
    """Tell whether a window can be compared with a baseline."""
    try:
        _baseline(baseline, window)
    except UsageError:
        return False
    return True


def _checked(text: str) -> str:
    for matcher in parse_matchers(text):
        check_pattern(matcher)
    return text.strip()


def window_from(
    start: str, end: str, scope: Scope, *, step: str, timezone: str, now: datetime | None = None
) -> Window:
    """Read a window as people write it, within what a source can answer.

    A time alone, such as ``08:30``, is on the day that is shown; a recording has its own step.

    Raises
    ------
    WindowError
        If it cannot be read, or lies outside.
    """
    moments = [_moment(text, scope, timezone=timezone, now=now) for text in (start, end)]
    if scope.held:
        return inside(moments[0], moments[1], scope, timezone=timezone)
    texts = [iso(moment) for moment in moments]
    return Window.parse(texts[0], texts[1], step=step, timezone=timezone, now=now)


def _moment(text: str, scope: Scope, *, timezone: str, now: datetime | None) -> datetime:
    stripped = text.strip()
    if _CLOCK.fullmatch(stripped):
        day = scope.extent.start.astimezone(zone(timezone)).date().isoformat()
        stripped = f"{day} {'0' * (stripped.index(':') == 1)}{stripped}"
    return parse_time(stripped, timezone=timezone, now=now)


def inside(start: datetime, end: datetime, scope: Scope, *, timezone: str) -> Window:
    """Give the window between two times, aligned to the step of the overview, and cut to it.

    Raises
    ------
    WindowError
        If it lies outside of the overview.
    """
    extent, step = scope.extent, scope.extent.step
    first, last = (
        extent.start + round((min(max(at, extent.start), extent.end) - extent.start) / step) * step
        for at in (start, end)
    )
    last = min(last, extent.start + extent.length // step * step)
    if end <= start:
        raise WindowError("the window ends before it has begun: exchange From and To")
    if last - first < 2 * step:
        if start >= extent.end or end <= extent.start:
            shown = f"{iso(extent.start)} to {iso(extent.end)}"
            raise WindowError(f"nothing is known outside of {shown}: choose a time within it")
        first = max(extent.start, min(first, last - 2 * step))
        last = min(extent.end, max(last, first + 2 * step))
    return Window(first, last, step, timezone=timezone)


def dragged(start: datetime, end: datetime, scope: Scope, *, step: str, timezone: str) -> Window:
    """Give the window that was dragged over the overview.

    On a server a shorter window gets a shorter step, unless the user has chosen one.
    """
    coarse = inside(start, end, scope, timezone=timezone)
    if scope.held:
        return coarse
    fine = step or format_duration(min(sensible_step(coarse.length), scope.extent.step))
    return Window.parse(iso(coarse.start), iso(coarse.end), step=fine, timezone=timezone)


def context(window: Window, *, now: datetime | None = None) -> Window:
    """Give a longer window around one, for the overview; it ends at the present."""
    present = now or datetime.now(UTC)
    around = max(window.length, timedelta(minutes=15))
    last = min(window.end + around, present)
    return Window.parse(
        iso(window.start - 2 * around), iso(last), timezone=window.timezone, now=present
    )
