"""Time in which agents, or any operator, should have been scraped and were not; its findings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.findings import Finding, Severity
from cilium_analysis.texts import lasting
from cilium_analysis.topics import loading
from cilium_analysis.topics.health.common import braces, from_server, where
from cilium_analysis.topics.health.restarts import MOST, TOGETHER_WITHIN, scrape_interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cilium_analysis.topics.health.data import Health
    from cilium_analysis.topics.health.restarts import Restarts, Start

#: Shortest gap in the scrapes of an agent that is a finding, and from which on it is a warning.
LEAST, LONG = timedelta(minutes=2), timedelta(minutes=5)
#: Shortest time without any operator: one that is replaced is back earlier.
LEAST_OF_OPERATORS = timedelta(minutes=5)
#: If agents were scraped in less than this share of the steps, a gap says nothing about operators.
AGENTS_SCRAPED = 0.5
_OPERATOR = "cilium_operator_process_start_time_seconds"


@dataclass(frozen=True)
class Gap:
    """Time in which an agent should have been scraped and was not, though it was before.

    Parameters
    ----------
    node
        Where.
    start, end
        When it was scraped last, and when again; the window's end if not again.
    length
        Without the scrape interval.
    failed
        Whether scrapes were tried and failed; else none were tried.
    over
        Whether it was scraped again.
    """

    node: str
    start: pd.Timestamp
    end: pd.Timestamp
    length: timedelta
    failed: bool
    over: bool


def gaps(
    agents: pd.DataFrame,
    up: pd.DataFrame,
    *,
    least: timedelta,
    intervals: pd.Series | None = None,
) -> list[Gap]:
    """List the gaps in the scrapes of each agent.

    Parameters
    ----------
    agents
        One column per node, with a value where its agent was scraped, or no scrape was due.
    up
        1 where it answered, 0 where it did not, NaN where no scrape was tried.
    least
        Shortest gap to list.
    intervals
        Scrape interval of each node's agent [s]; a single scrape that is missing is no gap yet.
    """
    found = []
    step = timedelta(seconds=frames.step_seconds(agents))
    for node, column in agents.items():
        rows = np.flatnonzero(column.notna())
        if not len(rows):
            continue
        apart = loading.spacing(column.notna())
        own = float(intervals.get(node, 0.0)) if intervals is not None else 0.0
        tried = up[node] if node in up else pd.Series(np.nan, index=column.index)
        pairs = [(int(a), int(b), True) for a, b in pairwise(rows)]
        pairs.append((int(rows[-1]), len(column) - 1 + apart, False))
        for first, last, over in pairs:
            length = (last - first - apart) * step
            if length < max(least, timedelta(seconds=1.5 * own)):
                continue
            end = agents.index[min(last, len(column) - 1)]
            # A node that left fails a few scrapes too, until it is forgotten.
            since = first + 1 if over else max(first + 1, len(column) - 2 * apart)
            failed = bool((tried.iloc[since:last] == 0).any())
            if over or failed:
                found.append(Gap(str(node), agents.index[first], end, length, failed, over))
    return found


@dataclass(frozen=True)
class Gaps:
    """Gaps of several agents at the same time."""

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
        return any(gap.failed for gap in self.gaps)

    @property
    def over(self) -> bool:
        """Whether all of them were scraped again."""
        return all(gap.over for gap in self.gaps)


def unexplained(data: Health, restarted: Sequence[Restarts]) -> list[Gaps]:
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
        for gap in gaps(*_with_baseline(data), least=LEAST, intervals=data.now.intervals)
        if gap.end > pd.Timestamp(data.window.start)
    ]
    found = [gap for gap in found if not _given_up(gap, restarted)]
    starts = [start for each in restarted for start in each.starts]
    groups = []
    for group in _simultaneous(found, within=2 * data.window.step):
        # Without any scrape of most agents the gap is one of Prometheus, and of no agent.
        if not group.failed and len(group.gaps) > MOST * data.now.agents.shape[1]:
            groups.append(group)
        elif rest := tuple(gap for gap in group.gaps if not _explained(gap, starts)):
            groups.append(Gaps(rest))
    return sorted(groups, key=lambda group: group.start)


def _with_baseline(data: Health) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Put a baseline that ends where the window begins before it: a gap may begin there."""
    now, baseline = data.now, data.baseline
    apart = now.agents.index[:1].append(baseline.agents.index[:1])
    aligned = len(apart) == 2 and not (apart[0] - apart[1]) % data.window.step
    if data.baseline.window.end != data.window.start or not aligned:
        return now.agents, now.up
    return now.agents.combine_first(baseline.agents), now.up.combine_first(baseline.up)


