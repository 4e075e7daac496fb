"""What the data about agents and operators cannot show, and how far to trust it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis import frames
from cilium_analysis.metrics import defects
from cilium_analysis.topics import loading, verdict
from cilium_analysis.topics.buckets import untold
from cilium_analysis.topics.health.catalogue import QUERIES, SECTIONS
from cilium_analysis.topics.health.durations import LATENCIES, latency
from cilium_analysis.topics.health.restarts import restarts
from cilium_analysis.topics.health.tables import resources
from cilium_analysis.topics.health.troubles import SETTLES_WITHIN, operator_starts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cilium_analysis.topics.health.data import Health

#: Histograms that quantiles are told of.
HISTOGRAMS = {
    "policy": "cilium_policy_implementation_delay",
    "policy_identity": "cilium_policy_incremental_update_duration",
}
#: From this share of its limit on, open files are worth a word.
MANY_FILES = 0.9


def notes(data: Health) -> list[str]:
    """Say in words what the data cannot show, and how far to trust it."""
    return [
        *_blind(data),
        *_missing(data),
        *_starts(data),
        *_scrapes(data),
        *_files(data),
        *_defects(data),
        *_untimed(data),
        *data.remarks.all,
        *(f"Server: {text}" for text in data.warnings),
    ]


def _blind(data: Health) -> Iterator[str]:
    if data.blind:
        yield "No metrics of Cilium agents in this window: nothing can be said about their health."
    elif not (data.now.agents > loading.LONG_AGO).any(axis=None):
        yield "The agents' start times are not in the data: restarts are unknown."
    if not data.usual.seen.shape[1] and not data.usual["errors"].shape[1]:
        yield "No data in the baseline: everything looks new, nothing can be compared."
    elif data.now.seen.shape[1] and not data.now.up.shape[1]:
        yield (
            "No series `up` of the agents: an agent that is gone is not told from one that is down."
        )


def _missing(data: Health) -> Iterator[str]:
    """Say which sections have no data at all; without agents that was said already."""
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
    """Say why there are no quantiles of how long policies and identities took."""
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
                f"The agent on {start.node} started at {start.time:%Y-%m-%d %H:%M:%S}Z for the"
                " first time that the data shows: no restart."
            )
    if data.now.starts:
        minutes = SETTLES_WITHIN.total_seconds() / 60
        yield f"What agents log within {minutes:.0f} minutes of their start is no finding."
    for node, moment in operator_starts(data.now):
        yield f"An operator started at {moment:%Y-%m-%d %H:%M:%S}Z ({node})."


def _scrapes(data: Health) -> Iterator[str]:
    yield from verdict.gaps(data.now.seen, data.window)


def _files(data: Health) -> Iterator[str]:
    for node, row in resources(data).iterrows():
        if row["peak files"] >= MANY_FILES * row["files limit"]:
            yield (
                f"The agent on {node} had {row['peak files']:,.0f} of"
                f" {row['files limit']:,.0f} files open."
            )


#: What this question shows of the metrics that are known to be wrong, by the name of the query.
_SHOWN = {
    "forwarded": "cilium_forward_count_total",
    "errors": "cilium_errors_warnings_total",
    "pressure": "cilium_bpf_map_pressure",
}


def _defects(data: Health) -> list[str]:
    versions = frames.values(data.now["versions"], "version")
    shown = [metric for name, metric in _SHOWN.items() if data.now[name].shape[1]]
    return defects.notes([version for version in versions if version], shown)
