"""Which starts are restarts, which of them belong together, and which gaps they explain. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis.topics.health.starts import Gap, How, Start, gaps, together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cilium_analysis.topics.health.data import Health

#: Starts on one node that follow each other within this time are one trouble.
LOOP_WITHIN = timedelta(hours=2)
#: Agents that restart so soon after each other do so for the same reason; a rollout takes longer.
TOGETHER_WITHIN = timedelta(minutes=5)
ROLLOUT_WITHIN = timedelta(minutes=15)
#: From this share of all agents on, most of them restarted.
MOST = 0.5
#: What begins so soon after an agent's start follows from it.
FOLLOWS_WITHIN = timedelta(minutes=5)
#: Shortest gap in the scrapes worth a word.
GAP = timedelta(minutes=2)


@dataclass(frozen=True)
class Restarts:
    """Restarts that are one: of one node, or of several for the same reason.

    Parameters
    ----------
    starts
        In order of time.
    how
        As `Start.how`.
    looping
        Whether an agent started more than once.
    most
        Whether most of all agents restarted.
    away
        Longest time between the last sample of a process and the start of the next, without the
        usual time between two scrapes.
    """

    starts: tuple[Start, ...]
    how: How
    looping: bool
    most: bool
    away: timedelta

    @property
    def nodes(self) -> tuple[str, ...]:
        """Where, in order of the first start."""
        return tuple(dict.fromkeys(start.node for start in self.starts))

    @property
    def begin(self) -> pd.Timestamp:
        """When the first process that ended was seen last."""
        return min(start.last_seen or start.time for start in self.starts)

    @property
    def end(self) -> pd.Timestamp:
        """When the last new process started."""
        return self.starts[-1].time

    @property
    def serious(self) -> bool:
        """Whether it is more than a planned restart: a loop, or most agents at once."""
        return self.looping or (self.most and self.how in ("in place", "unknown"))

    @property
    def versions(self) -> tuple[str, str] | None:
        """Of Cilium before and after, if they differ."""
        found = {s.versions for s in self.starts if all(s.versions)}
        changed = [pair for pair in sorted(found) if pair[0] != pair[1]]
        return changed[0] if changed else None


def restarts(data: Health) -> list[Restarts]:
    """List the restarts in the window; the first start of a node that joins is none.

    Parameters
    ----------
    data
        As from `load`.
    """
    known = [_known(data, start) for start in data.now.starts]
    episodes = _episodes([start for start in known if start is not None])
    found = []
    for how in ("in place", "replaced", "reboot", "unknown"):
        within = ROLLOUT_WITHIN if how == "replaced" else TOGETHER_WITHIN
        mine = [episode for episode in episodes if episode[0].how == how]
        for looping in (False, True):
            same = [episode for episode in mine if (len(episode) > 1) is looping]
            groups = together(same, when=lambda episode: episode[0].time, within=within)
            found += [_restarts(data, [s for e in group for s in e]) for group in groups]
    return sorted(found, key=lambda each: each.begin)


def _known(data: Health, start: Start) -> Start | None:
    """Give the start if there was a process before, be it in the baseline."""
    if start.last_seen is not None:
        return start
    earlier = data.usual.agents.get(start.node)
    if earlier is None or data.baseline.end > data.window.start:
        return None
    rows = earlier.dropna()
    if not len(rows) or rows.iloc[-1] >= start.time.timestamp() - 3:
        return None
    return replace(start, last_seen=min(rows.index[-1], start.time))


def _episodes(starts: Sequence[Start]) -> list[list[Start]]:
    """Put the starts of one node together, in order; a planned one ends what was before."""
    found = []
    for node in sorted({start.node for start in starts}):
        mine = [start for start in starts if start.node == node]
        found += together(mine, when=lambda start: start.time, within=LOOP_WITHIN)
    return found


def _restarts(data: Health, starts: list[Start]) -> Restarts:
    ordered = tuple(sorted(starts, key=lambda start: start.time))
    nodes = {start.node for start in ordered}
    agents = max(data.now.seen.shape[1], 1)
    away = max(
        (
            start.time - start.last_seen - scrape_interval(data, start.node)
            for start in ordered
            if start.last_seen is not None
        ),
        default=timedelta(),
    )
    return Restarts(
        starts=ordered,
        how=ordered[0].how,
        looping=len(ordered) > len(nodes),
        most=len(nodes) > 1 and len(nodes) > MOST * agents,
        away=max(away, timedelta()),
    )


def scrape_interval(data: Health, node: str) -> timedelta:
    """Give the time between two scrapes of an agent; the step where it is not known."""
    seconds = data.now.intervals.get(node, data.window.step.total_seconds())
    return timedelta(seconds=float(seconds))


def restarted_before(
    data: Health, nodes: Sequence[str], moment: pd.Timestamp
) -> pd.Timestamp | None:
    """Give the latest start of the agents on these nodes, if all of them had just started.

    Parameters
    ----------
    data
        As from `load`.
    nodes
        Where something began.
    moment
        When it did.
    """
    near = [
        start
        for start in (*data.now.before, *data.now.starts)
        if start.node in nodes
        and start.time - 2 * data.window.step <= moment <= start.time + FOLLOWS_WITHIN
    ]
    if not nodes or {start.node for start in near} != set(nodes):
        return None
    return max(start.time for start in near)


@dataclass(frozen=True)
class Blackout:
    """Agents that were not scraped at the same time."""

    gaps: tuple[Gap, ...]

    @property
    def nodes(self) -> tuple[str, ...]:
        """Where."""
        return tuple(sorted(gap.node for gap in self.gaps))

    @property
    def start(self) -> pd.Timestamp:
        """When the first of them was scraped last."""
        return min(gap.start for gap in self.gaps)

    @property
    def end(self) -> pd.Timestamp:
        """When the last of them was scraped again."""
        return max(gap.end for gap in self.gaps)

    @property
    def length(self) -> timedelta:
        """The longest of them."""
        return max(gap.length for gap in self.gaps)

    @property
    def failed(self) -> bool:
        """Whether scrapes were tried and failed."""
        return any(gap.answered is False for gap in self.gaps)

    @property
    def over(self) -> bool:
        """Whether all of them were scraped again."""
        return all(gap.over for gap in self.gaps)


def unexplained(data: Health, restarted: Sequence[Restarts]) -> list[Blackout]:
    """List the gaps in the scrapes of agents that no restart explains.

    Parameters
    ----------
    data
        As from `load`.
    restarted
        As from `restarts`.
    """
    found = [
        gap
        for gap in gaps(*_with_baseline(data), least=GAP, intervals=data.now.intervals)
        if gap.end > pd.Timestamp(data.window.start)
    ]
    starts = [start for each in restarted for start in each.starts]
    found = [gap for gap in found if not _given_up(gap, restarted)]
    groups = _alike(found, within=2 * data.window.step)
    # Without any scrape of most agents it was Prometheus that was away.
    blind = [g for g in groups if not g.failed and len(g.gaps) > MOST * data.now.agents.shape[1]]
    rest = [g for g in groups if g not in blind for g in _without(g, starts)]
    return sorted((*blind, *rest), key=lambda group: group.start)


def _with_baseline(data: Health) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Put a baseline that ends where the window begins before it: a gap may begin there."""
    now, usual = data.now, data.usual
    apart = now.agents.index[:1].append(usual.agents.index[:1])
    aligned = len(apart) == 2 and not (apart[0] - apart[1]) % data.window.step
    if data.baseline.end != data.window.start or not aligned:
        return now.agents, now.up
    return now.agents.combine_first(usual.agents), now.up.combine_first(usual.up)


