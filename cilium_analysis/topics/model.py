"""What every topic loads, in one shape: a window and its baseline side by side.

A topic says what it asks in the window and in the baseline; `Loader` makes its ``load`` of that.
A run's notebooks are about one recording. The process that their kernels are forked from loads
each topic once (`cilium_analysis.source.share`); the topic's own notebook and the incident's have
it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import pandas as pd

from cilium_analysis import targets
from cilium_analysis.findings import Findings, Severity
from cilium_analysis.source import Once, followed
from cilium_analysis.texts import percent, spoken
from cilium_analysis.times import interval, zone
from cilium_analysis.topics.reader import Reader
from cilium_analysis.topics.remarks import Remarks, remarks
from cilium_analysis.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from typing import Self

    from numpy.typing import NDArray

    from cilium_analysis.findings import Finding
    from cilium_analysis.source import Source
    from cilium_analysis.targets.stored import Component

#: So much of a baseline must be left to compare with.
ENOUGH = 0.25
#: What was shorter stays: it hardly moves a baseline, and what is in flight at its end looks alike.
LEAST = timedelta(minutes=2)
#: So often a baseline may have been an incident. What is more often is a habit of the cluster.
MOST_TIMES = 2
#: Kinds of findings that leave a baseline as it is: what goes on at another level is ordinary.
NO_INCIDENTS = frozenset({"missing_metrics", "traffic_shift"})


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is known of a window, or of its baseline. Rows of frames are its steps.

    Parameters
    ----------
    window
        The time that it is about.
    left_out
        How much of it is left out: what was itself an incident.
    """

    window: Window
    left_out: timedelta = timedelta()

    @property
    def length(self) -> timedelta:
        """How long it is, without what is left out."""
        return self.window.length - self.left_out

    def without(self, intervals: Sequence[tuple[datetime, datetime]]) -> Self:
        """Leave out the steps of some intervals."""
        steps = pd.date_range(self.window.start, self.window.end, freq=self.window.step)[1:]
        gone = len(steps) - int(_outside(steps, intervals).sum())

        def rest(frame: pd.DataFrame) -> pd.DataFrame:
            timed = isinstance(frame.index, pd.DatetimeIndex)
            return frame.loc[_outside(frame.index, intervals)] if timed else frame

        return replace(_changed(self, rest), left_out=gone * self.window.step)

    def unknown(self) -> Self:
        """Give the same as if nothing were known of it."""
        return _changed(self, lambda frame: frame.iloc[:0, :0])


Changed = TypeVar("Changed")


