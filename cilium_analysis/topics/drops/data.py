"""What the question about drops is answered from: queries as data, and their frames."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import pandas as pd

from cilium_analysis import counters, frames
from cilium_analysis.queries import Query
from cilium_analysis.topics import hubble, loading, versions
from cilium_analysis.topics.drops import events
from cilium_analysis.topics.remarks import Remarks, told

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cilium_analysis.source import Source
    from cilium_analysis.window import Window

#: What the agents' counters of drops tell of a window.
State = Literal["counted", "zero", "refused", "not exported", "not scraped"]

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
        spare=True,
    ),
    "forwarded": Query(
        "max by (<target>, direction)"
        " (max_over_time(cilium_forward_count_total{<match>}[<range>]))",
        "packets",
        "packets forwarded by the datapath since it was loaded",
        spare=True,
    ),
    "versions": versions.VERSIONS,
    **events.QUERIES,
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
    forwarded, usual_forwarded
        Label frames (``direction``, ``node``) of packets forwarded per step [packets]; NaN where
        that is not known. Of many nodes each value is a mean over several steps.
    seen, usual_seen
        Frames of bool, one column per node: whether its agent was scraped in the step.
    events
        What the counts in the window rest on, as `cilium_analysis.counters.Reading.events`.
    restarts
        ``time`` and ``node`` of every start of an agent in the window.
    hubble, usual_hubble
        Label frames of Hubble's drop events per step [events], in the window and in the baseline;
        the latter only where Hubble shows drops that no agent counts.
    verdicts, usual_verdicts
        Label frames of the packets that policies denied, as Hubble counts verdicts; only where
        Hubble shows drops that no agent counts.
    hubble_seen, usual_hubble_seen
        As `seen`, for Hubble.
    warnings
        What the server said about the answers.
    remarks
        What is to be said about the targets.
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
    forwarded: pd.DataFrame = field(default_factory=frames.empty)
    usual_forwarded: pd.DataFrame = field(default_factory=frames.empty)
    usual_hubble: pd.DataFrame = field(default_factory=frames.empty)
    verdicts: pd.DataFrame = field(default_factory=frames.empty)
    usual_verdicts: pd.DataFrame = field(default_factory=frames.empty)
    hubble_seen: pd.DataFrame = field(default_factory=pd.DataFrame)
    usual_hubble_seen: pd.DataFrame = field(default_factory=pd.DataFrame)
    warnings: tuple[str, ...] = ()
    remarks: Remarks = field(default_factory=Remarks)
    crowd_note: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()

    @property
    def state(self) -> State:
        """What is known of the agents' counts in the window.

        A series of drops begins with its first drop. Where packets forwarded are counted and
        packets dropped are not, none was dropped.
        """
        if self.counts.notna().to_numpy().any():
            return "counted"
        if self.remarks.lacks(QUERIES["drops"]):
            return "refused"
        if self.forwarded.shape[1]:
            return "zero"
        return "not exported" if self.seen.to_numpy().any() else "not scraped"

    @property
    def compared(self) -> bool:
        """Whether anything is known of the agents' counts in the baseline."""
        scraped = bool(self.usual_seen.to_numpy().any())
        return scraped or bool(self.usual.notna().to_numpy().any())


@dataclass(frozen=True)
class _Span:
    """The counters of one window, read."""

    counts: pd.DataFrame
    volumes: pd.DataFrame
    forwarded: pd.DataFrame
    events: pd.DataFrame
    agents: loading.Scrapes
    renamed: Mapping[tuple[str, str], str]


