"""Regenerations of endpoints that fail."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from cilium_analysis.findings import Finding, Severity
from cilium_analysis.statistics.baseline import Rises, join
from cilium_analysis.topics import rises
from cilium_analysis.topics.endpoints.tables import failures
from cilium_analysis.topics.endpoints.telling import (
    doubts_about,
    query_for,
)
from cilium_analysis.topics.telling import beyond, largest, place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import pandas as pd

    from cilium_analysis.topics.endpoints.data import Endpoints


_FAILURES = Rises(least=5.0, evidence=12.0)
#: A smaller share of all regenerations is no warning.
LEAST_SHARE = 0.01


def failed(data: Endpoints) -> Iterator[Finding]:
    """Look for rises of regenerations that failed."""
    counts = failures(data.now)
    usual = _usual_failures(data, list(counts.columns))
    those = _FAILURES.at(data.window.step)
    found = those.find(_all(counts), _all(usual)) if counts.shape[1] else []
    for node in counts.columns:
        found += those.find(
            counts[node].to_numpy(dtype="float64"), usual[node].to_numpy(dtype="float64")
        )
    for run in join(found, bridge=those.bridge):
        yield _failed_finding(data, counts, usual, run)


def _usual_failures(data: Endpoints, nodes: list[str]) -> pd.DataFrame:
    """Give the baseline: 0 where an agent was scraped and no regeneration had failed yet."""
    usual = failures(data.usual).reindex(columns=nodes)
    seen = data.usual.agents.notna().reindex(index=usual.index, columns=nodes, fill_value=False)
    if not data.usual.agents.shape[1]:
        seen = seen.mask(data.usual.regenerations.notna().any(axis=1), other=True)
    return usual.mask(usual.isna() & seen.astype(bool), 0.0)


def _all(counts: pd.DataFrame) -> np.ndarray:
    return counts.sum(axis=1, min_count=1).to_numpy(dtype="float64")


def _failed_finding(
    data: Endpoints, counts: pd.DataFrame, usual: pd.DataFrame, run: tuple[int, int]
) -> Finding:
    inside = counts.iloc[run[0] : run[1]].sum()
    before = usual.mean().fillna(0.0) * (run[1] - run[0])
    excess = (inside - before).clip(lower=0.0).sort_values(ascending=False, kind="stable")
    named = list(rises.fewest(excess))
    one = named[0] if len(named) == 1 else None
    start, end = counts.index[run[0]] - data.window.step, counts.index[run[1] - 1]
    value = float(inside[one] if one else inside.sum())
    done = _done(data, [one] if one else list(counts.columns), run)
    share = value / done
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
        title=f"{value:,.0f} of {done:,.0f} endpoint regenerations ({_percent(share)}) failed"
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
        trust_reasons=doubts_about(data, named, start, end),
        query=query_for(
            "sum by (node, outcome) (increase(cilium_endpoint_regenerations_total"
            '{outcome!="success"}[5m]))',
            {k: v for k, v in labels.items() if k in ("node", "reason", "error")},
        ),
        next_step="The agent's log on the node names the endpoints and the error (subsys=endpoint,"
        " “Regeneration of endpoint failed”); `cilium-dbg endpoint list` shows their state.",
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else "all"


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


# What all have in common