def _changed(value: Changed, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Changed:
    """Change each frame of a dataclass, and of the dataclasses in it."""
    if not is_dataclass(value) or isinstance(value, Window):
        return value
    parts = {each.name: getattr(value, each.name) for each in fields(value)}
    changed = {
        name: change(part) if isinstance(part, pd.DataFrame) else _changed(part, change)
        for name, part in parts.items()
    }
    found: Changed = replace(value, **changed)  # type: ignore[type-var]
    return found


def _outside(index: pd.Index, intervals: Sequence[tuple[datetime, datetime]]) -> NDArray[np.bool_]:
    """Tell which rows are not of these intervals; each is of the step before its time."""
    keep = np.ones(len(index), dtype=bool)
    for first, last in intervals:
        keep &= ~np.asarray((index > pd.Timestamp(first)) & (index <= pd.Timestamp(last)))
    return keep


Now = TypeVar("Now", bound=Part)
#: Mostly of the same type.
Then = TypeVar("Then", bound=Part)


@dataclass(frozen=True, kw_only=True)
class Compared(Generic[Now, Then]):
    """What a topic knows of a window, and of the baseline that it is compared with.

    Parameters
    ----------
    source
        Name of the source.
    now, baseline
        What is known of the two.
    warnings
        What the server said about the answers.
    remarks
        What is to be said about the targets.
    incidents
        Where the baseline was itself an incident, in words; these steps are left out of it. Or why
        it is left out as a whole.
    versions
        Of Cilium, as far as the data tells them.
    crowd_note
        What it means for Hubble's counters that there are very many nodes.
    """

    source: str
    now: Now
    baseline: Then
    warnings: tuple[str, ...] = ()
    remarks: Remarks = field(default_factory=Remarks)
    incidents: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    crowd_note: tuple[str, ...] = ()

    @property
    def window(self) -> Window:
        """What is looked at."""
        return self.now.window


Data = TypeVar("Data", bound=Compared[Any, Any])

#: By topic, window, baseline and matchers.
_LOADED: Once[tuple[str, Window, Window, str], Any] = Once(only_shared=True)
#: By what they were found in, which stays alive with what is shared.
_FOUND: dict[int, Findings] = {}


@dataclass(frozen=True)
class Loader(Generic[Data]):
    """Fetches what a topic needs to know of a window and its baseline.

    Parameters
    ----------
    ask
        Asks it, with a reader of the window and one of the baseline.
    find
        Finds what is unusual in it: what it finds with the two exchanged is left out of the
        baseline. None where nothing is compared step by step.
    counted_by
        Who counts what is compared, as far as that is known.
    """

    ask: Callable[[Reader, Reader], Data]
    find: Callable[[Data], Findings] | None = None
    counted_by: Component = "hubble"

    def __call__(
        self, source: Source, window: Window, baseline: Window, *, match: str = ""
    ) -> Data:
        """Fetch what the question needs.

        Parameters
        ----------
        source
            A server or a bundle.
        window, baseline
            With the same step.
        match
            Label matchers that narrow every query, such as ``cluster="prod"``.

        Raises
        ------
        ParameterError
            If the matchers cannot be read.
        PrometheusError, BundleError
            If the source does not answer.
        """

        def load() -> Data:
            data = self.record(source, window, baseline, match=match)
            if self.find is None:
                return data
            return cleaned(_with_enough(data, counted_by=self.counted_by), self.find)

        loaded: Data = _LOADED(source, (self.ask.__module__, window, baseline, match), load)
        return loaded

    def record(self, source: Source, window: Window, baseline: Window, *, match: str = "") -> Data:
        """Ask all that is needed, without a look at the answers; arguments as for a call."""
        with followed() as said:
            targets.of(source, window, baseline, match=match)
            now, before = (Reader(source, each, match) for each in (window, baseline))
            data = self.ask(now, before)
            told = remarks(source, window, baseline, match=match, said=said)
        told = replace(told, scraped=now.scraped, baseline_scraped=before.scraped)
        return replace(data, warnings=said.warnings, remarks=told)


def found_once(find: Callable[[Data], Findings]) -> Callable[[Data], Findings]:
    """Make a topic's ``findings``: in what is shared they are found once.

    Parameters
    ----------
    find
        Finds them in what the topic loaded.
    """

    @wraps(find)
    def once(data: Data) -> Findings:
        known = _FOUND.get(id(data))
        if known is None:
            known = find(data)
            if _LOADED.holds(data):
                _FOUND[id(data)] = known
        return known

    return once


def _with_enough(data: Data, *, counted_by: Component) -> Data:
    """Take a baseline for unknown of which hardly anything was scraped.

    It may be at the edge of what the server keeps, or lie before a new server or cluster. A part
    that is so short is the beginning of an incident as well as what is usual.
    """
    scraped = data.remarks.baseline_scraped
    known = [
        frame
        for name in (counted_by, "agent", "hubble")
        if (frame := scraped.get(name)) is not None and frame.shape[1]
    ]
    share = float(known[0].any(axis=1).mean()) if known else 1.0
    if not 0.0 < share < ENOUGH:
        return data
    said = f"only {percent(share)} of the baseline was scraped, too little to compare with"
    return replace(data, baseline=data.baseline.unknown(), incidents=(said,))


def cleaned(data: Data, find: Callable[[Data], Findings]) -> Data:
    """Leave out of a baseline what would be a finding if it were the window.

    Parameters
    ----------
    data
        What a topic loaded.
    find
        Finds what is unusual. It is called with the baseline as the window.

    Returns
    -------
    Compared
        With what is left of its baseline, and what was found there as `Compared.incidents`. The
        data as they are if nothing was, or if too little would be left.
    """
    before = data.baseline
    if before.window.end > data.window.start:
        return data

    def against(other: Part) -> list[Finding]:
        return [
            finding
            for finding in find(replace(data, now=before, baseline=other))
            if finding.severity >= Severity.WARNING
            and finding.kind not in NO_INCIDENTS
            and finding.end - finding.start >= LEAST
        ]

    found = against(data.now)
    if not _at_the_same_time(before.window, data.window):
        found += _by_itself(before, against)
    if not found:
        return data
    what, rest = "which is left out", before.without(_intervals(found))
    if rest.length < ENOUGH * before.length:
        what, rest = "too much of it to leave it out", before
    said = [
        f"the baseline was itself an incident from {interval(start, end, data.window.timezone)}"
        f" ({spoken(kind)}), {what}"
        for start, end, kind in _together(found)
    ]
    return replace(data, baseline=rest, incidents=tuple(said))


def _by_itself(before: Part, against: Callable[[Part], list[Finding]]) -> list[Finding]:
    """Give the incidents of a baseline that the window does not show, as they go on or come back.

    What is above the quieter half of the baseline may be one; it is if it also stands out from
    the rest of the baseline with all its traffic, as the busy hours of a day do not.
    """
    candidates = against(before.unknown())
    rest = before.without(_intervals(candidates))
    # What comes again and again is ordinary; so is what fills more than its quieter half.
    rare = _times(candidates) <= MOST_TIMES and 2 * rest.length >= before.length
    return against(rest) if candidates and rare else []


def _at_the_same_time(baseline: Window, window: Window) -> bool:
    """Tell whether both begin at the same time of day: what comes daily then is in both.

    A day of the reader's clock, as of ``--baseline 1d``, has 23 or 25 hours when that is changed.
    """
    clocks = {each.start.astimezone(zone(window.timezone)).time() for each in (baseline, window)}
    return len(clocks) == 1 or not (window.start - baseline.start) % timedelta(days=1)


def _intervals(found: Sequence[Finding]) -> list[tuple[datetime, datetime]]:
    return [(finding.start, finding.end) for finding in found]


def _together(found: Sequence[Finding]) -> list[tuple[datetime, datetime, str]]:
    """Give the intervals of findings, in order; those of one kind that overlap are one."""
    spans: dict[str, list[tuple[datetime, datetime]]] = {}
    for finding in sorted(found, key=lambda each: each.start):
        start, end, mine = finding.start, finding.end, spans.setdefault(finding.kind, [])
        if mine and start <= mine[-1][1]:
            start, end = mine[-1][0], max(end, mine.pop()[1])
        mine.append((start, end))
    return sorted((*span, kind) for kind, mine in spans.items() for span in mine)


def _times(found: Sequence[Finding]) -> int:
    """Count the intervals that findings add up to."""
    number, end = 0, None
    for finding in sorted(found, key=lambda each: each.start):
        if end is None or finding.start > end:
            number += 1
        end = finding.end if end is None else max(end, finding.end)
    return number
