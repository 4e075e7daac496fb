"""Which nodes outages are about where only counts of failing paths are known. Pure.

That is so from Cilium 1.18 on: the likely target is narrowed down from what all observers saw.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis.topics.connectivity.reading import (
    MAJORITY,
    SILENT,
    Outage,
    column,
    join,
    names,
    read,
)
from cilium_analysis.topics.connectivity.spread import briefs, sides
from cilium_analysis.topics.intervals import runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cilium_analysis.topics.connectivity.data import Connectivity
    from cilium_analysis.topics.connectivity.pace import Pace
    from cilium_analysis.topics.connectivity.reading import Own, Role
    from cilium_analysis.topics.connectivity.spread import Brief, Sides

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

#: An observer that knows more nodes than those whose view is in the data is cut off if it misses
#: this share of them.
NEARLY_ALL = 0.9
#: From so many nodes on, the only one that misses no other is the likely target.
ODD_ONE_OUT = 4
#: So many likely targets at once, if they are half of all nodes, are rather parts of the cluster.
CROWD = 3
#: Of so few nodes all others may notice late: a probe may be two rounds after the one before.
FEW = 4


@dataclass(frozen=True)
class _Views:
    """The view of observers that name no target, as arrays of times by observers."""

    nodes: list[str]
    failing: Floats
    per_node: int
    #: whether they know no other nodes than those whose view is in the data
    whole: bool
    #: observers that are known, but without samples
    silent: Flags
    #: observers that miss most others
    cut: Flags
    #: 2 when an observer's own agent was not scraped, 1 when it started, else 0
    away: Floats
    #: steps within which all observers have probed once more
    reach: int
    #: steps without a scrape in which an agent was gone
    silence: int

    @property
    def rest(self) -> Flags:
        """Observers that are not cut off themselves."""
        flags: Flags = ~self.cut & ~np.isnan(self.failing)
        return flags

    @property
    def missing(self) -> Flags:
        """Those of the rest that miss any other."""
        flags: Flags = self.rest & (np.nan_to_num(self.failing) > 0.01)
        return flags


def _apart(data: Connectivity) -> list[list[str]]:
    """Name the observers to look at together: of each cluster, where none knows the others."""
    nodes = names(data.now.paths, "node")
    known = data.now.nodes_known
    if not known > 0:
        known = float(np.nanmedian(data.now.paths.to_numpy(dtype="float64")))
    clusters = [node.rpartition("/")[0] for node in nodes]
    if round(known) >= len(nodes):
        return [nodes]
    return [
        [node for node, mine in zip(nodes, clusters, strict=True) if mine == cluster]
        for cluster in sorted(set(clusters))
    ]


def _views(data: Connectivity, kind: str, nodes: list[str]) -> _Views:
    total = _of(data.now.paths, nodes).to_numpy(dtype="float64")
    chosen = data.now.paths_failing.columns.get_level_values("type") == kind
    mine = data.now.paths_failing.loc[:, chosen].droplevel("type", axis=1)
    failing = mine.reindex(columns=nodes).to_numpy(dtype="float64")
    # Nodes of other clusters are probed too, and so are those that matchers do not choose.
    number = data.now.nodes_known if data.now.nodes_known > 0 else float(len(nodes))
    per_node = max(round(float(np.nanmedian(total)) / number), 1)
    whole = round(number) <= len(nodes)
    silent = np.isnan(total)
    gone = per_node * silent.sum(axis=1, keepdims=True)
    # Paths to nodes that are down altogether are no sign that the observer is cut off.
    others = total - per_node - gone
    missed = np.nan_to_num(failing - gone)
    # All may miss most where these are nodes of another cluster; who is cut off misses all.
    most = MAJORITY if whole else NEARLY_ALL
    cut = (others > 0) & (missed > most * others) | _one_address(missed, others, per_node)
    reach = -(-data.now.pace.round // data.now.every.step)
    silence = -(-SILENT // data.now.every.step)
    away = np.stack([column(data.now.away, node=node).to_numpy() for node in nodes], axis=1)
    return _Views(nodes, failing, per_node, whole, silent, cut, away, reach, silence)


def _of(paths: pd.DataFrame, nodes: Sequence[str]) -> pd.DataFrame:
    """Choose the paths of some observers."""
    chosen: pd.DataFrame = paths.loc[:, paths.columns.get_level_values("node").isin(list(nodes))]
    return chosen


def _one_address(missed: Floats, others: Floats, per_node: int) -> Flags:
    """Tell which observers miss as many paths as there are other nodes: one address of each."""
    nodes = others / per_node
    same: Flags = (per_node > 1) & (nodes > 1) & (np.abs(missed - nodes) < 0.25)
    return same


def by_paths(data: Connectivity) -> list[Outage]:
    """Narrow the targets down where only counts of failing paths are known."""
    if not data.now.paths.shape[1] or not data.now.paths_failing.shape[1]:
        return []
    found = join(
        (
            outage
            for nodes in _apart(data)
            for kind in names(data.now.paths_failing, "type")
            for outage in _of_kind(data, kind, nodes)
        ),
        data.now.pace,
    )
    named = [o for o in found if o.role in ("target", "split")]
    # An outage with a likely target may have moments without one.
    unknown = [o for o in found if o.role == "unknown" and not _within_any(o, named, data.now.pace)]
    most = [*named, *unknown]
    # What one observer misses meanwhile is not different from what most of them miss.
    alone = [o for o in found if o.role == "observer" and not _within_any(o, most, data.now.pace)]
    return [*most, *alone]


def _within_any(outage: Outage, others: Sequence[Outage], pace: Pace) -> bool:
    near = pace.round
    return any(o.start - near <= outage.start and outage.end <= o.end + near for o in others)


@dataclass(frozen=True)
class _Reader:
    """Reads outages of one kind from flags that say when a node is the target."""

    data: Connectivity
    kind: str
    known: Flags
    observers: int

    def __call__(
        self, hit: Flags, failing: Floats, of: Floats, node: str, role: Role, *, sure: bool = False
    ) -> list[Outage]:
        """Give the outages, from how many paths failed, of how many, while a flag is up."""
        index = self.data.now.paths_failing.index
        values = np.where(hit, failing, np.where(self.known, 0.0, np.nan))
        failed, there = pd.Series(values, index=index), pd.Series(of, index=index)
        every, pace = self.data.now.every, self.data.now.pace
        found = read(failed, there, every, pace, node=node, kind=self.kind, role=role, sure=sure)
        return [replace(outage, observers=self.observers) for outage in found]


def _of_kind(data: Connectivity, kind: str, nodes: list[str]) -> list[Outage]:
    views = _views(data, kind, nodes)
    among = views.rest.sum(axis=1).astype("float64")
    missing = views.missing.sum(axis=1).astype("float64")
    reader = _Reader(data, kind, among + views.cut.sum(axis=1) > 0, len(nodes))
    split, parts = _split(views)
    apart = _near(split, views.reach)
    with np.errstate(invalid="ignore"):
        common = np.where(among > 0, missing / among, 0.0) > MAJORITY
    common &= ~apart
    suspects = _suspects(views, common)
    split |= _crowd(views, suspects)
    apart = _near(split, views.reach)
    suspects &= ~apart[:, None]
    common &= ~apart
    clear = _near(np.asarray(suspects.any(axis=1)), views.reach) | apart
    missed = np.ceil(views.failing / views.per_node - 0.1)
    # One scrape alone is missed by an agent that restarts within seconds, too.
    least = -(-max(SILENT, 2 * data.now.pace.scrape) // data.now.every.step)
    short = briefs(missed, views.away, ~clear, reach=views.reach, least=least)
    for brief in short:
        common[brief.first : brief.stop] = False
    found = _targets(views, suspects, short, (missing, among), reader)
    unknown = _widened(common & ~suspects.any(axis=1), missing > 0, views.reach) & ~clear
    found += _unknown(views, unknown, short, (missing, among), reader)
    if split.any():
        found += _in_parts(views, split, parts, reader)
    for brief in short:
        apart[brief.first : brief.stop] = True
    return found + _single(views, common, apart, reader)


def _targets(
    views: _Views,
    suspects: Flags,
    short: Sequence[Brief],
    seen: tuple[Floats, Floats],
    reader: _Reader,
) -> list[Outage]:
    """Give the outages of nodes that are likely what the others miss."""
    missing, among = seen
    allowed = (missing > 0) & ~suspects.any(axis=1)
    found: list[Outage] = []
    for place, node in enumerate(views.nodes):
        hit = _widened(suspects[:, place], allowed, views.reach)
        failing, of = missing - views.missing[:, place], among - views.rest[:, place]
        mine = [brief for brief in short if place in brief.places]
        for brief in mine:
            _put(brief, hit, failing, of)
        if not hit.any():
            continue
        late = reader.data.now.pace.alone if len(views.nodes) <= FEW and not mine else timedelta()
        found += [
            replace(o, likely=True, own=_own(views, hit, place, mine), within=max(o.within, late))
            for o in reader(hit, failing, of, node, "target", sure=bool(mine))
        ]
    return found


def _put(brief: Brief, hit: Flags, failing: Floats, of: Floats) -> None:
    """Put in a short outage with all that noticed it, whenever they did."""
    inside = slice(brief.begin, brief.end)
    hit[inside], failing[inside], of[inside] = True, brief.noticed, brief.observers


def _unknown(
    views: _Views,
    hit: Flags,
    short: Sequence[Brief],
    seen: tuple[Floats, Floats],
    reader: _Reader,
) -> list[Outage]:
    """Give the outages that most observers see and that have no likely target."""
    failing, of = seen[0].copy(), seen[1].copy()
    gone = views.silent.copy()
    for brief in short:
        if not brief.places:
            _put(brief, hit, failing, of)
            gone[brief.begin : brief.end, list(brief.perhaps)] = True
    index = reader.data.now.paths_failing.index
    missed = np.where(hit, np.round(_typical(views) / views.per_node), np.nan)
    return [
        replace(
            outage,
            peers=_named(views, gone, outage, index),
            targets=_most_often(missed[(index > outage.start) & (index <= outage.end)]),
        )
        for outage in reader(hit, failing, of, "", "unknown")
    ]


def _most_often(missed: Floats) -> int:
    """Give how many nodes were missed most of the time."""
    known = missed[np.isfinite(missed)]
    return max(int(np.median(known)), 1) if len(known) else 1


def _split(views: _Views) -> tuple[Flags, dict[int, Sides]]:
    """Tell when the cluster was in parts, and in which ones at each moment where that is known."""
    nodes = views.failing / views.per_node
    found = [sides(row) if views.whole else None for row in nodes]
    grouped: Flags = np.array([groups is not None for groups in found])
    torn = np.asarray(views.cut.sum(axis=1) > np.maximum(views.rest.sum(axis=1), 1))
    for first, stop in runs(grouped):
        # What holds for less than a round may be other outages that observers notice in turn.
        if stop - 1 - first < views.reach // 2:
            grouped[first:stop] = torn[first:stop]
    parts = {row: groups for row, groups in enumerate(found) if groups and grouped[row]}
    return grouped | torn, parts


def _crowd(views: _Views, suspects: Flags) -> Flags:
    """Tell when so many nodes are likely targets that the cluster rather fell into parts."""
    crowd = np.zeros(len(suspects), dtype=bool)
    for first, stop in runs(suspects.any(axis=1), bridge=views.reach):
        inside = suspects[first:stop] & ~views.silent[first:stop]
        number = int(inside.any(axis=0).sum())
        crowd[first:stop] = number >= CROWD and 2 * number >= len(views.nodes)
    return crowd & np.isfinite(views.failing).any(axis=1)


def _in_parts(
    views: _Views, split: Flags, parts: dict[int, Sides], reader: _Reader
) -> list[Outage]:
    """Give the outages of a cluster in parts: from the first that noticed to the first recovery."""
    nodes = views.failing / views.per_node
    cut = np.where(views.cut.any(axis=1, keepdims=True) & ~views.cut, np.nan, nodes)
    level = np.zeros(len(split))
    level[split] = np.nanmedian(cut[split], axis=1)
    for row, groups in parts.items():
        # The smallest part misses most.
        level[row] = len(views.nodes) - groups[0][0]
    # A step less than a round: what follows for longer is read as an end of its own.
    wide = _widened(split, np.asarray((nodes > 0.01).any(axis=1)), views.reach - 1)
    level[wide & ~split] = 0.4 * level.max()
    paths = _of(reader.data.now.paths, views.nodes)
    others = paths.median(axis=1).to_numpy() / views.per_node - 1
    found = []
    for outage in reader(wide, level, others, "", "split"):
        inside = (paths.index > outage.start) & (paths.index <= outage.end)
        known = Counter(parts[int(row)] for row in np.flatnonzero(inside) if int(row) in parts)
        groups = known.most_common(1)[0][0] if known else ()
        told_apart = len(groups) == 1 or all(len(group) == size for size, group in groups)
        named = tuple(tuple(views.nodes[place] for place in group) for _, group in groups)
        peers = tuple(sorted(node for group in named for node in group)) or _named(
            views, split[:, None] & ((nodes > 1.5) | views.cut), outage, paths.index
        )
        found.append(replace(outage, peers=peers, parts=named if told_apart else (), likely=True))
    return found


def _own(views: _Views, hit: Flags, place: int, short: Sequence[Brief]) -> Own:
    """Give what a likely target's own probes say."""
    if short:
        near = [views.away[max(b.first - views.reach, 0) : b.stop, place] for b in short]
        return "silent" if max(part.max() for part in near) > 1 else "cut off"
    silent = int(views.silent[hit, place].sum())
    if silent >= min(views.silence, hit.sum() / 2):
        return "silent"
    return "cut off" if views.cut[hit, place].mean() > 0.3 else "reaches"


