"""How Hubble's counters are asked for and read: per series, and less of them if they are many.

Hubble runs inside the agent, so that its counters begin at 0 whenever the agent starts. A series
there is after its first event, and one that names a pod vanishes with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import counters, frames
from cilium_analysis.errors import BudgetExceeded, QueryRejected
from cilium_analysis.queries import Query
from cilium_analysis.source import followed
from cilium_analysis.topics import loading
from cilium_analysis.topics.parties import CONTEXT, column, name_parties, swapped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cilium_analysis.source import Source
    from cilium_analysis.topics.loading import Scrapes
    from cilium_analysis.window import Window

#: The end of a pod's name that its ReplicaSet and the API server drew (k8s.io/apimachinery
#: pkg/util/rand: no vowels, so that no words come out).
_POD = re.compile(r"-[bcdfghjklmnpqrstvwxz2456789]{6,10}-[bcdfghjklmnpqrstvwxz2456789]{5}(?=$| \()")

LOST = Query(
    "max by (<target>, source) (max_over_time(hubble_lost_events_total{<match>}[<range>]))",
    "events",
    "events that Hubble lost, by where (Cilium 1.14 and later)",
    spare=True,
)


@dataclass(frozen=True)
class Metric:
    """A counter of Hubble.

    Parameters
    ----------
    name
        As exposed.
    labels
        Its own labels, all of them: series that differ in any are counters of their own.
    unit, about
        As for `Query`.
    """

    name: str
    labels: tuple[str, ...]
    unit: str
    about: str

    @property
    def whole(self) -> Query:
        """Ask for every series; its highest value in each step, so that no reset hides any."""
        names = ", ".join(("<target>", *sorted(self.labels)))
        promql = f"max by ({names}, {CONTEXT}) (max_over_time({self.name}{{<match>}}[<range>]))"
        return Query(promql, self.unit, self.about)

    def growth(self, *labels: str) -> Query:
        """Ask the server to add up what its series gained in each step, by these labels.

        A series without an earlier value began at 0 if others of its target had one; one that
        fell began at 0 again. What a gap in the scrapes hides is lost.
        """
        names = ", ".join(("<target>", *sorted(labels)))
        promql = growth(f"{self.name}{{<match>}}", names)
        return Query(promql, self.unit, self.about + ", per step")

    @property
    def over_nodes(self) -> Query:
        """Ask for `growth` by all labels and parties, but added up over the nodes."""
        names = ", ".join(("<cluster>", *sorted(self.labels)))
        promql = growth(f"{self.name}{{<match>}}", f"{names}, {CONTEXT}")
        return Query(promql, self.unit, self.about + ", per step, on all nodes together")


def growth(selector: str, by: str, *, there: str = "") -> str:
    """Write PromQL that adds up what counters gained in each step, as `Metric.growth` explains.

    Parameters
    ----------
    selector
        Of the counters, with its braces.
    by
        Labels to keep, as in ``by (…)``.
    there
        As for `loading.gained`; the counters themselves if it is not said.
    """
    gained = loading.gained(selector, there=there or selector)
    return f"sum by ({by}) ({gained})"


@dataclass(frozen=True)
class Counted:
    """What a counter gained in each step of a window.

    Parameters
    ----------
    increase
        Label frame with ``node``.
    summed
        Whether the series were too many, so that only the server's sums are there.
    refused
        Whether even the sums were too many, so that there is nothing.
    """

    increase: pd.DataFrame
    summed: bool = False
    refused: bool = False


@dataclass(frozen=True)
class Reader:
    """Reads Hubble's counters in one window; from `reader`.

    Parameters
    ----------
    source, window, match
        As for a topic's ``load``.
    agents, servers
        When agents, and Hubble, were scraped.
    """

    source: Source
    window: Window
    match: str
    agents: Scrapes
    servers: Scrapes

    def grown(self, query: Query) -> pd.DataFrame:
        """Read what the series of a query gained per step: label frame with ``node``."""
        return self.increase(self.values(query))

    def values(self, query: Query, *, strict: bool = False) -> pd.DataFrame:
        """Read a query from before the window on, as `loading.fetch` does: with ``node``."""
        return loading.fetch(self.source, query, self.window, match=self.match, strict=strict)

    def increase(self, values: pd.DataFrame) -> pd.DataFrame:
        """Give what counters gained per step of the window, from their `values`."""
        grown = counters.increase(values, scraped=self._targets, pinned=False)
        return loading.inside(grown, self.window)

    def gained(self, query: Query, over_nodes: Query, *, strict: bool = False) -> pd.DataFrame:
        """Read what series gained per step; of a crowd of nodes, only what all gained together.

        Parameters
        ----------
        query
            As for `grown`.
        over_nodes
            Asks the server for the sums over all nodes, as `Metric.over_nodes`.
        strict
            As for `loading.fetch`.

        Raises
        ------
        BudgetExceeded, QueryRejected
            If there are too many of them, and `strict`.
        """
        if not self.crowded:
            return self.increase(self.values(query, strict=strict))
        return loading.inside(self.values(over_nodes, strict=strict), self.window)

    @property
    def crowded(self) -> bool:
        """Whether counters are added up over the nodes by the server."""
        return loading.crowded(self.servers.starts)

    def rarely(self, query: Query) -> pd.DataFrame:
        """Ask what is only shown, of many nodes in longer steps: label frame with ``node``."""
        nodes = self.servers.starts.shape[1] or self.agents.starts.shape[1]
        every = loading.every(self.window, nodes=nodes)
        return loading.fetch(self.source, query, self.window, match=self.match, every=every)

    def counted(self, metric: Metric, *, least: Sequence[str]) -> Counted:
        """Read a counter; of one with too many series, the sums by some labels.

        Parameters
        ----------
        metric
            What to read.
        least
            Labels to be content with if the series are too many to fetch.
        """
        try:
            return Counted(self.gained(metric.whole, metric.over_nodes, strict=True))
        except (BudgetExceeded, QueryRejected):
            return self.summed(metric, least=least)

    def summed(self, metric: Metric, *, least: Sequence[str]) -> Counted:
        """Read only the sums of a counter by some labels; arguments as for `counted`."""
        with followed() as said:
            sums = loading.inside(self.values(metric.growth(*least)), self.window)
        named = frames.with_levels(sums, [*least, "node"])
        return Counted(named, summed=True, refused=bool(said.refusals))

    def lost(self) -> pd.DataFrame:
        """Read how many events Hubble lost per step: label frame with ``node``, ``source``."""
        return frames.group(self.grown(LOST), ["node", "source"])

    @property
    def crowd_note(self) -> tuple[str, ...]:
        """What it means for the answers that there are so many nodes; empty if there are not."""
        return loading.crowd_note(self.servers.starts)

    @property
    def seen(self) -> pd.DataFrame:
        """Whether each node's Hubble was scraped, as `Scrapes.seen`."""
        return self.servers.seen(self.window)

    @property
    def _targets(self) -> pd.DataFrame | None:
        """Tell `counters.increase` when Hubble was scraped; None if nothing does."""
        return self.servers.starts if self.servers.starts.shape[1] else None


