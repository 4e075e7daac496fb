"""All outages; where the data names the targets of probes, which nodes they are about. Pure.

``paths.py`` does that where only counts of failing paths are known.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from cilium_analysis.topics.connectivity.paths import by_paths
from cilium_analysis.topics.connectivity.reading import (
    MAJORITY,
    SILENT,
    Outage,
    clipped,
    column,
    cut_off,
    join,
    keys,
    known,
    names,
    overlap,
    read,
    rows,
    silent,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from cilium_analysis.topics.connectivity.data import Connectivity
    from cilium_analysis.topics.connectivity.pace import Pace
    from cilium_analysis.topics.connectivity.reading import Own


#: A kind of addresses did not fail if so much fewer of its probes failed than of another.
NONE_FAILED = 0.02
#: The fault is with a node that alone misses so many targets.
SAME_SOURCE = 3


def detect(data: Connectivity) -> list[Outage]:
    """Give all outages, those of most observers first."""
    found = _by_pairs(data) if data.now.targets_named else []
    # Observers that name no target, beside others that do, are not told apart from them.
    others = [
        o for o in by_paths(data) if not any(overlap(o, other, data.now.pace) for other in found)
    ]
    address = _only(_failed_addresses(data), _address_types(data))
    found += [replace(outage, address=address) for outage in others]
    found = [
        replace(_in_the_dark(data.now.observers, outage, data.now.pace), left=_left(data, outage))
        for outage in found
    ]
    return sorted(clipped(found, data.window), key=lambda o: (-o.value, o.start, o.node, o.types))


def _in_the_dark(observers: pd.DataFrame, outage: Outage, pace: Pace) -> Outage:
    """Add for how long nothing was scraped before and after an outage, if that is not as usual."""
    there = observers.index[observers.notna().any(axis=1)]
    earlier, later = there[there <= outage.start], there[there > outage.end]
    dark = (
        outage.start - earlier[-1] if len(earlier) else timedelta(),
        (later[0] if len(later) else observers.index[-1]) - outage.end,
    )
    first, last = (timedelta() if time <= pace.round else time for time in dark)
    return replace(outage, dark=(first, last))


def _left(data: Connectivity, outage: Outage) -> bool:
    """Tell whether a node was no longer probed after its outage, and did not come back."""
    whole = data.now.observers
    later = whole[whole.index > outage.end + data.now.pace.round]
    if not outage.node or outage.role != "target" or not later.notna().any(axis=None):
        return False
    if column(later, node=outage.node).notna().any():
        return False
    if outage.likely:
        # One node less is known to the others.
        others = [node for node in names(data.now.paths, "node") if node != outage.node]
        mine = data.now.paths.columns.get_level_values("node").isin(others)
        known = data.now.paths.loc[:, mine].median(axis=1).dropna()
        before, after = known[known.index <= outage.start], known[known.index > outage.end]
        return bool(len(before) and len(after) and after.iloc[-1] < before.iloc[-1])
    probing = data.now.target_observers
    mine = probing.columns.get_level_values("node") == outage.node
    return not bool((probing.loc[probing.index.isin(later.index), mine] > 0).any(axis=None))


def _by_pairs(data: Connectivity) -> list[Outage]:
    """Give the outages where the data names the targets."""
    lost = cut_off(
        data.now.target_failing,
        data.now.target_observers,
        data.now.source_failing,
        data.now.source_targets,
    )
    targets = join(_targets(data), data.now.pace)
    most = [_with_own_view(data, o, lost) for o in targets if o.most]
    sources = [
        o for o in join(_sources(data, lost), data.now.pace) if not _covered(o, most, data.now.pace)
    ]
    partial = [_with_peers(data, o) for o in targets if not o.most]
    partial = _each_other(partial, data.now.pace)
    partial = [o for o in partial if not _from_one_of(o, sources, data.now.pace)]
    found = [*_split(data, most), *sources, *_one_source(partial, data.now.pace)]
    return [_with_probes(data, outage) for outage in found]


def _targets(data: Connectivity) -> list[Outage]:
    found = []
    for node, kind in keys(data.now.rest_failing):
        which = {"node": node, "type": kind}
        found += read(
            column(data.now.rest_failing, **which),
            column(data.now.rest_observers, **which),
            data.now.fine,
            data.now.pace,
            node=node,
            kind=kind,
            role="target",
            numbers=(
                column(data.now.target_failing, **which),
                column(data.now.target_observers, **which),
            ),
        )
    return found


def _sources(data: Connectivity, lost: pd.DataFrame) -> list[Outage]:
    found = []
    for node, kind in keys(lost.loc[:, lost.any()]):
        missed = column(data.now.source_failing, node=node, type=kind)
        mine = column(lost, node=node, type=kind).astype(bool)
        found += [
            _with_targets(data, outage)
            for outage in read(
                missed.where(mine | missed.isna(), 0.0),
                column(data.now.source_targets, node=node, type=kind),
                data.now.fine,
                data.now.pace,
                node=node,
                kind=kind,
                role="source",
            )
        ]
    return found


def _covered(outage: Outage, others: Sequence[Outage], pace: Pace) -> bool:
    return any(o.node == outage.node and overlap(o, outage, pace) for o in others)


def _with_own_view(data: Connectivity, outage: Outage, lost: pd.DataFrame) -> Outage:
    """Add what the node's own probes say while others cannot reach it."""
    length = outage.end - outage.start
    if outage.node not in names(data.now.observers, "node"):
        # Its agent may go by another name, or the matchers may not choose it.
        return outage
    missing = silent(data.now.observers, outage) * length
    if missing >= min(SILENT, length / 2):
        return replace(outage, own="silent")
    if outage.node not in names(data.now.source_targets, "node"):
        return outage
    flags = [rows(column(lost, node=outage.node, type=k), outage).eq(1) for k in outage.types]
    # Where others are cut off too, it misses those alone.
    flags += [rows(_misses_most(data, outage.node, k), outage) for k in outage.types]
    cut = max((float(flag.mean()) for flag in flags if len(flag)), default=0.0)
    own: Own = "cut off" if cut >= 0.3 else "reaches"
    return replace(outage, own=own)


