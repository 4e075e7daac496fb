"""How Hubble's counters are asked for and read: per series, and less of them if they are many.

Hubble runs inside the agent, so that its counters begin at 0 whenever the agent starts. A series
there is after its first event, and one that names a pod vanishes with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.errors import BudgetExceeded, QueryRejected
from cilium_analysis.source import followed
from cilium_analysis.topics import loading
from cilium_analysis.topics.metric import Metric
from cilium_analysis.topics.parties import CONTEXT, column, name_parties, swapped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cilium_analysis.topics.metric import Kind
    from cilium_analysis.topics.reader import Reader

#: The end of a pod's name that its ReplicaSet and the API server drew (k8s.io/apimachinery
#: pkg/util/rand: no vowels, so that no words come out).
_POD = re.compile(r"-[bcdfghjklmnpqrstvwxz2456789]{6,10}-[bcdfghjklmnpqrstvwxz2456789]{5}(?=$| \()")


@dataclass(frozen=True)
class Counter:
    """A counter of Hubble, whose context labels name source and destination.

    Parameters
    ----------
    selector
        Its name, with braces where it has matchers.
    labels
        Its own labels, all of them: series that differ in any are counters of their own.
    unit, about, spare
        As for `Query`.
    there
        Selector of what Hubble exposes all along, if some of its own series are not always there.
    with_parties
        Whether it has context labels.
    """

    selector: str
    labels: tuple[str, ...]
    unit: str
    about: str
    spare: bool = False
    there: str = ""
    with_parties: bool = True

    @property
    def name(self) -> str:
        """Name of the metric."""
        return self.selector.partition("{")[0]

    @property
    def queries(self) -> tuple[Metric, Metric]:
        """Both ways of asking for all that it tells."""
        return self.whole, self.over_nodes

    @property
    def whole(self) -> Metric:
        """Ask for every series; its highest value in each step, so that no reset hides any."""
        promql = f"max by ({self._by('<target>')}) (max_over_time({self._selected}[<range>]))"
        return self._metric("counter", promql, self.about)

    @property
    def over_nodes(self) -> Metric:
        """Ask the server for what series gained in each step, added up over the nodes.

        A series without an earlier value began at 0 if others of its target had one; one that
        fell began at 0 again. What a gap in the scrapes hides is lost.
        """
        by, each = self._by("<cluster>"), self._selected.replace("<match>", "<single>")
        about = f"{self.about}, per step, on all nodes together"
        vanished, again = f"{each} offset <range> unless {each}", f"resets({each}[<range>]) > 0"
        return replace(
            self._metric("gained", f"sum by ({by}) ({self._gained})", about),
            total=f"sum by ({by}) ({each})",
            broken=f"count(({vanished}) or ({again})) or vector(0)",
        )

    def growth(self, *labels: str) -> Metric:
        """Ask the server for what they gained, as `over_nodes`, per node and by these labels."""
        promql = f"sum by ({', '.join(('<target>', *sorted(labels)))}) ({self._gained})"
        return self._metric("gained", promql, f"{self.about}, per step", labels)

    @property
    def _selected(self) -> str:
        return self.selector if "{" in self.selector else self.selector + "{<match>}"

    @property
    def _gained(self) -> str:
        return loading.gained(self._selected, there=self.there or self._selected)

    def _by(self, of: str) -> str:
        own = ", ".join((of, *sorted(self.labels)))
        return f"{own}, {CONTEXT}" if self.with_parties else own

    def _metric(
        self, kind: Kind, promql: str, about: str, labels: tuple[str, ...] | None = None
    ) -> Metric:
        kept = self.labels if labels is None else labels
        return Metric(promql, self.unit, about, self.spare, kind, kept, process="hubble")


LOST = Counter(
    "hubble_lost_events_total",
    ("source",),
    "events",
    "events that Hubble lost, by where (Cilium 1.14 and later)",
    spare=True,
    with_parties=False,
).whole


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


def read(reader: Reader, counter: Counter, *, strict: bool = False) -> pd.DataFrame:
    """Read what series gained per step; of very many nodes, only what all gained together.

    Parameters
    ----------
    reader
        Of the window.
    counter
        What to read.
    strict
        As for `loading.fetch`.

    Raises
    ------
    BudgetExceeded, QueryRejected
        If there are too many of them, and `strict`.
    """
    return reader.read(counter.over_nodes if reader.crowded else counter.whole, strict=strict)


def read_or_summed(reader: Reader, counter: Counter, *, least: Sequence[str]) -> Counted:
    """Read a counter; of one with too many series, the sums by some labels.

    Parameters
    ----------
    reader, counter
        As for `read`.
    least
        Labels to be content with if the series are too many to fetch.
    """
    try:
        return Counted(read(reader, counter, strict=True))
    except (BudgetExceeded, QueryRejected):
        with followed() as said:
            sums = reader.read(counter.growth(*least))
        named = frames.with_levels(sums, [*least, "node"])
        return Counted(named, summed=True, refused=bool(said.refusals))


def lost(reader: Reader) -> pd.DataFrame:
    """Read how many events Hubble lost per step: label frame with ``node``, ``source``."""
    return frames.group(reader.read(LOST), ["node", "source"])


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
