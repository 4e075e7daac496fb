"""When what goes wrong in agents and operators rises above the baseline. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis.statistics.baseline import Rises, join
from cilium_analysis.topics.health.streams import Stream, streams

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from cilium_analysis.topics.health.data import Health, Span

#: What a process logs so soon after its start comes from the start.
SETTLES_WITHIN = timedelta(minutes=3)
#: One node is named as the place when it has this share of the excess.
NAMED_FROM = 0.8
#: Controllers may fail for so long before they are worth a finding.
FAILING_FOR = timedelta(minutes=5)
#: What fails so much more often than in the baseline, of what is tried, is news.
MORE_OFTEN = 1.5
#: Errors are rarer than the packets that the defaults of `Rises` are meant for.
RISES = Rises(least=10.0)
WARNINGS = Rises()


@dataclass(frozen=True)
class Trouble:
    """A stretch of a stream that the baseline does not explain."""

    stream: Stream
    first: int
    last: int
    nodes: tuple[str, ...]

    @property
    def total(self) -> float:
        """What was counted on the nodes in the stretch."""
        return float(self.inside.to_numpy(na_value=0.0).sum())

    @property
    def inside(self) -> pd.DataFrame:
        """The counts of the nodes in the stretch."""
        return self.stream.counts[list(self.nodes)].iloc[self.first : self.last]

    @property
    def errors(self) -> float:
        """Those that are errors rather than warnings."""
        names = [node for node in self.nodes if node in self.stream.severe]
        part = self.stream.severe[names].iloc[self.first : self.last]
        return float(part.to_numpy(na_value=0.0).sum())

    @property
    def failing(self) -> float:
        """The highest number of controllers or modules that failed at once; 0 if not known."""
        names = [node for node in self.nodes if node in self.stream.failing]
        part = self.stream.failing[names].iloc[self.first : self.last]
        return float(part.sum(axis=1).max()) if part.size else 0.0

    @property
    def expected(self) -> float:
        """What the baseline makes one expect of the nodes in as much time."""
        names = [node for node in self.nodes if node in self.stream.usual]
        usual = self.stream.usual[names]
        if not usual.notna().to_numpy().any():
            return float("nan")
        return float(usual.mean().sum()) * (self.last - self.first)

    @property
    def share(self) -> float:
        """Which part of the attempts on the nodes failed; NaN if attempts are not counted."""
        counts = self.stream.counts
        step = counts.index[1] - counts.index[0] if len(counts) > 1 else timedelta()
        rows = self.stream.attempts
        if len(rows) < 2:
            return math.nan
        # Of many nodes they are asked for in longer steps.
        inside = (rows.index > counts.index[self.first] - step) & (
            rows.index <= counts.index[self.last - 1] + _step(rows) - step
        )
        tried = rows.loc[inside, rows.columns.intersection(list(self.nodes))].mean().sum()
        tried *= (self.last - self.first) * step / _step(rows)
        return min(self.total / float(tried), 1.0) if tried > 0 else math.nan

    @property
    def usual_share(self) -> float:
        """Which part of the attempts on the nodes failed in the baseline; NaN if not known."""
        names = list(self.nodes)
        failed, tried = (
            float(frame[frame.columns.intersection(names)].to_numpy(na_value=0.0).sum())
            for frame in (self.stream.usual, self.stream.usual_attempts)
        )
        return failed / tried if tried > 0 else math.nan


def _step(frame: pd.DataFrame) -> timedelta:
    return frame.index[1] - frame.index[0] if len(frame) > 1 else timedelta()


def troubles(data: Health) -> list[Trouble]:
    """Find what the baseline does not explain.

    Parameters
    ----------
    data
        As from `cilium_analysis.topics.health.load`.
    """
    return [trouble for stream in streams(data) for trouble in _of(data, stream)]


def _of(data: Health, stream: Stream) -> Iterator[Trouble]:
    counts = _settled(data.now, stream, stream.counts)
    usual = _settled(data.usual, stream, stream.usual)
    severe = _settled(data.now, stream, stream.severe)
    usual_severe = _settled(data.usual, stream, stream.usual_severe)
    errors, warnings = (each.at(data_step(data.now)) for each in (RISES, WARNINGS))
    found = warnings.find(_all(counts), _all(usual))
    for node in counts.columns[counts.sum() >= RISES.least]:
        one, before = counts[node].to_numpy("float64"), usual[node].to_numpy("float64")
        found += warnings.find(one, before)
        if node in severe:
            parts = (severe[node], usual_severe[node])
            found += errors.find(*(part.to_numpy("float64") for part in parts))
    found += _failing(data, stream)
    for first, last in join(found, bridge=errors.bridge):
        begin = _back(first, stream, counts)
        trouble = Trouble(stream, begin, last, _culprits(stream, begin, last))
        # As many fail of what is tried as ever: only more is tried.
        if trouble.failing or not trouble.share <= MORE_OFTEN * trouble.usual_share:
            yield trouble


def _settled(span: Span, stream: Stream, counts: pd.DataFrame) -> pd.DataFrame:
    """Leave out what processes count while they start."""
    known = counts.copy()
    for node, moment in _started(span, stream):
        if node in known:
            rows = (known.index > moment - data_step(span)) & (
                known.index <= moment + max(SETTLES_WITHIN, 2 * data_step(span))
            )
            known.loc[rows, node] = np.nan
    return known


def data_step(span: Span) -> timedelta:
    """Give the step of a span."""
    return span.window.step


def _started(span: Span, stream: Stream) -> list[tuple[str, pd.Timestamp]]:
    if stream.kind == "agent_errors":
        return [(start.node, start.time) for start in span.starts]
    return operator_starts(span)


def operator_starts(span: Span) -> list[tuple[str, pd.Timestamp]]:
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


def _failing(data: Health, stream: Stream) -> list[tuple[int, int]]:
    """Find the stretches in which more controllers fail than ever in the baseline."""
    found: list[tuple[int, int]] = []
    steps = max(-(-FAILING_FOR // data.window.step), 1)
    for node, column in stream.failing.items():
        usual = stream.usual_failing.get(node, pd.Series(dtype="float64")).dropna()
        limit = float(usual.quantile(0.99)) if len(usual) else 0.0
        found += [run for run in stretches(column > limit) if run[1] - run[0] >= steps]
    return found


def stretches(flags: pd.Series) -> list[tuple[int, int]]:
    """Give the runs of True as pairs of positions: the first, and the one after the last."""
    edges = np.diff(np.concatenate([[0], flags.to_numpy(dtype="int64"), [0]]))
    return list(
        zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True)
    )


def _back(first: int, stream: Stream, settled: pd.DataFrame) -> int:
    """Begin earlier where the rise began while a process started."""
    left_out = (stream.counts.fillna(0.0) > settled.fillna(0.0)).any(axis=1).to_numpy()
    while first > 0 and left_out[first - 1]:
        first -= 1
    return first


def _culprits(stream: Stream, first: int, last: int) -> tuple[str, ...]:
    """Name the fewest nodes that together make up most of the excess, the largest first."""
    excess = stream.counts.iloc[first:last].sum()
    excess -= stream.usual.mean().fillna(0.0) * (last - first)
    if not (excess > 0).any() and stream.failing.shape[1]:
        excess = stream.failing.iloc[first:last].sum().reindex(excess.index, fill_value=0.0)
    excess = excess.clip(lower=0.0).sort_values(ascending=False, kind="stable")
    enough = int((excess.cumsum() < NAMED_FROM * excess.sum()).sum()) + 1
    return tuple(str(node) for node in excess.index[:enough])


def merged(found: Sequence[Trouble], *, within: int) -> list[list[Trouble]]:
    """Put troubles together that are one: of one subsystem, or beginning and ending together.

    Parameters
    ----------
    found
        Of any streams.
    within
        How far the edges may lie apart [steps].

    Returns
    -------
    list of lists
        The largest of each first.
    """
    groups: list[list[Trouble]] = []
    for trouble in sorted(found, key=lambda t: -t.total):
        for group in groups:
            if _are_one(group[0], trouble, within):
                group.append(trouble)
                break
        else:
            groups.append([trouble])
    return groups


def _are_one(one: Trouble, other: Trouble, within: int) -> bool:
    if one.stream.kind != other.stream.kind or set(one.nodes) != set(other.nodes):
        return False
    overlap = one.first < other.last and other.first < one.last
    if one.stream.subsystem == other.stream.subsystem:
        return overlap
    return abs(one.first - other.first) <= within and abs(one.last - other.last) <= within
