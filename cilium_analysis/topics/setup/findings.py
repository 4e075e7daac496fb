"""Findings about the setup of the monitoring, whether it is right, and when that is unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis.findings import Finding, Findings, Severity
from cilium_analysis.queries import Matcher
from cilium_analysis.topics import verdict
from cilium_analysis.topics.model import found_once
from cilium_analysis.topics.setup.checks import CHECKS
from cilium_analysis.topics.setup.kubernetes import objects_of, remedy
from cilium_analysis.topics.setup.objects import later, not_scraped, some, without_agent
from cilium_analysis.topics.setup.tables import configurations, left_out, there

if TYPE_CHECKING:
    import pandas as pd

    from cilium_analysis.topics.setup.checks import Check
    from cilium_analysis.topics.setup.data import Setup

_AGENTS = "cilium_process_start_time_seconds"
#: Without agents drops are known from these.
_HUBBLE_DROPS = {"hubble_drop_total", "hubble_policy_verdicts_total"}
#: What every cluster should have; the rest is in the table, as it is a matter of choice.
_NEEDED = {"agent": Severity.WARNING, "Hubble": Severity.INFO}


@found_once
def findings(data: Setup) -> Findings:
    """Say what about the setup is worth acting on.

    Parameters
    ----------
    data
        As from `load`.

    Returns
    -------
    Findings
        ``missing_metrics`` for a component without any, and for nodes without an agent;
        ``scrape_gap`` for a target that was never scraped, and for agents that Prometheus does
        not know. Empty if all is well.
    """
    missing = [
        _missing(data, check, _NEEDED[check.name])
        for check in CHECKS
        if check.name in _NEEDED and not there(data, check) and not left_out(data, check)
    ]
    down = data.now.targets[data.now.targets["up"] == 0]
    never = [_down(data, row) for _, row in down.iterrows()]
    found = (*missing, *never, *_of_nodes(data))
    return verdict.told(data, found, topic="setup_check", unknown=unknown(data))


def unknown(data: Setup) -> tuple[str, ...]:
    """Give the reasons why it is not known what the cluster exports; none if it is.

    Parameters
    ----------
    data
        As from `load`.
    """
    if refused := verdict.refused(data.remarks):
        return refused
    if len(data.now.present) or len(data.now.targets) or len(data.now.versions):
        return ()
    return ("no metric and no scrape target of Cilium or Hubble in this window",)


def judge(data: Setup) -> str:
    """Say whether the monitoring is set up right.

    Parameters
    ----------
    data
        As from `load`.

    Returns
    -------
    str
        Begins with ``ok``, ``wrong``, or ``unknown``.
    """
    if reasons := unknown(data):
        return f"unknown: {'; '.join(reasons)}"
    wrong = [each.title for each in findings(data) if each.severity >= Severity.WARNING]
    if wrong:
        return f"wrong: {'; '.join(wrong)}"
    if data.now.scraping.caveats:
        return f"unknown in part: {' '.join(data.now.scraping.caveats)}"
    lacking = [check for check in CHECKS if not check.of and not there(data, check)]
    but = [f"without {check.name}" for check in lacking if not left_out(data, check)]
    but += data.remarks.silenced.said
    but += list(configurations(data)["configuration"])
    return f"ok, but: {', '.join(but)}" if but else "ok"


def _missing(data: Setup, check: Check, severity: Severity) -> Finding:
    answers = check.answers
    if check.name == "agent" and _HUBBLE_DROPS & set(data.now.present.index):
        answers = f"{answers.removeprefix('drops, ')}; drops are known from Hubble alone"
    return Finding(
        kind="missing_metrics",
        severity=severity,
        title=f"No metrics of {check.name}: nothing can be said about {answers}",
        start=data.window.start,
        end=data.window.end,
        labels={"metric": check.metrics[0]},
        value=0.0,
        baseline_value=float("nan"),
        unit="series",
        query=f"count({check.metrics[0]})",
        next_step=remedy(data, check.name)
        or f"Switch it on (Helm: {check.helm}), and see that Prometheus scrapes it.",
    )


def _of_nodes(data: Setup) -> list[Finding]:
    """Compare the nodes that Kubernetes names with those that are measured."""
    objects = objects_of(data)
    if objects is None:
        return []
    caveats, found = later(objects.read, data.window), []
    if names := without_agent(data, objects):
        found.append(_without_agent(data, names, caveats))
    if names := not_scraped(data, objects):
        found.append(_not_scraped(data, names, caveats))
    return found


def _without_agent(data: Setup, names: list[str], caveats: list[str]) -> Finding:
    return Finding(
        kind="missing_metrics",
        severity=Severity.WARNING,
        title=f"No agent of Cilium runs on {some(names, 5)}: nothing is known of these nodes",
        start=data.window.start,
        end=data.window.end,
        labels={"node": some(names, 5), "metric": _AGENTS},
        value=float(len(names)),
        baseline_value=float("nan"),
        unit="nodes",
        trust_reasons=tuple(caveats),
        query=f"count by (node) ({_AGENTS})",
        next_step="Look at the events of the DaemonSet cilium and at the nodes' taints; nodes of"
        " another network, such as Fargate's, have none.",
    )


def _not_scraped(data: Setup, names: list[str], caveats: list[str]) -> Finding:
    return Finding(
        kind="scrape_gap",
        severity=Severity.WARNING,
        title=f"Prometheus does not know the agents on {some(names, 5)}"
        f" ({len(names)} of {len(data.cluster.nodes) if data.cluster else 0} nodes)",
        start=data.window.start,
        end=data.window.end,
        labels={"node": some(names, 5), "metric": "up"},
        value=data.window.length.total_seconds(),
        baseline_value=float("nan"),
        unit="s",
        trust_reasons=tuple(caveats),
        query=f"count by (instance, node) ({_AGENTS})",
        next_step="See that Prometheus discovers the pods there (Status → Service Discovery), and"
        " that none of its relabelings or shards drops them.",
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
