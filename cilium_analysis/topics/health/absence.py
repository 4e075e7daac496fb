"""Stretches without any operator. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis.findings import Finding, Severity
from cilium_analysis.topics.health.starts import gaps
from cilium_analysis.topics.health.words import duration, server_said

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cilium_analysis.topics.health.data import Health
    from cilium_analysis.topics.health.starts import Gap

#: An operator that is replaced is away for less.
LEAST = timedelta(minutes=5)
#: Agents that were scraped in less than this share of the steps were out of sight themselves.
AGENTS_SEEN = 0.5
_STARTED = "cilium_operator_process_start_time_seconds"


def absences(data: Health) -> Iterator[Finding]:
    """Tell when no operator was scraped, though there was one before, and agents were.

    Parameters
    ----------
    data
        As from `load`.
    """
    whole = pd.concat([_any(data.usual["operators"]), _any(data.now["operators"])])
    whole = whole[~whole.index.duplicated()].sort_index()
    for gap in gaps(whole, _tried(whole), least=LEAST):
        if gap.end > pd.Timestamp(data.window.start) and _agents_seen(data, gap):
            yield _finding(data, gap)


def _any(operators: pd.DataFrame) -> pd.DataFrame:
    """Put all operators into one column, with a value where any was scraped."""
    return operators.max(axis=1).to_frame("operator")


def _tried(whole: pd.DataFrame) -> pd.DataFrame:
    """Take every step for one in which a scrape was tried: an operator has no fixed address."""
    return whole.notna().astype("float64")


def _agents_seen(data: Health, gap: Gap) -> bool:
    seen = data.now.seen
    inside = seen.loc[(seen.index > gap.start) & (seen.index <= gap.end)]
    return bool(len(inside)) and float(inside.any(axis=1).mean()) >= AGENTS_SEEN


def _finding(data: Health, gap: Gap) -> Finding:
    still = "" if gap.over else ", and none had come back when the window ended"
    return Finding(
        kind="scrape_gap",
        severity=Severity.WARNING,
        title=f"No operator was scraped for {duration(gap.length)}{still}, while agents were",
        start=max(gap.start.to_pydatetime(), data.window.start),
        end=gap.end.to_pydatetime(),
        labels={"metric": _STARTED},
        value=gap.length.total_seconds(),
        baseline_value=0.0,
        unit="s",
        trust_reasons=server_said(data),
        query=f"count({_STARTED})",
        next_step="See whether an operator ran: kubectl -n kube-system get pods -l"
        " name=cilium-operator, and kubectl logs --previous. Without one no identities are"
        " collected, and no addresses handed out where the operator does that.",
    )
