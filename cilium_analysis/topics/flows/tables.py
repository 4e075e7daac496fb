"""Tables about flows, and the notes below them: frames in, frames out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis.frames import totals
from cilium_analysis.metrics import defects
from cilium_analysis.topics import caveats, tables, verdict
from cilium_analysis.topics.flows.data import COUNTERS
from cilium_analysis.topics.parties import namespace_of
from cilium_analysis.topics.telling import only, total

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cilium_analysis.topics.flows.data import Flows


_PAIR = ("source", "destination")
#: What each counter shows, and the option of Hubble that switches it on.
_OPTIONAL = (
    ("Verdicts are", "flows", "flow"),
    ("TCP flags are", "flags", "tcp"),
    ("ICMP is", "icmp", "icmp"),
    ("Ports are", "ports", "port-distribution"),
    ("Policy verdicts are", "policy", "policy"),
    ("Traffic to the world is", "world", "flows-to-world"),
)


def _compare(
    data: Flows,
    name: str,
    by: Sequence[str],
    *,
    labels: Mapping[str, str] | None = None,
    amount: str = "flows",
    most: int = 0,
) -> pd.DataFrame:
    """Compare what a counter of `Counts` counted with the baseline; most first.

    Gives counts, ``expected`` and ``change`` (both NA where the baseline lacks the counter), and
    ``share``, of the series with some labels; all rows unless ``most`` says how many.
    """
    now, baseline = getattr(data.now, name), getattr(data.baseline, name)
    known, scale = baseline.shape[1] > 0, data.window.length / data.baseline.length
    now, baseline = (only(frame, labels or {}) for frame in (now, baseline))
    table = tables.compare(now, baseline, by, amount=amount, scale=scale)
    table = table[(table[[amount, "expected"]] > 0).any(axis=1)]
    table["share"] = tables.shares(table[amount])
    table = table.sort_values([amount, "expected"], ascending=False, kind="stable")
    table = tables.rounded(table.head(most) if most else table)
    if not known:
        unknown = pd.array([pd.NA] * len(table), dtype="Int64")
        table = table.assign(expected=unknown, change=unknown)
    return table


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
    return tables.rates(data.now.flows, by, seconds=data.window.step.total_seconds())


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
    return tables.rates(data.now.flags, "flag", seconds=data.window.step.total_seconds())


def icmp(data: Flows, *, most: int = 20) -> pd.DataFrame:
    """Give ICMP messages per type; most first.

    Returns
    -------
    pandas.DataFrame
        Index ``type``; ``flows``, ``expected``, ``change``, ``share``. The label ``family`` is
        not shown: up to Cilium 1.18 it says IPv4 for ICMPv6 as well.
    """
    return _compare(data, "icmp", ["type"], most=most)


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
        table[[*_PAIR]] = table[[*_PAIR]].map(lambda name: namespace_of(name)[0] or name)
    table = table.groupby(["source", "destination"], as_index=False).sum()
    return table.sort_values("flows", ascending=False, kind="stable", ignore_index=True).head(most)


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
    return _compare(data, "world", by, most=most).reset_index()


def handshakes(data: Flows, *, most: int = 15) -> pd.DataFrame:
    """Compare SYNs with SYN-ACKs, per source and destination; most missing first.

    Parameters
    ----------
    most
        Number of rows.

    Returns
    -------
    pandas.DataFrame
        ``source``, ``destination``, ``syn`` (events), ``verdicts`` (those of them that are
        verdicts of a policy, no packets; NA where that is not known), ``syn-ack``, ``missing``,
        ``expected`` (missing in the baseline, for a window of this length; NA without one),
        ``share`` missing of the SYNs that are packets. Where verdicts are not known, what is
        missing is not either.
    """
    now, baseline = data.now.handshakes, data.baseline.handshakes
    scale = data.window.length / data.baseline.length
    table = pd.DataFrame({"syn": totals(now.asked, _PAIR), "opened": totals(now.opened, _PAIR)})
    nothing = pd.Series(np.nan, index=table.index)
    table["verdicts"] = nothing if now.told is None else totals(now.told, _PAIR)
    table["syn-ack"] = totals(now.answered, _PAIR)
    table["missing"] = nothing if now.told is None else totals(now.missing, _PAIR)
    known = baseline.told is not None and baseline.asked.shape[1] > 0
    table["expected"] = totals(baseline.missing, _PAIR) * scale if known else nothing
    filled = ["verdicts", "syn-ack", "missing"] if now.told is not None else ["syn-ack"]
    filled += ["expected"] if known else []
    table[filled] = table[filled].fillna(0.0)
    table["share"] = (table["missing"] / table["opened"]).where(table["opened"] > 0)
    order = ["missing", "syn"]
    table = table.sort_values(order, ascending=False, kind="stable").head(most)
    amounts = ["syn", "verdicts", "syn-ack", "missing", "expected"]
    return _whole_numbers(table.drop(columns="opened").reset_index(), amounts)


def _whole_numbers(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Give amounts as whole numbers, and what is not known as NA."""
    return table.assign(**{name: table[name].round().astype("Int64") for name in names})


