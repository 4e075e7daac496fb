"""Tables about flows: frames in, frames out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.frames import totals
from cilium_analysis.metrics import defects
from cilium_analysis.topics.flows.data import METRICS
from cilium_analysis.topics.telling import rounded, trust

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cilium_analysis.topics.flows.data import Counts, Flows


def _compare(
    data: Flows, name: str, by: Sequence[str], *, column: str = "flows", most: int = 0
) -> pd.DataFrame:
    """Set what was counted in the window beside what the baseline makes one expect."""
    scale = data.window.length / data.baseline.length
    now, then = totals(getattr(data.now, name), by), totals(getattr(data.usual, name), by)
    table = pd.DataFrame({column: now, "expected": then * scale}).fillna(0.0)
    table["change"] = table[column] - table["expected"]
    whole = table[column].sum()
    table["share"] = table[column] / whole if whole else np.nan
    table = table.sort_values([column, "expected"], ascending=False, kind="stable")
    return rounded(table.head(most) if most else table)


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
    return _compare(data, "flows", ["verdict", "type", "subtype"], most=most).reset_index()


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
    return _compare(data, "flows", ["node"], most=most)


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
    return _compare(data, "icmp", ["type"], most=most)


def echoes(data: Flows) -> pd.DataFrame:
    """Compare echo requests with echo replies, in the window and in the baseline.

    Returns
    -------
    pandas.DataFrame
        Index ``when``; ``requests``, ``replies``, ``missing``, ``share`` of the requests.
    """
    rows = {}
    for when, counts in (("window", data.now), ("baseline", data.usual)):
        sums = totals(counts.icmp, ["type"])
        rows[when] = {
            "requests": sums.get("EchoRequest", 0.0),
            "replies": sums.get("EchoReply", 0.0),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("when")
    if not table.to_numpy().any():
        table = table.iloc[:0]
    table["missing"] = (table["requests"] - table["replies"]).clip(lower=0.0)
    table["share"] = (table["missing"] / table["requests"]).where(table["requests"] > 0)
    return rounded(table)


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
    table = _compare(data, "ports", ["port", "protocol"], most=most)
    table.index = pd.Index([f"{port}/{protocol}" for port, protocol in table.index], name="port")
    return table


def policy(data: Flows) -> pd.DataFrame:
    """Give policy verdicts per direction, match and action; most first.

    Returns
    -------
    pandas.DataFrame
        ``direction``, ``match``, ``action``, ``verdicts``, ``expected``, ``change``, ``share``.
    """
    by = ["direction", "match", "action"]
    return _compare(data, "policy", by, column="verdicts").reset_index()


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
    table = _compare(data, "flows", ["source", "destination"]).reset_index()
    table = table[(table["source"] != "") | (table["destination"] != "")]
    if by == "namespace":
        table[["source", "destination"]] = table[["source", "destination"]].map(_namespace)
    table = table.groupby(["source", "destination"], as_index=False).sum()
    return table.sort_values("flows", ascending=False, kind="stable", ignore_index=True).head(most)


def _namespace(name: str) -> str:
    return name.partition("/")[0]


def unanswered(counts: Counts) -> pd.DataFrame:
    """Give the SYNs without a SYN-ACK per step, by node and parties.

    Parameters
    ----------
    counts
        As in `Flows`.

    Returns
    -------
    pandas.DataFrame
        Label frame (``destination``, ``node``, ``source``); a SYN-ACK that comes a step later
        than its SYN is not missing.
    """
    by = ["destination", "node", "source"]
    opened = frames.group(of_flag(counts, "SYN"), by)
    answered = frames.group(of_flag(counts, "SYN-ACK"), by).reindex(columns=opened.columns)
    open_ = opened - answered.fillna(0.0)
    # SYN-ACKs beyond the SYNs of a step belong to the SYNs of the step before.
    late = open_.shift(-1).clip(upper=0.0).fillna(0.0)
    return (open_ + late).clip(lower=0.0)


def of_flag(counts: Counts, flag: str) -> pd.DataFrame:
    """Give what was counted of one TCP flag."""
    return counts.flags.loc[:, counts.flags.columns.get_level_values("flag") == flag]


def handshakes(data: Flows, *, most: int = 15) -> pd.DataFrame:
    """Compare SYNs with SYN-ACKs and RSTs, per source and destination; most missing first.

    Parameters
    ----------
    most
        Number of rows.

    Returns
    -------
    pandas.DataFrame
        ``source``, ``destination``, ``syn``, ``syn-ack``, ``missing``, ``expected`` (missing in
        the baseline, for a window of this length), ``rst``. A RST may come from either end.
    """
    by = ["source", "destination"]
    scale = data.window.length / data.baseline.length
    parts = {flag.lower(): totals(of_flag(data.now, flag), by) for flag in ("SYN", "SYN-ACK")}
    parts["missing"] = totals(unanswered(data.now), by)
    parts["expected"] = totals(unanswered(data.usual), by) * scale
    parts["rst"] = totals(of_flag(data.now, "RST"), by)
    table = pd.DataFrame(parts).fillna(0.0).reset_index()
    order = ["missing", "rst", "syn"]
    table = table.sort_values(order, ascending=False, kind="stable", ignore_index=True)
    return rounded(table.head(most))


def notes(data: Flows) -> list[str]:
    """Say in words what the data cannot show, and how far to trust it."""
    if not data.now.there:
        return _absent(data) + _left_out(data) + [f"Server: {text}" for text in data.warnings]
    said = [
        "Flows are events, not packets or connections: a packet shows up at each point that"
        " reports it and at both ends, and of a connection mostly the first and last ones do."
    ]
    if not data.usual.there:
        said.append("No Hubble metrics in the baseline: nothing can be compared.")
    said += [*_left_out(data), *data.crowd_note]
    if not data.summed and not len(talkers(data)):
        said.append(
            "Who talks to whom is not visible (Helm: hubble.metrics.enabled with"
            " flow:labelsContext=source_namespace,source_workload,destination_namespace,"
            "destination_workload, and the same for tcp)."
        )
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
        + [f"Server: {text}" for text in data.warnings]
    )


_OPTIONAL = (
    ("Verdicts are", "flows", "flow"),
    ("TCP flags are", "flags", "tcp"),
    ("ICMP is", "icmp", "icmp"),
    ("Ports are", "ports", "port-distribution"),
    ("Policy verdicts are", "policy", "policy"),
)


def _refused(data: Flows, name: str) -> bool:
    return METRICS[name].name in data.refused


def _left_out(data: Flows) -> list[str]:
    said = [f"{name} has too many series: who it was is left out." for name in data.summed]
    return said + [f"{name} has too many series and is left out." for name in data.refused]


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