def _misses_most(data: Connectivity, node: str, kind: str) -> pd.Series:
    failing, among = (
        column(frame, node=node, type=kind)
        for frame in (data.now.source_failing, data.now.source_targets)
    )
    return failing / among > MAJORITY


def _with_probes(data: Connectivity, outage: Outage) -> Outage:
    """Add the protocols and addresses on whose probes most of the failing paths failed."""
    if outage.role != "target" or not outage.failing:
        return outage
    protocols, addresses = set(), set()
    for address, node, protocol, kind in keys(data.now.failed_probes):
        if node != outage.node or kind not in outage.types:
            continue
        which = {"address_type": address, "node": node, "protocol": protocol, "type": kind}
        failed = rows(column(data.now.failed_probes, **which), outage)
        if failed.fillna(0.0).median() > MAJORITY * outage.failing:
            protocols.add(protocol)
            addresses.add(address)
    return replace(
        outage,
        protocols=tuple(sorted(protocols)),
        address=_only(addresses, _address_types(data)),
    )


def _address_types(data: Connectivity) -> set[str]:
    """Give the kinds of addresses that nodes have: primary, and perhaps secondary."""
    if not len(data.now.quantiles):
        return set()
    return set(data.now.quantiles.index.get_level_values("address_type"))


def _failed_addresses(data: Connectivity) -> set[str]:
    """Give the kinds of addresses that had failed probes in the window, by a histogram."""
    if not len(data.now.quantiles) or "failed" not in data.now.quantiles:
        return set()
    failed = data.now.quantiles["failed"].groupby(level="address_type").max()
    return {str(address) for address in failed.index[failed > NONE_FAILED * failed.max()]}


def _only(found: set[str], known: set[str]) -> str:
    """Name the one kind of address that is concerned, if nodes have others too."""
    return next(iter(found)) if len(found) == 1 and known - found else ""


def _with_peers(data: Connectivity, outage: Outage) -> Outage:
    """Add from where a node could not be reached, and whether it reached them itself."""
    peers = _ends(data, outage, "target", "source")
    back = _ends(data, outage, "source", "target")
    own: Own = "cut off" if peers and set(peers) <= set(back) else "reaches"
    probes = outage.node in names(data.now.source_targets, "node")
    if not peers or not probes or known(data.now.observers, outage) < 0.5:
        own = "unknown"
    return replace(outage, peers=peers, own=own)


def _with_targets(data: Connectivity, outage: Outage) -> Outage:
    """Add the nodes that a node could not reach, unless these are all."""
    peers = _ends(data, outage, "source", "target") if outage.value < 0.99 else ()
    return replace(outage, peers=peers, own="reaches")


