"""What the question about drops is answered from: its metrics, and their frames."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import pandas as pd

from cilium_analysis import counters, frames
from cilium_analysis.errors import BundleError
from cilium_analysis.topics import hubble, loading, versions
from cilium_analysis.topics.drops import events
from cilium_analysis.topics.drops.findings import findings
from cilium_analysis.topics.metric import metric
from cilium_analysis.topics.model import Compared, Loader, Part
from cilium_analysis.topics.workloads import narrowing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cilium_analysis.queries import Query
    from cilium_analysis.topics.reader import Reader

#: What the agents' counters of drops tell of a window.
State = Literal["counted", "zero", "refused", "not exported", "not scraped"]

# The highest value in each step: nothing is lost that was counted before a reset within it.
DROPPED = metric(
    "pinned",
    "cilium_drop_count_total",
    "packets",
    "packets dropped by the datapath since it was loaded",
    "direction reason",
)
#: No finding is looked for in bytes, and packets forwarded are only what drops are a share of.
BYTES = metric(
    "pinned",
    "cilium_drop_bytes_total",
    "bytes",
    "bytes of the packets dropped by the datapath since it was loaded",
    "direction reason",
    use="shown",
    spare=True,
)
FORWARDED = metric(
    "pinned",
    "cilium_forward_count_total",
    "packets",
    "packets forwarded by the datapath since it was loaded",
    "direction",
    use="shown",
    spare=True,
)
QUERIES: Mapping[str, Query] = {
    "drops": DROPPED,
    "bytes": BYTES,
    "forwarded": FORWARDED,
    "versions": versions.VERSIONS,
    "hubble": events.DROPS.whole,
    "hubble_over_nodes": events.DROPS.over_nodes,
    "verdicts": events.VERDICTS.whole,
    "verdicts_over_nodes": events.VERDICTS.over_nodes,
}


@dataclass(frozen=True, kw_only=True)
class Counts(Part):
    """What was counted; the time of a row is the end of its step.

    Parameters
    ----------
    counts
        Label frame (``direction``, ``node``, ``reason``) of packets dropped per step [packets].
    volumes
        The same in bytes per step [bytes].
    forwarded
        Label frame (``direction``, ``node``) of packets forwarded per step [packets]; NaN where
        that is not known. Of many nodes each value is a mean over several steps.
    scraped
        Frame of bool, one column per node: whether its agent was scraped in the step.
    events
        What the counts rest on, as `cilium_analysis.counters.Reading.events`.
    restarts
        ``time`` and ``node`` of every start of an agent.
    hubble
        Label frame of Hubble's drop events per step [events]; of the baseline only where Hubble
        shows drops that no agent counts.
    verdicts
        Label frame of the packets that policies denied, as Hubble counts verdicts; only where
        Hubble shows drops that no agent counts.
    hubble_scraped
        As `scraped`, for Hubble.
    """

    counts: pd.DataFrame
    volumes: pd.DataFrame
    forwarded: pd.DataFrame
    scraped: pd.DataFrame
    events: pd.DataFrame
    restarts: pd.DataFrame
    hubble: pd.DataFrame = field(default_factory=frames.empty)
    verdicts: pd.DataFrame = field(default_factory=frames.empty)
    hubble_scraped: pd.DataFrame = field(default_factory=pd.DataFrame)


@dataclass(frozen=True, kw_only=True)
class Drops(Compared[Counts, Counts]):
    """Everything about the drops in a window and its baseline."""

    @property
    def state(self) -> State:
        """What is known of the agents' counts in the window.

        A series of drops begins with its first drop. Where packets forwarded are counted and
        packets dropped are not, none was dropped.
        """
        if self.now.counts.notna().to_numpy().any():
            return "counted"
        if self.remarks.lacks(DROPPED):
            return "refused"
        if self.now.forwarded.shape[1]:
            return "zero"
        return "not exported" if self.now.scraped.to_numpy().any() else "not scraped"

    @property
    def compared(self) -> bool:
        """Whether anything is known of the agents' counts in the baseline."""
        scraped = bool(self.baseline.scraped.to_numpy().any())
        return scraped or bool(self.baseline.counts.notna().to_numpy().any())


def _ask(reader: Reader, before: Reader) -> Drops:
    (now, renamed), (then, renamed_before) = _counts(reader), _counts(before)
    spelled = {**renamed_before, **renamed}
    now, then = _respelled(now, spelled), _respelled(then, spelled)
    now = replace(
        now,
        hubble=hubble.read(reader, events.DROPS),
        hubble_scraped=reader.hubble.scraped(reader.window),
    )
    data = Drops(
        source=reader.source.name,
        now=now,
        baseline=then,
        crowd_note=reader.crowd_note,
        versions=reader.versions,
    )
    narrowed = narrowing(reader.source) is not None
    if not narrowed and not events.uncounted(data, events.parties(now.hubble)).shape[1]:
        return data
    try:
        return replace(
            data,
            now=replace(now, verdicts=hubble.read(reader, events.VERDICTS)),
            baseline=replace(
                then,
                hubble=hubble.read(before, events.DROPS),
                verdicts=hubble.read(before, events.VERDICTS),
                hubble_scraped=before.hubble.scraped(before.window),
            ),
        )
    except BundleError:
        if not narrowed:
            raise
        # Recorded for a question about all workloads, whose drops agents count.
        return replace(data, baseline=then.unknown())


load = Loader(_ask, findings, counted_by="agent")


def _counts(reader: Reader) -> tuple[Counts, Mapping[tuple[str, str], str]]:
    """Read the agents' counters, and the present spelling of reasons by node and former one."""
    window = reader.window
    packets, forwarded = (reader.count(m, reader.asked(m)) for m in (DROPPED, FORWARDED))
    passed = _whole(forwarded, packets.increase.index, every=reader.every(FORWARDED))
    counted = Counts(
        window=window,
        counts=loading.inside(packets.increase, window),
        volumes=reader.read(BYTES),
        forwarded=loading.inside(passed, window),
        scraped=reader.agents.scraped(window),
        events=loading.events_inside(packets.events, window),
        restarts=reader.agents.restarts(window),
    )
    return counted, _renamed(packets)


def _renamed(reading: counters.Reading) -> Mapping[tuple[str, str], str]:
    """Give the present spelling of a reason by node and its spelling before an upgrade."""
    table = frames.labels(reading.increase)
    return {
        (str(table["node"].iloc[old]), str(table["reason"].iloc[old])): str(
            table["reason"].iloc[new]
        )
        for new, old in reading.renamed
    }


def _respelled(counts: Counts, renamed: Mapping[tuple[str, str], str]) -> Counts:
    """Call reasons as they are called now, so that a baseline from before an upgrade fits."""

    def respelled(frame: pd.DataFrame) -> pd.DataFrame:
        if not renamed or not frame.shape[1]:
            return frame
        pairs = zip(frames.values(frame, "node"), frames.values(frame, "reason"), strict=True)
        named = frames.relabel(frame, "reason", [renamed.get(pair, pair[1]) for pair in pairs])
        return frames.group(named, ["direction", "node", "reason"])

    return replace(counts, counts=respelled(counts.counts), volumes=respelled(counts.volumes))


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
