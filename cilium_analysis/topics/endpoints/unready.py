"""Endpoints that stay not ready, are not restored, or fail to regenerate; findings about them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.findings import Finding, Severity
from cilium_analysis.statistics.rises import Rises, join
from cilium_analysis.texts import percent
from cilium_analysis.topics import bursts
from cilium_analysis.topics.endpoints.common import (
    CRITICAL_SHARE,
    CRITICAL_STUCK,
    STUCK,
    caveats,
    query_for,
    steps_of,
)
from cilium_analysis.topics.endpoints.data import not_ready
from cilium_analysis.topics.endpoints.growth import ENOUGH_USUAL, settled
from cilium_analysis.topics.endpoints.tables import failures
from cilium_analysis.topics.intervals import runs
from cilium_analysis.topics.telling import beyond, largest, place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cilium_analysis.topics.endpoints.data import Endpoints

#: The phases that endpoints go through when an agent restores them (Cilium 1.19 and later).
PHASES = ("read_from_disk", "restoration", "regeneration")
_COLUMNS = ("time", "node", "total", "restored", "failed", "skipped", "open", "phase", "seconds")
_FAILURES = Rises(least=5.0, evidence=12.0)
#: Failures of a smaller share of all regenerations are no warning.
LEAST_SHARE = 0.01


def unready(data: Endpoints) -> Iterator[Finding]:
    """Look for endpoints that stay not ready, per node; what overlaps is one finding."""
    levels = settled(not_ready(data.now.states), data.now.agents)
    baseline = not_ready(data.baseline.states)
    found = {str(node): _stuck_runs(data, levels[node], _usual(baseline, node)) for node in levels}
    for first, stop in join([run for each in found.values() for run in each]):
        nodes = [n for n, each in found.items() if any(a < stop and b > first for a, b in each)]
        yield _stuck_finding(data, levels, baseline, nodes, (first, stop))


def _usual(baseline: pd.DataFrame, node: object) -> float:
    """Give how many are not ready in the baseline."""
    known = baseline[node].dropna() if node in baseline else pd.Series(dtype="float64")
    return float(known.quantile(0.95)) if len(known) >= ENOUGH_USUAL else 0.0


def _stuck_runs(data: Endpoints, level: pd.Series, baseline: float) -> list[tuple[int, int]]:
    # A mean over the step: a little less than one endpoint all the time.
    known = (level >= baseline + 0.9).astype("float64").where(level.notna())
    # What a gap hides is as before and after it, where these are the same.
    waiting = (known.ffill(limit=steps_of(data, STUCK)) > 0) & (known.bfill() > 0)
    found = runs(waiting, bridge=1)
    # The first and the last step may hold only a part of it.
    least = max(steps_of(data, STUCK) + 1, 2)
    return [run for run in found if run[1] - run[0] > least]


def _stuck_finding(
    data: Endpoints,
    levels: pd.DataFrame,
    baseline: pd.DataFrame,
    nodes: list[str],
    run: tuple[int, int],
) -> Finding:
    rows = slice(*run)
    each = levels[nodes].iloc[rows].median()
    before = baseline.reindex(columns=nodes).mean().fillna(0.0)
    excess = (each - before).clip(lower=0.0).sort_values(ascending=False, kind="stable")
    named = list(bursts.fewest(excess))
    one = named[:1] if len(named) == 1 else []
    chosen = one or nodes
    value = float(each[chosen].sum())
    whole = _whole(data, chosen, run)
    share = value / whole if whole else None
    critical = value >= CRITICAL_STUCK or (share or 0.0) >= CRITICAL_SHARE
    index, (state, partly) = data.now.states.index, _state(data, nodes, run)
    start, end = index[run[0]] - data.window.step, index[run[1] - 1]
    where = {"node": one[0]} if one else {}
    at = place(named, levels.shape[1], elsewhere=not one and beyond(excess, named))
    how = f" ({'mostly ' if partly else ''}{state})" if state else ""
    return Finding(
        kind="endpoint_not_ready",
        severity=Severity.CRITICAL if critical else Severity.WARNING,
        title=f"{value:.0f} of {whole:.0f} endpoints {at}"
        f" {'is' if f'{value:.0f}' == '1' else 'are'} not ready{how}",
        start=start.to_pydatetime(),
        end=end.to_pydatetime(),
        labels=where | ({"state": state} if state else {}),
        value=value,
        baseline_value=float(before[chosen].sum()),
        unit="endpoints",
        share=share,
        trust_reasons=caveats(data, named, start, end),
        query=query_for(_QUERY, where),
        next_step=_NEXT.get(state, _NEXT[""]),
    )


_QUERY = 'sum by (node, endpoint_state) (cilium_endpoint_state{endpoint_state!="ready"})'
_NEXT: Mapping[str, str] = {
    "waiting-for-identity": "The agent cannot get identities for new pods: look at the API server"
    " or kvstore as this node sees it, at cilium_identity against its limit, and at `cilium-dbg"
    " endpoint list` on the node.",
    "restoring": "The agent is still restoring endpoints: look at its log for what it waits for.",
    "": "On the node, `cilium-dbg endpoint list` names them and `cilium-dbg endpoint log ID` says"
    " what they wait for; see also failed regenerations and the agent's log.",
}


def _whole(data: Endpoints, nodes: Sequence[str], run: tuple[int, int]) -> float:
    """Count the endpoints of some nodes in any state."""
    states = data.now.states.iloc[slice(*run)]
    mine = states.columns.get_level_values("node").isin(list(nodes))
    each = states.loc[:, mine].T.groupby(level="node").sum(min_count=1).T
    return float(each.median().sum())


def _state(data: Endpoints, nodes: Sequence[str], run: tuple[int, int]) -> tuple[str, bool]:
    """Name the state that most are in, and tell whether some are in another."""
    states = data.now.states.iloc[run[0] : run[1]]
    mine = states.columns.get_level_values("node").isin(list(nodes))
    sums = states.loc[:, mine].sum().groupby(level="endpoint_state").sum()
    return largest(sums.drop("ready", errors="ignore"))


def restorations(data: Endpoints) -> pd.DataFrame:
    """Tell what each agent restored that started in the window.

    Returns
    -------
    pandas.DataFrame
        ``time`` and ``node`` of the start; endpoints in ``total``, ``restored``, ``failed`` in any
        phase, ``skipped`` (whose pods are gone, or that are made anew) and still ``open`` when
        last seen; the ``phase`` in which most failed; ``seconds`` that all phases took [s]. Only
        starts of which the data tell that.
    """
    rows: list[dict[str, object]] = []
    shown = data.now.restoration
    times, nodes = data.now.restarts["time"], data.now.restarts["node"].astype(str)
    for moment, node in zip(times, nodes, strict=True):
        later = times[(nodes == node) & (times > moment)]
        inside = (shown.index >= moment) & ~(shown.index >= later.min())
        known = shown.loc[inside, shown.columns.get_level_values("node") == node].dropna(how="all")
        if len(known):
            took = data.now.restoration_seconds.get(node, pd.Series(dtype="float64"))
            seconds = float(took[took.index.isin(known.index)].max())
            rows.append({"time": moment, "node": node, "seconds": seconds} | _counts(known))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _counts(known: pd.DataFrame) -> dict[str, object]:
    """Give what became of the endpoints of one agent, as its last samples say."""
    table, values = frames.labels(known), known.ffill().iloc[-1].fillna(0.0)
    last = dict(zip(zip(table["outcome"], table["phase"], strict=True), values, strict=True))
    failed = {phase: last.get(("failed", phase), 0.0) for phase in PHASES}
    total = max(last.get(("total", phase), 0.0) for phase in PHASES)
    restored, lost = last.get(("successful", "regeneration"), 0.0), sum(failed.values())
    begun = last.get(("total", "regeneration"), 0.0)
    # What was skipped in an earlier phase is not regenerated: it is not open.
    left = (begun - restored - failed["regeneration"]) if begun else total - lost
    return {
        "total": total,
        "restored": restored,
        "failed": lost,
        "skipped": max(total - restored - lost - max(left, 0.0), 0.0),
        "open": max(left, 0.0),
        "phase": max(PHASES, key=lambda phase: failed[phase]) if lost else "",
    }


def unrestored(data: Endpoints) -> Iterator[Finding]:
    """Look for endpoints that agents failed to restore when they started."""
    table = restorations(data)
    lost = table[table["failed"] > 0]
    if not len(lost):
        return
    parts = lost.groupby("node")["failed"].sum().sort_values(ascending=False, kind="stable")
    nodes = [str(node) for node in parts.index]
    value, total = float(lost["failed"].sum()), float(lost["total"].sum())
    share = value / total if total else None
    start, worst = lost["time"].min(), lost.sort_values("failed", kind="stable").iloc[-1]
    critical = value >= CRITICAL_STUCK or (share or 0.0) >= CRITICAL_SHARE
    labels = {"node": nodes[0]} if len(nodes) == 1 else {}
    agents = "its agent" if len(nodes) == 1 else "their agents"
    yield Finding(
        kind="endpoint_not_ready",
        severity=Severity.CRITICAL if critical else Severity.WARNING,
        title=f"{value:.0f} of {total:.0f} endpoints {place(nodes, data.now.counts.shape[1])} were"
        f" not restored after {agents} started ({worst['phase']} failed)",
        start=start.to_pydatetime(),
        end=data.window.end,
        labels=labels,
        value=value,
        baseline_value=float("nan"),
        unit="endpoints",
        share=share,
        trust_reasons=caveats(data, [], start, start),
        query=query_for('cilium_endpoint_restoration_endpoints{outcome="failed"}', labels),
        next_step="The agent's log on the node names the endpoints and the error (“Unable to"
        " restore endpoint”); pods behind them have to be deleted if `cilium-dbg endpoint list`"
        " does not show them.",
    )


def failed(data: Endpoints) -> Iterator[Finding]:
    """Look for rises of regenerations that failed."""
    counts = failures(data.now)
    baseline = _usual_failures(data, list(counts.columns))
    those = _FAILURES.at(data.window.step)
    found = []
    for nodes in ([*counts.columns], *([node] for node in counts.columns)):
        now, before = (each[nodes].sum(axis=1, min_count=1) for each in (counts, baseline))
        found += those.find(now.to_numpy("float64"), before.to_numpy("float64")) if nodes else []
    for run in join(found, bridge=those.bridge):
        yield _failed_finding(data, counts, baseline, run)


def _usual_failures(data: Endpoints, nodes: list[str]) -> pd.DataFrame:
    """Give the baseline: 0 where an agent was scraped and no regeneration had failed yet."""
    baseline = failures(data.baseline).reindex(columns=nodes)
    seen = data.baseline.agents.notna().reindex(
        index=baseline.index, columns=nodes, fill_value=False
    )
    if not data.baseline.agents.shape[1]:
        seen = seen.mask(data.baseline.regenerations.notna().any(axis=1), other=True)
    return baseline.mask(baseline.isna() & seen.astype(bool), 0.0)


def _failed_finding(
    data: Endpoints, counts: pd.DataFrame, baseline: pd.DataFrame, run: tuple[int, int]
) -> Finding:
    inside = counts.iloc[run[0] : run[1]].sum()
    before = baseline.mean().fillna(0.0) * (run[1] - run[0])
    excess = (inside - before).clip(lower=0.0).sort_values(ascending=False, kind="stable")
    named = list(bursts.fewest(excess))
    one = named[0] if len(named) == 1 else None
    start, end = counts.index[run[0]] - data.window.step, counts.index[run[1] - 1]
    value = float(inside[one] if one else inside.sum())
    done = _done(data, [one] if one else list(counts.columns), run)
    share = value / done
    part = percent(share) if share < 0.995 else "all"
    found = _why(data, named, run)
    labels = ({"node": one} if one else {}) | {name: text for name, (text, _) in found.items()}
    why = "".join(
        f", {'mostly ' if partly else ''}{name} “{text}”" for name, (text, partly) in found.items()
    )
    where = place(named, counts.shape[1], elsewhere=not one and beyond(excess, named))
    minutes = (end - start) / timedelta(minutes=1)
    return Finding(
        kind="regeneration_failures",
        severity=Severity.WARNING if share >= LEAST_SHARE else Severity.INFO,
        title=f"{value:,.0f} of {done:,.0f} endpoint regenerations ({part}) failed"
        f" {where} within {minutes:.0f} minutes{why}: new policies may not"
        " be in force there",
        start=start.to_pydatetime(),
        end=end.to_pydatetime(),
        labels=labels,
        value=value,
        baseline_value=float(before[one] if one else before.sum()),
        unit="endpoints",
        total=value,
        share=share,
        trust_reasons=caveats(data, named, start, end),
        query=query_for(
            "sum by (node, outcome) (increase(cilium_endpoint_regenerations_total"
            '{outcome!="success"}[5m]))',
            {k: v for k, v in labels.items() if k in ("node", "reason", "error")},
        ),
        next_step="The agent's log on the node names the endpoints and the error (subsys=endpoint,"
        " “Regeneration of endpoint failed”); `cilium-dbg endpoint list` shows their state.",
    )


def _done(data: Endpoints, nodes: Sequence[str], run: tuple[int, int]) -> float:
    """Count the regenerations on some nodes, whatever came of them."""
    rows = data.now.regenerations.iloc[slice(*run)]
    mine = rows.columns.get_level_values("node").isin(list(nodes))
    return float(rows.loc[:, mine].sum().sum())


def _why(
    data: Endpoints, nodes: Sequence[str], run: tuple[int, int]
) -> dict[str, tuple[str, bool]]:
    """Name reason and error (since Cilium 1.20) where most failures share them."""
    rows = data.now.regenerations.iloc[run[0] : run[1]]
    columns = rows.columns
    mine = columns.get_level_values("node").isin(list(nodes))
    sums = rows.loc[:, mine & (columns.get_level_values("outcome") != "success")].sum()
    found = {name: largest(sums.groupby(level=name).sum()) for name in ("reason", "error")}
    return {name: most for name, most in found.items() if most[0]}
