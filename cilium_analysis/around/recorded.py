"""Around a time in a recording: its window is all there is, and its topics say what was unusual."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis.around.search import Around, Event, chosen, lasted
from cilium_analysis.around.signals import Unusual
from cilium_analysis.errors import BundleError, WindowError
from cilium_analysis.findings import Severity
from cilium_analysis.texts import clipped
from cilium_analysis.times import clock, interval
from cilium_analysis.topics import TOPICS

if TYPE_CHECKING:
    from datetime import datetime

    from cilium_analysis.bundle import Bundle

#: Topics that tell soon what was unusual.
_LOOKED = ("drop_reasons", "http_status", "dns", "node_connectivity")
_LONGEST = 90
_MOST_NAMED = 2


def around_in(bundle: Bundle, moment: datetime, *, timezone: str) -> Around:
    """Give the window of a recording, and what was unusual near a time.

    A part of it would lack what was asked about the whole.

    Parameters
    ----------
    bundle
        What was recorded.
    moment
        The time.
    timezone
        IANA name of the reader's zone.

    Raises
    ------
    WindowError
        If the recording is not of this time.
    """
    window = bundle.window
    whole = interval(window.start, window.end, timezone)
    if not window.start <= moment <= window.end:
        raise WindowError(f"the bundle is not of this time, but of {whole}")
    at = clock(moment, timezone)
    near = chosen(_found(bundle), Event(at, moment, moment))
    said = f"Around {at}: all that the bundle holds, {whole}"
    if near:
        titles = "; ".join(each.what for each in near[:_MOST_NAMED])
        said += f"; unusual {lasted(near, window=window, tz=timezone)}: {titles}"
    return Around(window.start, window.end, said)


def _found(bundle: Bundle) -> list[Unusual]:
    found = []
    for name in _LOOKED:
        if name not in bundle.topics:
            continue
        topic = TOPICS[name]
        baseline = bundle.baseline or bundle.window.baseline()
        try:
            data = topic.load(bundle, bundle.window, baseline, match=bundle.match or "")
        except BundleError:
            continue
        found += [
            Unusual(clipped(each.title, _LONGEST), each.start, each.end)
            for each in topic.findings(data)
            if each.severity >= Severity.WARNING and each.kind != "missing_metrics"
        ]
    return found
