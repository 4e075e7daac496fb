"""Asks a source what the explorer shows: the data of each topic, and the overview.

The overview shows when packets were dropped, or answered with an error, around the window.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from cilium_analysis import frames, topics
from cilium_analysis.errors import BudgetExceeded, QueryRejected
from cilium_analysis.explorer.state import TOPICS
from cilium_analysis.source import Relay, followed
from cilium_analysis.topics import endpoints, hubble
from cilium_analysis.topics.drops import data as drops
from cilium_analysis.topics.http.data import REQUESTS, RESPONSES
from cilium_analysis.topics.http.statuses import BAD, status_class
from cilium_analysis.topics.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cilium_analysis.explorer.background import Job
    from cilium_analysis.explorer.scope import Scope
    from cilium_analysis.explorer.state import Asked
    from cilium_analysis.findings import Findings
    from cilium_analysis.source import Source
    from cilium_analysis.window import Window

DROPPED = "Packets dropped per second"
FAILED = "HTTP errors per second"
PARTIAL = (
    "The recording answers about connectivity only for its whole window: the pictures show a part"
    " of it, the findings are those of the whole."
)


@dataclass(frozen=True)
class Progress:
    """Progress of a question: the topic that is being asked, topics done, queries answered."""

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
        The findings in it.
    asked
        The question that it answers.
    whole
        False if a recording answered for more than was asked: no report can be made of that.
    seconds
        Time it took, and the source's part of that [s].
    """

    topic: str
    data: Any
    findings: Findings
    asked: Asked
    whole: bool
    seconds: tuple[float, float]

    @property
    def notes(self) -> list[str]:
        """Caveats, in the words of the report."""
        own = [note for note in (self.asked.note, "" if self.whole else PARTIAL) if note]
        return own + list(topics.TOPICS[self.topic].notes(self.data))

    @cached_property
    def by_node(self) -> pd.DataFrame:
        """The table of nodes of ``endpoint_growth``, computed once for all filters."""
        return endpoints.by_node(self.data)


class Watched(Relay):
    """A source that stops asking when its job is stopped, and counts the answers."""

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
            # An error of a request that was broken off is not the server's.
            self.job.check()
        self.queries += 1
        return frame


def answers(
    source: Watched, asked: Asked, scope: Scope, *, first: str
) -> Iterator[Progress | Loaded]:
    """Ask all topics, the one in focus first.

    Yields
    ------
    Progress or Loaded
        Each topic as soon as it is complete.
    """
    order = sorted(TOPICS, key=lambda topic: topic != first)
    for done, topic in enumerate(order):
        yield Progress(topic, done, source.queries)
        yield load(topic, source, asked, scope)


def load(topic: str, source: Source, asked: Asked, scope: Scope) -> Loaded:
    """Load one topic and its findings, as its notebook does."""
    began = time.perf_counter()
    known, window, baseline = topics.TOPICS[topic], asked.window, asked.baseline
    # A recording answers for the window that it was made for, as a whole.
    whole = not scope.held or topic != "node_connectivity" or window == scope.extent
    if not whole:
        window, baseline = scope.extent, scope.baseline or scope.extent.baseline("previous")
    with followed() as said:
        data = known.load(source, window, baseline, match=asked.match)
    findings = known.findings(data)
    spent = sum(record.seconds for record in said.records)
    if not whole:
        data = replace(data, now=replace(data.now, window=asked.window))
    return Loaded(topic, data, findings, asked, whole, (time.perf_counter() - began, spent))


# The overview


def overview(source: Source, extent: Window, *, match: str = "") -> pd.DataFrame:
    """Ask for the data of the overview; matchers narrow every query.

    Returns
    -------
    pandas.DataFrame
        Columns `DROPPED` and `FAILED` [1/s], one row per step of the extent. Where both ends of a
        request report it, the higher one counts. A column that is unknown is missing.
    """
    reader = Reader(source, extent, match)
    dropped = reader.read(drops.DROPPED)
    found = {DROPPED: _sum(dropped) if dropped.shape[1] else None}
    # The overview does without what the budget does not allow.
    with suppress(BudgetExceeded, QueryRejected):
        found[FAILED] = _failed(reader)
    known = {name: one for name, one in found.items() if one is not None}
    return pd.DataFrame(known) / extent.step.total_seconds()


def _failed(reader: Reader) -> pd.Series | None:
    found = []
    for counter in (REQUESTS, RESPONSES):
        grown = hubble.read(reader, counter)
        if grown.shape[1] and "status" in grown.columns.names:
            statuses = grown.columns.get_level_values("status")
            bad = [status_class(str(status)) in BAD for status in statuses]
            found.append(frames.group(grown.loc[:, bad], ["reporter"]).max(axis=1))
    return _sum(pd.concat(found, axis=1)) if found else None


def _sum(frame: pd.DataFrame) -> pd.Series:
    return frame.sum(axis=1, min_count=1) if frame.shape[1] else frame.sum(axis=1)
