"""Find the window around an incident, by a time that somebody remembers or by an alert that fired.

`signals` asks for a few sums and finds when they were unusual, `search` makes a window of that,
`alerts` finds when an alert fired, and `recorded` is for bundles.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cilium_analysis.around.alerts import fired
from cilium_analysis.around.recorded import around_in
from cilium_analysis.around.search import Around, Event, around
from cilium_analysis.bundle import Bundle
from cilium_analysis.errors import WindowError
from cilium_analysis.times import clock, parse_time

if TYPE_CHECKING:
    from cilium_analysis.source import Source

__all__ = ["Around", "locate"]


def locate(
    source: Source,
    *,
    time: str = "",
    alert: str = "",
    match: str = "",
    timezone: str = "UTC",
    now: datetime | None = None,
) -> Around:
    """Find the window around a time or an alert.

    Parameters
    ----------
    source
        A server or a bundle.
    time
        As of `cilium_analysis.times.parse_time`.
    alert
        Name of the alert, instead of a time: it is the last time that it fired.
    match, timezone
        As of `cilium_analysis.question.ask`.
    now
        The clock if not given.

    Raises
    ------
    WindowError
        If the time cannot be read, is in the future, or is not in the bundle.
    ParameterError
        If the alert did not fire.
    PrometheusError, BundleError
        If the source does not answer.
    """
    if alert:
        event = fired(source, alert, match=match, timezone=timezone, now=now)
        return around(source, event, match=match, timezone=timezone, now=now)
    present = now or datetime.now(UTC)
    moment = parse_time(time, timezone=timezone, now=present)
    if moment > present:
        raise WindowError(f"{time} is in the future: nothing is known yet")
    if isinstance(source, Bundle):
        return around_in(source, moment, timezone=timezone)
    event = Event(clock(moment, timezone), moment, moment)
    return around(source, event, match=match, timezone=timezone, now=now)
