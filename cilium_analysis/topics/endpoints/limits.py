"""Limits that endpoints reach, or will: IP pools, BPF maps, identities; findings about them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis.findings import Finding, Severity
from cilium_analysis.statistics.forecast import RunsOut, Trend, Trends, runs_out
from cilium_analysis.times import clock, zone
from cilium_analysis.topics.endpoints.common import caveats, query_for, steps_of
from cilium_analysis.topics.endpoints.data import pick
from cilium_analysis.topics.endpoints.growth import LATELY, TOLERANCE, settled, smooth
from cilium_analysis.topics.intervals import runs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cilium_analysis.topics.endpoints.data import Endpoints

#: Identities that a cluster has for its pods: 256 to 65535 (pkg/identity/numericidentity.go).
IDENTITIES = 65_280.0
#: A trend is not carried on for longer than so many times what was seen of it.
FORESIGHT = 10.0
#: A line that ends so far from the fill does not describe it.
MISFIT = 0.05
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
NEVER = "not at this rate"
_TRENDS = Trends()


@dataclass(frozen=True)
class Fill:
    """How full one thing on one node is.

    Parameters
    ----------
    name
        Such as ``BPF map ct4_global``.
    labels
        That single it out.
    node
        Empty for the whole cluster.
    levels, baseline
        Fill over time, in the window and in the baseline; 1 is full.
    elastic
        Whether the limit grows by itself, so that being nearly full means nothing.
    """

    name: str
    labels: dict[str, str]
    node: str
    levels: pd.Series
    baseline: pd.Series
    elastic: bool = False

    def now(self) -> float:
        """Give the fill at the end; NaN if it is not known by then."""
        known = self.levels.dropna()
        return float(known.iloc[-1]) if len(known) else float("nan")

    def trend(self) -> Trend | None:
        """Fit the newest course of the fill; None if that is no straight line to its end."""
        trend = None if self.elastic else _TRENDS.latest(self.levels)
        lately = self.levels.dropna().iloc[-5:].median()
        return trend if trend and abs(trend.level - lately) <= MISFIT else None


def foretell(trend: Trend, now: datetime) -> RunsOut:
    """Say when a fill that goes on like this is full.

    Parameters
    ----------
    trend
        Of a fill.
    now
        The end of the window: no date lies before it.
    """
    ahead = (now - trend.end).total_seconds() / 86_400.0
    level = trend.level + max(ahead, 0.0) * trend.slope
    return runs_out(level, trend.slope, (trend.low, trend.high), 1.0, now)


def fills(data: Endpoints) -> Iterator[Fill]:
    """Give the fill of every limit that is in the data."""
    yield from _pools(data)
    yield from _maps(data)
    yield from _identities(data)


def _pools(data: Endpoints) -> Iterator[Fill]:
    for family in sorted(set(data.now.pools.columns.get_level_values("family"))):
        pools = pick(data.now.pools, "family", family)
        before = pick(data.baseline.pools, "family", family)
        used = settled(pick(data.now.addresses, "family", family), data.now.agents)
        baseline = settled(pick(data.baseline.addresses, "family", family), data.baseline.agents)
        for node in used.columns.intersection(pools.columns):
            sizes = pools[node].where(pools[node] > 0)
            earlier = _column(before, node)
            yield Fill(
                f"IP pool ({family})",
                {"family": family},
                str(node),
                used[node] / sizes,
                _column(baseline, node) / earlier.where(earlier > 0),
                elastic=len({*sizes.dropna(), *earlier.dropna()}) > 1,
            )


def _maps(data: Endpoints) -> Iterator[Fill]:
    for name in sorted(set(data.now.pressure.columns.get_level_values("map_name"))):
        levels = pick(data.now.pressure, "map_name", name)
        baseline = pick(data.baseline.pressure, "map_name", name)
        for node in levels.columns:
            known = levels[node].dropna()
            # A series that is gone at the end although its agent answered is empty by then.
            if len(known) and known.index[-1] >= _last(data.now.agents, node):
                labels = {"map_name": name}
                yield Fill(
                    f"BPF map {name}", labels, str(node), levels[node], _column(baseline, node)
                )


def _identities(data: Endpoints) -> Iterator[Fill]:
    levels = pick(data.now.identities, "type", "cluster_local").max(axis=1)
    baseline = pick(data.baseline.identities, "type", "cluster_local").max(axis=1)
    if levels.notna().any():
        labels = {"type": "cluster_local"}
        yield Fill("identities", labels, "", levels / IDENTITIES, baseline / IDENTITIES)


def _column(frame: pd.DataFrame, node: object) -> pd.Series:
    return frame[node] if node in frame else pd.Series(np.nan, index=frame.index, dtype="float64")


def _last(agents: pd.DataFrame, node: object) -> pd.Timestamp:
    """Give a time after which a level that is there at the end must have a sample."""
    scraped = _column(agents, node).last_valid_index()
    return scraped - TOLERANCE if isinstance(scraped, pd.Timestamp) else pd.Timestamp(0, tz="UTC")


def foreseeable(trend: Trend, now: datetime) -> bool:
    """Tell whether a fill is full before its trend is carried on for too long.

    Parameters
    ----------
    trend
        Of a fill.
    now
        The end of the window.
    """
    expected = foretell(trend, now).expected
    return expected is not None and expected - now <= FORESIGHT * trend.length


def dates(when: RunsOut, timezone: str) -> str:
    """Write a date and its interval: 2026-03-21 08:12 UTC (08:05 to 08:31)."""
    if when.expected is None:
        return NEVER
    day = when.expected.astimezone(zone(timezone)).date()
    first, last = (_date(end, day, timezone) for end in (when.earliest, when.latest))
    interval = f"{first} to {last}" if when.latest else f"{first} or later"
    if first == last == _minute(when.expected, timezone, day=False):
        return f"{_minute(when.expected, timezone)} {timezone}"
    return f"{_minute(when.expected, timezone)} {timezone} ({interval})"


def _date(moment: datetime | None, day: object, timezone: str) -> str:
    if moment is None:
        return "never"
    return _minute(moment, timezone, day=moment.astimezone(zone(timezone)).date() != day)


def _minute(moment: datetime, timezone: str, *, day: bool = True) -> str:
    """Write a forecast to the minute: it is no better than that."""
    return clock(moment.replace(second=0, microsecond=0), timezone, day=day)


@dataclass(frozen=True)
class _Limit:
    """A limit that is reached, or will be."""

    fill: Fill
    value: float
    severity: Severity
    start: datetime
    end: datetime
    trend: Trend | None
    foretold: bool


def limits(data: Endpoints) -> Iterator[Finding]:
    """Judge every limit; the same one on several nodes is one finding."""
    found: dict[str, list[_Limit]] = {}
    for fill in fills(data):
        limit = _limit(data, fill)
        if limit:
            found.setdefault(fill.name, []).append(limit)
    for same in found.values():
        yield _finding(data, same)


def _limit(data: Endpoints, fill: Fill) -> _Limit | None:
    """Judge one limit by how full it was, and when it will be."""
    known = fill.levels.to_numpy(dtype="float64")
    known = known[~np.isnan(known)]
    # Most limits are far away and hardly move, which is cheap to see.
    if not len(known) or (known.max() < NEARLY and np.ptp(known) < RISE):
        return None
    level = smooth(fill.levels, LATELY, data.window.step)
    reached = _reached(data, fill, level)
    trend = _carried(data, fill, level)
    if trend is None:
        return reached
    expected = foretell(trend, data.window.end).expected
    if not expected or expected - data.window.end > WARNING_WITHIN:
        return reached
    ahead = expected - data.window.end
    severity = Severity.CRITICAL if ahead <= CRITICAL_WITHIN else Severity.WARNING
    severity = max(severity, reached.severity) if reached else severity
    return _Limit(fill, fill.now(), severity, trend.start, data.window.end, trend, foretold=True)


def _reached(data: Endpoints, fill: Fill, level: pd.Series) -> _Limit | None:
    """Tell whether a limit was full, or nearly."""
    nearly, full = (1.0, 1.0) if fill.elastic else (NEARLY, FULL)
    least = steps_of(data, LATELY)
    # What a gap hides is as before and after it, where these are the same.
    found = runs((level.ffill() >= nearly) & (level.bfill() >= nearly), bridge=least)
    found = [run for run in found if run[1] - run[0] >= least]
    if not found:
        return None
    first, stop = max(found, key=lambda run: float(level.iloc[run[0] : run[1]].max()))
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


def _carried(data: Endpoints, fill: Fill, level: pd.Series) -> Trend | None:
    """Give the trend of a fill if it is worth carrying on into the future."""
    if float(level.max() - level.min()) < RISE or fill.now() >= 1.0:
        return None
    trend = fill.trend()
    least = POOL_FROM if "family" in fill.labels else 0.0
    if trend is None or not trend.rising or trend.rise < RISE or trend.level < least:
        return None
    busiest = float(fill.baseline.quantile(0.99)) if fill.baseline.notna().any() else 0.0
    if trend.level <= busiest or not foreseeable(trend, data.window.end):
        return None
    return trend


def _finding(data: Endpoints, limits: Sequence[_Limit]) -> Finding:
    worst = max(limits, key=lambda one: (one.severity, one.value, one.fill.node))
    nodes = [one.fill.node for one in limits if one.fill.node]
    labels = dict(worst.fill.labels) | ({"node": nodes[0]} if len(nodes) == 1 else {})
    start, end = min(one.start for one in limits), max(one.end for one in limits)
    baseline = worst.fill.baseline
    known = caveats(data, nodes, pd.Timestamp(start), pd.Timestamp(end))
    return Finding(
        kind="endpoint_limit",
        severity=worst.severity,
        title=_title(data, worst, len(nodes)),
        start=start,
        end=end,
        labels=labels,
        value=100.0 * worst.value,
        baseline_value=100.0 * float(baseline.median()),
        unit="% of the limit",
        trust_reasons=(*_far(data, worst), *known),
        query=_query(worst.fill, labels),
        next_step=_next_step(worst.fill),
    )


def _title(data: Endpoints, worst: _Limit, nodes: int) -> str:
    fill = worst.fill
    where = f" on {fill.node}" if fill.node else ""
    more = f" (worst of {nodes} nodes)" if nodes > 1 else ""
    head = f"{fill.name[:1].upper()}{fill.name[1:]}{where}{more}"
    trend = worst.trend
    if worst.foretold and trend is not None:
        when = dates(foretell(trend, data.window.end), data.window.timezone)
        return f"{head}: {worst.value:.0%} full, and full by {when} at this rate"
    return f"{head}: {worst.value:.0%} full"


def _far(data: Endpoints, worst: _Limit) -> tuple[str, ...]:
    """Give a caveat where the date rests on little."""
    if worst.trend is None:
        return ()
    expected = foretell(worst.trend, data.window.end).expected
    times = (expected - data.window.end) / worst.trend.length if expected else 0.0
    if times <= DOUBTFUL_FROM:
        return ()
    return (f"the date lies {times:.0f} times as far ahead as the rise was seen",)


def _query(fill: Fill, labels: Mapping[str, str]) -> str:
    if "family" in labels:
        used = query_for("sum by (family, node) (cilium_ip_addresses{})", labels)
        return used + " / " + query_for("sum by (family, node) (cilium_ipam_capacity{})", labels)
    if "type" in labels:
        return f"max({query_for('cilium_identity{}', labels)}) / {IDENTITIES:.0f}"
    if labels.get("map_name") == "policy_*":
        mine = {k: v for k, v in labels.items() if k == "node"}
        return query_for('cilium_bpf_map_pressure{map_name=~"policy_[0-9]+"}', mine)
    return query_for("cilium_bpf_map_pressure{}", labels)


def _next_step(fill: Fill) -> str:
    if "family" in fill.labels:
        return (
            "New pods on a node without free addresses stay ContainerCreating: move pods away, or"
            " give nodes larger pools (Helm: ipam.operator.clusterPoolIPv4MaskSize holds for new"
            " nodes only)."
        )
    if "type" in fill.labels:
        return (
            "Look for labels that make an identity of every pod (`cilium-dbg identity list`) and"
            " leave them out (Helm: labels)."
        )
    return (
        "A full map drops entries or refuses new ones: see what fills it (`cilium-dbg bpf ct list"
        " global`, `cilium-dbg bpf policy get --all`), and enlarge it (Helm:"
        " bpf.mapDynamicSizeRatio, bpf.ctTcpMax, bpf.natMax, bpf.policyMapMax)."
    )
