"""What limits the answer about connectivity, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from cilium_analysis import frames
from cilium_analysis.topics.connectivity.pace import short

if TYPE_CHECKING:
    from cilium_analysis.topics.connectivity.data import Connectivity

UNKNOWN = "Unknown: no connectivity metrics in this window"
REFUSED = "Unknown: the server refused to tell of connectivity"


def notes(data: Connectivity) -> list[str]:
    """Say in words what the data cannot show, and how far to trust it."""
    if blind(data):
        said = [f"{UNKNOWN}: nothing can be said about connectivity.", why(data)]
        return [*([f"{REFUSED}."] if data.remarks.refused else said), *_warnings(data)]
    said = []
    if data.paths.shape[1]:
        said.append(
            "These versions of Cilium count failing paths without naming their targets: nodes that"
            " were likely the target are concluded from what all observers saw together."
        )
    if data.paths.shape[1] and data.targets_named:
        said.append("Some observers name the targets of their probes, others do not.")
    said += [_pace(data), *_latency(data)]
    if data.crowded:
        said.append("More nodes were concerned than are looked at one by one: the worst are shown.")
    looked = data.fine if data.targets_named else data.every
    if looked.step > data.pace.sight:
        step = short(looked.step)
        said.append(f"Seen in steps of {step}: shorter outages look weaker than they were.")
    if not data.agents:
        said.append("Unknown: what each agent itself missed (cilium_unreachable_nodes is missing).")
    return said + _gaps(data) + _warnings(data)


def blind(data: Connectivity) -> bool:
    """Tell whether there is nothing to look at."""
    return not data.observers.shape[1] and not data.targets_named


def why(data: Connectivity) -> str:
    """Say why there are no connectivity metrics, as far as the data tells."""
    if data.agents:
        return (
            f"{data.agents} agents do say how many nodes they could not reach, so that health"
            " checking is on: cilium_node_connectivity_status (gone from Cilium 1.18 on) and"
            " cilium_node_health_connectivity_status (from 1.17 on) are switched off or dropped."
        )
    return (
        "No metric of health checking is there: agents are not scraped, health checking is off, or"
        " the label matchers choose none."
    )


def empty(data: Connectivity, table: Literal["outages", "pairs", "missed", "latency"]) -> str:
    """Say why a table has no rows: nothing failed, or nothing is known.

    Parameters
    ----------
    data
        As from `load`.
    table
        Its name.
    """
    if table == "missed":
        known = "No agent missed another."
        return known if data.agents else "Unknown: no agent says how many nodes it missed."
    if table == "latency":
        return "Unknown: no latency of probes in this window."
    if blind(data):
        return f"{REFUSED if data.remarks.refused else UNKNOWN}."
    if table == "outages":
        return "Every probe that is in the data succeeded."
    if data.targets_named:
        return "No pair of nodes is known to have failed."
    return "Unknown: the data names no targets of probes (Cilium 1.18 and later)."


def _pace(data: Connectivity) -> str:
    pace = data.pace
    how = {
        "measured": "measured by the number of latency samples",
        "fixed": "fixed in these versions of Cilium",
        "at most": "at most: it depends on the number of addresses, and there are no samples",
    }
    within = pace.told(pace.within)
    return (
        f"A path is probed every {short(pace.probe)} ({how[pace.known]}), and agents are scraped"
        f" at least every {short(pace.scrape)}: starts and ends are known {within}, and"
        " what is shorter may not be seen."
    )


def _latency(data: Connectivity) -> list[str]:
    if not len(data.quantiles):
        return ["Unknown: no latency of probes in this window."]
    if data.targets_named:
        said = [
            "Latency is the median of each pair of nodes over the window, and quantiles are over"
            " all pairs; pairs that mostly failed are left out."
        ]
    else:
        said = [
            "Latency is that of successful probes: a failed one is recorded as 10 s, so that what"
            " took longer than the last bound below is left out. Quantiles are as coarse as the"
            " histogram's buckets."
        ]
    if not len(data.usual_quantiles):
        said.append("No baseline: no latency there, so that nothing is compared.")
    return said


def _gaps(data: Connectivity) -> list[str]:
    inside = frames.between(data.observers, data.window.start, data.window.end)
    step = data.every.step.total_seconds()
    missing = inside.isna().sum() * step / 60
    long = missing[missing > max(0.02 * len(inside) * step / 60, 1.0)].sort_values(ascending=False)
    nodes = long.index.get_level_values("node")
    said = [
        f"What {node} itself saw is not in the data for {minutes:.0f} of the window's minutes."
        for node, minutes in zip(nodes[:10], long[:10], strict=True)
    ]
    if len(long) > 10:
        said.append(f"So it is for {len(long) - 10} more nodes.")
    return said


def _warnings(data: Connectivity) -> list[str]:
    return [*data.remarks.all, *(f"Server: {text}" for text in data.warnings)]
