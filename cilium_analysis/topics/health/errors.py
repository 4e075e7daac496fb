"""Errors and failures of agents and operators that rose above the baseline; findings about them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.findings import Finding, Severity
from cilium_analysis.queries import Matcher
from cilium_analysis.statistics.rises import Rises, join
from cilium_analysis.texts import lasting, percent
from cilium_analysis.topics import caveats
from cilium_analysis.topics.health.common import (
    from_server,
    interval,
    not_scraped,
    steps,
    where,
)
from cilium_analysis.topics.health.failures import Counts, counted
from cilium_analysis.topics.health.restarts import restarted_before
from cilium_analysis.topics.health.states import NEARLY_FULL, of_map
from cilium_analysis.topics.intervals import runs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from cilium_analysis.topics.health.data import Health, Levels

#: What a process logs within this time after its start comes from the start.
SETTLES_WITHIN = timedelta(minutes=3)
#: The fewest nodes are named that together have this share of the excess.
NAMED_FROM = 0.8
#: Controllers may fail for so long before they are worth a finding.
FAILING_FOR = timedelta(minutes=5)
#: Failures are news if their share of what is tried is so many times that of the baseline.
MORE_OFTEN = 1.5
#: Errors are rarer than the packets that the defaults of `Rises` are meant for.
ERRORS, WARNINGS = Rises(least=10.0), Rises()
#: Bursts of different subsystems are one event if both edges are this near to each other.
SAME_EDGES = timedelta(minutes=2)
#: Warnings without errors are a finding of severity warning from so many on, or from so long on.
MANY_WARNINGS, LONG = 100.0, timedelta(minutes=10)
#: Failures of a smaller share of what is tried are no warning.
SMALL = 0.01
#: What follows from an agent's start is no warning as long as it ends within this time after it.
AFTERMATH = timedelta(minutes=15)


@dataclass(frozen=True)
class Burst:
    """Counts above their baseline.

    Parameters
    ----------
    of
        What is counted.
    first, stop
        Positions of its first step, and of the one after its last.
    nodes
        The fewest nodes that have most of the excess, the largest first; of operators all, as
        another one leads after a failover.
    """

    of: Counts
    first: int
    stop: int
    nodes: tuple[str, ...]

    @property
    def total(self) -> float:
        """Sum of the counts on the nodes."""
        return float(self._inside(self.of.counts).to_numpy(na_value=0.0).sum())

    @property
    def errors(self) -> float:
        """The part of `total` that are errors rather than warnings."""
        return float(self._inside(self.of.severe).to_numpy(na_value=0.0).sum())

    @property
    def failing(self) -> float:
        """The highest number of controllers or modules that failed at once; 0 if not known."""
        part = self._inside(self.of.failing)
        return float(part.sum(axis=1).max()) if part.size else 0.0

    @property
    def expected(self) -> float:
        """Count on the nodes in as much time of the baseline; NaN if not known."""
        baseline = self._on_nodes(self.of.baseline)
        if not baseline.notna().to_numpy().any():
            return float("nan")
        return float(baseline.mean().sum()) * (self.stop - self.first)

    @property
    def share(self) -> float:
        """Share of the attempts on the nodes that failed; NaN if attempts are not counted."""
        counts, rows = self.of.counts, self._on_nodes(self.of.attempts)
        if len(rows) < 2:
            return math.nan
        # Of many nodes they are asked for in longer steps.
        step, longer = (timedelta(seconds=frames.step_seconds(each)) for each in (counts, rows))
        begin, end = counts.index[self.first] - step, counts.index[self.stop - 1] + longer - step
        tried = frames.between(rows, begin, end).mean().sum()
        tried *= (self.stop - self.first) * step / longer
        return min(self.total / float(tried), 1.0) if tried > 0 else math.nan

    @property
    def baseline_share(self) -> float:
        """Share of the attempts on the nodes that failed in the baseline; NaN if not known."""
        failed, tried = (
            float(self._on_nodes(frame).to_numpy(na_value=0.0).sum())
            for frame in (self.of.baseline, self.of.baseline_attempts)
        )
        return failed / tried if tried > 0 else math.nan

    def _on_nodes(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame[[node for node in self.nodes if node in frame]]

    def _inside(self, frame: pd.DataFrame) -> pd.DataFrame:
        return self._on_nodes(frame).iloc[self.first : self.stop]


def _bursts(data: Health, of: Counts) -> Iterator[Burst]:
    """Look for bursts on all nodes together, and of agents on each."""
    counts, severe = (_settled(data.now, of, frame) for frame in (of.counts, of.severe))
    baseline, baseline_severe = (
        _settled(data.baseline, of, f) for f in (of.baseline, of.baseline_severe)
    )
    errors, warnings = (each.at(data.window.step) for each in (ERRORS, WARNINGS))
    found = warnings.find(_all(counts), _all(baseline))
    # Of operators only one leads, wherever it runs: they are looked at together.
    apart = [[node] for node in counts.columns[counts.sum() >= ERRORS.least]]
    for nodes in [[*counts]] if of.kind == "operator_errors" else apart:
        found += warnings.find(_all(counts[nodes]), _all(baseline[nodes]))
        mine = [node for node in nodes if node in severe]
        if mine:
            found += errors.find(_all(severe[mine]), _all(baseline_severe[mine]))
    found += _failing(data, of)
    left_out = (of.counts.fillna(0.0) > counts.fillna(0.0)).any(axis=1).to_numpy()
    for first, stop in join(found, bridge=errors.bridge):
        # A burst may begin while a process starts, which is left out above.
        while first > 0 and left_out[first - 1]:
            first -= 1
        burst = Burst(of, first, stop, _most_of(of, first, stop))
        # If the share of what is tried is as before, only more is tried.
        if burst.failing or not burst.share <= MORE_OFTEN * burst.baseline_share:
            yield burst


def _settled(span: Levels, of: Counts, counts: pd.DataFrame) -> pd.DataFrame:
    """Leave out what processes count while they start."""
    known, step = counts.copy(), span.window.step
    agents = [(start.node, start.time) for start in span.starts]
    started = agents if of.kind == "agent_errors" else operator_starts(span)
    for node, moment in started:
        if node in known:
            end = moment + max(SETTLES_WITHIN, 2 * step)
            known.loc[(known.index > moment - step) & (known.index <= end), node] = np.nan
    return known


def operator_starts(span: Levels) -> list[tuple[str, pd.Timestamp]]:
    """List when operators started, and where.

    Parameters
    ----------
    span
        Of the window or the baseline.
    """
    levels = span.per_node("operators", how="max")
    found = []
    for node, column in levels.items():
        for value in sorted(set(column.dropna().round())):
            moment = pd.Timestamp(value, unit="s", tz="UTC")
            if span.window.start < moment <= span.window.end:
                found.append((str(node), moment))
    return found


def _all(counts: pd.DataFrame) -> NDArray[np.float64]:
    return counts.sum(axis=1, min_count=1).to_numpy(dtype="float64")


def _failing(data: Health, of: Counts) -> list[tuple[int, int]]:
    """Give the intervals in which more controllers fail than ever in the baseline."""
    found: list[tuple[int, int]] = []
    least = max(-(-FAILING_FOR // data.window.step), 1)
    for node, column in of.failing.items():
        baseline = of.baseline_failing.get(node, pd.Series(dtype="float64")).dropna()
        limit = float(baseline.quantile(0.99)) if len(baseline) else 0.0
        found += [run for run in runs(column > limit) if run[1] - run[0] >= least]
    return found


def _most_of(of: Counts, first: int, stop: int) -> tuple[str, ...]:
    """Name the fewest nodes that together have most of the excess, the largest first."""
    if of.kind == "operator_errors":
        return tuple(str(node) for node in of.counts)
    excess = of.counts.iloc[first:stop].sum()
    excess -= of.baseline.mean().fillna(0.0) * (stop - first)
    if not (excess > 0).any() and of.failing.shape[1]:
        excess = of.failing.iloc[first:stop].sum().reindex(excess.index, fill_value=0.0)
    excess = excess.clip(lower=0.0).sort_values(ascending=False, kind="stable")
    enough = int((excess.cumsum() < NAMED_FROM * excess.sum()).sum()) + 1
    return tuple(str(node) for node in excess.index[:enough])


def _grouped(found: Sequence[Burst], *, within: int) -> list[list[Burst]]:
    """Put bursts of the same event together, the largest of each first."""
    groups: list[list[Burst]] = []
    for burst in sorted(found, key=lambda each: -each.total):
        for group in groups:
            if _are_one(group[0], burst, within):
                group.append(burst)
                break
        else:
            groups.append([burst])
    return groups


def _are_one(one: Burst, other: Burst, within: int) -> bool:
    """Tell whether two bursts are of one subsystem and overlap, or share both edges."""
    if one.of.kind != other.of.kind or set(one.nodes) != set(other.nodes):
        return False
    if one.of.subsystem == other.of.subsystem:
        return one.first < other.stop and other.first < one.stop
    return abs(one.first - other.first) <= within and abs(one.stop - other.stop) <= within


def errors(data: Health) -> Iterator[Finding]:
    """Say which errors rose above the baseline.

    Yields
    ------
    Finding
        ``agent_errors`` and ``operator_errors``.
    """
    found = [burst for counts in counted(data) for burst in _bursts(data, counts)]
    found = [burst for burst in found if not _of_full_map(data, burst)]
    for group in _grouped(found, within=steps(data, SAME_EDGES)):
        yield _finding(data, group)


def _of_full_map(data: Health, burst: Burst) -> bool:
    """Tell whether the failed updates are those of a map that is reported as full."""
    if not burst.of.map_name:
        return False
    fill = of_map(data.now["pressure"], burst.of.map_name, burst.nodes)
    return bool((fill.iloc[burst.first : burst.stop] >= NEARLY_FULL).to_numpy().any())


def _finding(data: Health, group: Sequence[Burst]) -> Finding:
    main = group[0]
    first, stop = min(each.first for each in group), max(each.stop for each in group)
    start, end = interval(data, main.of.counts.index, first, stop)
    labels = {"subsystem": main.of.subsystem}
    if main.of.kind == "agent_errors" and len(main.nodes) == 1:
        labels["node"] = main.nodes[0]
    if main.of.map_name:
        labels["map_name"] = main.of.map_name
    counted = main.total if main.total > 0 else main.failing
    started = _restart(data, group, start)
    calm = started is not None and end - started <= AFTERMATH
    return Finding(
        kind=main.of.kind,
        severity=Severity.INFO if calm else _severity(group, end - start),
        title=_title(data, group, end - start, started),
        start=start,
        end=end,
        labels=labels,
        nodes=main.nodes,
        value=counted,
        baseline_value=main.expected,
        unit="count",
        total=main.total,
        trust_reasons=_caveats(data, group, started),
        query=_query(main, labels),
        next_step=_advice(main),
    )


def _restart(data: Health, group: Sequence[Burst], start: datetime) -> pd.Timestamp | None:
    """Give when the agents concerned had started, if the errors follow from that."""
    if group[0].of.kind != "agent_errors":
        return None
    nodes = sorted({node for each in group for node in each.nodes})
    return restarted_before(data, nodes, pd.Timestamp(start))


def _severity(group: Sequence[Burst], length: timedelta) -> Severity:
    # A share that is not known is not small.
    errors = any((t.errors > 0 and not t.share < SMALL) or t.failing > 0 for t in group)
    if all(t.share < SMALL and not t.failing for t in group):
        return Severity.INFO
    much = sum(t.total for t in group) >= MANY_WARNINGS or length >= LONG
    return Severity.WARNING if errors or much else Severity.INFO


def _title(
    data: Health, group: Sequence[Burst], length: timedelta, started: pd.Timestamp | None
) -> str:
    main = group[0]
    agent = main.of.kind == "agent_errors"
    place = f" {where(main.nodes, data.now.scraped.shape[1])}" if agent else ""
    who = f"Agents{place}" if agent and len(main.nodes) > 1 else f"The agent{place}"
    number = f"{main.total:,.0f} {main.of.what}" if main.total > 0 else main.of.what
    if main.of.what.endswith("log"):
        number = _log_words(main)
    part = "" if math.isnan(main.share) else f" ({percent(main.share)} of all)"
    baseline = "" if math.isnan(main.expected) else f" instead of {main.expected:,.0f}"
    failing = f", {main.failing:.0f} {_FAILING[main.of.subsystem]}" if main.failing else ""
    after = " after the restart" if started is not None else ""
    others = sorted(
        {t.of.subsystem for t in group} - {main.of.subsystem}
        | {t.of.what for t in group[1:] if t.of.subsystem == main.of.subsystem}
    )
    also = f"; at the same time: {', '.join(others)}" if others else ""
    return (
        f"{who if agent else 'The operator'}, {main.of.subsystem}: {number}{part}{baseline} in"
        f" {lasting(length)}{after}{failing}{also}"
    )


_FAILING = {"controllers": "controllers failing at once", "modules": "modules degraded at once"}


def _log_words(main: Burst) -> str:
    warnings = main.total - main.errors
    parts = [
        f"{amount:,.0f} {name}"
        for name, amount in (("errors", main.errors), ("warnings", warnings))
        if amount >= 0.5
    ]
    return f"{' and '.join(parts)} in the log"


def _caveats(data: Health, group: Sequence[Burst], started: pd.Timestamp | None) -> tuple[str, ...]:
    main = group[0]
    said: list[str] = []
    if main.of.kind == "agent_errors":
        said += not_scraped(data, main.nodes, main.first, main.stop)
        start, end = interval(data, main.of.counts.index, main.first, main.stop)
        said += [
            f"the agent on {s.node} started at {data.window.told(s.time)}: what it counted just"
            " before may be missing"
            for s in data.now.starts
            if started is None and s.node in main.nodes and start <= s.time <= end
        ]
    if math.isnan(main.expected):
        said.append(caveats.NO_BASELINE)
    return (*dict.fromkeys(said), *from_server(data))


def _query(main: Burst, labels: Mapping[str, str]) -> str:
    matchers = [main.of.matchers] if main.of.matchers else []
    matchers += [str(Matcher(n, "=", labels[n])) for n in ("node",) if n in labels]
    by = "level, node" if main.of.what.endswith("log") else "node"
    return f"sum by ({by}) (increase({main.of.metric}{{{','.join(matchers)}}}[5m]))"


def _advice(main: Burst) -> str:
    if main.of.kind == "operator_errors":
        return (
            "Read the operator's log of that time: `kubectl -n kube-system logs -l"
            " io.cilium/app=operator --timestamps`."
        )
    advice = {
        "controllers": "Ask which ones fail and why: `cilium-dbg status --all-controllers`.",
        "kvstore": "Look at the health of the key-value store: `cilium-dbg status --verbose`.",
        "k8s-client": "Look at the API server: its load, its latency, and the network to it.",
        "modules": "Ask which ones are degraded and why: `cilium-dbg status --all-health`.",
        "policy": "See which policies are not valid: `kubectl get cnp,ccnp -A`, and the agent's log"
        " for the policy's name.",
        "rate-limiter": "See which calls wait: `cilium-dbg status --verbose`, and the rate at which"
        " pods are created; limits are set by apiRateLimit (api-rate-limit in cilium-config).",
        "bpf": "Compare the size of the map with what fills it: `cilium-dbg map list`.",
    }
    name = main.of.subsystem
    log = (
        f"Read the agent's log of that time for subsys={name} (module={name} since Cilium 1.18):"
        " `kubectl -n kube-system logs POD -c cilium-agent --timestamps`."
    )
    return advice.get(main.of.subsystem, log)
