"""When a source that has no metrics of Cilium in a window had any: a few cheap questions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis.errors import BudgetExceeded, QueryRejected
from cilium_analysis.queries import Query, parse_matchers
from cilium_analysis.source import recorded_range
from cilium_analysis.targets.asking import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cilium_analysis.source import Source
    from cilium_analysis.window import Window

#: How far from the window is looked, one after the other until something is found.
REACHES = tuple(timedelta(days=days) for days in (1, 7, 31, 92, 184, 400))
#: A look sees the samples of the five minutes before it, as Prometheus does by default.
NEAR = timedelta(minutes=5)
#: Farther away there is one look an hour: what was there for less may be overlooked.
FAR = timedelta(hours=1)
_USUAL = [name for names in METRICS.values() for name in names]
#: When the newest sample at each look was taken.
LOOK = Query(
    "max("
    + " or ".join(
        f'label_replace(max(timestamp({name}{{<match>}})), "metric", "{name}", "", "")'
        for name in _USUAL
    )
    + ")",
    "s since 1970",
    "when the newest sample was taken",
)


@dataclass(frozen=True)
class Newest:
    """When there are metrics of Cilium, if not in the window.

    Parameters
    ----------
    time
        Of a sample: the newest before the window, else the first that was seen after it; None if
        there was none.
    unmatched
        Whether the window has some that the matchers of the user do not select.
    refused
        Whether the server refused to tell.
    """

    time: datetime | None = None
    unmatched: bool = False
    refused: bool = False


def newest(source: Source, window: Window, *, match: str, now: datetime | None = None) -> Newest:
    """Ask when there are metrics of Cilium, of a window that has none.

    Parameters
    ----------
    source
        A server. A bundle knows of its own time only, and is not asked.
    window
        That has none.
    match
        Label matchers of the user, with which it has none.
    now
        The clock if not given.
    """
    if getattr(source, "recorded", ()):
        return Newest()
    present = now or datetime.now(UTC)
    try:
        if parse_matchers(match) and _times(source, _stepped(window)).size:
            return Newest(unmatched=True)
        return Newest(time=_before(source, window) or _after(source, window, present))
    except (BudgetExceeded, QueryRejected):
        return Newest(refused=True)


def _stepped(window: Window) -> Window:
    """Give a window with looks that leave nothing out, if it is no longer than a few days."""
    step = max(NEAR, window.length / 2_000)
    step = timedelta(seconds=round(step.total_seconds()))
    return replace(window, start=window.end - window.length // step * step, step=step)


def _before(source: Source, window: Window) -> datetime | None:
    near = replace(window, start=window.start - 2 * FAR, end=window.start, step=NEAR)
    for each in (near, *_reaching(window.start, window, back=True)):
        times = _times(source, each)
        if not times.size:
            continue
        last = _moment(times.iloc[-1])
        if each.step == NEAR:
            return last
        # The samples after this look, up to the next.
        rest = replace(near, start=times.index[-1].to_pydatetime(), end=each.end)
        rest = replace(rest, end=min(rest.start + FAR, each.end))
        finer = _times(source, rest) if rest.length > NEAR else times
        return _moment(finer.iloc[-1]) if finer.size else last
    return None


def _after(source: Source, window: Window, now: datetime) -> datetime | None:
    for each in _reaching(window.end, window, back=False):
        end = min(each.end, each.start + (now - each.start) // FAR * FAR)
        if end <= each.start:
            break
        times = _times(source, replace(each, end=end))
        if times.size:
            return _moment(times.iloc[0])
    return None


def _reaching(edge: datetime, window: Window, *, back: bool) -> Iterator[Window]:
    """Give windows farther and farther from an edge, each beyond the last."""
    done = timedelta()
    for reach in REACHES:
        first, last = (edge - reach, edge - done) if back else (edge + done, edge + reach)
        yield replace(window, start=first, end=last, step=FAR)
        done = reach


def _times(source: Source, window: Window) -> pd.Series:
    frame = recorded_range(source, LOOK.render(step=window.step), window)
    return frame.iloc[:, 0].dropna() if frame.shape[1] else pd.Series(dtype="float64")


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(float(seconds), UTC)
