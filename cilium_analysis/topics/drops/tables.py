"""Tables about drops: frames in, frames out."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.frames import totals
from cilium_analysis.metrics import defects
from cilium_analysis.topics import verdict
from cilium_analysis.topics.parties import column, name_parties
from cilium_analysis.topics.reasons import explain, from_hubble

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cilium_analysis.topics.drops.data import Drops

KEYS = ("reason", "direction", "node")

#: What Hubble calls a request that the layer 7 proxy denied (api/v1/flow/flow.proto); it is
#: answered, for example with 403, and no packet is dropped.
PROXY_DENIAL = "DROP_REASON_UNKNOWN"


def _compare(data: Drops, by: Sequence[str]) -> pd.DataFrame:
    """Set packets in the window beside those that the baseline makes one expect."""
    scale = data.window.length / data.baseline.length
    table = pd.DataFrame(
        {"packets": totals(data.counts, by), "expected": totals(data.usual, by) * scale}
    ).fillna(0.0)
    table["change"] = table["packets"] - table["expected"]
    return table.sort_values(["change", "packets"], ascending=False)


def by_reason(data: Drops) -> pd.DataFrame:
    """Give packets per reason, with what the reason means.

    Returns
    -------
    pandas.DataFrame
        Index ``reason``; ``packets`` in the window, ``expected`` (of the baseline, for a window
        of this length), ``change``, ``share`` of all packets dropped, ``category``, ``meaning``.
    """
    table = _compare(data, ["reason"])
    whole = table["packets"].sum()
    table["share"] = table["packets"] / whole if whole else np.nan
    words = [explain(str(reason)) for reason in table.index]
    table["category"] = [word.category for word in words]
    table["meaning"] = [word.meaning for word in words]
    return table


def by_node(data: Drops) -> pd.DataFrame:
    """Give packets per node.

    Returns
    -------
    pandas.DataFrame
        Index ``node``; ``packets``, ``expected``, ``change``, and ``scraped``: the share of the
        window's steps in which the node's agent was scraped.
    """
    table = _compare(data, ["node"])
    table = table.reindex(table.index.union(data.seen.columns).rename("node"), fill_value=0.0)
    table["scraped"] = verdict.scraped(data.seen).reindex(table.index)
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
    summed = frames.group(data.counts, [by]) / data.window.step.total_seconds()
    summed.columns = summed.columns.get_level_values(by)
    return summed


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
    scale = data.window.length / data.baseline.length
    table = pd.DataFrame(
        {
            "packets": totals(data.counts, by),
            "expected": totals(data.usual, by) * scale,
            "bytes": totals(data.volumes, by),
            "expected bytes": totals(data.usual_volumes, by) * scale,
        },
        dtype="float64",
    ).fillna(0.0)
    # A size is of the same packets only where both counters are there.
    table["bytes/packet"] = (table["bytes"] / table["packets"]).where(table["bytes"] > 0)
    table["usual"] = (table["expected bytes"] / table["expected"]).where(
        table["expected bytes"] > 0
    )
    return table.sort_values(["bytes", "packets"], ascending=False, kind="stable").reset_index()


def volume_rates(data: Drops, by: str = "reason") -> pd.DataFrame:
    """Give the rate of bytes dropped over time, as `rates` [bytes/s]."""
    step = frames.step_seconds(data.volumes) or data.window.step.total_seconds()
    summed = frames.group(data.volumes, [by]) / step
    summed.columns = summed.columns.get_level_values(by)
    return summed


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
    table = _compare(data, KEYS).reset_index()
    order = table["change"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order[:most]].reset_index(drop=True)


def matrix(data: Drops) -> pd.DataFrame:
    """Give packets per node (rows) and reason (columns) in the window; most first."""
    sums = totals(data.counts, ["node", "reason"]).rename("packets").reset_index()
    table = sums.pivot_table(index="node", columns="reason", values="packets", fill_value=0.0)
    rows = table.sum(axis=1).sort_values(ascending=False, kind="stable").index
    columns = table.sum(axis=0).sort_values(ascending=False, kind="stable").index
    return table.loc[rows, columns]


def who(data: Drops, *, most: int = 15) -> pd.DataFrame:
    """Tell whose packets were dropped, as Hubble saw it.

    Parameters
    ----------
    most
        Number of rows.

    Returns
    -------
    pandas.DataFrame
        ``reason``, ``protocol``, ``source``, ``destination``, ``share`` of Hubble's events with
        this reason, and ``packets``: that share of what the datapath counted with this reason
        (NaN where the datapath does not count it, as for requests denied by the proxy).
    """
    named = parties(data.hubble)
    columns = ["reason", "protocol", "source", "destination"]
    events = totals(named, columns)
    events = events[events > 0]
    whole = events.groupby(level="reason").transform("sum")
    table = (events / whole).rename("share").reset_index()
    counted = totals(data.counts, ["reason"])
    table["reason"] = table["reason"].replace(PROXY_DENIAL, "denied by the proxy, no packet drop")
    table["packets"] = table["share"] * table["reason"].map(counted).astype("float64")
    return table.sort_values(
        ["packets", "share"], ascending=False, kind="stable", ignore_index=True
    ).head(most)


def parties(hubble: pd.DataFrame) -> pd.DataFrame:
    """Name both ends of Hubble's events, whichever context labels are configured.

    Parameters
    ----------
    hubble
        Label frame of Hubble's drop events.

    Returns
    -------
    pandas.DataFrame
        Label frame with ``node``, ``reason`` (as the datapath spells it), ``protocol``,
        ``source``, ``destination``; an end that no label names is ``""``.
    """
    spelled = [from_hubble(name) for name in column(frames.labels(hubble), "reason")]
    return name_parties(frames.relabel(hubble, "reason", spelled), ("node", "reason", "protocol"))


def notes(data: Drops) -> list[str]:
    """Say in words what the data cannot show, and how far to trust it."""
    said = []
    if not data.seen.shape[1] and not data.counts.shape[1]:
        said.append("No metrics of Cilium agents in this window: nothing can be said about drops.")
    elif not data.seen.shape[1]:
        said.append("The agents' start times are not in the data: restarts cannot be told.")
    if data.seen.shape[1] and not data.counts.shape[1]:
        said.append("The agents were scraped and no packet was dropped since they count.")
    if not data.usual_seen.shape[1] and not data.usual.shape[1]:
        said.append("No data in the baseline: everything looks new, nothing can be compared.")
    if data.hubble_refused:
        said.append(
            "Hubble's drop series are too many for the budget: who was dropped is left out."
        )
    elif not data.hubble.shape[1]:
        said.append(
            "Whose packets were dropped is not visible: hubble_drop_total is not there"
            " (Helm: hubble.metrics.enabled with drop:labelsContext=source_namespace,"
            "source_workload,destination_namespace,destination_workload)."
        )
    said += data.crowd_note
    if data.seen.shape[1] or data.counts.shape[1]:
        said += defects.notes(data.versions, ["cilium_drop_count_total"])
    if any(_is_address(str(node)) for node in data.counts.columns.get_level_values("node")):
        said.append("Nodes go by their addresses: no label in the data tells their names.")
    said += [*verdict.gaps(data.seen, data.window), *_event_notes(data)]
    return said + [f"Server: {text}" for text in data.warnings]


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _event_notes(data: Drops) -> list[str]:
    said = verdict.started(data.restarts)
    unknown = data.events[data.events["event"] == "unknown_start"]
    for node, amount in unknown.groupby("node")["amount"].sum().items():
        said.append(f"{node}: {amount:,.0f} packets of an unknown time before are not counted.")
    artefacts = data.events[data.events["event"] == "artefact"]
    said += [
        f"{node}: counters fell to 0 and came back (a restart up to Cilium 1.14); not counted."
        for node in sorted(set(artefacts["node"]))
    ]
    return said
