"""How connectivity is asked for: on one grid of times, with the ends of paths named."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.queries import Matcher, Query, parse_matchers
from cilium_analysis.topics import answers, loading
from cilium_analysis.topics.buckets import as_stored
from cilium_analysis.topics.connectivity.promql import QUERIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import timedelta

    from cilium_analysis.source import Source
    from cilium_analysis.targets import Targets
    from cilium_analysis.window import Window

    Matchers = tuple[Matcher, ...]


@dataclass(frozen=True)
class Asker:
    """Asks with the matchers of the user, and lays answers onto one grid of times."""

    source: Source
    match: str
    known: Targets

    @property
    def matchers(self) -> Matchers:
        """Label matchers of the user."""
        return parse_matchers(self.match)

    def render(self, query: Query, step: timedelta, *extra: Matcher) -> str:
        """Write a query as it is sent."""
        asked = as_stored(query, self.known.native)
        return self.known.render(asked, match=(*self.matchers, *extra), step=step)

    def over(self, name: str, window: Window, *extra: Matcher) -> pd.DataFrame:
        """Ask a query from `loading.LEAD` before a window on."""
        wide = loading.led(window)
        promql = self.render(QUERIES[name], window.step, *extra)
        frame = self._clustered(
            answers.answered(self.source, QUERIES[name], lambda: self.source.range(promql, wide))
        )
        step = pd.Timedelta(window.step)
        # Some servers move the start of what is asked for.
        return frame.reindex(times(wide), method="nearest", tolerance=step / 2)

    def at_end(self, query: Query, window: Window, *extra: Matcher) -> pd.Series:
        """Ask a query about a whole window: one value per combination of labels."""
        promql = self.render(query, window.length, *extra)
        frame = self._clustered(
            answers.answered(self.source, query, lambda: self.source.instant(promql, window.end))
        )
        if not len(frame):
            return pd.Series([], index=frame.columns, dtype="float64")
        return frame.iloc[-1].dropna()

    def _clustered(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Call the label that tells clusters apart ``cluster``, whatever its name is."""
        if not frame.shape[1] or self.known.clusters in ((), ("cluster",)):
            return frame
        return frames.relabel(frame, "cluster", self.known.cluster_of(frame))


def times(window: Window) -> pd.DatetimeIndex:
    """Give all points of a window."""
    begin = round(window.start.timestamp() * 1000)
    step = round(window.step.total_seconds() * 1000)
    return frames.time_index(begin + step * np.arange(window.points, dtype=np.int64))


@dataclass
class Names:
    """Names nodes, by cluster too where there is more than one, and remembers the bare names."""

    several: bool
    bare: dict[str, str] = field(default_factory=dict)

    def give(self, frame: pd.DataFrame, role: str, label: str, keep: Sequence[str]) -> pd.DataFrame:
        """Name the ends of paths; what has the same name then is added up."""
        ends = ends_of(frame.columns, role)
        found = [self.name(*end) for end in ends]
        self.bare |= {name: end[1] for name, end in zip(found, ends, strict=True)}
        return frames.group(frames.relabel(frame, label, found), [*keep, label])

    def name(self, cluster: str, node: str) -> str:
        """Name a node; its cluster only where there are several."""
        return f"{cluster}/{node}" if self.several and cluster else node


def ends_of(columns: pd.Index, role: str) -> list[tuple[str, str]]:
    """Give cluster and node at one end; of clusters without a name, as Prometheus names them."""
    labels = ["cluster", f"{role}_cluster", f"{role}_node_name"]
    table = columns.to_frame(index=False).reindex(columns=labels, fill_value="")
    return [
        (own if own not in ("", "default") else scraped, node)
        for scraped, own, node in table.itertuples(index=False, name=None)
    ]


def by_observer(
    asker: Asker, name: str, window: Window, keep: Sequence[str], *extra: Matcher
) -> pd.DataFrame:
    """Ask a query whose series are those of observers; they go by their own names."""
    match = ",".join(str(matcher) for matcher in (*asker.matchers, *extra))
    frame = loading.fetch(asker.source, QUERIES[name], window, match=match)
    table = frames.labels(frame)
    if "source_node_name" in table:
        own = table["source_node_name"].where(table["source_node_name"] != "", table["node"])
        frame = frames.relabel(frame, "node", list(own))
    return frames.group(frame, keep, how="max")


def among(label: str, names: Iterable[str]) -> Matcher:
    """Match a label that has one of these values."""
    return Matcher(label, "=~", either(names))


def either(names: Iterable[str]) -> str:
    """Match any of these texts, whatever is in them."""
    return "|".join(re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", name) for name in names)
