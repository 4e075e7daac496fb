"""Endpoints that stay not ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis.findings import Finding, Severity
from cilium_analysis.statistics.baseline import join
from cilium_analysis.topics import rises
from cilium_analysis.topics.endpoints import levels as of
from cilium_analysis.topics.endpoints.data import not_ready
from cilium_analysis.topics.endpoints.telling import (
    CRITICAL_SHARE,
    CRITICAL_STUCK,
    STUCK,
    doubts_about,
    query_for,
    steps_of,
    stretches,
)
from cilium_analysis.topics.telling import beyond, largest, place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cilium_analysis.topics.endpoints.data import Endpoints


def unready(data: Endpoints) -> Iterator[Finding]:
    """Look for endpoints that stay not ready, per node; what overlaps is one finding."""
    levels = of.settled(not_ready(data.now.states), data.now.agents)
    usual = not_ready(data.usual.states)
    found = {str(node): _stuck_runs(data, levels[node], _usual(usual, node)) for node in levels}
    for first, stop in join([run for runs in found.values() for run in runs]):
        nodes = [n for n, runs in found.items() if any(a < stop and b > first for a, b in runs)]
        yield _stuck_finding(data, levels, usual, nodes, (first, stop))


def _usual(usual: pd.DataFrame, node: object) -> float:
    """Give what is not ready all the time anyhow."""
    known = usual[node].dropna() if node in usual else pd.Series(dtype="float64")
    return float(known.quantile(0.95)) if len(known) >= of.ENOUGH_USUAL else 0.0


def _stuck_runs(data: Endpoints, level: pd.Series, usual: float) -> list[tuple[int, int]]:
    # A mean over the step: a little less than one endpoint all the time.
    waiting = (level >= usual + 0.9).where(level.notna()).ffill(limit=steps_of(data, STUCK))
    runs = stretches(waiting.fillna(value=False).to_numpy(dtype=bool), bridge=1)
    # The first and the last step may hold it but in part.
    least = max(steps_of(data, STUCK) + 1, 2)
    return [run for run in runs if run[1] - run[0] > least]


def _stuck_finding(
    data: Endpoints,
    levels: pd.DataFrame,
    usual: pd.DataFrame,
    nodes: list[str],
    run: tuple[int, int],
) -> Finding:
    rows = slice(*run)
    each = levels[nodes].iloc[rows].median()
    before = usual.reindex(columns=nodes).mean().fillna(0.0)
    excess = (each - before).clip(lower=0.0).sort_values(ascending=False, kind="stable")
    named = list(rises.fewest(excess))
    one = named[:1] if len(named) == 1 else []
    chosen = one or nodes
    value = float(each[chosen].sum())
    whole = _whole(data, chosen, run)
    share = value / whole if whole else None
    critical = value >= CRITICAL_STUCK or (share or 0.0) >= CRITICAL_SHARE
    index, (state, partly) = data.now.states.index, _state(data, nodes, run)
    start, end = index[run[0]] - data.window.step, index[run[1] - 1]
    where = {"node": one[0]} if one else {}
    until = "" if run[1] == len(index) else f" to {end:%H:%M}Z"
    others = not one and beyond(excess, named)
    how = f"({'mostly ' if partly else ''}{state}) " if state else ""
    when = f"{'from' if until else 'since'} {start:%H:%M}Z{until}"
    return Finding(
        kind="endpoint_not_ready",
        severity=Severity.CRITICAL if critical else Severity.WARNING,
        title=_title(value, whole, place(named, levels.shape[1], elsewhere=others), how, when),
        start=start.to_pydatetime(),
        end=end.to_pydatetime(),
        labels=where | ({"state": state} if state else {}),
        value=value,
        baseline_value=float(before[chosen].sum()),
        unit="endpoints",
        share=share,
        trust_reasons=doubts_about(data, named, start, end),
        query=query_for(_QUERY, where),
        next_step=_NEXT.get(state, _NEXT[""]),
    )


_QUERY = 'sum by (node, endpoint_state) (cilium_endpoint_state{endpoint_state!="ready"})'


def _title(value: float, whole: float, where: str, how: str, when: str) -> str:
    verb = "is" if f"{value:.0f}" == "1" else "are"
    return f"{value:.0f} of {whole:.0f} endpoints {where} {verb} not ready {how}{when}"


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
