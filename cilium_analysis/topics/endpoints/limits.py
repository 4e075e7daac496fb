"""Limits that are reached, or will be."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis.findings import Finding, Severity
from cilium_analysis.topics.endpoints import levels as of
from cilium_analysis.topics.endpoints.tables import dates, foreseeable
from cilium_analysis.topics.endpoints.telling import doubts_about, query_for, steps_of, stretches

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cilium_analysis.statistics.forecast import Trend
    from cilium_analysis.topics.endpoints.data import Endpoints


#: Fill from which on a limit is critical, or worth a warning; and so when it is full before.
FULL, NEARLY = 0.95, 0.9
CRITICAL_WITHIN, WARNING_WITHIN = timedelta(days=1), timedelta(days=7)
#: A fill must have risen by so much for its trend to be carried on.
RISE = 0.05
#: A kubelet runs 110 pods unless told otherwise, which the default pool (a /24) holds twice: a
#: pool that is not half full need not ever be.
POOL_FROM = 0.5
#: A trend carried on for longer than so many times its length is doubtful.
DOUBTFUL_FROM = 4.0


@dataclass(frozen=True)
class _Limit:
    """A limit that is reached, or will be."""

    fill: of.Fill
    value: float
    severity: Severity
    start: datetime
    end: datetime
    trend: Trend | None
    foretold: bool


def limits(data: Endpoints) -> Iterator[Finding]:
    """Judge every limit; the same one on several nodes is one finding."""
    found: dict[str, list[_Limit]] = {}
    for fill in of.fills(data):
        limit = _limit(data, fill)
        if limit:
            found.setdefault(fill.name, []).append(limit)
    for limits in found.values():
        yield _limit_finding(data, limits)


def _limit(data: Endpoints, fill: of.Fill) -> _Limit | None:
    """Judge one limit by how full it was, and when it will be."""
    known = fill.levels.to_numpy(dtype="float64")
    known = known[~np.isnan(known)]
    # Cheap to tell: most limits are far away, and hardly move.
    if not len(known) or (known.max() < NEARLY and np.ptp(known) < RISE):
        return None
    level = of.smooth(fill.levels, of.LATELY, data.window.step)
    reached = _reached(data, fill, level)
    trend = _carried(data, fill, level)
    if trend is None:
        return reached
    expected = of.foretell(trend, data.window.end).expected
    ahead = expected - data.window.end if expected else of.YOUNG * 1_000_000
    if ahead > WARNING_WITHIN:
        return reached
    severity = Severity.CRITICAL if ahead <= CRITICAL_WITHIN else Severity.WARNING
    severity = max(severity, reached.severity) if reached else severity
    return _Limit(fill, fill.now(), severity, trend.start, data.window.end, trend, foretold=True)


def _reached(data: Endpoints, fill: of.Fill, level: pd.Series) -> _Limit | None:
    """Tell whether a limit was full, or nearly."""
    nearly, full = (1.0, 1.0) if fill.elastic else (NEARLY, FULL)
    runs = stretches((level.ffill() >= nearly).to_numpy(), bridge=steps_of(data, of.LATELY))
    runs = [run for run in runs if run[1] - run[0] >= steps_of(data, of.LATELY)]
    if not runs:
        return None
    first, stop = max(runs, key=lambda run: float(level.iloc[run[0] : run[1]].max()))
    most = float(level.iloc[first:stop].max())
    now = stop == len(level)
    return _Limit(
        fill,
        fill.now() if now else most,
        Severity.CRITICAL if most >= full else Severity.WARNING,
        (level.index[first] - data.window.step).to_pydatetime(),
        level.index[stop - 1].to_pydatetime(),
        None,
        foretold=False,
    )


def _carried(data: Endpoints, fill: of.Fill, level: pd.Series) -> Trend | None:
    """Give the trend of a fill if it is worth carrying on into the future."""
    if float(level.max() - level.min()) < RISE or fill.now() >= 1.0:
        return None
    trend = fill.trend()
    least = POOL_FROM if "family" in fill.labels else 0.0
    if trend is None or not trend.rising or trend.rise < RISE or trend.level < least:
        return None
    busiest = float(fill.usual.quantile(0.99)) if fill.usual.notna().any() else 0.0
    if trend.level <= busiest or not foreseeable(trend, data.window.end):
        return None
    return trend


def _limit_finding(data: Endpoints, limits: Sequence[_Limit]) -> Finding:
    worst = max(limits, key=lambda one: (one.severity, one.value, one.fill.node))
    nodes = [one.fill.node for one in limits if one.fill.node]
    labels = dict(worst.fill.labels) | ({"node": nodes[0]} if len(nodes) == 1 else {})
    start, end = min(one.start for one in limits), max(one.end for one in limits)
    usual = worst.fill.usual
    doubts = doubts_about(data, nodes, pd.Timestamp(start), pd.Timestamp(end))
    return Finding(
        kind="endpoint_limit",
        severity=worst.severity,
        title=_limit_title(data, worst, len(nodes)),
        start=start,
        end=end,
        labels=labels,
        value=100.0 * worst.value,
        baseline_value=100.0 * float(usual.median()),
        unit="% of the limit",
        trust_reasons=(*_far(data, worst), *doubts),
        query=_limit_query(worst.fill, labels),
        next_step=_limit_step(worst.fill),
    )


def _limit_title(data: Endpoints, worst: _Limit, nodes: int) -> str:
    fill = worst.fill
    where = f" on {fill.node}" if fill.node else ""
    more = f" (worst of {nodes} nodes)" if nodes > 1 else ""
    head = f"{fill.name[:1].upper()}{fill.name[1:]}{where}{more}"
    trend = worst.trend
    if worst.foretold and trend is not None:
        when = dates(of.foretell(trend, data.window.end))
        return f"{head}: {worst.value:.0%} full, and full by {when} at this rate"
    if worst.end < data.now.agents.index[-1].to_pydatetime():
        span = f"between {worst.start:%H:%M}Z and {worst.end:%H:%M}Z"
        return f"{head}: {worst.value:.0%} full {span}"
    return f"{head}: {worst.value:.0%} full since {worst.start:%H:%M}Z"


def _far(data: Endpoints, worst: _Limit) -> tuple[str, ...]:
    """Say when the date rests on little."""
    if worst.trend is None:
        return ()
    expected = of.foretell(worst.trend, data.window.end).expected
    times = (expected - data.window.end) / worst.trend.length if expected else 0.0
    if times <= DOUBTFUL_FROM:
        return ()
    return (f"the date lies {times:.0f} times as far ahead as the rise was seen",)


def _limit_query(fill: of.Fill, labels: Mapping[str, str]) -> str:
    if "family" in labels:
        used = query_for("sum by (family, node) (cilium_ip_addresses{})", labels)
        return used + " / " + query_for("sum by (family, node) (cilium_ipam_capacity{})", labels)
    if "type" in labels:
        return f"max({query_for('cilium_identity{}', labels)}) / {of.IDENTITIES:.0f}"
    if labels.get("map_name") == "policy_*":
        mine = {k: v for k, v in labels.items() if k == "node"}
        return query_for('cilium_bpf_map_pressure{map_name=~"policy_[0-9]+"}', mine)
    return query_for("cilium_bpf_map_pressure{}", labels)


def _limit_step(fill: of.Fill) -> str:
    if "family" in fill.labels:
        return (
            "New pods on a node without free addresses stay ContainerCreating: move pods away, or"
            " give nodes larger pools (Helm: ipam.operator.clusterPoolIPv4MaskSize holds for new"
            " nodes only)."
        )
    if "type" in fill.labels:
        return (
            "Look for labels that make an identity of every pod (cilium-dbg identity list) and"
            " leave them out (Helm: labels)."
        )
    return (
        "A full map drops entries or refuses new ones: see what fills it (cilium-dbg bpf ct list"
        " global, cilium-dbg bpf policy get --all), and enlarge it (Helm: bpf.mapDynamicSizeRatio,"
        " bpf.ctTcpMax, bpf.natMax, bpf.policyMapMax)."
    )
