"""When nodes became slow: latency that rose above a baseline and stayed there. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis.topics.connectivity.promql import ROUNDS
from cilium_analysis.topics.connectivity.reading import keys, spans

if TYPE_CHECKING:
    from cilium_analysis.topics.connectivity.data import Connectivity

#: A rise is real if it is at least so many times the usual, and at least so much more [s] …
RATIO, LEAST = 3.0, 0.005
#: … beyond the busiest moments of the baseline, in at least so much time and so many sights.
QUANTILE = 0.99
LASTING, LASTING_SIGHTS = timedelta(minutes=3), 3
BRIDGE, BRIDGE_SIGHTS = timedelta(minutes=5), 2
#: One slow node slows the others' means down by a part of its own rise.
SPILL = 0.5
FEW = 3


@dataclass(frozen=True)
class Slow:
    """One stretch of time in which a node was slow.

    Parameters
    ----------
    node
        Who is concerned; empty if it is most nodes.
    types, protocols
        Of the probes that were slow.
    start, end
        Within the window.
    value, usual
        Typical latency, and that of the baseline [s].
    compared
        Whether there is a baseline; else `usual` is that of the quieter part of the window.
    nodes
        How many nodes were slow at the same time.
    """

    node: str
    types: tuple[str, ...]
    protocols: tuple[str, ...]
    start: pd.Timestamp
    end: pd.Timestamp
    value: float
    usual: float
    compared: bool
    nodes: int = 1

    @property
    def rise(self) -> float:
        """Latency above the usual one [s]."""
        return self.value - self.usual


def rises(data: Connectivity) -> list[Slow]:
    """Give the nodes that became slow, the slowest first.

    Parameters
    ----------
    data
        As from `load`.
    """
    found: list[Slow] = []
    for key in keys(data.slow):
        node, protocol, kind = key
        usual = data.usual_slow[key] if key in data.usual_slow.columns else pd.Series(dtype=float)
        for slow in _stretches(data, data.slow[key], usual):
            found = _added(found, replace(slow, node=node, types=(kind,), protocols=(protocol,)))
    return sorted(_worth_telling(data, found), key=lambda s: (-s.rise, s.node, s.start))


def _stretches(data: Connectivity, level: pd.Series, usual: pd.Series) -> list[Slow]:
    known = usual.dropna()
    compared = len(known) > 0
    base = float(known.median()) if compared else float(level.quantile(0.25))
    busy = float(known.quantile(QUANTILE)) if compared else base
    limit = max(RATIO * base, base + LEAST, 1.5 * busy)
    step, index, sight = data.fine.step, level.index, data.pace.sight
    lasting, bridge = max(LASTING, LASTING_SIGHTS * sight), max(BRIDGE, BRIDGE_SIGHTS * sight)
    found = []
    for first, last in spans((level > limit).to_numpy(), bridge=int(bridge / step)):
        inside = level.iloc[first : last + 1]
        high = inside[inside > limit]
        start = max(index[first] - step, pd.Timestamp(data.window.start))
        if len(high) * step < lasting or index[last] <= data.window.start:
            continue
        # A mean over several rounds stays high for as long after the last slow one.
        late = timedelta() if data.targets_named else (ROUNDS - 1) * sight
        end = max(index[last] - late, index[first])
        found.append(Slow("", (), (), start, end, float(high.median()), base, compared))
    return found


def _added(found: list[Slow], slow: Slow) -> list[Slow]:
    """Add a stretch to those of the same node at the same time; the worst gives the numbers."""
    for place, other in enumerate(found):
        if other.node == slow.node and _overlap(other, slow):
            worse = max(other, slow, key=lambda s: s.rise)
            both = replace(
                worse,
                types=tuple(sorted({*other.types, *slow.types}, reverse=True)),
                protocols=tuple(sorted({*other.protocols, *slow.protocols})),
                start=min(other.start, slow.start),
                end=max(other.end, slow.end),
            )
            return [*found[:place], both, *found[place + 1 :]]
    return [*found, slow]


def _overlap(one: Slow, other: Slow) -> bool:
    return bool(one.start <= other.end and other.start <= one.end)


def _worth_telling(data: Connectivity, found: list[Slow]) -> list[Slow]:
    """Leave out what the slowest node explains, and join what concerns most nodes."""
    known = data.observers.shape[1]
    kept: list[Slow] = []
    for slow in sorted(found, key=lambda s: (-s.rise, s.node)):
        worse = [other for other in kept if _overlap(other, slow)]
        spilt = bool(worse) and (known <= FEW or not data.targets_named)
        if spilt and (known <= FEW or slow.rise < SPILL * worse[0].rise):
            continue
        kept.append(slow)
    for first in list(kept):
        together = [slow for slow in kept if _overlap(slow, first)]
        if len(together) > max(known / 2, 2):
            kept = [slow for slow in kept if slow not in together]
            start, end = min(s.start for s in together), max(s.end for s in together)
            median = sorted(together, key=lambda s: s.rise)[len(together) // 2]
            kept.append(replace(median, node="", start=start, end=end, nodes=len(together)))
    return kept
