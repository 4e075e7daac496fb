"""What the question about an incident is answered from: every other question, and policies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from cilium_analysis import frames, targets
from cilium_analysis.errors import BundleError
from cilium_analysis.queries import Query
from cilium_analysis.source import followed
from cilium_analysis.topics import TOPICS, loading

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from cilium_analysis.source import Source
    from cilium_analysis.window import Window

QUERIES: Mapping[str, Query] = {
    "revisions": Query(
        "max by (<target>) (max_over_time(cilium_policy_max_revision{<match>}[<range>]))",
        "revisions",
        "highest policy revision of each agent; it grows with every change of a policy",
    ),
    "started": Query(
        "max by (<target>) (max_over_time(cilium_process_start_time_seconds{<match>}[<range>]))",
        "s since 1970",
        "when each agent started; an agent that starts counts its revisions anew",
    ),
}


_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Objects(Protocol):
    """What Kubernetes showed, as `cilium_analysis.kube.Cluster` has it."""

    @property
    def events(self) -> pd.DataFrame:
        """Kubernetes events."""
        ...

    @property
    def policies(self) -> pd.DataFrame:
        """Network policies of all kinds."""
        ...

    @property
    def nodes(self) -> pd.DataFrame:
        """Nodes."""
        ...

    @property
    def pods(self) -> pd.DataFrame:
        """Pods."""
        ...


@dataclass(frozen=True)
class Incident:
    """Everything that is known about a window.

    Parameters
    ----------
    source
        Name of the source.
    window, baseline
        What is looked at, and what it is compared with.
    topics
        What each question of `TOPICS` loaded; one that a bundle does not hold is missing.
    revisions, started
        Label frames (``node``): the highest policy revision of each agent, and when each agent
        started [s since 1970], from some minutes before the window on.
    objects
        What Kubernetes showed; None without access to it.
    missing
        Questions that the source cannot answer.
    warnings
        What the server said about the answers.
    interval
        Scrape interval of most targets; zero if unknown.
    """

    source: str
    window: Window
    baseline: Window
    topics: Mapping[str, Any]
    revisions: pd.DataFrame
    started: pd.DataFrame
    objects: Objects | None = None
    missing: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    interval: timedelta = timedelta()

    @property
    def resolution(self) -> timedelta:
        """No onset is sharper: the step, or the scrape interval if that is longer."""
        return max(self.window.step, self.interval)


def load(
    source: Source,
    window: Window,
    baseline: Window,
    *,
    match: str = "",
    objects: Objects | None = None,
    loaded: Mapping[str, Any] = _NOTHING,
) -> Incident:
    """Fetch what all questions need.

    Parameters
    ----------
    source
        A server or a bundle.
    window, baseline
        With the same step.
    match
        Label matchers that narrow every query, such as ``cluster="prod"``.
    objects
        What Kubernetes showed, if anyone looked.
    loaded
        What questions of `TOPICS` loaded already, of the same windows with the same matchers.

    Raises
    ------
    ParameterError
        If the matchers cannot be read.
    PrometheusError, BundleError
        If the source does not answer. A bundle need not hold every question.
    """
    topics: dict[str, Any] = {}
    lacking: dict[str, BundleError] = {}
    with followed() as said:
        known = targets.of(source, window, baseline, match=match)
        for name, topic in TOPICS.items():
            try:
                topics[name] = loaded.get(name) or topic.load(source, window, baseline, match=match)
            except BundleError as problem:
                lacking[name] = problem
        if not topics:
            raise next(iter(lacking.values()))
        revisions, started = (_per_node(source, name, window, match) for name in QUERIES)
    return Incident(
        source=source.name,
        window=window,
        baseline=baseline,
        topics=MappingProxyType(topics),
        revisions=revisions,
        started=started,
        objects=objects,
        missing=tuple(lacking),
        warnings=said.warnings,
        interval=known.slowest,
    )


def _per_node(source: Source, name: str, window: Window, match: str) -> pd.DataFrame:
    try:
        frame = loading.fetch(source, QUERIES[name], window, match=match)
    except BundleError:  # recorded for other questions than this one
        return frames.empty(["node"])
    return frames.group(frame, ["node"], how="max")
