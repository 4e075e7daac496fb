"""Outages of single nodes, read from how many paths failed over time. Pure.

``outages.py`` and ``paths.py`` decide which nodes they are about.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.topics.intervals import runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from cilium_analysis.topics.connectivity.pace import Pace
    from cilium_analysis.topics.intervals import Interval
    from cilium_analysis.window import Window

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

Rows = TypeVar("Rows", pd.DataFrame, pd.Series)

#: Failures with at most so much time between them, or so many results, are one outage that flaps.
BRIDGE, BRIDGE_RESULTS = timedelta(minutes=10), 4
#: More than this share of the probes fails: the fault is with the node, not with an observer.
MAJORITY = 0.5
#: A node's own view is missing for at least so long: its agent was gone too.
SILENT = timedelta(seconds=60)
#: What a minority of the observers sees is an outage if they see it for two rounds, less this much
#: time, or if it comes back so often.
ALMOST = timedelta(seconds=10)
FLAPPING = 3
#: The fault is with a node that misses so many others, even if it reaches most.
MANY_TARGETS, MANY_SHARE = 3, 0.25

Role = Literal["target", "source", "observer", "unknown", "split"]
Own = Literal["cut off", "reaches", "silent", "unknown"]


@dataclass(frozen=True)
class Outage:
    """An interval in which a node could not be reached, or could not reach others.

    Parameters
    ----------
    node
        Its name; empty if it is not known.
    types
        ``node``, ``endpoint`` or both.
    role
        Whether others did not reach the node (target), or the node did not reach others: source
        if the data says which, observer if not; ``split`` if a cluster fell into parts.
    start, end
        Within the window, after `clipped`.
    before, after
        Whether it began before the window, and whether it lasts until its end.
    share
        Share of the paths that fail over time; NaN where nothing is known.
    failing, among
        Paths that failed, typically, of so many.
    longest
        Longest uninterrupted failure.
    times
        How often it failed.
    own
        What the node's own probes say meanwhile.
    peers
        Other ends of the failing paths, where they are few.
    parts
        Of a split cluster: groups of nodes that still reached each other; one group of all nodes
        if only the size of the groups is known, and not which node is in which.
    protocols
        Of the probes that failed, where it is known.
    address
        The type of address (primary, secondary) that failed, if those of another did not.
    paths
        Addresses of each node where `failing` and `among` count paths to addresses, else 1.
    likely
        Whether the node is concluded from what all observers saw together.
    observers
        Of how many observers that is, where the data names no target.
    targets
        How many nodes failed, where it is not known which.
    unseen
        Minutes inside of which nothing is known.
    within
        Time to within which start and end are known.
    left
        Whether nobody probed the node afterwards, and its agent did not come back: it was
        removed from the cluster.
    dark
        Time just before the start, and just after the end, in which nothing at all was scraped:
        it may have lasted as long.
    """

    node: str
    types: tuple[str, ...]
    role: Role
    start: pd.Timestamp
    end: pd.Timestamp
    before: bool
    after: bool
    share: pd.Series
    failing: float
    among: float
    longest: timedelta
    times: int
    own: Own = "unknown"
    peers: tuple[str, ...] = ()
    parts: tuple[tuple[str, ...], ...] = ()
    protocols: tuple[str, ...] = ()
    address: str = ""
    paths: int = 1
    likely: bool = False
    observers: int = 0
    targets: int = 1
    unseen: float = 0.0
    within: timedelta = timedelta()
    left: bool = False
    dark: tuple[timedelta, timedelta] = (timedelta(), timedelta())

    @property
    def minutes(self) -> float:
        """Time from the start to the end [min], pauses included."""
        return (self.end - self.start).total_seconds() / 60

    @property
    def at_least(self) -> float:
        """The shortest that it may have been [min]."""
        return max(self.minutes - self.within / timedelta(minutes=1), 0.0)

    @property
    def at_most(self) -> float:
        """The longest that it may have been [min]; NaN if it goes on beyond the window."""
        beyond = self.before or self.after
        longest = self.within + sum(self.dark, timedelta())
        return math.nan if beyond else self.minutes + longest / timedelta(minutes=1)

    @property
    def value(self) -> float:
        """Typical share of the paths that failed."""
        return self.failing / self.among if self.among else float("nan")

    @property
    def most(self) -> bool:
        """Whether most paths failed."""
        return self.value > MAJORITY


def column(frame: pd.DataFrame, **wanted: str) -> pd.Series:
    """Give the only series with these labels; all NaN if there is none."""
    chosen = np.ones(frame.shape[1], dtype=bool)
    for name, value in wanted.items():
        chosen &= np.asarray(frame.columns.get_level_values(name) == value)
    if not chosen.any():
        return pd.Series(np.nan, index=frame.index, dtype="float64")
    return frame.iloc[:, int(chosen.argmax())]


def keys(frame: pd.DataFrame) -> list[tuple[str, ...]]:
    """Give the labels of all series, in the order of the levels."""
    return [tuple(str(value) for value in key) for key in frame.columns]


def names(frame: pd.DataFrame, label: str) -> list[str]:
    """Give the values of a label, sorted."""
    if label not in frame.columns.names:
        return []
    return sorted({str(value) for value in frame.columns.get_level_values(label) if value})


def majority(failing: pd.DataFrame, observers: pd.DataFrame) -> pd.DataFrame:
    """Tell when most observers could not reach a node."""
    return failing / observers.reindex(columns=failing.columns) > MAJORITY


def cut_off(
    target_failing: pd.DataFrame,
    target_observers: pd.DataFrame,
    source_failing: pd.DataFrame,
    source_targets: pd.DataFrame,
) -> pd.DataFrame:
    """Tell when a node missed many others that most of the others do reach.

    Returns
    -------
    pandas.DataFrame
        Of bool, with the columns of `source_failing`.
    """
    lost = majority(target_failing, target_observers)
    result = pd.DataFrame(False, index=source_failing.index, columns=source_failing.columns)
    for place, (node, kind) in enumerate(keys(source_failing)):
        mine = lost.loc[:, lost.columns.get_level_values("type") == kind]
        others = mine.loc[:, mine.columns.get_level_values("node") != node].sum(axis=1)
        missed = source_failing.iloc[:, place] - others
        asked = column(source_targets, node=node, type=kind) - others
        share = missed / asked.where(asked > 0)
        many = (missed >= MANY_TARGETS) & (share >= MANY_SHARE)
        alone = (missed > 0.5) & ((share > MAJORITY) | many)
        kept = _mostly(alone, source_failing.iloc[:, place])
        result.isetitem(place, kept.to_numpy())
    return result


def _mostly(flags: pd.Series, failing: pd.Series) -> pd.Series:
    """Keep flags in those intervals of failure at whose height they are mostly up.

    Where a cluster falls into parts, one observer after another notices: the first of them look
    as if they alone missed all others.
    """
    kept = flags.copy()
    for first, stop in runs(failing.gt(0.5), bridge=2):
        inside, up = failing.iloc[first:stop], flags.iloc[first:stop]
        if up[inside >= 0.5 * inside[up].max()].mean() < 0.5:
            kept.iloc[first:stop] = False
    return kept


def instead(
    whole: pd.DataFrame, rest: pd.DataFrame, lost: pd.DataFrame, *, around: int
) -> pd.DataFrame:
    """Leave observers out of the counts only around the times in which they were cut off.

    Parameters
    ----------
    whole, rest
        Counts per ``node`` and ``type`` over all observers, and without those.
    lost
        When they were cut off.
    around
        Steps before and after that within which others may notice.
    """
    rest = rest.reindex(columns=whole.columns)
    result = whole.copy()
    for place, (_, kind) in enumerate(keys(whole)):
        during = lost.loc[:, lost.columns.get_level_values("type") == kind].any(axis=1)
        width = 2 * around + 1
        near = during.astype(float).rolling(width, center=True, min_periods=1).max() > 0
        # Where all observers were cut off themselves, nothing is left to judge by.
        left = rest.iloc[:, place].fillna(0.0).where(whole.iloc[:, place].notna())
        result.isetitem(place, whole.iloc[:, place].mask(near, left).to_numpy())
    return result


def read(
    failing: pd.Series,
    among: pd.Series,
    window: Window,
    pace: Pace,
    *,
    node: str,
    kind: str,
    role: Role,
    numbers: tuple[pd.Series, pd.Series] | None = None,
    sure: bool = False,
) -> list[Outage]:
    """Give the outages, as how many paths failed over time shows them.

    Parameters
    ----------
    failing
        Paths that failed and that nothing else explains; NaN where nothing is known.
    among
        Paths that there were.
    window
        What is looked at; the series begin earlier.
    pace
        Of probes and scrapes.
    node, kind, role
        As in `Outage`.
    numbers
        All paths that failed, and all that there were: the numbers of an outage whose fault is
        with the node itself.
    sure
        Whether there is other evidence too, so that a minority that sees it once is enough.
    """
    # The steps between two failures that are one outage.
    bridge = max(int(max(BRIDGE, BRIDGE_RESULTS * pace.shown) / window.step), 1)
    # Where nothing is known, the failure is taken to last from one result to the next.
    filled = failing.ffill(limit=bridge).where(failing.bfill().gt(0), failing)
    hit = filled.gt(1e-6).to_numpy()
    found: list[Outage] = []
    for run in runs(hit, bridge=bridge):
        outage = _outage(failing, among, hit, run, window, pace)
        # A node that joins has not been probed yet.
        joins = run[0] > 0 and bool(failing.iloc[: run[0]].isna().all())
        if outage is None or (joins and outage.longest <= pace.round):
            continue
        if outage.most and numbers:
            outage = _outage(*numbers, hit, run, window, pace) or outage
        twice = outage.longest >= 2 * pace.shown - ALMOST
        if sure or outage.most or twice or outage.times >= FLAPPING:
            found.append(replace(outage, node=node, types=(kind,), role=role))
    return found


def _outage(
    failing: pd.Series, among: pd.Series, hit: Flags, run: Interval, window: Window, pace: Pace
) -> Outage | None:
    """Give the outage of one run of failures; None if it is none, or begins after the window."""
    first, stop = run
    index, step = failing.index, window.step
    inside = failing.iloc[first:stop].where(hit[first:stop], 0.0)
    peak = float(inside.max())
    strong = inside[inside >= 0.5 * peak]
    if not peak or not len(strong):
        return None
    weight = (inside / peak).fillna(1.0).clip(upper=1.0)
    failures = runs((inside >= 0.5 * peak) | inside.isna())
    longest = max(float(weight.iloc[a:b].sum()) for a, b in failures) * step
    # Before all observers have noticed a short outage, it is over for the first of them.
    typical = strong[strong == peak] if longest <= pace.round else strong
    present = among.iloc[first:stop].loc[typical.index]
    number = float(present.quantile(0.5, interpolation="higher"))
    start = index[first] - step if first else index[0]
    end = _end(failing, run, hit, window, pace)
    if start >= window.end:
        return None
    return Outage(
        node="",
        types=(),
        role="unknown",
        start=start,
        end=end,
        before=bool(start < window.start or not first),
        after=stop == len(index),
        share=(failing / among.where(among > 0)).clip(0.0, 1.0),
        failing=float((typical / present).median()) * number,
        among=number,
        longest=longest,
        times=len(failures),
        unseen=float(inside.isna().sum()) * step / timedelta(minutes=1),
        within=max(pace.within, step),
    )


def _end(failing: pd.Series, run: Interval, hit: Flags, window: Window, pace: Pace) -> pd.Timestamp:
    """Give the end: when the first observers recovered, if the others did within a round."""
    index, last = failing.index, run[1] - 1
    if last == len(index) - 1:
        return pd.Timestamp(index[last])
    first = runs(hit[: run[1]])[-1][0]
    levels = failing.iloc[max(first, run[0]) : run[1]].to_numpy(dtype="float64")
    full = last - int(np.argmax(np.nan_to_num(levels[::-1]) >= 0.9 * np.nanmax(levels)))
    return pd.Timestamp(index[full if (last - full) * window.step <= pace.round else last])


def join(outages: Iterable[Outage], pace: Pace) -> list[Outage]:
    """Make one outage of those of node and endpoint at the same time."""
    joined: list[Outage] = []
    for outage in sorted(outages, key=lambda o: (o.node, o.role, o.start, o.types)):
        for place, other in enumerate(joined):
            same = (other.node, other.role) == (outage.node, outage.role)
            if same and overlap(other, outage, pace):
                joined[place] = _both(other, outage, pace)
                break
        else:
            joined.append(outage)
    return joined


def clipped(outages: Iterable[Outage], window: Window) -> list[Outage]:
    """Cut outages to the window; those that were over before it are left out."""
    first, last = pd.Timestamp(window.start), pd.Timestamp(window.end)
    return [
        replace(outage, start=max(outage.start, first), end=min(outage.end, last))
        for outage in outages
        if outage.end > first
    ]


def overlap(one: Outage, other: Outage, pace: Pace) -> bool:
    """Tell whether two outages overlap, or nearly do."""
    near = pace.round
    return bool(one.start <= other.end + near and other.start <= one.end + near)


def _both(one: Outage, other: Outage, pace: Pace) -> Outage:
    """Join two outages of a node; the numbers are those of the worse one.

    Of ends within one round of each other the earlier one counts, which was probed first.
    """
    first, last = sorted((one.end, other.end))
    after = one.after or other.after
    same = last - first <= pace.round and not after
    worse = max(one, other, key=lambda o: (o.value, o.minutes, o.types == ("node",)))
    kinds = set(one.types) | set(other.types)
    share = pd.concat([one.share, other.share], axis=1).max(axis=1)
    return replace(
        worse,
        types=tuple(kind for kind in ("node", "endpoint") if kind in kinds)
        + tuple(sorted(kinds - {"node", "endpoint"})),
        start=min(one.start, other.start),
        end=first if same else last,
        before=one.before or other.before,
        after=after,
        share=share,
        longest=max(one.longest, other.longest),
        times=max(one.times, other.times),
        peers=tuple(sorted({*one.peers, *other.peers})),
    )


def rows(frame: Rows, outage: Outage) -> Rows:
    """Give the rows of a frame or series that are within an outage."""
    return frame.loc[(frame.index > outage.start) & (frame.index <= outage.end)]


def known(observers: pd.DataFrame, outage: Outage) -> float:
    """Give the share of an outage in which the node's own view is in the data."""
    if outage.node not in names(observers, "node"):
        return 0.0
    mine = rows(column(observers, node=outage.node), outage)
    return float(mine.notna().mean()) if len(mine) else 1.0


def silent(observers: pd.DataFrame, outage: Outage) -> float:
    """Give the share of an outage in which the node's own view is missing, and not that of all.

    Where nothing at all was scraped, the server stopped, and no agent.
    """
    inside = rows(observers, outage)
    mine = names(observers, "node").index(outage.node)
    there = inside.notna().to_numpy()
    return float((there.any(axis=1) & ~there[:, mine]).mean()) if len(there) else 0.0


def no_frame(index: pd.Index, levels: Sequence[str]) -> pd.DataFrame:
    """Give a label frame over some times without any series."""
    return pd.DataFrame(index=index, columns=frames.empty(levels).columns, dtype="float64")