def _given_up(gap: Gap, restarted: Sequence[Restarts]) -> bool:
    """Tell whether the agent did not come back from a crash loop: that is one trouble."""
    return not gap.over and any(
        each.looping and start.node == gap.node and gap.start - start.time <= TOGETHER_WITHIN * 2
        for each in restarted
        for start in each.starts
    )


def _alike(found: Sequence[Gap], *, within: timedelta) -> list[Blackout]:
    """Put gaps together that begin and end together."""
    groups: list[list[Gap]] = []
    for gap in sorted(found, key=lambda each: (each.start, each.end)):
        for group in groups:
            first = group[0]
            same = first.over == gap.over and first.answered == gap.answered
            near = abs(first.start - gap.start) <= within and abs(first.end - gap.end) <= within
            if same and near:
                group.append(gap)
                break
        else:
            groups.append([gap])
    return [Blackout(tuple(group)) for group in groups]


def _without(group: Blackout, starts: Sequence[Start]) -> list[Blackout]:
    """Leave out the gaps that a restart explains."""
    rest = tuple(gap for gap in group.gaps if not _explained(gap, starts))
    return [Blackout(rest)] if rest else []


def _explained(gap: Gap, starts: Sequence[Start]) -> bool:
    """Tell whether the agent was away for a restart: it started before it was scraped again."""
    return any(start.node == gap.node and gap.start <= start.time <= gap.end for start in starts)
