"""What the question about connectivity is answered from: frames, and how they are loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.queries import Matcher, any_of
from cilium_analysis.topics import loading
from cilium_analysis.topics.connectivity import latencies, pace, reading
from cilium_analysis.topics.connectivity.asking import (
    MOST_NODES,
    MOST_PAIRS,
    MOST_POINTS,
    MOST_POINTS_OF_ALL,
    NODES_KNOWN,
    PROBE,
    QUERIES,
    Asker,
    Names,
    by_observer,
    ends_of,
)
from cilium_analysis.topics.connectivity.reading import column, cut_off, no_frame
from cilium_analysis.topics.model import Compared, Loader, Part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cilium_analysis.topics.reader import Reader
    from cilium_analysis.window import Window


@dataclass(frozen=True, kw_only=True)
class Probes(Part):
    """What is known of the probes between nodes in the window.

    All frames are label frames; nodes are named by their Kubernetes names where the data tells
    them. Those about single nodes hold only nodes that were concerned.

    Parameters
    ----------
    fine
        The window in the steps of the frames about single nodes; they begin earlier.
    pace
        How often paths are probed and agents scraped.
    every
        The window in the steps of `observers` and `paths`, which hold all nodes.
    observers
        ``node``: 1 where the node's own view is in the data, whatever its version.
    target_failing, target_observers
        ``node``, ``type``: how many others could not reach a node, and how many probed it.
    rest_failing, rest_observers
        The same without those observers that were cut off themselves.
    source_failing, source_targets
        ``node``, ``type``: how many others a node could not reach, and how many it probed.
    failed_probes
        ``node``, ``address_type``, ``protocol``, ``type``: how many paths to a node's addresses a
        protocol failed on.
    pairs
        ``source``, ``target``, ``type``: share of probes that failed, where any did.
    paths, paths_failing
        ``node`` (and ``type``): paths that an observer knows, and that failed, where the data
        names no target.
    nodes_known
        How many nodes an agent knows, itself and those of other clusters included, where the data
        names no target; NaN if nothing tells.
    away
        ``node``: 2 in steps in which a node's agent was not scraped when it was due, 1 in those in
        which it started, else 0; empty where the data names targets.
    slow
        ``node``, ``protocol``, ``type``: latency [s] of nodes whose latency rose.
    quantiles
        Table of latency by ``type``, ``protocol`` and ``address_type``, one column per quantile
        [s]; from a histogram also the share of probes that ``failed``.
    missed
        ``node``, ``type`` (node or endpoint): how many others each agent itself said that it
        could not reach; NaN where it reached all. In the steps of the window.
    agents
        How many agents say how many others they could not reach, in any version.
    targets_named
        Whether the data names the targets of probes; of all observers if nothing is in `paths`.
    crowded
        Whether more nodes were concerned than were asked for.
    """

    fine: Window
    every: Window
    pace: pace.Pace
    observers: pd.DataFrame
    target_failing: pd.DataFrame
    target_observers: pd.DataFrame
    rest_failing: pd.DataFrame
    rest_observers: pd.DataFrame
    source_failing: pd.DataFrame
    source_targets: pd.DataFrame
    failed_probes: pd.DataFrame
    pairs: pd.DataFrame
    paths: pd.DataFrame
    paths_failing: pd.DataFrame
    nodes_known: float
    away: pd.DataFrame
    slow: pd.DataFrame
    quantiles: pd.DataFrame
    missed: pd.DataFrame
    agents: int
    targets_named: bool
    crowded: bool


@dataclass(frozen=True, kw_only=True)
class Ordinary(Part):
    """What is known of the probes in the baseline, each as one number.

    Parameters
    ----------
    shares
        Label frame (``role``: target or source, ``node``, ``type``) of the share of probes that
        failed; one row.
    paths
        By ``type``: paths that failed, where the data names no target.
    slow, quantiles
        As of `Probes`.
    """

    shares: pd.DataFrame
    paths: pd.Series
    slow: pd.DataFrame
    quantiles: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class Connectivity(Compared[Probes, Ordinary]):
    """Everything about connectivity between nodes in a window and its baseline.

    Label matchers about nodes choose the observers.
    """


def _ask(reader: Reader, before: Reader) -> Connectivity:
    window, baseline = reader.window, before.window
    fine, every = _finer(window, most=MOST_POINTS), _finer(window, most=MOST_POINTS_OF_ALL)
    asker = Asker(reader.source, reader.match, reader.targets)
    tempo = pace.measure(asker, window)
    pairs = _pairs(asker, fine, every, baseline, tempo)
    paths = _paths(asker, every, baseline, pairs.observers)
    agents = asker.at_end(QUERIES["agents"], window)
    named = bool(pairs.observers.shape[1]) or bool(pairs.target_failing.shape[1])
    slow, usual_slow = latencies.slow(asker, fine, baseline, pairs.names, tempo, named=named)
    return Connectivity(
        source=reader.source.name,
        now=Probes(
            window=window,
            fine=fine,
            every=every,
            pace=tempo,
            observers=_together(pairs.observers, paths.total),
            target_failing=pairs.target_failing,
            target_observers=pairs.target_observers,
            rest_failing=pairs.rest_failing,
            rest_observers=pairs.rest_observers,
            source_failing=pairs.source_failing,
            source_targets=pairs.source_targets,
            failed_probes=pairs.probes,
            pairs=pairs.pairs,
            paths=paths.total,
            paths_failing=paths.failing,
            nodes_known=_nodes_known(reader) if paths.total.shape[1] else math.nan,
            away=_away(reader, paths.total),
            slow=slow,
            quantiles=latencies.quantiles(asker, window, named=named),
            missed=_missed(reader),
            agents=int(agents.iloc[0]) if len(agents) else 0,
            targets_named=named,
            crowded=pairs.crowded,
        ),
        baseline=Ordinary(
            window=baseline,
            shares=pairs.usual,
            paths=paths.usual,
            slow=usual_slow,
            quantiles=latencies.quantiles(asker, baseline, named=named),
        ),
    )


load = Loader(_ask)


def _nodes_known(reader: Reader) -> float:
    """Ask how many nodes an agent knows, typically."""
    known = reader.read(NODES_KNOWN).to_numpy(dtype="float64")
    return float(np.nanmedian(known)) if np.isfinite(known).any() else math.nan


def _missed(reader: Reader) -> pd.DataFrame:
    """Ask how many others each agent missed, in any version."""
    parts = []
    for kind in ("node", "endpoint"):
        found = reader.values(QUERIES[f"missed_{kind}s"])
        parts.append(frames.relabel(found, "type", [kind] * found.shape[1]))
    both = pd.concat([frames.group(part, ["node", "type"], how="max") for part in parts], axis=1)
    return loading.inside(both, reader.window)


def _finer(window: Window, *, most: int) -> Window:
    """Give the window in steps of a minute at most, or longer ones if it is very long."""
    least = PROBE * max(-(-window.length // (most * PROBE)), 1)
    return replace(window, step=min(window.step, least))


@dataclass(frozen=True)
class Pairs:
    """What is known where the data names the targets."""

    observers: pd.DataFrame
    target_failing: pd.DataFrame
    target_observers: pd.DataFrame
    rest_failing: pd.DataFrame
    rest_observers: pd.DataFrame
    source_failing: pd.DataFrame
    source_targets: pd.DataFrame
    probes: pd.DataFrame
    pairs: pd.DataFrame
    usual: pd.DataFrame
    names: Names
    crowded: bool


def _pairs(asker: Asker, fine: Window, every: Window, baseline: Window, tempo: pace.Pace) -> Pairs:
    """Ask which nodes were concerned at all, then about those over time."""
    observers = asker.over("observers", every)
    whole, roles = loading.led(fine), ("target", "source")
    # Nodes that were missed, or that missed others, at any time.
    troubled = {role: asker.at_end(QUERIES[f"failing_{role}s"], whole) for role in roles}
    names = Names(several=len(_clusters(observers, troubled)) > 1)
    targets, sources = ({node for _, node in ends_of(troubled[role].index, role)} for role in roles)
    named = names.give(observers, "source", "node", [])
    if not targets:
        return _quiet(named, names)
    # Whoever misses all others has to be known as a target too, and the other way round.
    both = sorted(targets | sources)
    to, of = any_of("target_node_name", both), any_of("source_node_name", both)

    def ask(name: str, role: str, *matchers: Matcher, also: Sequence[str] = ()) -> pd.DataFrame:
        found = asker.over(name, fine, *matchers)
        return names.give(found, role, "node", [*also, "type"])

    failing, probing, never = (
        ask(name, "target", to) for name in ("target_failing", "target_observers", "probed")
    )
    failing = failing.mask(never.reindex(columns=failing.columns) < 0)
    missed, asked = (
        _without(ask(name, "source", of), never) for name in ("source_failing", "source_targets")
    )
    lost = cut_off(failing, probing, missed, asked)
    but, around = _others(lost, names), -(-tempo.round // fine.step)
    rest, left = (
        reading.instead(known, ask(name, "target", to, *but), lost, around=around) if but else known
        for name, known in (("target_failing", failing), ("target_observers", probing))
    )
    return Pairs(
        named,
        failing,
        probing,
        rest,
        left,
        missed,
        asked,
        ask("failed_probes", "target", to, also=["address_type", "protocol"]),
        _failing_pairs(asker, fine, names, failing, rest, but),
        _usual(asker, baseline, names, to, of),
        names,
        crowded=any(_full(found) for found in troubled.values()),
    )


def _others(lost: pd.DataFrame, names: Names) -> list[Matcher]:
    """Match what others saw than those that were cut off at any time; nothing if nobody was."""
    guilty = sorted({key[0] for key in reading.keys(lost.loc[:, lost.any()])})
    bare = any_of("", (names.bare[node] for node in guilty)).value
    return [Matcher("source_node_name", "!~", bare)] if guilty else []


def _clusters(observers: pd.DataFrame, troubled: Mapping[str, pd.Series]) -> set[str]:
    """Give the clusters that observers or troubled nodes are of."""
    indexes = [("source", observers.columns), *((r, f.index) for r, f in troubled.items())]
    return {cluster for role, index in indexes for cluster, _ in ends_of(index, role)}


def _without(counts: pd.DataFrame, never: pd.DataFrame) -> pd.DataFrame:
    """Leave targets that nobody has ever probed out of the counts of each observer."""
    result = counts.copy()
    for place, (_, kind) in enumerate(reading.keys(counts)):
        mine = [each == kind for each in frames.values(never, "type")]
        ghosts = never.loc[:, mine].lt(0).sum(axis=1)
        result.isetitem(place, (counts.iloc[:, place] - ghosts).clip(lower=0.0).to_numpy())
    return result


def _quiet(observers: pd.DataFrame, names: Names) -> Pairs:
    """Say that no probe failed."""
    of_node = no_frame(observers.index, ["node", "type"])
    pairs = no_frame(observers.index, ["source", "target", "type"])
    usual = no_frame(observers.index[:0], ["node", "role", "type"])
    return Pairs(
        observers=observers,
        target_failing=of_node,
        target_observers=of_node,
        rest_failing=of_node,
        rest_observers=of_node,
        source_failing=of_node,
        source_targets=of_node,
        probes=no_frame(observers.index, ["address_type", "node", "protocol", "type"]),
        pairs=pairs,
        usual=usual,
        names=names,
        crowded=False,
    )


def _full(found: pd.Series) -> bool:
    """Tell whether as many were found as had been asked for."""
    if not len(found):
        return False
    kinds = found.index.to_frame().get("type", pd.Series("", index=found.index))
    return bool((kinds.value_counts() >= MOST_NODES).any())


def _failing_pairs(
    asker: Asker,
    fine: Window,
    names: Names,
    failing: pd.DataFrame,
    rest: pd.DataFrame,
    but: Sequence[Matcher],
) -> pd.DataFrame:
    """Ask for the failing pairs: all of them if they are few, else those that need explaining."""
    most = failing.max().fillna(0.0)
    many = most.sum() > MOST_PAIRS / 2
    if many:
        most = rest.max().fillna(0.0)
    ordered = most[most > 0].groupby(level="node").sum().sort_values(kind="stable")
    # As other observers may fail at other times, only half of what is allowed is planned for.
    chosen = ordered.index[ordered.cumsum() <= MOST_PAIRS / 2]
    if not len(chosen):
        return no_frame(failing.index, ["source", "target", "type"])
    to = any_of("target_node_name", sorted({names.bare[str(node)] for node in chosen}))
    found = asker.over("pairs", fine, to, *(but if many else []))
    found = frames.relabel(
        found, "target", [names.name(*e) for e in ends_of(found.columns, "target")]
    )
    return names.give(found, "source", "source", ["target", "type"])


def _usual(asker: Asker, baseline: Window, names: Names, to: Matcher, of: Matcher) -> pd.DataFrame:
    """Ask which share of these nodes' probes failed in the baseline."""
    parts = []
    for role, matcher in (("target", to), ("source", of)):
        found = asker.at_end(QUERIES[f"usual_{role}s"], baseline, matcher)
        frame = found.to_frame(baseline.end).T
        frame.columns = found.index
        frame = names.give(frame.astype("float64"), role, "node", ["type"])
        parts.append(frames.relabel(frame, "role", [role] * frame.shape[1]))
    return pd.concat(parts, axis=1)


