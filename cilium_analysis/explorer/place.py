"""Where the explorer looks: a server or a recording, and what can be asked there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cilium_analysis import targets
from cilium_analysis.bundle import Bundle
from cilium_analysis.errors import ParameterError
from cilium_analysis.memory import Remembering
from cilium_analysis.topics import loading

if TYPE_CHECKING:
    from cilium_analysis.explorer.job import Job
    from cilium_analysis.source import Source
    from cilium_analysis.window import Window

#: Labels that filters may narrow queries by, if every series has them.
OF_TARGETS = ("node",)


@dataclass(frozen=True)
class Place:
    """What a source can be asked.

    Parameters
    ----------
    name
        Of the source, for people.
    address
        As ``--source`` takes it.
    extent
        What the overview shows; of a recording, all that it is about.
    held
        Stretches of time that a recording answers for; none for a server.
    baseline
        A recording's own.
    labels
        Dimensions that every series has as a label, so that a matcher can choose by them.
    """

    name: str
    address: str
    extent: Window
    held: tuple[Window, ...] = ()
    baseline: Window | None = None
    labels: frozenset[str] = frozenset()

    def answers(self, window: Window) -> bool:
        """Tell whether a window can be asked about at all."""
        wide = loading.led(window)
        return not self.held or any(
            one.start <= wide.start and wide.end <= one.end for one in self.held
        )


def of(source: Source, address: str, extent: Window) -> Place:
    """Describe a source; nothing is asked.

    Parameters
    ----------
    source
        A server or a bundle.
    address
        As ``--source`` takes it.
    extent
        What to show of a server.
    """
    bare = plain(source)
    if not isinstance(bare, Bundle):
        return Place(source.name, address, extent)
    own = bare.window
    shown = replace(own, timezone=extent.timezone)
    return Place(source.name, address, shown, _held(bare), bare.baseline)


def _held(bundle: Bundle) -> tuple[Window, ...]:
    """Give the stretches of time that answers of a recording cover."""
    from cilium_analysis.bundle.manifest import window

    step = bundle.window.step.total_seconds()
    rows = [row["window"] for row in bundle.manifest["answers"] if row["window"]]
    found = {(row["start"], row["end"]): window(row) for row in rows if row["step_seconds"] == step}
    return tuple(found.values())


def with_labels(place: Place, source: Source, *, match: str = "") -> Place:
    """Ask a server which dimensions are labels of every series of its targets."""
    if place.held:
        return place
    known = targets.of(source, place.extent, match=match)
    nodes = set(known.table.loc[known.table["component"] != "operator", "node"])
    named = bool(nodes) and nodes <= known.labelled
    return replace(place, labels=frozenset(OF_TARGETS if named else ()))


def plain(source: Source) -> Source:
    """Give the source behind a memory."""
    while isinstance(source, Remembering):
        source = source.source
    return source


def address_of(source: Source) -> str:
    """Write a source as ``--source`` takes it, without credentials."""
    bare = plain(source)
    return str(bare.directory) if isinstance(bare, Bundle) else bare.name


def opened(address: str) -> Source:
    """Connect to an address that somebody has typed.

    Raises
    ------
    ParameterError
        If there are credentials in it: what is typed is kept in the notebook.
    SourceError, BundleError
        As of `connect`.
    """
    from urllib.parse import urlsplit

    from cilium_analysis.connection import connect
    from cilium_analysis.prometheus.masking import of_parameters
    from cilium_analysis.prometheus.transport import parameters_of

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


def for_job(memory: Remembering, job: Job) -> Source:
    """Give a source to ask in a job: breaking the job off breaks its requests off.

    Parameters
    ----------
    memory
        Keeps the answers of all jobs.
    job
        Ends what it asks when it is stopped.
    """
    from cilium_analysis.explorer.asking import Watched

    client = again(memory.source)
    transport: Any = getattr(client, "transport", None)
    if transport is not None:
        transport.pause = job.pause
        job.on_stop(transport.abandon)
    memory.source = client
    return Watched(memory, job)


def again(source: Source) -> Source:
    """Give another client of the same server, so that giving one up leaves the others alone."""
    from cilium_analysis.prometheus import Prometheus

    if not isinstance(source, Prometheus) or source.transport.http is not None:
        return source
    client = Prometheus(
        source.api_url, max_samples=source.max_samples, concurrency=source.concurrency
    )
    client.transport = replace(source.transport)
    return client
