"""From a question to the data of its topics, one after another, until somebody stops it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

from cilium_analysis.explorer.state import TOPICS
from cilium_analysis.source import Relay
from cilium_analysis.topics import connectivity, drops, endpoints, http

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pandas as pd

    from cilium_analysis.explorer.job import Job
    from cilium_analysis.explorer.place import Place
    from cilium_analysis.explorer.state import Asked
    from cilium_analysis.findings import Findings
    from cilium_analysis.source import Source

_MODULES: Mapping[str, Any] = {
    "drop_reasons": drops,
    "node_connectivity": connectivity,
    "endpoint_growth": endpoints,
    "http_status": http,
}
PARTIAL = (
    "The recording answers about connectivity only for the whole of its window: this is the part of"
    " it that is looked at, and its findings are those of the whole."
)


@dataclass(frozen=True)
class Progress:
    """How far a question is.

    Parameters
    ----------
    topic
        Being asked.
    done
        Topics that are whole.
    queries
        Answered so far.
    """

    topic: str
    done: int
    queries: int


@dataclass(frozen=True, eq=False)
class Loaded:
    """All that is known about one topic; equal to itself only.

    Parameters
    ----------
    topic
        Name of its notebook.
    data
        What the topic loaded.
    findings
        What it concludes.
    asked
        The question that this answers.
    whole
        False if a recording answered for more than was asked, so that no report can be made of it.
    seconds
        It took, and those of the source's answers among them [s].
    """

    topic: str
    data: Any
    findings: Findings
    asked: Asked
    whole: bool
    seconds: tuple[float, float]

    @property
    def notes(self) -> list[str]:
        """How far to trust it, as reports say it."""
        said = [note for note in (self.asked.note, "" if self.whole else PARTIAL) if note]
        return said + list(_MODULES[self.topic].notes(self.data))

    @cached_property
    def by_node(self) -> pd.DataFrame:
        """The nodes of ``endpoint_growth``, which choices among them need not count again."""
        return endpoints.by_node(self.data)


class Watched(Relay):
    """A source that stops asking when its job is stopped, and counts what was answered.

    Parameters
    ----------
    source
        What answers.
    job
        That asks.
    """

    def __init__(self, source: Source, job: Job) -> None:
        super().__init__(source)
        self.job = job
        self.queries = 0

    def passed(self, ask: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """Give what the source answers, unless the job is stopped."""
        self.job.check()
        try:
            frame = ask()
        finally:
            # An error because the request was given up is not the server's.
            self.job.check()
        self.queries += 1
        return frame


def answers(
    source: Watched, asked: Asked, place: Place, *, first: str
) -> Iterator[Progress | Loaded]:
    """Ask all topics.

    Parameters
    ----------
    source
        What answers.
    asked
        The question.
    place
        Where it is asked.
    first
        Topic to begin with.

    Yields
    ------
    Progress or Loaded
        Each topic as soon as all of it is there, never a part.
    """
    order = sorted(TOPICS, key=lambda topic: topic != first)
    for done, topic in enumerate(order):
        yield Progress(topic, done, source.queries)
        yield load(topic, source, asked, place)


def load(topic: str, source: Source, asked: Asked, place: Place) -> Loaded:
    """Load one topic as its notebook does, and find what it finds."""
    began, records = time.perf_counter(), len(source.journal)
    module, window, baseline = import_module(_MODULES[topic].__name__), asked.window, asked.baseline
    whole = not (place.held and topic == "node_connectivity" and not _is_all(asked, place))
    if not whole:
        window, baseline = place.extent, place.baseline or place.extent.baseline("previous")
    data = module.load(source, window, baseline, match=asked.match)
    findings = module.findings(data)
    spent = sum(record.seconds for record in source.journal[records:])
    if not whole:
        data = replace(data, window=asked.window)
    return Loaded(topic, data, findings, asked, whole, (time.perf_counter() - began, spent))


def _is_all(asked: Asked, place: Place) -> bool:
    """Tell whether a recording is asked for the window and a baseline that it was made for."""
    return asked.window == place.extent
