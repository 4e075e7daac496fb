"""Findings about the setup: what keeps the other questions from being answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis.findings import Finding, Findings, Severity
from cilium_analysis.queries import Matcher
from cilium_analysis.topics.setup.checks import CHECKS
from cilium_analysis.topics.setup.tables import there

if TYPE_CHECKING:
    import pandas as pd

    from cilium_analysis.topics.setup.checks import Check
    from cilium_analysis.topics.setup.data import Setup

#: What every cluster should have; the rest is in the table, as it is a matter of choice.
_NEEDED = {"agent": Severity.WARNING, "operator": Severity.INFO, "Hubble": Severity.INFO}


def findings(data: Setup) -> Findings:
    """Say what about the setup is worth acting on.

    Parameters
    ----------
    data
        As from `load`.

    Returns
    -------
    Findings
        ``missing_metrics`` for a component without any, ``scrape_gap`` for a target that was
        never scraped. Empty if all is well.
    """
    missing = [
        _missing(data, check, _NEEDED[check.name])
        for check in CHECKS
        if check.name in _NEEDED and not there(data, check)
    ]
    down = data.targets[data.targets["up"] == 0]
    never = [_down(data, row) for _, row in down.iterrows()]
    return Findings(data.source, data.window, data.baseline, (*missing, *never))


def _missing(data: Setup, check: Check, severity: Severity) -> Finding:
    return Finding(
        kind="missing_metrics",
        severity=severity,
        title=f"No metrics of {check.name}: nothing can be said about {check.answers}",
        start=data.window.start,
        end=data.window.end,
        labels={"metric": check.metrics[0]},
        value=0.0,
        baseline_value=float("nan"),
        unit="series",
        query=f"count({check.metrics[0]})",
        next_step=f"Switch it on (Helm: {check.helm}), and see that Prometheus scrapes it.",
    )


def _down(data: Setup, row: pd.Series) -> Finding:
    return Finding(
        kind="scrape_gap",
        severity=Severity.WARNING,
        title=f"{row['component']} on {row['node']} ({row['instance']}) was never scraped",
        start=data.window.start,
        end=data.window.end,
        labels={"node": str(row["node"]), "metric": "up"},
        value=data.window.length.total_seconds(),
        baseline_value=float("nan"),
        unit="s",
        query=f"up{{{Matcher('instance', '=', str(row['instance']))}}}",
        next_step="Look at the target's error on the page Status → Targets of Prometheus: is the"
        " port open, does the pod run?",
    )
