"""Some workloads: what Hubble saw of them, out of what it saw of all.

Hubble's counters name both ends of what they count, so that a question can be narrowed to some
workloads after it was answered: queries stay the same, and a recording can be asked about any of
them. What agents export names no workload and stays whole, but for packets dropped and forwarded:
nobody can tell whose they are.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cilium_analysis import frames
from cilium_analysis.errors import NamesNoWorkload, ParameterError
from cilium_analysis.source import Relay
from cilium_analysis.texts import visible
from cilium_analysis.topics.parties import CONTEXT, party, same, spellings

if TYPE_CHECKING:
    import pandas as pd

    from cilium_analysis.source import Source
    from cilium_analysis.window import Window

#: Names of others that an error lists.
_FEW = 6
#: Between the two ends of a pair.
_TO = " to "
_HUBBLE = re.compile(r"\b(hubble_[a-z0-9_]+?)(_bucket|_sum|_count)?\{")
#: What agents count of packets, whoever they are from.
_OF_PACKETS = re.compile(r"\bcilium_(drop|forward)_(count|bytes)_total\b")
#: Queries for what was counted; others find out what is scraped.
_COUNTS = re.compile(r"max_over_time\((hubble|cilium)_| offset ")
#: Metrics of Hubble about itself, which name no workload in any configuration.
_OF_HUBBLE = ("hubble_lost_events_total", "hubble_metrics_", "hubble_dynamic_exporter_")
#: A lookup is between a client and a server of names, not between the two workloads of a pair.
_LOOKUPS = "hubble_dns_"


@dataclass(frozen=True)
class Workloads:
    """Workloads that a question is about.

    Parameters
    ----------
    text
        As it was given: a namespace, a workload as ``namespace/workload``, or a pair of these as
        ``shop/cart to shop/db``.
    source, destination
        The ends; of a single one, only the source.
    """

    text: str
    source: str
    destination: str = ""

    @classmethod
    def parse(cls, text: str) -> Workloads:
        """Read them.

        Raises
        ------
        ParameterError
            If an end is empty, or there are more than two.
        """
        ends = [end.strip() for end in text.split(_TO)]
        if not all(ends) or len(ends) > 2 or visible(text) != text:
            raise ParameterError(
                f"{text!r} names no workloads: write shop, shop/cart, or shop/cart to shop/db"
            )
        return cls(_TO.join(ends), *ends)

    @classmethod
    def pair(cls, text: str) -> Workloads:
        """Read a pair of them.

        Raises
        ------
        ParameterError
            If they are no two.
        """
        if _TO not in text:
            raise ParameterError(
                "this question is about two workloads: give --from NS/NAME and --to NS/NAME, or"
                " the parameter workloads as shop/cart to shop/db"
            )
        return cls.parse(text)

    def concern(self, metric: str, source: str, destination: str) -> bool:
        """Tell whether something that was counted concerns them.

        Parameters
        ----------
        metric
            Of Hubble.
        source, destination
            As `cilium_analysis.topics.parties.party` names them.
        """
        if not self.destination or metric.startswith(_LOOKUPS):
            return _is(source, self.source) or _is(destination, self.source)
        there = _is(source, self.source) and _is(destination, self.destination)
        return there or (_is(destination, self.source) and _is(source, self.destination))


def _is(name: str, wanted: str) -> bool:
    return bool(name) and same(name, wanted)


class Narrowed(Relay):
    """Answers with what concerns some workloads only.

    Parameters
    ----------
    source
        What answers.
    workloads
        That it is about.
    nodes
        Where traffic of theirs was seen; none if that is not known.

    Attributes
    ----------
    named
        Metrics of Hubble that name workloads, of those that were asked for.
    silenced
        Metrics of Hubble of which nothing can be said about the workloads.
    """

    def __init__(
        self, source: Source, workloads: Workloads, *, nodes: frozenset[str] = frozenset()
    ) -> None:
        super().__init__(source)
        self.workloads, self.nodes = workloads, nodes
        self.named: set[str] = set()
        self.silenced: set[str] = set()

    def range(self, promql: str, window: Window) -> pd.DataFrame:
        """Evaluate a query, and keep the series that concern the workloads.

        Raises
        ------
        NamesNoWorkload
            If series of Hubble name neither end, so that nobody knows which are theirs.
        """
        if not (CONTEXT in promql or _COUNTS.search(promql)):
            return super().range(promql, window)
        if _OF_PACKETS.search(promql):
            return frames.empty()
        metrics = {found[1] for found in _HUBBLE.finditer(promql)}
        metrics = {metric for metric in metrics if not metric.startswith(_OF_HUBBLE)}
        if not metrics:
            return super().range(promql, window)
        metric = min(metrics)
        if CONTEXT not in promql and metric not in self.silenced - self.named:
            # It is asked for what no end is needed for, such as types of records.
            self.silenced.add(metric)
            return frames.empty()
        if CONTEXT in promql:
            answer = super().range(promql, window)
            table, full = frames.labels(answer), spellings(answer)
            ends = [party(table, side, spelled=full) for side in ("source", "destination")]
            if any(map(any, ends)) or not answer.shape[1]:
                self.named |= {metric} if answer.shape[1] else set()
                kept = [self.workloads.concern(metric, *pair) for pair in zip(*ends, strict=True)]
                return answer.loc[:, kept]
        self.silenced.add(metric)
        raise NamesNoWorkload(metric)


def narrowing(source: Source) -> Narrowed | None:
    """Give what narrows the answers of a source; None if nothing does."""
    while isinstance(source, Relay):
        if isinstance(source, Narrowed):
            return source
        source = source.source
    return None


def nodes(flows: pd.DataFrame, workloads: Workloads) -> frozenset[str]:
    """Give the nodes that saw traffic of the workloads; none where flows do not tell.

    Parameters
    ----------
    flows
        All flow events: label frame with ``node`` and the labels of both ends.
    workloads
        That a question is about.

    Raises
    ------
    ParameterError
        If flows name workloads, and one of these is not among them.
    """
    table, full = frames.labels(flows), spellings(flows)
    sides = (party(table, side, spelled=full) for side in ("source", "destination"))
    ends = list(zip(*sides, strict=True))
    names = {name for pair in ends for name in pair} - {""}
    for end in filter(None, (workloads.source, workloads.destination)):
        if names and not any(same(end, name) for name in names):
            spaces = {name.partition("/")[0] for name in names if "/" in name}
            known = sorted(names if "/" in end else spaces)
            near = difflib.get_close_matches(end, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"they name {', '.join(known[:_FEW])}"
            raise ParameterError(f"Hubble's metrics of this window name no {end!r}: {hint}")
    sums = flows.sum().tolist()
    at = zip(ends, frames.values(flows, "node"), sums, strict=True)
    return frozenset(
        node
        for pair, node, number in at
        if node and number and workloads.concern("hubble_flows_processed_total", *pair)
    )
