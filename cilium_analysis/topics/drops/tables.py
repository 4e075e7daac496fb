"""Tables about drops: frames in, frames out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.frames import totals
from cilium_analysis.metrics import defects
from cilium_analysis.topics import tables, verdict
from cilium_analysis.topics.drops import events
from cilium_analysis.topics.drops.data import QUERIES
from cilium_analysis.topics.drops.events import PROXY_DENIAL, parties
from cilium_analysis.topics.reasons import explain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cilium_analysis.topics.drops.data import Drops

KEYS = ("reason", "direction", "node")


def _compare(data: Drops, by: Sequence[str]) -> pd.DataFrame:
    table = tables.compare(
        data.now.counts, data.baseline.counts, by, amount="packets", scale=_scale(data)
    )
    return table.sort_values(["change", "packets"], ascending=False)


def _scale(data: Drops) -> float:
    """Give the length of the window in lengths of the known baseline; NaN if none is known."""
    known = data.baseline.counts.notna().any(axis=1)
    if data.baseline.scraped.shape[1]:
        known |= data.baseline.scraped.any(axis=1).reindex(known.index, fill_value=False)
    return len(data.now.counts) / known.sum() if data.compared and known.any() else np.nan


def by_reason(data: Drops) -> pd.DataFrame:
    """Give packets per reason, with what the reason means.

    Returns
    -------
    pandas.DataFrame
        Index ``reason``; ``packets`` in the window, ``expected`` (of the baseline, for a window
        of this length; NaN without one), ``change``, ``share`` of all packets dropped in the
        window, ``category``, ``meaning``.
    """
    table = _compare(data, ["reason"])
    table["share"] = tables.shares(table["packets"])
    words = [explain(str(reason)) for reason in table.index]
    table["category"] = [word.category for word in words]
    table["meaning"] = [word.meaning for word in words]
    return table


def by_node(data: Drops) -> pd.DataFrame:
    """Give packets per node.

    Returns
    -------
    pandas.DataFrame
        Index ``node``; ``packets`` dropped, ``expected``, ``change``, packets ``forwarded`` in the
        window, ``of traffic`` (dropped as a share of dropped and forwarded), and ``scraped``: the
        share of the window's steps in which the node's agent was scraped. NaN is not known.
    """
    known = data.state in ("counted", "zero")
    idle = [str(node) for node, seen in data.now.scraped.items() if known and seen.any()]
    table = _compare(data, ["node"])
    table = table.reindex(table.index.union(idle), fill_value=0.0)
    if not data.compared:
        table[["expected", "change"]] = np.nan
    table = table.reindex(table.index.union(data.now.scraped.columns).rename("node"))
    forwarded = totals(data.now.forwarded, ["node"]).reindex(table.index)
    table["forwarded"] = forwarded.where(forwarded > 0.0)
    table["of traffic"] = table["packets"] / (table["packets"] + table["forwarded"])
    table["scraped"] = verdict.scraped(data.now.scraped).reindex(table.index)
    return table.sort_values(["change", "packets"], ascending=False)


def rates(data: Drops, by: str = "reason") -> pd.DataFrame:
    """Give the rate of drops over time, one plain column per reason (or node, or direction).

    Parameters
    ----------
    by
        The label to tell apart.

    Returns
    -------
    pandas.DataFrame
        [packets/s]; the time of a row is the end of its step.
    """
    return tables.rates(data.now.counts, by, seconds=data.window.step.total_seconds())


def volumes(data: Drops) -> pd.DataFrame:
    """Give packets and bytes per reason and direction; most bytes first.

    Returns
    -------
    pandas.DataFrame
        ``reason``, ``direction``, ``packets``, ``expected`` (of the baseline, for a window of
        this length), ``bytes``, ``expected bytes``, and ``bytes/packet`` with its ``usual``: the
        mean size of what was dropped [bytes], which tells handshakes from bulk data.
    """
    by = ("reason", "direction")
    table = pd.DataFrame(
        {
            "packets": totals(data.now.counts, by),
            "expected": totals(data.baseline.counts, by),
            "bytes": totals(data.now.volumes, by),
            "expected bytes": totals(data.baseline.volumes, by),
        },
        dtype="float64",
    ).fillna(0.0)
    table[["expected", "expected bytes"]] *= _scale(data)
    # A size is of the same packets only where both counters are there.
    table["bytes/packet"] = (table["bytes"] / table["packets"]).where(table["bytes"] > 0)
    table["usual"] = (table["expected bytes"] / table["expected"]).where(
        table["expected bytes"] > 0
    )
    return table.sort_values(["bytes", "packets"], ascending=False, kind="stable").reset_index()


def volume_rates(data: Drops, by: str = "reason") -> pd.DataFrame:
    """Give the rate of bytes dropped over time, as `rates` [bytes/s]."""
    seconds = frames.step_seconds(data.now.volumes) or data.window.step.total_seconds()
    return tables.rates(data.now.volumes, by, seconds=seconds)


def changes(data: Drops, *, most: int = 15) -> pd.DataFrame:
    """Give the combinations of reason, direction and node that changed most.

    Parameters
    ----------
    most
        Number of rows.

    Returns
    -------
    pandas.DataFrame
        ``reason``, ``direction``, ``node``, ``packets``, ``expected``, ``change``; by the size
        of the change, rises and falls alike.
    """
    return tables.most_changed(_compare(data, KEYS), most)


def matrix(data: Drops) -> pd.DataFrame:
    """Give packets per node (rows) and reason (columns) in the window; most first."""
    sums = totals(data.now.counts, ["node", "reason"]).rename("packets").reset_index()
    table = sums.pivot_table(index="node", columns="reason", values="packets", fill_value=0.0)
    rows = table.sum(axis=1).sort_values(ascending=False, kind="stable").index
    columns = table.sum(axis=0).sort_values(ascending=False, kind="stable").index
    return table.loc[rows, columns]


def who(data: Drops, *, most: int = 15) -> pd.DataFrame:
    """Give source and destination of dropped packets, as Hubble counted their events.

    Parameters
    ----------
    most
        Number of rows.

    Returns
    -------
    pandas.DataFrame
        ``reason``, ``protocol``, ``source``, ``destination``, Hubble's ``events`` in the window,
        ``share`` of its events with this reason, and ``packets``: that share of the packets
        counted with this reason (NaN where neither agents nor verdicts tell their number, as for
        requests denied by the proxy).
    """
    columns = ["reason", "protocol", "source", "destination"]
    counted = totals(parties(data.now.hubble), columns)
    table = counted[counted > 0].rename("events").reset_index()
    table["share"] = table["events"] / table.groupby("reason")["events"].transform("sum")
    denied = totals(events.exact(data), ["reason"])
    packets = totals(data.now.counts, ["reason"]).add(denied, fill_value=0.0)
    table["packets"] = table["share"] * table["reason"].map(packets).astype("float64")
    table["reason"] = table["reason"].replace(PROXY_DENIAL, "denied by the proxy, no packet drop")
    return table.sort_values(
        ["packets", "events"], ascending=False, kind="stable", ignore_index=True
    ).head(most)


#: Why a table of packets has no rows, by `Drops.state`.
_SILENCE = {
    "counted": "No packet was dropped in this window.",
    "zero": "No packet was dropped: the agents were scraped, and their datapath has counted none.",
    "refused": "Unknown: the server refused to tell how many packets were dropped.",
    "not exported": "Unknown: the agents were scraped, but neither cilium_drop_count_total nor"
    " cilium_forward_count_total is there.",
    "not scraped": "Unknown: no agent was scraped in this window.",
}


def silence(data: Drops) -> str:
    """Say what it means when there are no packets to show: none dropped, or unknown, and why."""
    if data.remarks.workloads:
        return (
            "Agents count dropped packets without naming workloads: drops of"
            f" {data.remarks.workloads} are those that Hubble counts."
        )
    if data.state in ("counted", "zero"):
        return _SILENCE[data.state]
    rest = (
        "What Hubble counts instead is shown by source and destination."
        if data.now.hubble.shape[1]
        else "Nothing can be said about drops."
    )
    return f"{_SILENCE[data.state]} {rest}"


def notes(data: Drops) -> list[str]:
    """Say what the data cannot show, and how far to trust it."""
    said = [] if data.state == "counted" else [silence(data)]
    if data.now.counts.shape[1] and not data.now.scraped.shape[1]:
        said.append("The agents' start times are not in the data: restarts are unknown.")
    if data.state in ("counted", "zero") and not data.compared:
        said.append("No baseline: nothing is known of the agents' counts in it.")
    lacking = not data.now.forwarded.shape[1] and not data.remarks.lacks(QUERIES["forwarded"])
    if data.now.counts.shape[1] and lacking:
        said.append(
            "cilium_forward_count_total is not there: which share of the traffic was dropped is"
            " unknown."
        )
    said += _hubble_notes(data)
    if data.state in ("counted", "zero"):
        said += defects.notes(data.versions, ["cilium_drop_count_total"])
    said += [
        *verdict.gaps(data.now.scraped, data.window),
        *verdict.started(data.now.restarts, data.window),
    ]
    for event, text in _EVENTS.items():
        amounts = data.now.events[data.now.events["event"] == event].groupby("node")["amount"].sum()
        said += [
            f"{node or 'A node not known'}: {text.format(amount=amount)}"
            for node, amount in amounts.items()
        ]
    return verdict.with_source_notes(said, data)


#: What the reading of counters decided on a node, in words.
_EVENTS = {
    "unknown_start": "{amount:,.0f} packets of an unknown time before are not counted.",
    "renamed": "counters went on under other labels: what they held before is not counted again.",
    "fall": "a sum of counters fell by {amount:,.0f}: a node may have left; nothing is counted for"
    " that step.",
    "artefact": "counters fell to 0 and came back (a restart up to Cilium 1.14); not counted.",
}


def _hubble_notes(data: Drops) -> list[str]:
    """Say what is unknown of sources and destinations, and what only Hubble counts."""
    said = list(data.crowd_note)
    if data.remarks.lacks(*events.DROPS.queries, *events.VERDICTS.queries):
        said.append("Sources and destinations of dropped packets are unknown.")
    elif not data.now.hubble.shape[1]:
        said.append(
            "Sources and destinations of dropped packets are unknown: hubble_drop_total is not"
            " there (Helm: hubble.metrics.enabled with drop:labelsContext=source_namespace,"
            "source_workload,destination_namespace,destination_workload)."
        )
    alone = events.uncounted(data, parties(data.now.hubble))
    amount = float(alone.sum().sum())
    if amount > 0:
        reasons = ", ".join(sorted(set(frames.values(alone, "reason"))))
        said.append(
            f"Only Hubble counts some drops: {amount:,.0f} events ({reasons}). Events are not"
            " packets: one dropped packet can have two."
        )
    return said
