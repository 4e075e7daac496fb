"""What a person should act on about agents and operators, and what limits the answer."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from cilium_analysis import frames
from cilium_analysis.metrics import defects
from cilium_analysis.topics import loading, verdict
from cilium_analysis.topics.buckets import untold
from cilium_analysis.topics.health.activity import LATENCIES, latency
from cilium_analysis.topics.health.catalogue import QUERIES, SECTIONS
from cilium_analysis.topics.health.errors import SETTLES_WITHIN, errors, operator_starts
from cilium_analysis.topics.health.gaps import gap_finding, unexplained, without_operator
from cilium_analysis.topics.health.restarts import restart_finding, restarts
from cilium_analysis.topics.health.states import full_maps, lost_clusters, without_addresses
from cilium_analysis.topics.model import found_once

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cilium_analysis.findings import Finding, Findings
    from cilium_analysis.topics.health.data import Health

#: Histograms whose quantiles are shown.
HISTOGRAMS = {
    "policy": "cilium_policy_implementation_delay",
    "policy_identity": "cilium_policy_incremental_update_duration",
}
#: A note names agents that have this share of their limit of files open.
MANY_FILES = 0.9
#: Metrics of this topic that may have known defects, by the name of the query.
_DEFECTIVE = {
    "forwarded": "cilium_forward_count_total",
    "errors": "cilium_errors_warnings_total",
    "pressure": "cilium_bpf_map_pressure",
}
NOTHING = "No metrics of Cilium agents in this window: nothing can be said about their health"


@found_once
def findings(data: Health) -> Findings:
    """Say what about agents and operators is worth acting on.

    Returns
    -------
    Findings
        ``agent_restart``, ``agent_errors``, ``operator_errors``, ``map_pressure`` and
        ``scrape_gap``; ``missing_metrics`` if there is nothing to look at. Empty when nothing is
        unusual.
    """
    restarted = restarts(data)
    found = [
        *(restart_finding(data, each) for each in restarted),
        *full_maps(data),
        *errors(data),
        *lost_clusters(data),
        *without_addresses(data),
        *(gap_finding(data, each) for each in unexplained(data, restarted)),
        *without_operator(data),
    ]
    if data.blind:
        before = data.baseline.scraped.shape[1]
        metric = "cilium_process_start_time_seconds"
        found.append(verdict.missing_metrics(data.window, NOTHING, metric, before=before))
    told = verdict.told(data, found, topic="agent_health", unknown=unknown(data))
    return replace(told, items=tuple(sorted(told, key=_order)), ranked=True)


def _order(finding: Finding) -> tuple[float, bool, float, str]:
    """Sort by severity; a restart before what follows from it; then by the largest total."""
    total = finding.value if finding.total is None else finding.total
    known = -total if math.isfinite(total) else 0.0
    return (-finding.severity, finding.kind != "agent_restart", known, finding.title)


def unknown(data: Health) -> tuple[str, ...]:
    """Give the reasons why the health of the agents is unknown; none if it is known."""
    if refused := verdict.refused(data.remarks):
        return refused
    if data.blind:
        return (verdict.NO_AGENTS,)
    return verdict.rarely_scraped(data.now.scraped, "agents")


def notes(data: Health) -> list[str]:
    """Say in words what the data cannot show, and how far to trust it."""
    said = [
        *_missing(data),
        *_starts(data),
        *verdict.gaps(data.now.scraped, data.window),
        *_files(data),
        *_nodes_known(data),
        *_defects(data),
        *_untimed(data),
    ]
    return verdict.with_source_notes(said, data)


def _missing(data: Health) -> Iterator[str]:
    """Say what is not in the data: agents, a baseline, whole sections of metrics."""
    if data.blind:
        yield f"{NOTHING}."
    elif not (data.now.agents > loading.LONG_AGO).any(axis=None):
        yield "The agents' start times are not in the data: restarts are unknown."
    if not data.baseline.scraped.shape[1] and not data.baseline["errors"].shape[1]:
        yield "No data in the baseline: everything looks new, nothing can be compared."
    elif data.now.scraped.shape[1] and not data.now.up.shape[1]:
        yield ("No series `up` of the agents: an agent that is gone looks like one that is down.")

    if data.blind:
        return
    absent = []
    for section, about in SECTIONS.items():
        mine = {name: metric for name, metric in QUERIES.items() if metric.section == section}
        refused = data.remarks.lacks(*mine.values())
        if not refused and not any(data.now[name].shape[1] for name in mine):
            absent.append(about)
    if absent:
        yield f"Not in this version or not exported: {'; '.join(absent)}."


def _untimed(data: Health) -> Iterator[str]:
    """Say why quantiles of how long policies and identities took are unknown."""
    table = latency(data)
    for name, what in (("policy", "policy"), ("policy_identity", "identity")):
        mine = table[(table["what"] == LATENCIES[name][0]) & (table["calls"] > 0)]
        if len(mine):
            yield from untold(
                HISTOGRAMS[name],
                what,
                data.now[f"{name}_buckets"],
                unread=data.remarks.unread,
                mixed=bool(mine["p99"].isna().any()),
            )


def _starts(data: Health) -> Iterator[str]:
    restarted = {start for each in restarts(data) for start in each.starts}
    for start in data.now.starts:
        if not any(start.node == r.node and start.time == r.time for r in restarted):
            yield (
                f"The agent on {start.node} started at {data.window.told(start.time)} for the"
                " first time that the data shows: no restart."
            )
    if data.now.starts:
        minutes = SETTLES_WITHIN.total_seconds() / 60
        yield f"What agents log within {minutes:.0f} minutes of their start is no finding."
    for node, moment in operator_starts(data.now):
        yield f"An operator started at {data.window.told(moment)} ({node})."


def _files(data: Health) -> Iterator[str]:
    most, limit = (data.now.per_node(n, how="max").max() for n in ("files", "files_limit"))
    for node, number in most[most >= MANY_FILES * limit.reindex(most.index)].items():
        yield f"The agent on {node} had {number:,.0f} of {limit[str(node)]:,.0f} files open."


def _nodes_known(data: Health) -> Iterator[str]:
    """Name agents that know fewer nodes than others of their cluster: they cannot reach the rest.

    Nodes come and go: only what agents knew at the same time, at the end, is compared.
    """
    known = data.now.per_node("nodes_known", how="max").tail(1).max().dropna()
    clusters = [str(node).rpartition("/")[0] for node in known.index]
    most = known.groupby(clusters).transform("max")
    for node, number, others in zip(known.index, known, most, strict=True):
        if number < others:
            yield (
                f"The agent on {node} knew {number:.0f} nodes at the end, others of its cluster"
                f" {others:.0f}."
            )


def _defects(data: Health) -> list[str]:
    versions = frames.values(data.now["versions"], "version")
    shown = [metric for name, metric in _DEFECTIVE.items() if data.now[name].shape[1]]
    return defects.notes([version for version in versions if version], shown)