def echoes(data: Flows) -> pd.DataFrame:
    """Compare echo requests with echo replies, in the window and in the baseline.

    Returns
    -------
    pandas.DataFrame
        Index ``when``; ``requests`` (without the verdicts of policies about them, as far as these
        are known), ``replies``, ``missing``, ``share`` of the requests; the last two NA where
        the verdicts are not known.
    """
    rows = {}
    for when, counts in (("window", data.now), ("baseline", data.baseline)):
        requests, replies = total(counts.echoes.opened), total(counts.echoes.answered)
        missing = max(requests - replies, 0.0) if counts.echoes.told is not None else np.nan
        # A window in which nothing was counted says nothing about echo requests.
        if requests or replies:
            rows[when] = (requests, replies, missing, missing / requests if requests else np.nan)
    columns = ["requests", "replies", "missing", "share"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("when")
    return _whole_numbers(table, columns[:3])


def policy(data: Flows) -> pd.DataFrame:
    """Give policy verdicts per direction, match and action; most first.

    Returns
    -------
    pandas.DataFrame
        ``direction``, ``match``, ``action``, ``verdicts``, ``expected``, ``change``, ``share``.
    """
    by = ["direction", "match", "action"]
    return _compare(data, "policy", by, amount="verdicts").reset_index()


def denied(data: Flows, *, most: int = 15) -> pd.DataFrame:
    """Give the denials of policies per source and destination; most first.

    Parameters
    ----------
    most
        Number of rows.

    Returns
    -------
    pandas.DataFrame
        ``source``, ``destination``, ``direction``, ``match``, ``verdicts`` (one per denied
        packet, which `hubble_drop_total` counts twice; or one per request where ``match`` begins
        with ``l7``), ``expected``, ``change``, ``share`` of all denials.
    """
    by = ["source", "destination", "direction", "match"]
    denials = {"action": "dropped"}
    table = _compare(data, "policy", by, labels=denials, amount="verdicts", most=most)
    return table.reset_index()


def notes(data: Flows) -> list[str]:
    """Say what the data cannot show, and how far to trust it."""
    left_out = [
        f"{name} has too many series: sources and destinations are left out."
        for name in data.summed
    ]
    if not data.now.there:
        return verdict.with_source_notes([*_absent(data), *left_out], data)
    said = [
        "Flows are events, not packets or connections: a packet shows up at each point that"
        " reports it and at both ends, and of a connection mostly the first and last ones do."
    ]
    if not data.baseline.there:
        whose = f" of {data.remarks.workloads}" if data.remarks.workloads else ""
        said.append(f"No Hubble metrics{whose} in the baseline: nothing can be compared.")
    said += [*left_out, *data.crowd_note]
    if data.now.flows.shape[1] and not data.summed and not len(talkers(data)):
        said.append(
            "Sources and destinations are not visible (Helm: hubble.metrics.enabled with"
            " flow:labelsContext=source_namespace,source_workload,destination_namespace,"
            "destination_workload, and the same for tcp)."
        )
    said += _handshake_notes(data)
    said += [
        f"{what} not visible: {name} is not there (Helm: hubble.metrics.enabled with {option})."
        for what, name, option in _OPTIONAL
        if not getattr(data.now, name).shape[1] and COUNTERS[name].name not in data.refused
    ]
    shown = [metric.name for name, metric in COUNTERS.items() if getattr(data.now, name).shape[1]]
    said += defects.notes(data.versions, shown)
    said += caveats.hubble_notes(
        data.now.scraped, data.now.restarts, data.now.lost, data.window, versions=data.versions
    )
    return verdict.with_source_notes(said, data)


def _absent(data: Flows) -> list[str]:
    """Say why no flows are visible."""
    if data.refused:
        return []
    if data.now.scraped.shape[1]:
        return [
            "Hubble was scraped and has counted no flows (Helm: hubble.metrics.enabled with flow,"
            " tcp, icmp, port-distribution, policy)."
        ]
    if data.now.agents.shape[1]:
        return [
            "Flows are not visible: there are no metrics of Hubble, only of the agents (Helm:"
            " hubble.enabled and hubble.metrics.enabled)."
        ]
    return ["No metrics of Cilium agents or Hubble in this window at all."]


_SWITCH = " (Helm: hubble.metrics.enabled with flow, and the same context options as tcp)."


def _handshake_notes(data: Flows) -> list[str]:
    """Say what the handshakes cannot show."""
    now, said = data.now.handshakes, []
    if not now.asked.shape[1]:
        return []
    if now.reason:
        which = "namespaces" if now.naming == "namespaces" else "all SYNs and SYN-ACKs of a node"
        said.append(
            f"SYNs and SYN-ACKs name the same ends differently ({now.reason}), so that single"
            f" workloads cannot be judged: {which} are compared (Helm: the same context options"
            " for source and destination)."
        )
    if now.told is None:
        said.append(
            "How many of the SYNs are verdicts of policies is not known (a policy that selects a"
            " workload lets one SYN count two or three times): missing SYN-ACKs are not counted,"
            " and an outage is seen by SYN-ACKs that fall away" + ("." if data.refused else _SWITCH)
        )
    return said