@dataclass(frozen=True)
class Paths:
    """What is known where the data names no target."""

    total: pd.DataFrame
    failing: pd.DataFrame
    usual: pd.Series


def _paths(asker: Asker, every: Window, baseline: Window, known: pd.DataFrame) -> Paths:
    """Ask what observers say who do not name their targets; of the others, nothing."""
    total = by_observer(asker, "path_observers", every, ["node"])
    named = known.reindex(index=total.index, columns=total.columns).notna()
    total = total.mask(named).dropna(axis=1, how="all")
    if not total.shape[1]:
        return Paths(total, no_frame(total.index, ["node", "type"]), pd.Series(dtype="float64"))
    failing = by_observer(asker, "paths_failing", every, ["node", "type"])
    ends = [reading.names(total, "node"), reading.names(failing, "type")]
    both = pd.MultiIndex.from_product(ends, names=["node", "type"])
    there = pd.DataFrame(
        {key: column(total, node=key[0]).notna() for key in both}, index=total.index, columns=both
    )
    # Nothing came back where nothing failed.
    failing = failing.reindex(columns=both).fillna(0.0).where(there.astype(bool))
    usual = asker.at_end(QUERIES["usual_paths"], baseline)
    if len(usual):
        usual = usual.groupby(level="type").sum()
    return Paths(total, failing, usual)


def _away(reader: Reader, paths: pd.DataFrame) -> pd.DataFrame:
    """Tell when agents were not scraped, or started, of observers that name no target."""
    if not paths.shape[1]:
        return no_frame(paths.index, ["node"])
    agents = reader.agents
    started = agents.restarts(loading.led(reader.window))
    result = pd.DataFrame(0.0, index=paths.index, columns=paths.columns)
    for node in {*reading.names(paths, "node")} & {*reading.names(agents.starts, "node")}:
        missing = agents.starts.index[column(agents.starts, node=node).isna()]
        for level, times in ((1.0, started["time"][started["node"] == node]), (2.0, missing)):
            rows = np.searchsorted(paths.index, pd.DatetimeIndex(times))
            result.loc[paths.index[rows[rows < len(result)]], node] = level
    return result


def _together(pairs: pd.DataFrame, paths: pd.DataFrame) -> pd.DataFrame:
    """Tell whose view is in the data, whichever metric it comes from."""
    both = pd.concat([pairs, paths.reindex(pairs.index)] if len(pairs) else [paths], axis=1)
    return frames.group(both.where(both.isna(), 1.0), ["node"], how="max")
