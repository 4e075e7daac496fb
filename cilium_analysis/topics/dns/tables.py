"""Tables about DNS: frames in, frames out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.frames import totals
from cilium_analysis.metrics import defects
from cilium_analysis.topics.buckets import untold
from cilium_analysis.topics.dns.asking import proxy_latency
from cilium_analysis.topics.dns.codes import (
    ABSENT,
    DENIED,
    FINE,
    NO_RESPONSE,
    UNKNOWN,
)
from cilium_analysis.topics.dns.data import (
    ANSWERED,
    ASKED,
    KEYS,
    PROXY_TIMES,
)
from cilium_analysis.topics.telling import rounded, trust

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cilium_analysis.topics.dns.data import Dns

MEANINGS = {
    FINE: "answered; also a name without such a record",
    "Format Error": "the server could not read the query",
    "Server Failure": "the server, or one it asked, could not answer",
    ABSENT: "no such name; ordinary where search domains are tried (ndots)",
    "Not Implemented": "the server does not know this kind of query",
    "Query Refused": "the server would not answer",
    DENIED: "Cilium's DNS proxy refused the query, by policy",
    NO_RESPONSE: "asked, and Hubble saw no answer",
    UNKNOWN: "answered; no label tells the code",
}


def missing(data: Dns) -> pd.DataFrame:
    """Give the queries without a response per step in the window.

    Returns
    -------
    pandas.DataFrame
        Label frame as `Dns.counts`, with ``no response`` for the rcode and the server that was
        asked. An answer that comes a step later than its query is not missing.
    """
    return unanswered(data.asked, data.counts)


def unanswered(asked: pd.DataFrame, counts: pd.DataFrame) -> pd.DataFrame:
    """Give the queries without a response per step, by client, name, node and server asked.

    What is missing is counted over all servers of a client and name, as an answer may come from
    a server under another name; then it belongs to the servers that left queries open.

    Parameters
    ----------
    asked, counts
        As in `Dns`, of the same steps.
    """
    by = ["node", "query", "source"]
    answers = counts.loc[:, counts.columns.get_level_values("rcode") != DENIED]
    gone = _open(frames.group(asked, by), frames.group(answers, by))
    sent = frames.group(asked, [*by, "destination"])
    each = _open(sent, frames.group(answers, [*by, "destination"]))
    # Late answers of one server may hide what another one left open: then all share it.
    wholes = [frames.group(part, by).to_numpy(na_value=0.0) for part in (each, sent)]
    place = gone.columns.get_indexer(pd.MultiIndex.from_frame(frames.labels(sent)[by]))
    own, all_own = each.to_numpy(na_value=0.0), wholes[0][:, place]
    some, all_some = sent.to_numpy(na_value=0.0), wholes[1][:, place]
    parts, whole = np.where(all_own > 0, own, some), np.where(all_own > 0, all_own, all_some)
    shares = np.divide(parts, whole, out=np.zeros_like(parts), where=whole > 0)
    missed = sent * 0.0 + shares * gone.to_numpy()[:, place]
    return frames.relabel(missed, "rcode", [NO_RESPONSE] * missed.shape[1])


def _open(queries: pd.DataFrame, responses: pd.DataFrame) -> pd.DataFrame:
    """Give the queries that no response of this step or the next one belongs to."""
    responses = responses.reindex(columns=queries.columns)
    left = queries - responses.fillna(0.0)
    # Answers beyond the queries of a step belong to the queries of the step before.
    late = left.shift(-1).clip(upper=0.0).fillna(0.0)
    return (left + late).clip(lower=0.0)


def ended(asked: pd.DataFrame, counts: pd.DataFrame) -> pd.DataFrame:
    """Give how all lookups ended, also those without a response.

    Parameters
    ----------
    asked, counts
        As in `Dns`, of the same steps.
    """
    return pd.concat([counts, unanswered(asked, counts)], axis=1)


def rates(data: Dns, by: str = "rcode") -> pd.DataFrame:
    """Give the rate of responses over time, one plain column per rcode (or client, or server).

    Parameters
    ----------
    by
        The label to tell apart.

    Returns
    -------
    pandas.DataFrame
        [responses/s]; the time of a row is the end of its step. By rcode, queries without a
        response have a column of their own.
    """
    counts = data.counts
    if by == "rcode" and missing(data).to_numpy(na_value=0.0).any():
        counts = pd.concat([counts, missing(data)], axis=1)
    summed = frames.group(counts, [by]) / data.window.step.total_seconds()
    summed.columns = summed.columns.get_level_values(by)
    return summed


def flow(data: Dns) -> pd.DataFrame:
    """Give the rates of queries sent on and of responses over time [1/s]."""
    answers = data.counts.loc[:, data.counts.columns.get_level_values("rcode") != DENIED]
    seconds = data.window.step.total_seconds()
    return pd.DataFrame(
        {
            "queries": frames.group(data.asked, []).sum(axis=1, min_count=1) / seconds,
            "responses": frames.group(answers, []).sum(axis=1, min_count=1) / seconds,
        }
    )


def _compare(data: Dns, by: Sequence[str]) -> pd.DataFrame:
    """Set responses in the window beside those that the baseline makes one expect."""
    scale = data.window.length / data.baseline.length
    now = pd.concat([data.counts, missing(data)], axis=1)
    then = pd.concat([data.usual, unanswered(data.usual_asked, data.usual)], axis=1)
    table = pd.DataFrame(
        {"responses": totals(now, by), "expected": totals(then, by) * scale}
    ).fillna(0.0)
    table = table.loc[(table > 0).any(axis=1)]
    table["change"] = table["responses"] - table["expected"]
    return table


def by_rcode(data: Dns) -> pd.DataFrame:
    """Give responses per result code, with what the code means; most first.

    Returns
    -------
    pandas.DataFrame
        Index ``rcode``; ``responses`` in the window, ``expected`` (of the baseline, for a window
        of this length), ``change``, ``share`` of all, ``meaning``. Queries without a response
        are a row of their own.
    """
    table = _compare(data, ["rcode"])
    whole = table["responses"].sum()
    table["share"] = table["responses"] / whole if whole else np.nan
    table["meaning"] = [MEANINGS.get(str(code), "") for code in table.index]
    return rounded(table.sort_values("responses", ascending=False, kind="stable"))


def by_client(data: Dns, *, most: int = 15) -> pd.DataFrame:
    """Give queries and responses per client, those with most failures first.

    Parameters
    ----------
    most
        Number of rows.

    Returns
    -------
    pandas.DataFrame
        Index ``client``; ``queries`` (also those denied), ``responses``, ``missing``, ``nxdomain``
        (names that do not exist), ``failed`` (other codes than ``No Error``, and missing),
        ``share`` of the queries that failed.
    """
    return _by_party(data, "source", most).rename_axis("client")


def by_server(data: Dns, *, most: int = 15) -> pd.DataFrame:
    """Give lookups per DNS server that was asked, as `by_client`."""
    return _by_party(data, "destination", most).rename_axis("server")


def _by_party(data: Dns, side: str, most: int) -> pd.DataFrame:
    sums = totals(data.counts, [side, "rcode"]).rename("n").reset_index()
    codes = sums.pivot_table(index=side, columns="rcode", values="n", fill_value=0.0)
    none = pd.Series(0.0, index=codes.index)
    denied, absent, fine, unknown = (
        codes.get(code, none) for code in (DENIED, ABSENT, FINE, UNKNOWN)
    )
    table = pd.DataFrame(
        {
            "queries": totals(data.asked, [side]).add(denied, fill_value=0.0),
            "responses": codes.sum(axis=1).sub(denied, fill_value=0.0),
            "missing": totals(missing(data), [side]),
            "nxdomain": absent,
            "failed": codes.sum(axis=1).sub(fine + absent + unknown, fill_value=0.0),
            "unknown": unknown,
        }
    ).fillna(0.0)
    table["failed"] += table["missing"]
    whole = table[["queries", "responses"]].max(axis=1)
    table["share"] = (table["failed"] / whole).where(whole > table["unknown"])
    order = ["failed", "queries"]
    ranked = rounded(table.sort_values(order, ascending=False, kind="stable").head(most))
    return ranked if ranked["unknown"].any() else ranked.drop(columns="unknown")


def by_name(data: Dns, *, most: int = 15) -> pd.DataFrame:
    """Give responses per name that was looked up and result code; most first.

    Parameters
    ----------
    most
        Number of rows.

    Returns
    -------
    pandas.DataFrame
        ``query``, ``rcode``, ``responses``, ``expected``, ``change``; empty if Hubble does not
        count names (its option ``dns:query``).
    """
    if not named(data):
        return pd.DataFrame(columns=["query", "rcode", "responses", "expected", "change"])
    table = _compare(data, ["query", "rcode"]).reset_index()
    table = table.sort_values("responses", ascending=False, kind="stable", ignore_index=True)
    return rounded(table.head(most))


def named(data: Dns) -> bool:
    """Tell whether Hubble counts the names that are looked up."""
    frames_ = (data.counts, data.usual)
    return any((f.columns.get_level_values("query") != "").any() for f in frames_)


def by_type(data: Dns) -> pd.DataFrame:
    """Give the records in responses by type, such as ``A``; most first.

    Returns
    -------
    pandas.DataFrame
        Index ``type``; ``records``, ``share``.
    """
    sums = totals(data.records, ["type"])
    table = pd.DataFrame({"records": sums, "share": sums / sums.sum() if sums.sum() else np.nan})
    return rounded(table.sort_values("records", ascending=False, kind="stable"))


def changes(data: Dns, *, most: int = 15) -> pd.DataFrame:
    """Give the combinations of result code, client, server and name that changed most.

    Parameters
    ----------
    most
        Number of rows.

    Returns
    -------
    pandas.DataFrame
        ``rcode``, ``source``, ``destination``, ``query``, ``responses``, ``expected``,
        ``change``; by the size of the change, rises and falls alike.
    """
    table = _compare(data, KEYS).reset_index()
    order = table["change"].abs().sort_values(ascending=False, kind="stable").index
    return rounded(table.loc[order[:most]].reset_index(drop=True))


def notes(data: Dns) -> list[str]:
    """Say in words what the data cannot show, and how far to trust it."""
    said = []
    there = data.counts.shape[1] or data.asked.shape[1]
    if not there and data.refused:
        said.append("DNS is unknown: the server refused to tell of it.")
    elif not there and not data.seen.shape[1]:
        said.append(
            "DNS is unknown, which is not the same as no DNS traffic: no target with Hubble's"
            " metrics was scraped in this window"
            + ("." if data.agents.shape[1] else ", nor any agent.")
        )
    elif not there:
        said.append(
            "DNS is not visible here, which is not the same as no DNS traffic: these metrics exist"
            " only where a policy with DNS rules (toFQDNs with rules: dns) selects the traffic"
            " and Hubble counts it (Helm: hubble.metrics.enabled with dns)."
        )
    if there and not (data.usual.shape[1] or data.usual_asked.shape[1]):
        said.append("No DNS metrics in the baseline: nothing can be compared.")
    if data.summed and not data.refused:
        said.append("The series are too many for the budget: who asked for what is left out.")
    elif there:
        said += _said_of_labels(data)
    if there:
        mixed = bool(proxy_latency(data)["p99"].isna().any())
        said += untold(
            PROXY_TIMES, "lookup", data.proxy_times, unread=data.remarks.unread, mixed=mixed
        )
    if data.both_ends:
        said.append(
            "Policies with DNS rules select both ends, so that each lookup is counted twice:"
            " where it leaves and where it arrives."
        )
    if data.asked.shape[1] and not data.counts.shape[1]:
        said.append("Queries but not a single response: see whether Hubble counts responses.")
    said += [
        *(defects.notes(data.versions, [ASKED.name, ANSWERED.name]) if there else ()),
        *data.crowd_note,
        *trust(data.seen, data.restarts, data.lost, data.window, versions=data.versions),
    ]
    return [*said, *data.remarks.all, *(f"Server: {text}" for text in data.warnings)]


def _said_of_labels(data: Dns) -> list[str]:
    said = _said_of_codes(data)
    if not named(data):
        said.append("Names are not counted: Hubble's option dns:query adds them (many series).")
    if not any(data.counts.columns.get_level_values("source") != ""):
        said.append(
            "Who asked is not visible (Helm: hubble.metrics.enabled with"
            " dns:query;labelsContext=source_namespace,source_workload,"
            "destination_namespace,destination_workload)."
        )
    said.append(
        "Only lookups that a policy with DNS rules selects are counted; others are not visible."
    )
    return said


def _said_of_codes(data: Dns) -> list[str]:
    """Say where the response codes were read, and for how many responses there are none."""
    said = []
    if data.code_label != "rcode":
        said.append(
            f"Hubble exports the response code under the name {data.code_label} here, a fault of"
            " Cilium with some numbers of context labels; it was read from there."
        )
    for counts, when in ((data.counts, "window"), (data.usual, "baseline")):
        sums = totals(counts, ["rcode"])
        unknown = float(sums.get(UNKNOWN, 0.0))
        if unknown > 0:
            said.append(
                f"No label tells the code of {unknown / sums.sum():.1%} of the responses in the"
                f" {when}: whether these lookups failed is unknown."
            )
    return said