def _suspects(views: _Views, common: Flags) -> Flags:
    """Tell when which node is the likely target of what most observers miss."""
    suspects = views.cut & common[:, None]
    level = _typical(views)
    # A node that was cut off a moment ago is still missed by those that have not probed since.
    explained = np.stack([_near(one, views.reach) for one in suspects.T], axis=1)
    # Of a node with several addresses perhaps only one is missed.
    missed = np.maximum(np.round(level / views.per_node), np.round(level) > 0)
    unexplained = missed - explained.sum(axis=1)
    gone = views.silent.sum(axis=1)
    # Nodes that say nothing themselves, if there are not more of them than are missed.
    clear = common & (gone > 0) & (gone <= unexplained)
    suspects = _throughout(suspects | (views.silent & clear[:, None]), views, common)
    # Else the only one that misses no other: it reaches all others, which do not reach it.
    spared = views.rest & ~views.missing
    alone = (spared.sum(axis=1) == 1) & (views.rest.sum(axis=1) >= ODD_ONE_OUT)
    odd = common & ~suspects.any(axis=1) & (gone == 0) & alone & (unexplained == 1)
    lasting = spared & odd[:, None]
    found: Flags = suspects | (lasting & (lasting.sum(axis=0) >= views.reach))
    return found


def _throughout(suspects: Flags, views: _Views, common: Flags) -> Flags:
    """Keep a likely target of some moment while more nodes than it have no samples."""
    held = suspects.copy()
    for first, stop in runs(common, bridge=views.reach):
        inside = suspects[first:stop]
        unclear = common[first:stop] & ~inside.any(axis=1)
        held[first:stop] |= unclear[:, None] & inside.any(axis=0) & views.silent[first:stop]
    return held


