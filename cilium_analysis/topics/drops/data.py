"""What the question about drops is answered from: queries as data, and their frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cilium_analysis import counters, frames, targets
from cilium_analysis.errors import BudgetExceeded
from cilium_analysis.queries import Query
from cilium_analysis.topics import hubble, loading, versions
from cilium_analysis.topics.parties import CONTEXT

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from cilium_analysis.source import Source
    from cilium_analysis.window import Window

QUERIES: Mapping[str, Query] = {
    # The highest value in each step: nothing is lost that was counted before a reset within it.
    "drops": Query(
        "max by (<target>, direction, reason)"
        " (max_over_time(cilium_drop_count_total{<match>}[<range>]))",
        "packets",
        "packets dropped by the datapath since it was loaded",
    ),
    "bytes": Query(
        "max by (<target>, direction, reason)"
        " (max_over_time(cilium_drop_bytes_total{<match>}[<range>]))",
        "bytes",
        "bytes of the packets dropped by the datapath since it was loaded",
    ),
    "versions": versions.VERSIONS,
    "hubble": Query(
        "max by (<target>, protocol, reason, " + CONTEXT + ")"
        " (max_over_time(hubble_drop_total{<match>}[<range>]))",
        "events",
        "drop events seen by Hubble",
    ),
    "hubble_over_nodes": Query(
        hubble.growth("hubble_drop_total{<match>}", f"<cluster>, protocol, reason, {CONTEXT}"),
        "events",
        "drop events seen by Hubble per step, on all nodes together",
    ),
}


@dataclass(frozen=True)
class Drops:
    """Everything about the drops in a window and its baseline.

    Parameters
    ----------
    source
        Name of the source.
    window, baseline
        What is looked at, and what it is compared with.
    counts, usual
        Label frames (``direction``, ``node``, ``reason``) of packets dropped per step [packets],
        in the window and in the baseline; the time of a row is the end of its step.
    volumes, usual_volumes
        The same in bytes per step [bytes].
    seen, usual_seen
        Frames of bool, one column per node: whether its agent was scraped in the step.
    events
        What the counts in the window rest on, as `cilium_analysis.counters.Reading.events`.
    restarts
        ``time`` and ``node`` of every start of an agent in the window.
    hubble
        Label frame of Hubble's drop events per step in the window.
    warnings
        What the server said about the answers.
    hubble_refused
        Whether Hubble's series were too many to fetch.
    crowd_note
        What it means for Hubble's events that there are very many nodes.
    versions
        Of Cilium, as far as the data tells them.
    """

    source: str
    window: Window
    baseline: Window
    counts: pd.DataFrame
    usual: pd.DataFrame
    volumes: pd.DataFrame
    usual_volumes: pd.DataFrame
    seen: pd.DataFrame
    usual_seen: pd.DataFrame
    events: pd.DataFrame
    restarts: pd.DataFrame
    hubble: pd.DataFrame
    warnings: tuple[str, ...] = ()
    hubble_refused: bool = False
    crowd_note: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Span:
    """The counters of one window, read."""

    counts: pd.DataFrame
    volumes: pd.DataFrame
    events: pd.DataFrame
    agents: loading.Scrapes


def load(source: Source, window: Window, baseline: Window, *, match: str = "") -> Drops:
    """Fetch what the question needs.

    Parameters
    ----------
    source
        A server or a bundle.
    window, baseline
        With the same step.
    match
        Label matchers that narrow every query, such as ``cluster="prod"``.

    Raises
    ------
    ParameterError
        If the matchers cannot be read.
    PrometheusError, BundleError
        If the source does not answer.
    """
    began = len(source.journal)
    targets.of(source, window, baseline, match=match)
    now = _span(source, window, match=match)
    then = _span(source, baseline, match=match)
    reader = hubble.reader(source, window, match=match)
    events, refused = _hubble(reader)
    return Drops(
        source=source.name,
        window=window,
        baseline=baseline,
        counts=now.counts,
        usual=then.counts,
        volumes=now.volumes,
        usual_volumes=then.volumes,
        seen=now.agents.seen(window),
        usual_seen=then.agents.seen(baseline),
        events=now.events,
        restarts=now.agents.restarts(window),
        hubble=events,
        warnings=loading.warnings(source, began),
        hubble_refused=refused,
        crowd_note=reader.crowd_note,
        versions=versions.ask(source, window, match=match),
    )


def _span(source: Source, window: Window, *, match: str) -> _Span:
    agents = loading.scrapes(source, window, "agent", match=match)
    scraped = agents.starts if agents.starts.shape[1] else None
    # No finding is looked for in bytes.
    rarely = loading.every(window, nodes=agents.starts.shape[1])
    packets, volumes = (
        counters.read(_of_map(source, name, window, match=match, every=every), scraped=scraped)
        for name, every in (("drops", 1), ("bytes", rarely))
    )
    events = packets.events
    inside = (events["time"] > window.start) & (events["time"] <= window.end)
    return _Span(
        loading.inside(packets.increase, window),
        loading.inside(volumes.increase, window),
        events[inside].reset_index(drop=True),
        agents,
    )


def _of_map(source: Source, name: str, window: Window, *, match: str, every: int) -> pd.DataFrame:
    """Ask for a counter of the BPF map, which its labels tell `counters.read`."""
    values = loading.fetch(source, QUERIES[name], window, match=match, every=every)
    return frames.with_levels(values, ["direction", "node", "reason"])


def _hubble(reader: hubble.Reader) -> tuple[pd.DataFrame, bool]:
    """Read Hubble's events; they are not worth more than the budget of samples allows."""
    try:
        return reader.gained(QUERIES["hubble"], QUERIES["hubble_over_nodes"]), False
    except BudgetExceeded:
        return frames.empty(["reason"]), True
