"""What the question about agents and operators is answered from: the frames of all queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.topics import loading
from cilium_analysis.topics.health.agents import SUBSYSTEM
from cilium_analysis.topics.health.catalogue import QUERIES
from cilium_analysis.topics.health.restarts import Start, starts
from cilium_analysis.topics.loading import plain
from cilium_analysis.topics.model import Compared, Loader, Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cilium_analysis.frames import How
    from cilium_analysis.topics.reader import Reader


@dataclass(frozen=True, kw_only=True)
class Levels(Part):
    """What is known about one window; rows of frames are its steps.

    Parameters
    ----------
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
    def scraped(self) -> pd.DataFrame:
        """Whether each node's agent was scraped in each step of the window."""
        return loading.inside(self.agents, self.window).notna()


@dataclass(frozen=True, kw_only=True)
class Health(Compared[Levels, Levels]):
    """Everything about agents and operators in a window and its baseline."""

    @property
    def blind(self) -> bool:
        """Whether no agent was scraped in the window."""
        names = ("memory", "cpu", "errors", "controllers_failing", "pressure")
        return not self.now.scraped.shape[1] and not any(self.now[n].shape[1] for n in names)


def _ask(reader: Reader, before: Reader) -> Health:
    return Health(source=reader.source.name, now=_levels(reader), baseline=_levels(before))


load = Loader(_ask)


def _levels(reader: Reader) -> Levels:
    window, asked = reader.window, reader.asked_together(QUERIES)

    def read(name: str) -> pd.DataFrame:
        frame = reader.answer(QUERIES[name], asked[name])
        return _logged(frame) if "subsys" in QUERIES[name].labels else frame

    known, up = reader.targets, reader.agents.raw
    presence = (known.presence or {}).get("agent")
    if presence is None or "(up{" not in presence.promql:
        # It is told from other metrics, which do not say that a scrape failed.
        up = frames.empty(["node"])
    mine = known.table[known.table["component"] == "agent"]
    return Levels(
        window=window,
        frames=_Frames(read),
        agents=plain(reader.agents.starts),
        up=plain(up),
        intervals=mine.groupby("node")["interval"].max(),
        starts=starts(asked, window),
        before=starts(asked, replace(window, start=loading.led(window).start, end=window.start)),
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


def _logged(lines: pd.DataFrame) -> pd.DataFrame:
    """Spell levels and subsystems of log lines alike, as versions do not: ``WARN``, ``warning``."""
    parts = zip(*(frames.values(lines, name) for name in SUBSYSTEM), strict=True)
    subsystems = [next(filter(None, names), "") for names in parts]
    levels = [level.lower() for level in frames.values(lines, "level")]
    levels = ["warning" if level.startswith("warn") else level for level in levels]
    spelled = frames.relabel(frames.relabel(lines, "subsystem", subsystems), "level", levels)
    return frames.group(spelled, ["level", "node", "subsystem"])
