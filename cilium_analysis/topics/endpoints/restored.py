"""What agents restored after a restart: all their endpoints, or not (Cilium 1.19 and later)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.findings import Finding, Severity
from cilium_analysis.topics.endpoints.telling import (
    CRITICAL_SHARE,
    CRITICAL_STUCK,
    doubts_about,
    query_for,
)
from cilium_analysis.topics.telling import place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cilium_analysis.topics.endpoints.data import Endpoints

#: The phases that endpoints go through, in which some may fail.
PHASES = ("read_from_disk", "restoration", "regeneration")
_COLUMNS = ("time", "node", "total", "restored", "failed", "skipped", "open", "phase", "seconds")


def restorations(data: Endpoints) -> pd.DataFrame:
    """Tell what each agent restored that started in the window.

    Parameters
    ----------
    data
        As from `load`.

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
    for rank, (moment, node) in enumerate(_starts(data)):
        later = [time for time, other in _starts(data)[rank + 1 :] if other == node]
        inside = (shown.index >= moment) & (shown.index < min([*later, shown.index[-1] + _LAST]))
        known = shown.loc[inside, shown.columns.get_level_values("node") == node].dropna(how="all")
        if len(known):
            took = data.now.restoration_seconds.get(node, pd.Series(dtype="float64"))
            seconds = float(took[took.index.isin(known.index)].max())
            rows.append({"time": moment, "node": node, "seconds": seconds} | _counts(known))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


_LAST = pd.Timedelta(seconds=1)


def _starts(data: Endpoints) -> list[tuple[pd.Timestamp, str]]:
    times, nodes = data.restarts["time"], data.restarts["node"]
    return [(time, str(node)) for time, node in zip(times, nodes, strict=True)]


def _counts(known: pd.DataFrame) -> dict[str, object]:
    """Read off what became of the endpoints of one agent, as it was last seen."""
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
        f" not restored after {agents} started at {start:%H:%M}Z ({worst['phase']} failed)",
        start=start.to_pydatetime(),
        end=data.window.end,
        labels=labels,
        value=value,
        baseline_value=float("nan"),
        unit="endpoints",
        share=share,
        trust_reasons=doubts_about(data, [], start, start),
        query=query_for('cilium_endpoint_restoration_endpoints{outcome="failed"}', labels),
        next_step="The agent's log on the node names the endpoints and the error (“Unable to"
        " restore endpoint”); pods behind them have to be deleted if `cilium-dbg endpoint list`"
        " does not show them.",
    )