@told
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
    now = _span(source, window, match=match)
    then = _span(source, baseline, match=match)
    renamed = {**then.renamed, **now.renamed}
    reader = hubble.reader(source, window, match=match)
    dropped = _hubble(reader, "hubble")
    data = Drops(
        source=source.name,
        window=window,
        baseline=baseline,
        counts=_respelled(now.counts, renamed),
        usual=_respelled(then.counts, renamed),
        volumes=_respelled(now.volumes, renamed),
        usual_volumes=_respelled(then.volumes, renamed),
        seen=now.agents.seen(window),
        usual_seen=then.agents.seen(baseline),
        events=now.events,
        restarts=now.agents.restarts(window),
        hubble=dropped,
        forwarded=now.forwarded,
        usual_forwarded=then.forwarded,
        hubble_seen=reader.seen,
        crowd_note=reader.crowd_note,
        versions=versions.ask(source, window, match=match),
    )
    if not events.uncounted(data, events.parties(dropped)).shape[1]:
        return data
    before = hubble.reader(source, baseline, match=match)
    return replace(
        data,
        usual_hubble=_hubble(before, "hubble"),
        verdicts=_hubble(reader, "verdicts"),
        usual_verdicts=_hubble(before, "verdicts"),
        usual_hubble_seen=before.seen,
    )


def _span(source: Source, window: Window, *, match: str) -> _Span:
    agents = loading.scrapes(source, window, "agent", match=match)
    scraped = agents.starts if agents.starts.shape[1] else None
    # No finding is looked for in bytes, and packets forwarded are only what drops are a share of.
    rarely = loading.every(window, nodes=agents.starts.shape[1])
    packets, volumes, forwarded = (
        counters.read(
            _of_map(source, name, window, match=match, every=every), scraped=scraped, pinned=True
        )
        for name, every in (("drops", 1), ("bytes", rarely), ("forwarded", rarely))
    )
    told = packets.events
    inside = (told["time"] > window.start) & (told["time"] <= window.end)
    return _Span(
        loading.inside(packets.increase, window),
        loading.inside(volumes.increase, window),
        loading.inside(_whole(forwarded, packets.increase.index, every=rarely), window),
        told[inside].reset_index(drop=True),
        agents,
        _renamed(packets),
    )


def _renamed(reading: counters.Reading) -> Mapping[tuple[str, str], str]:
    """Give the present spelling of a reason by node and its spelling before an upgrade."""
    table = frames.labels(reading.increase)
    return {
        (str(table["node"].iloc[old]), str(table["reason"].iloc[old])): str(
            table["reason"].iloc[new]
        )
        for new, old in reading.renamed
    }


def _respelled(counts: pd.DataFrame, renamed: Mapping[tuple[str, str], str]) -> pd.DataFrame:
    """Call reasons as they are called now, so that a baseline from before an upgrade fits."""
    if not renamed or not counts.shape[1]:
        return counts
    pairs = zip(frames.values(counts, "node"), frames.values(counts, "reason"), strict=True)
    named = frames.relabel(counts, "reason", [renamed.get(pair, pair[1]) for pair in pairs])
    return frames.group(named, ["direction", "node", "reason"])


def _of_map(source: Source, name: str, window: Window, *, match: str, every: int) -> pd.DataFrame:
    """Ask for a counter of the BPF map, which its labels tell `counters.read`."""
    values = loading.fetch(source, QUERIES[name], window, match=match, every=every)
    return frames.with_levels(values, ["direction", "node", "reason"])


def _whole(forwarded: counters.Reading, index: pd.Index, *, every: int) -> pd.DataFrame:
    """Spread what was forwarded over the steps of the drops, without the nodes that fell.

    In Cilium 1.15.0 to 1.15.3 the counter shows whichever forward reason comes last, so that it
    falls and rises without any packet.
    """
    summed = frames.group(forwarded.increase, ["direction", "node"]) / every
    fallen = forwarded.events["event"].isin(["reset", "fall"])
    fell = set(forwarded.events.loc[fallen, "node"])
    kept = summed.loc[:, [node not in fell for node in frames.values(summed, "node")]]
    length = pd.Timedelta(index[-1] - index[0]) / max(len(index) - 1, 1) if len(index) else None
    if every == 1 or length is None:
        return kept.reindex(index)
    return kept.reindex(index, method="bfill", tolerance=length * (every - 0.5))


def _hubble(reader: hubble.Reader, name: str) -> pd.DataFrame:
    """Read a counter of Hubble."""
    return reader.gained(QUERIES[name], QUERIES[f"{name}_over_nodes"])
