"""What the question about agents and operators is answered from: the frames of all queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import counters, frames, targets
from cilium_analysis.topics import loading
from cilium_analysis.topics.health.agents import SLOW, SUBSYSTEM
from cilium_analysis.topics.health.catalogue import QUERIES
from cilium_analysis.topics.health.restarts import Start, starts
from cilium_analysis.topics.remarks import Remarks, told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cilium_analysis.frames import How
    from cilium_analysis.source import Source
    from cilium_analysis.topics.health.metrics import Metric
    from cilium_analysis.window import Window

#: Sections whose counters belong to the operator's process, or to one whose start is not known.
OPERATORS = frozenset({"operator", "operator errors", "identities", "ipam", "cloud"})


@dataclass(frozen=True)
class Span:
    """What is known about one stretch of time.

    Parameters
    ----------
    window
        The stretch; rows of the frames are its steps.
    frames
        By the name of their query, label frames with ``node`` and the labels of the query: of
        gauges their levels, of counters what they gained per step.
    agents
        When each node's agent started [s since 1970], one plain column per node, from some
        minutes before the window on; NaN while it was not scraped.
    up
        Whether each node's agent answered its scrapes (1 or 0; NaN while none was tried), as
        `agents`; without columns where the server does not say.
    intervals
        Longest scrape interval of each node's agent [s].
    starts
        Every start of an agent in the window.
    before
        The same in the minutes before it.
    """

    window: Window
    frames: Mapping[str, pd.DataFrame]
    agents: pd.DataFrame
    up: pd.DataFrame
    intervals: pd.Series
    starts: tuple[Start, ...]
    before: tuple[Start, ...] = ()

    def __getitem__(self, name: str) -> pd.DataFrame:
        return self.frames[name]

    def whole(self, name: str, by: Sequence[str] = (), *, how: How = "sum") -> pd.DataFrame:
        """Merge a frame over all labels but some.

        Parameters
        ----------
        name
            Of the query.
        by
            Labels to keep.
        how
            As for `cilium_analysis.frames.group`.
        """
        return frames.group(self.frames[name], by, how=how)

    def per_node(self, name: str, *, how: How = "sum") -> pd.DataFrame:
        """Merge a frame to one plain column per node."""
        return plain(self.whole(name, ["node"], how=how))

    @property
    def seen(self) -> pd.DataFrame:
        """Whether each node's agent was scraped in each step of the window."""
        return loading.inside(self.agents, self.window).notna()


@dataclass(frozen=True)
class Health:
    """Everything about agents and operators in a window and its baseline.

    Parameters
    ----------
    source
        Name of the source.
    window, baseline
        What is looked at, and what it is compared with.
    now, usual
        What is known about the two.
    warnings
        What the server said about the answers.
    remarks
        What is to be said about the targets.
    """

    source: str
    window: Window
    baseline: Window
    now: Span
    usual: Span
    warnings: tuple[str, ...] = ()
    remarks: Remarks = field(default_factory=Remarks)

    @property
    def blind(self) -> bool:
        """Whether no agent was seen in the window."""
        names = ("memory", "cpu", "errors", "controllers_failing", "pressure")
        return not self.now.seen.shape[1] and not any(self.now[n].shape[1] for n in names)


@told
def load(source: Source, window: Window, baseline: Window, *, match: str = "") -> Health:
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
    now, usual = (_span(source, each, match) for each in (window, baseline))
    return Health(
        source=source.name,
        window=window,
        baseline=baseline,
        now=now,
        usual=usual,
    )


def _span(source: Source, window: Window, match: str) -> Span:
    raw: dict[str, pd.DataFrame] = {}
    every: dict[str, int] = {}
    nodes = 0
    for name, metric in QUERIES.items():
        most = loading.AT_REST if metric.shown_only else loading.SLOW
        fine = name not in SLOW and not metric.shown_only
        every[name] = 1 if fine else loading.every(window, nodes=nodes, most=most)
        raw[name] = _asked(source, metric, window, match, every=every[name])
        if name == "starts":
            nodes = len(set(raw[name].columns.get_level_values("node")))
    agents = loading.scrapes(source, window, "agent", match=match)
    operators = loading.scrapes(source, window, "operator", match=match)
    processes = {"agent": agents, "operator": operators}
    known = targets.of(source, window, match=match)
    presence = (known.presence or {}).get("agent")
    # Else it is told from other metrics, which do not say that a scrape failed.
    scraped = presence is not None and "(up{" in presence.promql
    mine = known.table[known.table["component"] == "agent"]
    return Span(
        window=window,
        frames=_Frames(
            lambda name: loading.inside(
                _read(QUERIES[name], raw[name], processes, every[name]), window
            )
        ),
        agents=plain(agents.starts),
        up=plain(agents.raw if scraped else frames.empty(["node"])),
        intervals=mine.groupby("node")["interval"].max(),
        starts=starts(raw, window),
        before=starts(raw, replace(window, start=loading.led(window).start, end=window.start)),
    )


class _Frames(Mapping[str, pd.DataFrame]):
    """Frames by the names of their queries, each read when it is first looked at.

    Who records needs the answers only.
    """

    def __init__(self, read: Callable[[str], pd.DataFrame]) -> None:
        self._read = cache(read)

    def __getitem__(self, name: str) -> pd.DataFrame:
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(QUERIES)

    def __len__(self) -> int:
        return len(QUERIES)


def _asked(
    source: Source, metric: Metric, window: Window, match: str, *, every: int
) -> pd.DataFrame:
    frame = loading.fetch(source, metric, window, match=match, every=every)
    # Counters stay as they are: what they gained in a longer step is told once.
    if metric.kind == "gauge" and every > 1:
        frame = loading.spread(frame, window)
    return frames.with_levels(frame, ["node", *metric.labels])


def _read(
    metric: Metric, values: pd.DataFrame, processes: Mapping[str, loading.Scrapes], every: int
) -> pd.DataFrame:
    """Give the levels of a gauge, or what a counter gained per step."""
    if metric.kind == "gained":
        return values
    if metric.section == "clustermesh":
        scraped = None
    else:
        found = processes["operator" if metric.section in OPERATORS else "agent"]
        scraped = found if found.starts.shape[1] else None
    if metric.kind == "gauge":
        return loading.held(values, scraped=scraped.raw if scraped else None, every=every)
    started = scraped.starts if scraped else None
    grown = counters.increase(values, scraped=started, pinned=metric.kind == "pinned")
    return _logged(grown) if "subsys" in metric.labels else grown


def _logged(lines: pd.DataFrame) -> pd.DataFrame:
    """Spell levels and subsystems of log lines alike, as versions do not: ``WARN``, ``warning``."""
    parts = zip(*(frames.values(lines, name) for name in SUBSYSTEM), strict=True)
    subsystems = [next(filter(None, names), "") for names in parts]
    levels = [level.lower() for level in frames.values(lines, "level")]
    levels = ["warning" if level.startswith("warn") else level for level in levels]
    spelled = frames.relabel(frames.relabel(lines, "subsystem", subsystems), "level", levels)
    return frames.group(spelled, ["level", "node", "subsystem"])


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Give a label frame that has only ``node`` one plain column per node."""
    result = frame.copy(deep=False)
    result.columns = pd.Index(frame.columns.get_level_values("node"), name="node")
    return result