def _ends(data: Connectivity, outage: Outage, mine: str, other: str) -> tuple[str, ...]:
    """Give the other ends of the failing paths of a node during an outage."""
    labels = data.now.pairs.columns
    chosen = (labels.get_level_values(mine) == outage.node) & labels.get_level_values("type").isin(
        outage.types
    )
    inside = rows(data.now.pairs.loc[:, chosen], outage)
    failed = inside.columns[inside.gt(0).sum() * data.now.fine.step >= timedelta(minutes=1)]
    return tuple(sorted({str(node) for node in failed.get_level_values(other)}))


def _each_other(partial: Sequence[Outage], pace: Pace) -> list[Outage]:
    """Keep one outage of two nodes that do not reach each other."""
    kept: list[Outage] = []
    for outage in partial:
        mirrored = any(
            outage.own == other.own == "cut off"
            and (outage.peers, (outage.node,)) == ((other.node,), other.peers)
            and overlap(outage, other, pace)
            for other in kept
        )
        if not mirrored:
            kept.append(outage)
    return kept


def _from_one_of(outage: Outage, sources: Sequence[Outage], pace: Pace) -> bool:
    """Tell whether the observers that miss a node are all known to miss many."""
    known = {o.node for o in sources if overlap(o, outage, pace)}
    return bool(outage.peers) and set(outage.peers) <= known


def _one_source(partial: Sequence[Outage], pace: Pace) -> list[Outage]:
    """Make one outage of several nodes that only one and the same node misses."""
    kept = list(partial)
    for peer in sorted({o.peers for o in partial if len(o.peers) == 1}):
        mine = [o for o in partial if o.peers == peer]
        together = [o for o in mine if overlap(o, mine[0], pace)]
        if len(together) < SAME_SOURCE:
            continue
        whole = replace(
            _whole(together[0], together),
            node=peer[0],
            role="source",
            failing=float(len(together)),
            own="reaches",
        )
        kept = [*(o for o in kept if o not in together), whole]
    return kept


def _whole(first: Outage, together: Sequence[Outage]) -> Outage:
    """Make one outage of several nodes, which are its peers; the numbers are those of the first."""
    return replace(
        first,
        start=min(o.start for o in together),
        end=max(o.end for o in together),
        peers=tuple(sorted(o.node for o in together)),
    )


def _split(data: Connectivity, most: Sequence[Outage]) -> list[Outage]:
    """Make one outage of more than half of the nodes that are up and miss each other."""
    alive = [o for o in most if o.own != "silent"]
    observers = names(data.now.observers, "node")
    for first in alive:
        together = [o for o in alive if overlap(o, first, data.now.pace)]
        # Who probes them, and themselves; nodes of other clusters perhaps have no view here.
        unseen = sum(o.node not in observers for o in together)
        number = max(round(o.among) + (o.node in observers) for o in together) + unseen
        if 2 * len(together) > max(number, 2):
            kinds = {kind for o in together for kind in o.types}
            whole = replace(
                _whole(first, together),
                node="",
                role="split",
                types=tuple(kind for kind in ("node", "endpoint") if kind in kinds),
                parts=_parts(data, together),
                own="unknown",
            )
            return [whole, *(o for o in most if o not in together)]
    return list(most)


def _parts(data: Connectivity, together: Sequence[Outage]) -> tuple[tuple[str, ...], ...]:
    """Give the groups of nodes that still reached each other."""
    inside = rows(data.now.pairs, together[0])
    failed = {
        (source, target)
        for (source, target, _), share in zip(keys(inside), inside.gt(0).mean(), strict=True)
        if share > MAJORITY
    }
    missed = {o.node for o in together}
    ends = missed | {source for source, target in failed if target in missed}
    clusters = {node.rpartition("/")[0] for node in ends}
    seen = [n for n in names(data.now.observers, "node") if n.rpartition("/")[0] in clusters]
    parts: list[list[str]] = []
    for node in sorted({*seen, *missed}):
        near = [p for p in parts if any({(node, o), (o, node)}.isdisjoint(failed) for o in p)]
        parts = [p for p in parts if p not in near]
        parts.append(sorted([node, *(other for part in near for other in part)]))
    return tuple(tuple(part) for part in sorted(parts))
