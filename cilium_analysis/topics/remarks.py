"""What is to be said about the targets, and about what was refused, on every page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cilium_analysis import targets
from cilium_analysis.errors import NamesNoWorkload
from cilium_analysis.queries import Matcher
from cilium_analysis.times import format_duration
from cilium_analysis.topics import freshness, loading
from cilium_analysis.topics.buckets import for_people
from cilium_analysis.topics.silenced import Silenced, silenced
from cilium_analysis.topics.workloads import narrowing

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from cilium_analysis.queries import Query
    from cilium_analysis.source import Said, Source
    from cilium_analysis.targets import Targets
    from cilium_analysis.topics.answers import Refusal
    from cilium_analysis.window import Window


@dataclass(frozen=True)
class Remarks:
    """What is to be said about the targets wherever something is made of them.

    Parameters
    ----------
    notes
        Sentences that help to read the numbers.
    caveats
        Sentences that say what cannot be told; every finding is doubtful because of them.
    targets
        That it is about.
    refused
        What the server did not tell.
    silenced
        What the user's matchers leave out whole.
    workloads
        That the question is narrowed to; empty if it is about all.
    named
        Metrics of Hubble that name workloads, of those that were asked for them.
    nodes
        Where traffic of the workloads was seen; none if that is not known.
    scraped
        By ``agent``, ``hubble`` and ``operator``, as far as they were looked at: frames of bool,
        one column per node, whether it was scraped in each step of the window.
    baseline_scraped
        The same of the baseline.
    """

    notes: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()
    targets: Targets | None = None
    refused: tuple[Refusal, ...] = ()
    silenced: Silenced = field(default_factory=Silenced)
    workloads: str = ""
    named: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()
    scraped: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    baseline_scraped: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    def singled_out(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Give the labels of a finding that say something, with the cluster apart from names.

        Parameters
        ----------
        labels
            With workloads written as ``cart (eu)`` where there are several clusters.
        """
        known = {name: value for name, value in labels.items() if value}
        for cluster in sorted(set(self.targets.table["cluster"]) - {""} if self.targets else ()):
            mark = f" ({cluster})"
            named = {n: v.removesuffix(mark) for n, v in known.items() if v.endswith(mark)}
            known |= named | ({"cluster": cluster} if named else {})
        return known

    def asked(self, promql: str) -> str:
        """Write a query for people by the labels that are stored.

        Parameters
        ----------
        promql
            With nodes and workloads as findings name them.
        """
        if self.targets is None:
            return promql
        known = self.targets
        promql = for_people(promql, known.native)
        for node in sorted(set(known.table["node"]) - known.labelled - {""}):
            promql = promql.replace(str(Matcher("node", "=", node)), known.selecting(node))
        for cluster in sorted(set(known.table["cluster"]) - {""}):
            promql = promql.replace(f' ({cluster})"', f'",{known.selecting_cluster(cluster)}')
        return promql

    def lacks(self, *queries: Query) -> bool:
        """Tell whether the server refused any of these."""
        return any(each.query in queries for each in self.refused)

    @property
    def unread(self) -> str:
        """Why the server does not read native histograms, where there are some."""
        return self.targets.unread if self.targets else ""

    @property
    def all(self) -> tuple[str, ...]:
        """All sentences."""
        # Which metrics name no workloads is said among the notes, once for all.
        others = (e for e in self.refused if not isinstance(e.problem, NamesNoWorkload))
        lacking = (f"{text[0].upper()}{text[1:]}" for text in map(str, others))
        return (*self.caveats, *self.silenced.notes, *dict.fromkeys(lacking), *self.notes)


def remarks(source: Source, window: Window, baseline: Window, *, match: str, said: Said) -> Remarks:
    """Give what there is to say about the targets, and about what the server refused.

    Parameters
    ----------
    source, window, baseline, match
        As for a topic's ``load``.
    said
        What the source said to it.

    Raises
    ------
    PrometheusError
        If it refused everything.
    """
    if said.refusals and not source.journal:  # everything so far
        raise next(iter(said.refusals)).problem
    known = targets.of(source, window, match=match)
    notes = list(known.notes)
    now, usual = (
        loading.scrapes(source, each, "agent", match=match).raw for each in (window, baseline)
    )
    notes += [*freshness.downsampled(usual, now, window=window), *freshness.late(now, window)]
    slowest = known.slowest
    if slowest > window.step:
        notes.append(
            f"Targets are scraped every {format_duration(slowest)}, less often than the step of"
            f" {format_duration(window.step)}: what was counted between two scrapes is spread"
            " evenly, and times are known to within one scrape."
        )
    left_out = silenced(source, window, match=match, said=said)
    refused = tuple(said.refusals)
    narrowed = narrowing(source)
    if narrowed is None:
        return Remarks(tuple(notes), known.caveats, known, refused, left_out)
    about = narrowed.workloads.text
    notes.insert(
        0, f"Hubble's metrics are narrowed to {about}. Metrics of agents cover all workloads."
    )
    if unnamed := ", ".join(sorted(narrowed.silenced)):
        notes.insert(1, f"Nothing can be said about {about} from {unnamed}.")
    named = frozenset(narrowed.named)
    return Remarks(
        tuple(notes), known.caveats, known, refused, left_out, about, named, narrowed.nodes
    )