def _given_up(gap: Gap, restarted: Sequence[Restarts]) -> bool:
    """Tell whether the agent did not come back from a crash loop, whose finding says so."""
    return not gap.over and any(
        each.looping and start.node == gap.node and gap.start - start.time <= TOGETHER_WITHIN * 2
        for each in restarted
        for start in each.starts
    )


def _simultaneous(found: Sequence[Gap], *, within: timedelta) -> list[Gaps]:
    """Put gaps together that begin and end together."""
    groups: list[list[Gap]] = []
    for gap in sorted(found, key=lambda each: (each.start, each.end)):
        for group in groups:
            first = group[0]
            same = first.over == gap.over and first.failed == gap.failed
            near = abs(first.start - gap.start) <= within and abs(first.end - gap.end) <= within
            if same and near:
                group.append(gap)
                break
        else:
            groups.append([gap])
    return [Gaps(tuple(group)) for group in groups]


def _explained(gap: Gap, starts: Sequence[Start]) -> bool:
    """Tell whether the agent restarted: it started before it was scraped again."""
    return any(start.node == gap.node and gap.start <= start.time <= gap.end for start in starts)


def gap_finding(data: Health, found: Gaps) -> Finding:
    """Give the finding about agents that were not scraped."""
    of = len({*data.now.agents.columns, *found.nodes})
    length = found.length
    everyone = len(found.nodes) == of
    why = "did not answer" if found.failed else "were not scraped at all"
    still = "" if found.over else " and had not come back when the window ended"
    one = len(found.nodes) == 1
    labels = {"node": found.nodes[0]} if one else {}
    why = why if not one else why.replace("were", "was")
    who = f"{'The agent' if one else 'Agents'} {where(found.nodes, of)}"
    who = "All agents" if everyone and of > 1 else who
    return Finding(
        kind="scrape_gap",
        severity=Severity.WARNING
        if length >= LONG or (everyone and of > 1) or not found.over
        else Severity.INFO,
        title=f"{who} {why} for {lasting(length)}{still}",
        start=max(found.start.to_pydatetime(), data.window.start),
        end=found.end.to_pydatetime(),
        labels=labels,
        value=length.total_seconds(),
        baseline_value=scrape_interval(data, found.nodes[0]).total_seconds(),
        unit="s",
        trust_reasons=from_server(data),
        query=f"count by (node) (cilium_process_start_time_seconds{braces(labels)})",
        next_step="Look at the node and its agent, and at the network from Prometheus to it."
        if found.failed
        else "Look at Prometheus itself: restarts, configuration, storage.",
    )


def without_operator(data: Health) -> Iterator[Finding]:
    """Say when no operator was scraped, although there was one before, and agents were."""
    # One column, with a value where any operator was scraped.
    spans = (data.baseline, data.now)
    whole = pd.concat([span["operators"].max(axis=1).to_frame("operator") for span in spans])
    whole = whole[~whole.index.duplicated()].sort_index()
    # A scrape is taken to be tried in every step: an operator has no fixed address.
    tried = whole.notna().astype("float64")
    for gap in gaps(whole, tried, least=LEAST_OF_OPERATORS):
        agents = frames.between(data.now.scraped, gap.start, gap.end).any(axis=1)
        if gap.end > pd.Timestamp(data.window.start) and agents.mean() >= AGENTS_SCRAPED:
            yield _operator_finding(data, gap)


def _operator_finding(data: Health, gap: Gap) -> Finding:
    still = "" if gap.over else ", and none had come back when the window ended"
    return Finding(
        kind="scrape_gap",
        severity=Severity.WARNING,
        title=f"No operator was scraped for {lasting(gap.length)}{still}, while agents were",
        start=max(gap.start.to_pydatetime(), data.window.start),
        end=gap.end.to_pydatetime(),
        labels={"metric": _OPERATOR},
        value=gap.length.total_seconds(),
        baseline_value=0.0,
        unit="s",
        trust_reasons=from_server(data),
        query=f"count({_OPERATOR})",
        next_step="See whether an operator ran: `kubectl -n kube-system get pods -l"
        " name=cilium-operator -o wide`, and `kubectl -n kube-system logs -l name=cilium-operator"
        " --previous`. Without one no identities are"
        " collected, and no addresses handed out where the operator does that.",
    )
