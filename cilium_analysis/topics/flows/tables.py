"""Tables about flows: frames in, frames out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.frames import totals
from cilium_analysis.metrics import defects
from cilium_analysis.topics.flows.data import METRICS
from cilium_analysis.topics.flows.handshakes import handshake_notes
from cilium_analysis.topics.parties import namespace_of
from cilium_analysis.topics.telling import rounded, trust

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cilium_analysis.topics.flows.data import Flows


def compare(
    data: Flows,
    name: str,
    by: Sequence[str],
    *,
    chosen: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
    column: str = "flows",
    most: int = 0,
) -> pd.DataFrame:
    """Set what was counted in the window beside what the baseline makes one expect.

    Parameters
    ----------
    data
        As from `cilium_analysis.topics.flows.load`.
    name
        Of the counter, as in `Counts`.
    by
        Labels to keep.
    chosen
        Picks some series of it.
    column
        What the counts go by.
    most
        Number of rows; 0 for all.

    Returns
    -------
    pandas.DataFrame
        Index ``by``; the counts, ``expected`` and ``change`` (both NA where the baseline does not
        have the counter), ``share``.
    """
    now, usual = getattr(data.now, name), getattr(data.usual, name)
    known, scale = usual.shape[1] > 0, data.window.length / data.baseline.length
    now, usual = (chosen(frame) if chosen else frame for frame in (now, usual))
    counted = {column: totals(now, by), "expected": totals(usual, by) * scale}
    table = pd.DataFrame(counted).fillna(0.0)
    table = table[(table > 0).any(axis=1)]
    table["change"] = table[column] - table["expected"]
    whole = table[column].sum()
    table["share"] = table[column] / whole if whole else np.nan
    table = table.sort_values([column, "expected"], ascending=False, kind="stable")
    table = rounded(table.head(most) if most else table)
    if not known:
        unknown = pd.array([pd.NA] * len(table), dtype="Int64")
        table = table.assign(expected=unknown, change=unknown)
    return table


def _rates(counts: pd.DataFrame, by: str, seconds: float) -> pd.DataFrame:
    summed = frames.group(counts, [by]) / seconds
    summed.columns = summed.columns.get_level_values(by)
    return summed


def rates(data: Flows, by: str = "verdict") -> pd.DataFrame:
    """Give the rate of flow events over time, one plain column per verdict (or type, …).

    Parameters
    ----------
    by
        ``verdict``, ``type``, ``subtype``, ``protocol``, ``source``, ``destination`` or ``node``.

    Returns
    -------
    pandas.DataFrame
        [flows/s]; the time of a row is the end of its step.
    """
    return _rates(data.now.flows, by, data.window.step.total_seconds())


def verdicts(data: Flows, *, most: int = 20) -> pd.DataFrame:
    """Give flow events per verdict, type and subtype; most first.

    Parameters
    ----------
    most
        Number of rows.

    Returns
    -------
    pandas.DataFrame
        ``verdict``, ``type``, ``subtype``, ``flows`` in the window, ``expected`` (of the
        baseline, for a window of this length), ``change``, ``share``.
    """
    return compare(data, "flows", ["verdict", "type", "subtype"], most=most).reset_index()


def by_node(data: Flows, *, most: int = 20) -> pd.DataFrame:
    """Give flow events per node, as its Hubble saw them; most first.

    Parameters
    ----------
    most
        Number of rows.

    Returns
    -------
    pandas.DataFrame
        Index ``node``; ``flows``, ``expected``, ``change``, ``share``.
    """
    return compare(data, "flows", ["node"], most=most)


def flags(data: Flows) -> pd.DataFrame:
    """Give the rate of TCP flags over time, one plain column per flag [flows/s]."""
    return _rates(data.now.flags, "flag", data.window.step.total_seconds())


def icmp(data: Flows, *, most: int = 20) -> pd.DataFrame:
    """Give ICMP messages per type; most first.

    Returns
    -------
    pandas.DataFrame
        Index ``type``; ``flows``, ``expected``, ``change``, ``share``. The label ``family`` is
        not shown: up to Cilium 1.18 it says IPv4 for ICMPv6 as well.
    """
    return compare(data, "icmp", ["type"], most=most)


def ports(data: Flows, *, most: int = 15) -> pd.DataFrame:
    """Give forwarded flow events per protocol and destination port; most first.

    Parameters
    ----------
    most
        Number of rows.

    Returns
    -------
    pandas.DataFrame
        Index ``port``, such as ``443/TCP``; ``flows``, ``expected``, ``change``, ``share``.
    """
    table = compare(data, "ports", ["port", "protocol"], most=most)
    table.index = pd.Index([f"{port}/{protocol}" for port, protocol in table.index], name="port")
    return table


def talkers(data: Flows, by: str = "workload", *, most: int = 15) -> pd.DataFrame:
    """Give flow events per pair of workloads or namespaces; most first.

    Parameters
    ----------
    by
        ``workload`` or ``namespace``; whatever the context labels name.
    most
        Number of rows.

    Returns
    -------
    pandas.DataFrame
        ``source``, ``destination``, ``flows``, ``expected``, ``change``, ``share``; pairs of
        which neither end is named are left out.
    """
    table = compare(data, "flows", ["source", "destination"]).reset_index()
    table = table[(table["source"] != "") | (table["destination"] != "")]
    if by == "namespace":
        table[["source", "destination"]] = table[["source", "destination"]].map(_space)
    table = table.groupby(["source", "destination"], as_index=False).sum()
    return table.sort_values("flows", ascending=False, kind="stable", ignore_index=True).head(most)


def _space(name: str) -> str:
    return namespace_of(name)[0] or name


def world(data: Flows, *, most: int = 15) -> pd.DataFrame:
    """Give flow events toward addresses outside the cluster, per source; most first.

    Parameters
    ----------
    most
        Number of rows.

    Returns
    -------
    pandas.DataFrame
        ``source``, ``destination``, ``protocol``, ``port`` (where Hubble's option ``port`` is
        set), ``verdict``, ``flows``, ``expected``, ``change``, ``share``.
    """
    by = ["source", "destination", "protocol", "port", "verdict"]
    return compare(data, "world", by, most=most).reset_index()


def notes(data: Flows) -> list[str]:
    """Say in words what the data cannot show, and how far to trust it."""
    if not data.now.there:
        return (
            _absent(data)
            + _left_out(data)
            + [*data.remarks.all, *(f"Server: {text}" for text in data.warnings)]
        )
    said = [
        "Flows are events, not packets or connections: a packet shows up at each point that"
        " reports it and at both ends, and of a connection mostly the first and last ones do."
    ]
    if not data.usual.there:
        said.append("No Hubble metrics in the baseline: nothing can be compared.")
    said += [*_left_out(data), *data.crowd_note]
    if data.now.flows.shape[1] and not data.summed and not len(talkers(data)):
        said.append(
            "Who talks to whom is not visible (Helm: hubble.metrics.enabled with"
            " flow:labelsContext=source_namespace,source_workload,destination_namespace,"
            "destination_workload, and the same for tcp)."
        )
    said += handshake_notes(data)
    said += [
        f"{what} not visible: {name} is not there (Helm: hubble.metrics.enabled with {option})."
        for what, name, option in _OPTIONAL
        if not getattr(data.now, name).shape[1] and not _refused(data, name)
    ]
    shown = [metric.name for name, metric in METRICS.items() if getattr(data.now, name).shape[1]]
    return (
        said
        + defects.notes(data.versions, shown)
        + trust(data.now.seen, data.restarts, data.lost, data.window, versions=data.versions)
        + [*data.remarks.all, *(f"Server: {text}" for text in data.warnings)]
    )


_OPTIONAL = (
    ("Verdicts are", "flows", "flow"),
    ("TCP flags are", "flags", "tcp"),
    ("ICMP is", "icmp", "icmp"),
    ("Ports are", "ports", "port-distribution"),
    ("Policy verdicts are", "policy", "policy"),
    ("Traffic to the world is", "world", "flows-to-world"),
)


def _refused(data: Flows, name: str) -> bool:
    return METRICS[name].name in data.refused


def _left_out(data: Flows) -> list[str]:
    return [f"{name} has too many series: who it was is left out." for name in data.summed]


def _absent(data: Flows) -> list[str]:
    if data.refused:
        return []
    if data.now.seen.shape[1]:
        return [
            "Hubble was scraped and has counted no flows (Helm: hubble.metrics.enabled with flow,"
            " tcp, icmp, port-distribution, policy)."
        ]
    if data.agents.shape[1]:
        return [
            "Flows are not visible: there are no metrics of Hubble, only of the agents (Helm:"
            " hubble.enabled and hubble.metrics.enabled)."
        ]
    return ["No metrics of Cilium agents or Hubble in this window at all."]