def _typical(views: _Views) -> Floats:
    """Give how many paths the observers that miss any miss typically."""
    values = np.where(views.missing, views.failing, np.nan)
    level = np.zeros(len(values))
    some = views.missing.any(axis=1)
    level[some] = np.nanmedian(values[some], axis=1)
    return level


def _widened(hit: Flags, allowed: Flags, reach: int) -> Flags:
    """Add the neighbouring moments in which other observers still, or already, miss a node."""
    wide = hit.copy()
    for _ in range(reach):
        grown = wide.copy()
        grown[1:] |= wide[:-1]
        grown[:-1] |= wide[1:]
        wide = grown & (allowed | hit)
    return wide


def _near(flags: Flags, reach: int) -> Flags:
    """Tell where a flag is up, or was or will be shortly."""
    return _widened(flags, np.ones_like(flags), reach)


def _named(views: _Views, flags: Flags, outage: Outage, index: pd.Index) -> tuple[str, ...]:
    """Name the observers for which a flag is up during most of an outage."""
    inside = (index > outage.start) & (index <= outage.end)
    up = flags[inside].mean(axis=0) > MAJORITY
    return tuple(node for node, flag in zip(views.nodes, up, strict=True) if flag)


def _single(
    views: _Views,
    common: Flags,
    explained: Flags,
    reader: _Reader,
) -> list[Outage]:
    """Give what single observers miss beyond what most of them miss."""
    base = np.where(common, _typical(views), 0.0)
    found: list[Outage] = []
    for place, node in enumerate(views.nodes):
        mine = np.nan_to_num(views.failing[:, place])
        beyond = np.where(views.cut[:, place] & ~common, mine, np.maximum(mine - base, 0.0))
        beyond = np.where(views.cut[:, place] & common | explained, 0.0, beyond)
        total = column(reader.data.now.paths, node=node).to_numpy(dtype="float64") - views.per_node
        if not (beyond > 0.5).any():
            continue
        outages = reader(beyond > 0.5, beyond, total, node, "observer")
        alone = reader.data.now.pace.alone
        found += [replace(o, paths=views.per_node, within=max(o.within, alone)) for o in outages]
    return found
