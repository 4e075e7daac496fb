"""What the explorer can ask of a source: a server or a recording."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cilium_analysis import targets
from cilium_analysis.bundle import Bundle
from cilium_analysis.connection import SAMPLES, connect, sample_directory
from cilium_analysis.errors import ParameterError
from cilium_analysis.explorer.asking import Watched
from cilium_analysis.memory import Remembering
from cilium_analysis.prometheus import Prometheus
from cilium_analysis.prometheus.credentials import of_parameters, parameters_of
from cilium_analysis.source import iso
from cilium_analysis.times import format_duration
from cilium_analysis.topics import loading
from cilium_analysis.topics.setup.newest import newest
from cilium_analysis.topics.workloads import narrowing
from cilium_analysis.window import Window, fitting_step

if TYPE_CHECKING:
    from cilium_analysis.explorer.background import Job
    from cilium_analysis.source import Source

#: Labels that filters narrow queries by, if every series has them.
_OF_TARGETS = ("node",)


@dataclass(frozen=True)
class Scope:
    """What a source can be asked.

    Parameters
    ----------
    name
        Of the source, for people.
    address
        As ``--source`` takes it.
    extent
        What the overview shows; for a recording, its window.
    held
        Windows that a recording answers for; none for a server.
    baseline
        That of a recording.
    labels
        Dimensions that every series has as a label, so that a matcher can select by them.
    match
        Matchers of a recording, which answers no other queries.
    workloads
        That Hubble's metrics are narrowed to; all if empty.
    """

    name: str
    address: str
    extent: Window
    held: tuple[Window, ...] = ()
    baseline: Window | None = None
    labels: frozenset[str] = frozenset()
    match: str = ""
    workloads: str = ""

    def answers(self, window: Window) -> bool:
        """Tell whether the source answers for a window at all."""
        wide = loading.led(window)
        return not self.held or any(
            one.start <= wide.start and wide.end <= one.end for one in self.held
        )


def of(source: Source, address: str, extent: Window) -> Scope:
    """Describe a source, without asking it; of a server the overview shows the extent."""
    bare, narrowed = _bare(source), narrowing(source)
    workloads = narrowed.workloads.text if narrowed else ""
    if not isinstance(bare, Bundle):
        return Scope(source.name, address, extent, workloads=workloads)
    step = bare.window.step.total_seconds()
    rows = [row["window"] for row in bare.manifest["answers"] if row["window"]]
    held = {
        (row["start"], row["end"]): Window.from_json(row)
        for row in rows
        if row["step_seconds"] == step
    }
    shown = replace(bare.window, timezone=extent.timezone)
    windows = tuple(held.values())
    return Scope(
        source.name,
        address,
        shown,
        windows,
        bare.baseline,
        match=bare.match or "",
        workloads=workloads,
    )


def with_labels(scope: Scope, source: Source, *, match: str = "") -> Scope:
    """Ask a server which dimensions are labels of all series."""
    if scope.held:
        return scope
    known = targets.of(source, scope.extent, match=match)
    nodes = set(known.table.loc[known.table["component"] != "operator", "node"])
    named = bool(nodes) and nodes <= known.labelled
    return replace(scope, labels=frozenset(_OF_TARGETS if named else ()))


def there(source: Source, window: Window, *, match: str, now: datetime | None = None) -> Window:
    """Give a window in which a server has metrics, with the step that fits its scrape intervals.

    Parameters
    ----------
    source
        A server.
    window
        Stays if there are any in it; else it is the last two hours, or those that end with the
        newest metrics. If there are none at all, it stays too.
    match
        Label matchers of the user.
    now
        The clock if not given.
    """
    present = now or datetime.now(UTC)
    recent = Window.parse("-2h", "now", timezone=window.timezone, now=present)
    for one in (window, recent):
        known = targets.of(source, one, match=match)
        if len(known.table):
            return _fitting(one, known)
    last = newest(source, recent, match=match, now=present).time
    if last is None:
        return window
    last = last.replace(second=0, microsecond=0)
    found = replace(recent, start=last - timedelta(hours=2), end=last)
    return _fitting(found, targets.of(source, found, match=match))


def _fitting(window: Window, known: targets.Targets) -> Window:
    ends, zone = (iso(window.start), iso(window.end)), window.timezone
    usual = Window.parse(*ends, timezone=zone)
    step = fitting_step(usual, known.slowest, {*known.table["interval"]})
    return Window.parse(*ends, step=format_duration(step), timezone=zone)


def plain(source: Source) -> Source:
    """Give the source behind a memory."""
    while isinstance(source, Remembering):
        source = source.source
    return source


def _bare(source: Source) -> Source:
    """Give the server or the recording itself."""
    narrowed = narrowing(source)
    return plain(source if narrowed is None else narrowed.source)


def address_of(source: Source) -> str:
    """Write a source as ``--source`` takes it, without credentials; a sample by its name."""
    bare = _bare(source)
    if not isinstance(bare, Bundle):
        return bare.name
    named = {sample_directory(name): name for name in SAMPLES}
    return named.get(bare.directory, bare.called)


def opened(address: str) -> Source:
    """Connect to an address that the user has typed.

    Raises
    ------
    ParameterError
        If there are credentials in it: the notebook would keep them.
    SourceError, BundleError
        As for `connect`.
    """
    text = address.strip()
    try:
        has_user = "@" in urlsplit(text).netloc or any(of_parameters(parameters_of(text)))
    except ValueError:
        has_user = "@" in text
    if has_user:
        raise ParameterError(
            "credentials do not belong in an address that a notebook keeps: set"
            " CILIUM_ANALYSIS_USERNAME and CILIUM_ANALYSIS_PASSWORD_FILE instead"
        )
    return connect(text)


def for_job(memory: Remembering, job: Job) -> Watched:
    """Give a source to ask in a job: stopping the job breaks off its requests."""
    client = again(memory.source)
    transport: Any = getattr(client, "transport", None)
    if transport is not None:
        transport.pause = job.pause
        job.on_stop(transport.abandon)
    memory.source = client
    return Watched(memory, job)


def again(source: Source) -> Source:
    """Give another client of the same server, so that breaking one off does not stop others."""
    if not isinstance(source, Prometheus) or source.transport.http is not None:
        return source
    client = Prometheus(
        source.api_url, max_samples=source.max_samples, concurrency=source.concurrency
    )
    client.transport = replace(source.transport)
    return client
