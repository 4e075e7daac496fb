"""Whom to blame where only counts of failing paths are known. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis.topics.connectivity.reading import (
    MAJORITY,
    SILENT,
    Outage,
    column,
    join,
    kinds,
    names,
    overlap,
    read,
    spans,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from cilium_analysis.topics.connectivity.data import Connectivity
    from cilium_analysis.topics.connectivity.pace import Pace
    from cilium_analysis.topics.connectivity.reading import Own

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

#: From so many nodes on, the only one that misses nobody is told by that.
ODD_ONE_OUT = 4


@dataclass(frozen=True)
class _Views:
    """What observers see who name no target, as arrays of times by observers."""

    nodes: list[str]
    failing: Floats
    per_node: int
    #: observers that are known but say nothing
    silent: Flags
    #: observers that miss most others
    cut: Flags
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
        """Those of the rest that miss anybody."""
        flags: Flags = self.rest & (np.nan_to_num(self.failing) > 0.01)
        return flags


def _views(data: Connectivity, kind: str) -> _Views:
    nodes = names(data.paths, "node")
    total = data.paths.to_numpy(dtype="float64")
    chosen = data.paths_failing.columns.get_level_values("type") == kind
    mine = data.paths_failing.loc[:, chosen].droplevel("type", axis=1)
    failing = mine.reindex(columns=nodes).to_numpy(dtype="float64")
    per_node = max(round(float(np.nanmedian(total)) / len(nodes)), 1)
    silent = np.isnan(total)
    gone = per_node * silent.sum(axis=1, keepdims=True)
    # Paths to nodes that are down altogether are no sign that the observer is cut off.
    others = total - per_node - gone
    missed = np.nan_to_num(failing - gone)
    cut = (others > 0) & (missed > MAJORITY * others) | _one_address(missed, others, per_node)
    reach = -(-data.pace.round // data.every.step)
    silence = -(-SILENT // data.every.step)
    return _Views(nodes, failing, per_node, silent, cut, reach, silence)


def _one_address(missed: Floats, others: Floats, per_node: int) -> Flags:
    """Tell who misses just as many paths as there are other nodes: one address of each."""
    nodes = others / per_node
    same: Flags = (per_node > 1) & (nodes > 1) & (np.abs(missed - nodes) < 0.25)
    return same


def by_paths(data: Connectivity) -> list[Outage]:
    """Narrow the targets down where only counts of failing paths are known."""
    if not data.paths.shape[1] or not data.paths_failing.shape[1]:
        return []
    found = join((o for kind in kinds(data.paths_failing) for o in _of_kind(data, kind)), data.pace)
    most = [o for o in found if o.role != "observer"]
    # What one observer misses meanwhile is not told apart from what most of them miss.
    alone = [o for o in found if o.role == "observer" and not _near_any(o, most, data.pace)]
    return [*most, *alone]


def _near_any(outage: Outage, others: Sequence[Outage], pace: Pace) -> bool:
    return any(overlap(outage, other, pace) for other in others)


def _of_kind(data: Connectivity, kind: str) -> list[Outage]:
    views = _views(data, kind)
    among = views.rest.sum(axis=1).astype("float64")
    missing = views.missing.sum(axis=1).astype("float64")
    with np.errstate(invalid="ignore"):
        common = np.where(among > 0, missing / among, 0.0) > MAJORITY
    torn = views.cut.sum(axis=1) > np.maximum(views.rest.sum(axis=1), 1)
    common &= ~torn
    suspects = _suspects(views, common)
    index = data.paths_failing.index

    def told(hit: Flags, failing: Floats, of: Floats, **what: str) -> list[Outage]:
        values = np.where(hit, failing, np.where(among + views.cut.sum(axis=1) > 0, 0.0, np.nan))
        failed, there = pd.Series(values, index=index), pd.Series(of, index=index)
        return read(failed, there, data.every, data.pace, kind=kind, **what)  # type: ignore[arg-type]

    found: list[Outage] = []
    for place, node in enumerate(views.nodes):
        hit = _widened(suspects[:, place], (missing > 0) & ~suspects.any(axis=1), views.reach)
        if hit.any():
            others = missing - views.missing[:, place], among - views.rest[:, place]
            found += [
                replace(outage, likely=True, own=_own(views, hit, place))
                for outage in told(hit, *others, node=node, role="target")
            ]
    nobody = common & ~suspects.any(axis=1)
    unknown = _widened(nobody, missing > 0, views.reach)
    unknown &= ~_near(np.asarray(suspects.any(axis=1)), views.reach)
    found += [
        replace(outage, peers=_named(views, views.silent, outage, index))
        for outage in told(unknown, missing, among, node="", role="unknown")
    ]
    if torn.any():
        found += _torn(views, torn, told, data)
    return found + _single(views, common, told, data)


def _torn(
    views: _Views, torn: Flags, told: Callable[..., list[Outage]], data: Connectivity
) -> list[Outage]:
    """Read when most observers missed most others: the cluster fell into parts."""
    values = np.where(torn[:, None] & views.cut, views.failing, np.nan)
    level = np.zeros(len(values))
    level[torn] = np.nanmedian(values[torn], axis=1)
    others = data.paths.median(axis=1).to_numpy() - views.per_node
    outages = told(torn, level, others, node="", role="split")
    index = data.paths_failing.index
    return [replace(o, peers=_named(views, views.cut, o, index)) for o in outages]


def _own(views: _Views, hit: Flags, place: int) -> Own:
    """Tell what a likely target sees itself."""
    silent = int(views.silent[hit, place].sum())
    if silent >= min(views.silence, hit.sum() / 2):
        return "silent"
    return "cut off" if views.cut[hit, place].mean() > 0.3 else "reaches"


def _suspects(views: _Views, common: Flags) -> Flags:
    """Tell when which node is the likely target of what most observers miss."""
    suspects = views.cut & common[:, None]
    level = _typical(views)
    # Whoever was cut off a moment ago is still missed by those who have not probed since.
    explained = np.stack([_near(one, views.reach) for one in suspects.T], axis=1)
    # Of a node with several addresses perhaps only one is missed.
    missed = np.maximum(np.round(level / views.per_node), np.round(level) > 0)
    unexplained = missed - explained.sum(axis=1)
    gone = views.silent.sum(axis=1)
    # Nodes that say nothing themselves, if there are not more of them than are missed.
    clear = common & (gone > 0) & (gone <= unexplained)
    suspects = _throughout(suspects | (views.silent & clear[:, None]), views, common)
    # Else the only one that misses nobody: it reaches all others, which do not reach it.
    spared = views.rest & ~views.missing
    alone = (spared.sum(axis=1) == 1) & (views.rest.sum(axis=1) >= ODD_ONE_OUT)
    odd = common & ~suspects.any(axis=1) & (gone == 0) & alone & (unexplained == 1)
    lasting = spared & odd[:, None]
    found: Flags = suspects | (lasting & (lasting.sum(axis=0) >= views.reach))
    return found


def _throughout(suspects: Flags, views: _Views, common: Flags) -> Flags:
    """Hold on to who is clear at some moment of a stretch while more than they say nothing."""
    held = suspects.copy()
    for first, last in spans(common, bridge=views.reach):
        known = suspects[first : last + 1].any(axis=0)
        doubt = common[first : last + 1] & ~suspects[first : last + 1].any(axis=1)
        held[first : last + 1] |= doubt[:, None] & known & views.silent[first : last + 1]
    return held


def _typical(views: _Views) -> Floats:
    """Give how many paths those who miss anybody miss typically."""
    values = np.where(views.missing, views.failing, np.nan)
    level = np.zeros(len(values))
    some = views.missing.any(axis=1)
    level[some] = np.nanmedian(values[some], axis=1)
    return level


def _widened(hit: Flags, allowed: Flags, reach: int) -> Flags:
    """Take in the neighbouring moments in which others still, or already, miss somebody."""
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
    told: Callable[..., list[Outage]],
    data: Connectivity,
) -> list[Outage]:
    """Read what single observers miss beyond what most of them miss."""
    base = np.where(common, _typical(views), 0.0)
    found: list[Outage] = []
    for place, node in enumerate(views.nodes):
        mine = np.nan_to_num(views.failing[:, place])
        beyond = np.where(views.cut[:, place] & ~common, mine, np.maximum(mine - base, 0.0))
        beyond = np.where(views.cut[:, place] & common, 0.0, beyond)
        total = column(data.paths, node=node).to_numpy(dtype="float64") - views.per_node
        if not (beyond > 0.5).any():
            continue
        outages = told(beyond > 0.5, beyond, total, node=node, role="observer")
        found += [
            replace(o, paths=views.per_node, within=max(o.within, data.pace.alone)) for o in outages
        ]
    return found
