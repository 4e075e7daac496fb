"""What a person should act on about endpoints, and what limits the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cilium_analysis import frames
from cilium_analysis.texts import duration
from cilium_analysis.topics import loading, verdict
from cilium_analysis.topics.buckets import untold
from cilium_analysis.topics.endpoints.data import QUERIES, REGENERATION_TIMES
from cilium_analysis.topics.endpoints.growth import growths, lives, scraped, stable
from cilium_analysis.topics.endpoints.limits import limits
from cilium_analysis.topics.endpoints.tables import regeneration_times
from cilium_analysis.topics.endpoints.unready import failed, restorations, unready, unrestored
from cilium_analysis.topics.model import found_once

if TYPE_CHECKING:
    from cilium_analysis.findings import Findings
    from cilium_analysis.topics.endpoints.data import Endpoints

UNKNOWN = "Unknown: no metrics of Cilium agents in this window"


@found_once
def findings(data: Endpoints) -> Findings:
    """Say what about the endpoints is worth acting on.

    Returns
    -------
    Findings
        ``endpoint_growth``, ``endpoint_not_ready``, ``endpoint_limit``,
        ``regeneration_failures``; ``missing_metrics`` if there is nothing to look at. Empty when
        nothing is unusual.
    """
    found = [
        *growths(data),
        *unready(data),
        *unrestored(data),
        *limits(data),
        *failed(data),
    ]
    if data.blind:
        title = f"{UNKNOWN}: nothing can be said about endpoints"
        before = max(data.baseline.agents.shape[1], data.baseline.counts.shape[1])
        found.append(verdict.missing_metrics(data.window, title, "cilium_endpoint", before=before))
    return verdict.told(data, found, topic="endpoint_growth", unknown=unknown(data))


def unknown(data: Endpoints) -> tuple[str, ...]:
    """Give the reasons why the growth of endpoints is unknown; none if it is known.

    Parameters
    ----------
    data
        As from `load`. Without a baseline the window is compared with its own beginning.
    """
    if refused := verdict.refused(data.remarks):
        return refused
    if data.blind:
        return (verdict.NO_AGENTS,)
    if not data.now.counts.shape[1]:
        return ("cilium_endpoint is not in the data",)
    return verdict.rarely_scraped(data.now.counts.notna(), "agents")


def notes(data: Endpoints) -> list[str]:
    """Say in words what the data cannot show, and how far to trust it."""
    said = [f"{UNKNOWN}: nothing can be said about endpoints."]
    if not data.blind:
        parts = (_missing, _joined_or_left, _gaps, _starts, _other_policies, _untimed)
        said = [text for part in parts for text in part(data)]
    return verdict.with_source_notes(said, data)


def _untimed(data: Endpoints) -> list[str]:
    """Say why quantiles of how long regenerations took are unknown, if there were any."""
    if not data.now.regenerations.sum().sum() > 0:
        return []
    return untold(
        REGENERATION_TIMES,
        "regeneration",
        data.now.regeneration_times,
        unread=data.remarks.unread,
        mixed=bool(regeneration_times(data)["p90"].isna().any()),
    )


def ready(data: Endpoints) -> str:
    """Say what the missing of endpoints that are not ready means."""
    if data.now.states.shape[1]:
        return "Every endpoint was ready in every step"
    return "Unknown: the states of endpoints are not in the data"


def _missing(data: Endpoints) -> list[str]:
    now = data.now
    checks = [
        (
            "",
            now.agents.loc[:, (now.agents > loading.LONG_AGO).any()],
            "The agents' start times are not in the data: restarts are unknown.",
        ),
        (
            "endpoints",
            now.counts,
            "cilium_endpoint is not in the data: growth cannot be told.",
        ),
        (
            "states",
            now.states,
            "cilium_endpoint_state is not in the data: whether all are ready is unknown.",
        ),
        (
            "pools",
            now.pools,
            "The size of the nodes' IP pools is not in the data (cilium_ipam_capacity, since"
            " Cilium 1.15): how many more endpoints fit is unknown.",
        ),
        (
            "pressure",
            now.pressure,
            "How full BPF maps are is not in the data (cilium_bpf_map_pressure; off by default up"
            " to Cilium 1.13).",
        ),
    ]
    said = [
        text
        for name, frame, text in checks
        # What the server refused to tell is not missing.
        if not frame.shape[1] and not (name and data.remarks.lacks(QUERIES[name]))
    ]
    if data.now.counts.shape[1] and not data.baseline.counts.shape[1]:
        said.append("No baseline: the window is compared with its own beginning.")
    return said


def _joined_or_left(data: Endpoints) -> list[str]:
    table = lives(data)
    had = frames.last(data.now.counts)
    said = [
        f"{node} joined at {data.window.told(when)}, or was not scraped before; its"
        f" {had.get(node, np.nan):.0f} endpoints are a change in nodes, not growth."
        for node, when in table["joined"].dropna().items()
    ]
    return said + [
        f"{node} was last seen at {data.window.told(when)}, with {had.get(node, np.nan):.0f}"
        " endpoints: it left, or is no longer scraped."
        for node, when in table["left"].dropna().items()
    ]


def _gaps(data: Endpoints) -> list[str]:
    table = lives(data)
    stayed = table.index[table["joined"].isna() & table["left"].isna()]
    return verdict.gaps(scraped(data.now)[list(stayed)], data.window)


def _starts(data: Endpoints) -> list[str]:
    if not len(data.now.restarts):
        return []
    said = verdict.started(data.now.restarts, data.window)
    for _, row in restorations(data).iterrows():
        text = f"The agent on {row['node']} restored {row['restored']:.0f} of {row['total']:.0f}"
        text += " endpoints" + (f" in {duration(row['seconds'])}" if row["seconds"] > 0 else "")
        text += f", skipped {row['skipped']:.0f}" if row["skipped"] else ""
        text += f", failed with {row['failed']:.0f}" if row["failed"] else ""
        text += f", and has {row['open']:.0f} yet to restore" if row["open"] else ""
        said.append(f"{text}.")
    return [
        *said,
        "What an agent shows until its endpoints are restored is not counted as growth.",
    ]


def _other_policies(data: Endpoints) -> list[str]:
    """Name agents that have other policies loaded than most; all read the same ones."""
    last = frames.last(data.now.policies).reindex(stable(data)).dropna()
    if not len(last):
        return []
    baseline = float(last.median())
    return [
        f"The agent on {node} has {number:.0f} policies loaded, most have {baseline:.0f}."
        for node, number in last.items()
        if abs(number - baseline) >= max(2.0, 0.05 * baseline)
    ]