def reader(source: Source, window: Window, *, match: str) -> Reader:
    """Ask when agents and Hubble were scraped, to read counters by.

    Parameters
    ----------
    source, window, match
        As for a topic's ``load``.
    """
    agents = loading.scrapes(source, window, "agent", match=match)
    servers = loading.scrapes(source, window, "hubble", match=match)
    return Reader(source, window, match, agents, servers)


def parties(
    frame: pd.DataFrame, keep: Sequence[str], *, spelled: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Name both ends, as `name_parties`; the pods of a Deployment are one, and go by its name.

    Names of pods change with every rollout, so that neither a baseline nor a sum over nodes
    would fit them.
    """
    named = name_parties(frame, tuple(keep), spelled=spelled)
    for side in ("source", "destination"):
        short = [_POD.sub("", str(name)) for name in named.columns.get_level_values(side)]
        named = frames.relabel(named, side, short)
    return frames.group(named, [*keep, "source", "destination"])


def reversed_where(frame: pd.DataFrame, label: str, values: Sequence[str]) -> pd.DataFrame:
    """Exchange both ends of the series whose label has one of these values: those of answers."""
    chosen = [value in values for value in column(frames.labels(frame), label)]
    if not any(chosen):
        return frame
    parts = [frame.loc[:, [not c for c in chosen]], swapped(frame.loc[:, chosen])]
    names = sorted({str(name) for part in parts for name in part.columns.names})
    return pd.concat([frames.with_levels(part, names) for part in parts], axis=1)
