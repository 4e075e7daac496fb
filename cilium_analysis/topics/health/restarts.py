"""Starts of agents: in place, replaced, or with their node; which are restarts; their findings.

A start is what one process shows. Restarts of one node that follow each other, and those of
several nodes at about the same time, are one finding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, TypeVar

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.findings import Finding, Severity
from cilium_analysis.texts import lasting
from cilium_analysis.topics.health.common import braces, from_server, where

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cilium_analysis.topics.health.data import Health
    from cilium_analysis.window import Window

How = Literal["in place", "replaced", "reboot", "unknown"]
T = TypeVar("T")

#: The start time is computed from the clock, which may be set: so much later is no new start [s].
SAME_START = 3.0
#: A counter of a pinned map that comes back within this time was only copied late (up to 1.14).
RETURN_WITHIN = timedelta(minutes=5)
#: After a reboot a node has forwarded less than this share of what it had before.
FORGOTTEN = 0.5
#: Starts on one node that follow each other within this time are a crash loop.
LOOP_WITHIN = timedelta(hours=2)
#: Agents that restart within this time of each other do so for the same reason; a rollout takes
#: longer.
TOGETHER_WITHIN = timedelta(minutes=5)
ROLLOUT_WITHIN = timedelta(minutes=15)
#: From this share of all agents on, most of them restarted.
MOST = 0.5
#: Errors that begin within this time after an agent's start follow from it.
FOLLOWS_WITHIN = timedelta(minutes=5)
#: A title says for how long an agent was not scraped from this length on.
LONG_AWAY = timedelta(minutes=2)


@dataclass(frozen=True)
class Start:
    """One start of an agent.

    Parameters
    ----------
    node
        Where.
    time
        When the process started.
    last_seen
        When the process before it was scraped last; None if none was.
    how
        ``in place`` (the same pod), ``replaced`` (another pod), ``reboot`` (the node's BPF maps
        are gone), or ``unknown``.
    versions
        Of Cilium before and after; empty where not known.
    clock
        Whether the clock of the node was right: else the start is only known to lie between the
        last sample of one process and the first of the next.
    """

    node: str
    time: pd.Timestamp
    last_seen: pd.Timestamp | None
    how: How
    versions: tuple[str, str] = ("", "")
    clock: bool = True


@dataclass
class _Process:
    """One process of an agent, and when it was scraped first and last."""

    start: float
    pod: str
    first: pd.Timestamp
    last: pd.Timestamp


def starts(raw: Mapping[str, pd.DataFrame], window: Window) -> tuple[Start, ...]:
    """List the starts of agents in a window.

    Parameters
    ----------
    raw
        The answers ``starts``, ``first_starts``, ``cpu``, ``forwarded`` and ``versions``.
    window
        To list starts of; the answers begin somewhat before it.
    """
    rows = pd.concat([frames.tidy(raw["starts"]), frames.tidy(raw["first_starts"])])
    ordered = rows.sort_values(["node", "value", "time"], kind="stable")
    each = ordered.groupby(["node", "value"], as_index=False).agg(
        first=("time", "min"), last=("time", "max"), pod=("pod", "last")
    )
    found = []
    for node, mine in each.groupby("node", sort=True):
        before: _Process | None = None
        cpu = raw["cpu"].loc[:, raw["cpu"].columns.get_level_values("node") == node].max(axis=1)
        for process in _processes(mine, window.step, cpu):
            claimed = pd.Timestamp(process.start, unit="s", tz="UTC").round("ms")
            moment = min(claimed, process.first)
            if before is not None and claimed < before.last - window.step:
                moment = before.last
            if window.start < moment <= window.end:
                start = _start(str(node), moment, before, process, raw)
                found.append(replace(start, clock=bool(moment == claimed)))
            before = process
    return tuple(sorted(found, key=lambda start: (start.time, start.node)))


def _processes(rows: pd.DataFrame, step: timedelta, cpu: pd.Series) -> list[_Process]:
    """List the processes of one node by their start; a clock that was set makes no new one."""
    found: list[_Process] = []
    for start, first, last, pod in rows[["value", "first", "last", "pod"]].itertuples(index=False):
        before = found[-1] if found else None
        # The process before was still scraped after this start, and used its CPU time on: its
        # clock was set. If that began anew, the clock is slow.
        if before and (
            start - before.start <= SAME_START
            or (
                (before.last - step).timestamp() > start + SAME_START
                and not _anew(cpu, before.last, first)
            )
        ):
            before.first, before.last = min(before.first, first), max(before.last, last)
            before.pod = str(pod)
        else:
            found.append(_Process(float(start), str(pod), first, last))
    return found


def _anew(cpu: pd.Series, last: pd.Timestamp, first: pd.Timestamp) -> bool:
    """Tell whether the CPU time of a process began anew; the step between may show both."""
    old, new = cpu[cpu.index <= last].dropna(), cpu[cpu.index > first].dropna()
    return bool(last < first and len(old) and len(new) and new.iloc[0] < old.iloc[-1])


def _start(
    node: str,
    moment: pd.Timestamp,
    before: _Process | None,
    process: _Process,
    raw: Mapping[str, pd.DataFrame],
) -> Start:
    if before is None:
        return Start(node, moment, None, "unknown")
    forwarded, versions = (
        raw[name].loc[:, raw[name].columns.get_level_values("node") == node]
        for name in ("forwarded", "versions")
    )
    how: How = "in place" if before.pod == process.pod else "replaced"
    if _rebooted(forwarded, before.last, process.first):
        how = "reboot"
    elif not before.pod or not process.pod:
        how = "unknown"
    old = _first_version(versions.loc[versions.index <= before.last].iloc[::-1])
    new = _first_version(versions.loc[versions.index > process.first])
    return Start(node, moment, min(before.last, moment), how, (old, new))


def _rebooted(forwarded: pd.DataFrame, last: pd.Timestamp, first: pd.Timestamp) -> bool:
    """Tell whether the pinned counters of forwarded packets began anew.

    They outlive an agent. The step in which the new one was first scraped may still show the old
    value, so that only later ones count.
    """
    old = forwarded.loc[forwarded.index <= last].max()
    after = forwarded.loc[forwarded.index > first]
    steps = timedelta(seconds=2 * frames.step_seconds(forwarded))
    new = after.loc[after.index <= first + max(RETURN_WITHIN, steps)].max()
    known = old.notna() & new.notna() & (old > 0)
    return bool(known.any() and (new[known] < FORGOTTEN * old[known]).all())


def _first_version(rows: pd.DataFrame) -> str:
    """Give the version in the first row that has one; nothing if none has."""
    known = rows.dropna(how="all")
    if not known.size:
        return ""
    return str(rows.columns.get_level_values("version")[int(known.iloc[0].notna().argmax())])


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
        """When the first process that ended was scraped last."""
        return min(start.last_seen or start.time for start in self.starts)

    @property
    def end(self) -> pd.Timestamp:
        """When the last new process started."""
        return self.starts[-1].time

    @property
    def serious(self) -> bool:
        """Whether it is more than a planned restart: a crash loop, or most agents at once."""
        return self.looping or (self.most and self.how in ("in place", "unknown"))

    @property
    def versions(self) -> tuple[str, str] | None:
        """Of Cilium before and after, if they differ."""
        found = {s.versions for s in self.starts if all(s.versions)}
        changed = [pair for pair in sorted(found) if pair[0] != pair[1]]
        return changed[0] if changed else None


def restarts(data: Health) -> list[Restarts]:
    """List the restarts in the window; the first start of a node that joins is none."""
    known = [start for each in data.now.starts if (start := _restart(data, each)) is not None]
    # The starts of one node that follow each other.
    episodes = [
        episode
        for node in sorted({start.node for start in known})
        for episode in together(
            [start for start in known if start.node == node],
            when=lambda start: start.time,
            within=LOOP_WITHIN,
        )
    ]
    found = []
    for how in ("in place", "replaced", "reboot", "unknown"):
        within = ROLLOUT_WITHIN if how == "replaced" else TOGETHER_WITHIN
        mine = [episode for episode in episodes if episode[0].how == how]
        for looping in (False, True):
            same = [episode for episode in mine if (len(episode) > 1) is looping]
            groups = together(same, when=lambda episode: episode[0].time, within=within)
            found += [_restarts(data, [s for e in group for s in e]) for group in groups]
    return sorted(found, key=lambda each: each.begin)


def _restart(data: Health, start: Start) -> Start | None:
    """Give the start if there was a process before it, in the window or in the baseline."""
    if start.last_seen is not None:
        return start
    earlier = data.baseline.agents.get(start.node)
    if earlier is None or data.baseline.window.end > data.window.start:
        return None
    rows = earlier.dropna()
    if not len(rows) or rows.iloc[-1] >= start.time.timestamp() - 3:
        return None
    return replace(start, last_seen=min(rows.index[-1], start.time))


def _restarts(data: Health, starts: list[Start]) -> Restarts:
    ordered = tuple(sorted(starts, key=lambda start: start.time))
    nodes = {start.node for start in ordered}
    agents = max(data.now.scraped.shape[1], 1)
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


def together(
    things: Sequence[T], *, when: Callable[[T], pd.Timestamp], within: timedelta
) -> list[list[T]]:
    """Put things together that follow each other closely.

    Parameters
    ----------
    things
        In any order.
    when
        The moment of each.
    within
        Longest time between two neighbours.
    """
    found: list[list[T]] = []
    latest: pd.Timestamp | None = None
    for thing in sorted(things, key=when):
        if latest is not None and when(thing) - latest <= within:
            found[-1].append(thing)
        else:
            found.append([thing])
        latest = when(thing)
    return found


def restart_finding(data: Health, found: Restarts) -> Finding:
    """Give the finding about some restarts."""
    nodes, one = found.nodes, len(found.nodes) == 1
    before = sum(s.node in nodes and s.last_seen is not None for s in data.baseline.starts)
    return Finding(
        kind="agent_restart",
        severity=Severity.WARNING if found.serious else Severity.INFO,
        title=_title(found, of=data.now.scraped.shape[1]),
        start=found.begin.to_pydatetime(),
        end=found.end.to_pydatetime(),
        labels={"node": nodes[0]} if one else {},
        value=float(len(found.starts)),
        baseline_value=float(before) if data.baseline.scraped.shape[1] else math.nan,
        unit="count",
        trust_reasons=_caveats(data, found),
        query=f"cilium_process_start_time_seconds{braces({'node': nodes[0]} if one else {})}",
        next_step=_NEXT_STEPS[found.how if not found.looping else "loop"],
    )


_NEXT_STEPS = {
    "in place": "Ask why the container ended: `kubectl -n kube-system describe pod -l"
    " k8s-app=cilium` (last state, exit code, OOMKilled, liveness), and `kubectl -n kube-system"
    " logs POD -c cilium-agent --previous`.",
    "loop": "Read the log of the run before: `kubectl -n kube-system logs POD -c cilium-agent"
    " --previous`; look at memory and the events of the pod.",
    "replaced": "Compare with the rollouts of the DaemonSet: `kubectl -n kube-system rollout"
    " history ds/cilium`.",
    "reboot": "Look at the node's events and its kernel log from before the reboot.",
    "unknown": "Look at the restarts and the age of the agent's pod: `kubectl -n kube-system get"
    " pods -l k8s-app=cilium -o wide`.",
}


def _title(found: Restarts, *, of: int) -> str:
    place = where(found.nodes, of, foremost="first")
    times = f"{len(found.starts)} times" if found.looping else ""
    away = f", not scraped for {lasting(found.away)}" if found.away >= LONG_AWAY else ""
    many = len(found.nodes) > 1
    agents = "Agents" if many else "The agent"
    change = f", Cilium {found.versions[0]} became {found.versions[1]}" if found.versions else ""
    if found.looping:
        started = f"{agents} {place} started {times}"
        return f"{started}: a crash loop, if nobody restarted {'them' if many else 'it'}{away}"
    if found.how == "reboot":
        who = "Nodes rebooted" if many else "The node rebooted"
        return f"{who} ({place}){away}"
    if found.how == "replaced":
        what = "Rollout: new pods replaced the agents" if many else "A new pod replaced the agent"
        return f"{what} {place}{change}{away}"
    why = " in place (crash, kill, or failed liveness probe)" if found.how == "in place" else ""
    return f"{agents} {place} restarted{why}{change}{away}"


def _caveats(data: Health, found: Restarts) -> tuple[str, ...]:
    said: list[str] = []
    step = data.window.step
    if found.looping and step > timedelta(minutes=1):
        said.append(f"more than two starts within one step ({lasting(step)}) count as two")
    said += [
        f"the clock of {start.node} differs from that of the server: when its agent started is"
        " only known to a scrape and a step"
        for start in found.starts
        if not start.clock
    ]
    if found.how == "unknown":
        said.append("whether pods were replaced is not in the data")
    if any(start.last_seen is None for start in found.starts):
        said.append("the process before was only scraped in the baseline")
    return (*said, *from_server(data))
