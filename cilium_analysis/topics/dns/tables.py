"""Tables about DNS, and the notes below them: frames in, frames out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.frames import totals
from cilium_analysis.metrics import defects
from cilium_analysis.topics import caveats, tables, verdict
from cilium_analysis.topics.buckets import BOUNDS, bounds, by_bound, quantiles, untold
from cilium_analysis.topics.dns.data import ANSWERED, ASKED, KEYS, PROXY_TIMES
from cilium_analysis.topics.dns.outcomes import (
    ABSENT,
    DENIED,
    FINE,
    NO_RESPONSE,
    UNKNOWN,
    ended,
    unanswered,
)

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
    return unanswered(data.now.asked, data.now.counts)


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
    counts = data.now.counts
    if by == "rcode" and missing(data).to_numpy(na_value=0.0).any():
        counts = pd.concat([counts, missing(data)], axis=1)
    return tables.rates(counts, by, seconds=data.window.step.total_seconds())


def flow(data: Dns) -> pd.DataFrame:
    """Give the rates of queries sent on and of responses over time [1/s]."""
    answers = data.now.counts.loc[:, data.now.counts.columns.get_level_values("rcode") != DENIED]
    seconds = data.window.step.total_seconds()
    return pd.DataFrame(
        {
            "queries": frames.group(data.now.asked, []).sum(axis=1, min_count=1) / seconds,
            "responses": frames.group(answers, []).sum(axis=1, min_count=1) / seconds,
        }
    )


def _compare(data: Dns, by: Sequence[str]) -> pd.DataFrame:
    """Compare lookups, also those without a response, with what the baseline makes one expect."""
    now, baseline = (
        ended(data.now.asked, data.now.counts),
        ended(data.baseline.asked, data.baseline.counts),
    )
    scale = data.window.length / data.baseline.length
    table = tables.compare(now, baseline, by, amount="responses", scale=scale)
    return table[(table[["responses", "expected"]] > 0).any(axis=1)]


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
    table["share"] = tables.shares(table["responses"])
    table["meaning"] = [MEANINGS.get(str(code), "") for code in table.index]
    return tables.rounded(table.sort_values("responses", ascending=False, kind="stable"))


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
    sums = totals(data.now.counts, [side, "rcode"]).rename("n").reset_index()
    codes = sums.pivot_table(index=side, columns="rcode", values="n", fill_value=0.0)
    none = pd.Series(0.0, index=codes.index)
    denied, absent, fine, unknown = (
        codes.get(code, none) for code in (DENIED, ABSENT, FINE, UNKNOWN)
    )
    table = pd.DataFrame(
        {
            "queries": totals(data.now.asked, [side]).add(denied, fill_value=0.0),
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
    ranked = tables.rounded(table.sort_values(order, ascending=False, kind="stable").head(most))
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
    if not _named(data):
        return pd.DataFrame(columns=["query", "rcode", "responses", "expected", "change"])
    table = _compare(data, ["query", "rcode"]).reset_index()
    table = table.sort_values("responses", ascending=False, kind="stable", ignore_index=True)
    return tables.rounded(table.head(most))


def _named(data: Dns) -> bool:
    """Tell whether Hubble counts the names that are looked up."""
    return any(
        any(frames.values(frame, "query")) for frame in (data.now.counts, data.baseline.counts)
    )


def by_type(data: Dns) -> pd.DataFrame:
    """Give the records in responses by type, such as ``A``; most first.

    Returns
    -------
    pandas.DataFrame
        Index ``type``; ``records``, ``share``.
    """
    sums = totals(data.now.records, ["type"])
    table = pd.DataFrame({"records": sums, "share": tables.shares(sums)})
    return tables.rounded(table.sort_values("records", ascending=False, kind="stable"))


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
    return tables.rounded(tables.most_changed(_compare(data, KEYS), most))


def by_qtype(data: Dns) -> pd.DataFrame:
    """Give queries and responses by the type of record that was asked for.

    Returns
    -------
    pandas.DataFrame
        Index ``qtypes``; ``queries`` sent on, ``responses``, ``missing``, ``nxdomain`` (names that
        do not exist), ``failed`` (other codes than ``No Error``, and missing), ``denied`` (by
        policy), ``expected`` responses (of the baseline, for a window of this length); most
        queries first.
    """
    scale = data.window.length / data.baseline.length
    by = ["qtypes", "kind", "rcode"]
    now, baseline = totals(data.now.types, by), totals(data.baseline.types, by)
    kind, rcode = (now.index.get_level_values(name) for name in ("kind", "rcode"))
    answered = kind == "responses"
    parts = {
        "queries": now[~answered & (rcode != DENIED)],
        "responses": now[answered],
        "nxdomain": now[answered & (rcode == ABSENT)],
        "failed": now[answered & ~rcode.isin([FINE, ABSENT, UNKNOWN])],
        "denied": now[~answered & (rcode == DENIED)],
        "expected": baseline[baseline.index.get_level_values("kind") == "responses"] * scale,
    }
    sums = {name: part.groupby(level="qtypes").sum() for name, part in parts.items()}
    table = pd.DataFrame(sums, dtype="float64").fillna(0.0).rename_axis("qtypes")
    table.insert(2, "missing", (table["queries"] - table["responses"]).clip(lower=0.0))
    table["failed"] += table["missing"]
    table = table[(table > 0).any(axis=1)]
    return tables.rounded(table.sort_values("queries", ascending=False, kind="stable"))


def by_ips(data: Dns) -> pd.DataFrame:
    """Give responses by how many addresses they returned.

    Returns
    -------
    pandas.DataFrame
        Index ``ips returned``; ``responses``, ``share``.
    """
    sums = totals(data.now.types, ["kind", "ips_returned"])
    sums = sums[sums.index.get_level_values("kind") == "responses"].droplevel("kind")
    sums = sums[sums > 0].rename_axis("ips returned").sort_values(ascending=False, kind="stable")
    return tables.rounded(pd.DataFrame({"responses": sums, "share": tables.shares(sums)}))


def proxy_latency(data: Dns) -> pd.DataFrame:
    """Give how long lookups took in Cilium's DNS proxy, by step and outcome.

    Returns
    -------
    pandas.DataFrame
        ``step`` (``upstreamTime`` is the DNS server's), ``outcome`` (``allow``, ``denied``,
        ``timeout``, …), ``lookups``, quantiles ``p50``, ``p95``, ``p99``, ``usual p95`` and
        ``usual p99`` [s], interpolated within the buckets of their histogram (`BOUNDS`); longest
        first.
    """
    by = ["scope", "error"]
    baseline = by_bound(data.baseline.proxy_times, by)
    rows = [
        {
            "step": key[0],
            "outcome": key[1],
            "lookups": max(buckets.values()),
            **quantiles(buckets, (0.5, 0.95, 0.99)),
            **quantiles(baseline.get(key, {}), (0.95, 0.99), before="usual "),
            **dict(zip(BOUNDS, bounds(buckets, baseline.get(key, {})), strict=True)),
        }
        for key, buckets in by_bound(data.now.proxy_times, by).items()
        if max(buckets.values()) >= 0.5
    ]
    names = ["step", "outcome", "lookups", "p50", "p95", "p99", "usual p95", "usual p99", *BOUNDS]
    table = pd.DataFrame(rows, columns=names)
    return table.sort_values(["p99", "lookups"], ascending=False, kind="stable", ignore_index=True)


def waits(data: Dns) -> pd.DataFrame:
    """Give how long each node's DNS proxy waited for DNS servers.

    Returns
    -------
    pandas.DataFrame
        Index ``node``; ``lookups`` sent on, ``mean time`` [s]; the slowest first.
    """
    sums = totals(data.now.waited, ["part", "node"]).rename("total").reset_index()
    counts, seconds = (
        sums[sums["part"] == part].set_index("node")["total"] for part in ("count", "sum")
    )
    counts = counts[counts > 0]
    table = pd.DataFrame(
        {"lookups": counts.round(), "mean time": seconds.reindex(counts.index) / counts}
    )
    return table.sort_values("mean time", ascending=False, kind="stable")


def notes(data: Dns) -> list[str]:
    """Say what the data cannot show, and how far to trust it."""
    said = []
    there = data.now.counts.shape[1] or data.now.asked.shape[1]
    if not there and data.refused:
        said.append("DNS is unknown: the server refused to tell of it.")
    elif not there and not data.now.scraped.shape[1]:
        said.append(
            "DNS is unknown, which is not the same as no DNS traffic: no target with Hubble's"
            " metrics was scraped in this window"
            + ("." if data.now.agents.shape[1] else ", nor any agent.")
        )
    elif not there:
        said.append(
            "DNS is not visible here, which is not the same as no DNS traffic: these metrics exist"
            " only where a policy with DNS rules (toFQDNs with rules: dns) selects the traffic"
            " and Hubble counts it (Helm: hubble.metrics.enabled with dns)."
        )
    if there and not (data.baseline.counts.shape[1] or data.baseline.asked.shape[1]):
        said.append("No DNS metrics in the baseline: nothing can be compared.")
    if data.summed and not data.refused:
        said.append(
            "The series are too many for the budget: clients, servers and names are left out."
        )
    elif there:
        said += _said_of_labels(data)
    if there:
        mixed = bool(proxy_latency(data)["p99"].isna().any())
        said += untold(
            PROXY_TIMES, "lookup", data.now.proxy_times, unread=data.remarks.unread, mixed=mixed
        )
    if data.now.both_ends:
        said.append(
            "Policies with DNS rules select both ends, so that each lookup is counted twice:"
            " where it leaves and where it arrives."
        )
    if data.now.asked.shape[1] and not data.now.counts.shape[1]:
        said.append("Queries but not a single response: see whether Hubble counts responses.")
    said += [
        *(defects.notes(data.versions, [ASKED.name, ANSWERED.name]) if there else ()),
        *data.crowd_note,
        *caveats.hubble_notes(
            data.now.scraped, data.now.restarts, data.now.lost, data.window, versions=data.versions
        ),
    ]
    return verdict.with_source_notes(said, data)


def _said_of_labels(data: Dns) -> list[str]:
    said = _said_of_codes(data)
    if not _named(data):
        said.append("Names are not counted: Hubble's option dns:query adds them (many series).")
    if not any(data.now.counts.columns.get_level_values("source") != ""):
        said.append(
            "Clients are not visible (Helm: hubble.metrics.enabled with"
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
    for counts, when in ((data.now.counts, "window"), (data.baseline.counts, "baseline")):
        sums = totals(counts, ["rcode"])
        unknown = float(sums.get(UNKNOWN, 0.0))
        if unknown > 0:
            said.append(
                f"No label tells the code of {unknown / sums.sum():.1%} of the responses in the"
                f" {when}: whether these lookups failed is unknown."
            )
    return said
