"""When an alert fired last, from the series ``ALERTS`` that Prometheus writes for its rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.around.search import Event
from cilium_analysis.errors import ParameterError, suggest
from cilium_analysis.queries import Matcher, parse_matchers
from cilium_analysis.source import recorded_range
from cilium_analysis.texts import clipped
from cilium_analysis.times import format_duration, interval
from cilium_analysis.window import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cilium_analysis.source import Source

#: How far back is looked.
BACK = timedelta(days=7)
#: Steps in which it is looked for over all this time, and over the time that it fired.
COARSE, FINE = timedelta(minutes=5), timedelta(minutes=1)
#: What fires again so soon has not stopped.
PAUSE = 2 * COARSE
#: What fired for longer is not looked at in fine steps.
LONG = timedelta(days=1)
_FIRING = Matcher("alertstate", "=", "firing")
_MOST_NAMED = 10
_LONGEST = 100


def fired(
    source: Source, name: str, *, match: str, timezone: str, now: datetime | None = None
) -> Event:
    """Find when an alert fired last.

    Parameters
    ----------
    source
        A server.
    name
        Of the alert, as the label ``alertname`` has it.
    match
        Label matchers of the user.
    timezone
        IANA name of the reader's zone.
    now
        The clock if not given.

    Raises
    ------
    ParameterError
        If it did not fire in the last seven days; the message names those that did. If the source
        is a bundle, which holds no alerts.
    PrometheusError
        If the server does not answer.
    """
    if getattr(source, "recorded", ()):
        raise ParameterError("a bundle holds no alerts: give --around and a time instead")
    end = (now or datetime.now(UTC)).replace(second=0, microsecond=0)
    wanted = (Matcher("alertname", "=", name), _FIRING, *parse_matchers(match))
    times = _firing(source, wanted, Window(end - BACK, end, COARSE, timezone=timezone))
    if not len(times):
        raise ParameterError(_unknown(source, name, match, end))
    breaks = np.flatnonzero(np.diff(times) > np.timedelta64(PAUSE))
    begin = int(breaks[-1]) + 1 if len(breaks) else 0
    first, last = times[begin].to_pydatetime(), times[-1].to_pydatetime()
    first -= COARSE
    if last - first <= LONG:
        fine = _firing(source, wanted, Window(first, last, FINE, timezone=timezone))
        if len(fine):
            first, last = fine[0].to_pydatetime() - FINE, fine[-1].to_pydatetime()
    still = ", and still fires" if last >= end - FINE else ""
    shown = clipped(name, _LONGEST)
    called = f"the alert {shown} (fired from {interval(first, last, timezone)}{still})"
    return Event(called, first, last, known=True)


def _selector(matchers: Sequence[Matcher], over: timedelta) -> str:
    return f"count_over_time(ALERTS{{{','.join(map(str, matchers))}}}[{format_duration(over)}])"


def _firing(source: Source, matchers: Sequence[Matcher], window: Window) -> pd.DatetimeIndex:
    """Give the ends of the steps in which an alert fired."""
    frame = recorded_range(source, f"count({_selector(matchers, window.step)})", window)
    there = frame.notna().any(axis=1).to_numpy(dtype=bool)
    return pd.DatetimeIndex(frame.index[there])


def _unknown(source: Source, name: str, match: str, end: datetime) -> str:
    """Say that an alert did not fire, and which did."""
    given = parse_matchers(match)
    promql = f"count by (alertname) ({_selector((_FIRING, *given), BACK)})"
    names = sorted(set(frames.values(source.instant(promql, end), "alertname")) - {""})
    where = f" with {{{','.join(map(str, given))}}}" if given else ""
    days = f"in the last {BACK.days} days{where}"
    if not names:
        return f"no alert fired {days}: this server may not be the one that evaluates the rules"
    said = f"no alert {clipped(name, _LONGEST)!r} fired {days}"
    if (near := suggest(name, names)).startswith("did you mean"):
        return f"{said}: {near}"
    shown = [clipped(each, _LONGEST) for each in names[:_MOST_NAMED]]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{said}: choose from {', '.join(shown)}{more}"
