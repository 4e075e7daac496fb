"""Tables about HTTP, and the notes below them: frames in, frames out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.frames import totals
from cilium_analysis.topics import tables, verdict
from cilium_analysis.topics.buckets import BOUNDS, bounds, by_bound, quantiles
from cilium_analysis.topics.http import durations
from cilium_analysis.topics.http.data import KEYS, REQUESTS, RESPONSES
from cilium_analysis.topics.http.statuses import (
    BAD,
    DENIED_STATUS,
    FAILED,
    made_by_policy,
    of_http,
    status_class,
)
from cilium_analysis.topics.parties import column, party
from cilium_analysis.topics.telling import only

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cilium_analysis.topics.http.data import Http

#: What Hubble calls the trace of an exemplar, and what others call it.
TRACE_LABELS = ("traceID", "trace_id", "TraceID")


def _compare(
    data: Http, by: Sequence[str], *, of: tuple[pd.DataFrame, pd.DataFrame] | None = None
) -> pd.DataFrame:
    """Compare requests, or the counts of window and baseline that are given."""
    now, baseline = of or (data.now.counts, data.baseline.counts)
    scale = data.window.length / data.baseline.length
    return tables.compare(now, baseline, by, amount="requests", scale=scale)


def by_status(data: Http) -> pd.DataFrame:
    """Give requests per status.

    Returns
    -------
    pandas.DataFrame
        Index ``status``; ``requests`` in the window, ``expected`` (of the baseline, for a window
        of this length), ``change``, ``share`` of all requests.
    """
    table = _compare(data, ["status"])
    table["share"] = tables.shares(table["requests"])
    return table.sort_index()


def by_protocol(data: Http) -> pd.DataFrame:
    """Give requests per version of HTTP, such as ``HTTP/1.1``; columns as `by_status`."""
    table = _compare(data, ["protocol"], of=(data.now.protocols, data.baseline.protocols))
    table["share"] = tables.shares(table["requests"])
    return table.sort_values("requests", ascending=False, kind="stable")


def proxies(data: Http) -> pd.DataFrame:
    """Give what the layer 7 proxies did with requests, as they counted themselves.

    Returns
    -------
    pandas.DataFrame
        ``proxy`` (``envoy``, or ``fqdn`` for DNS; up to Cilium 1.14.5 not told), ``rule``
        (``received`` includes the others), ``requests``, ``expected`` (of the baseline, for a
        window of this length), ``change``, ``most on`` (a node).
    """
    by = ["proxy_type", "rule"]
    table = _compare(data, by, of=(data.now.proxy, data.baseline.proxy))
    each = (
        totals(data.now.proxy, [*by, "node"]).sort_values(kind="stable").reset_index("node")["node"]
    )
    table["most on"] = each.groupby(level=by).last()
    table = table.sort_index().reset_index().rename(columns={"proxy_type": "proxy"})
    return table.assign(proxy=table["proxy"].replace("", "any"))


def redirects(data: Http) -> pd.DataFrame:
    """Give how much traffic policies send through a proxy, as redirects of endpoints' ports.

    Returns
    -------
    pandas.DataFrame
        Index ``protocol`` (of layer 7); ``redirects`` in the cluster at the end of the window,
        ``usual`` (the baseline's mean), ``least`` and ``most`` of a node in the window, and the
        node with the ``most on`` it.
    """
    rows = []
    for protocol in sorted(set(frames.values(data.now.redirects, "protocol_l7"))):
        now, baseline = (
            only(levels, {"protocol_l7": protocol})
            for levels in (data.now.redirects, data.baseline.redirects)
        )
        peaks = now.max().groupby(level="node").max()
        rows.append(
            {
                "protocol": protocol,
                "redirects": float(frames.last(now).sum()),
                "usual": float(baseline.mean().sum(min_count=1)),
                "least": float(now.min().min()),
                "most": float(peaks.max()),
                "most on": str(peaks.idxmax()) if peaks.max() > 0 else "",
            }
        )
    names = ["protocol", "redirects", "usual", "least", "most", "most on"]
    return pd.DataFrame(rows, columns=names).set_index("protocol")


def rates(data: Http) -> pd.DataFrame:
    """Give the rate of requests over time, one column per class of status [requests/s]."""
    classes = [status_class(status) for status in frames.values(data.now.counts, "status")]
    counts = frames.relabel(data.now.counts, "class", classes)
    return tables.rates(counts, "class", seconds=data.window.step.total_seconds())


def failures(data: Http) -> pd.DataFrame:
    """Give the share of requests over time that got each error status.

    Returns
    -------
    pandas.DataFrame
        One column per status from 400 on, and for requests without a response, 0 to 1; NaN where
        nothing was requested.
    """
    summed = tables.rates(data.now.counts, "status", seconds=1.0)
    whole = summed.sum(axis=1, min_count=1)
    bad = [name for name in summed.columns if status_class(str(name)) in BAD]
    return summed[bad].div(whole.where(whole > 0), axis=0)


def by_destination(data: Http) -> pd.DataFrame:
    """Give requests and errors per destination.

    Returns
    -------
    pandas.DataFrame
        Index ``destination``; ``requests``, ``expected``, ``errors`` (5xx, and requests without a
        response), ``error ratio`` in the window and ``usual ratio`` in the baseline, ``denied``
        (by policy), ``p95`` and ``usual p95`` of the duration [s].
    """
    table = _compare(data, ["destination"]).drop(columns="change")
    table["errors"] = _errors(data.now.counts).reindex(table.index, fill_value=0.0)
    before = totals(data.baseline.counts, ["destination"])
    baseline = _errors(data.baseline.counts).reindex(before.index, fill_value=0.0) / before.where(
        before > 0
    )
    table["error ratio"] = table["errors"] / table["requests"].where(table["requests"] > 0)
    table["usual ratio"] = baseline.reindex(table.index)
    denied = forbidden(data).groupby("destination")["by policy"].sum()
    table["denied"] = denied.reindex(table.index, fill_value=0.0)
    now, usual = (by_bound(s.durations, ["destination"]) for s in (data.now, data.baseline))
    both = [(now.get((place,), {}), usual.get((place,), {})) for place in table.index]
    durations = [
        (*(quantiles(counts, [0.95])["p95"] for counts in each), *bounds(*each)) for each in both
    ]
    columns = ["p95", "usual p95", *BOUNDS]
    table = table.join(pd.DataFrame(durations, index=table.index, columns=columns, dtype=float))
    return table.sort_values(["errors", "requests"], ascending=False)


def _errors(counts: pd.DataFrame) -> pd.Series:
    sums = totals(counts, ["destination", "status"])
    failed = [status_class(str(status)) in FAILED for status in sums.index.get_level_values(1)]
    return sums[failed].groupby(level="destination").sum()


def forbidden(data: Http) -> pd.DataFrame:
    """Tell the 403s of a layer 7 policy from those of the application.

    The proxy answers a denied request. Hubble shows it as a dropped request too, and the proxy
    counts it (``cilium_policy_l7_total{rule="denied"}``). An application's own 403 has neither.

    Returns
    -------
    pandas.DataFrame
        ``source``, ``destination``, ``requests`` answered with 403, ``by policy``,
        ``by application``; most first.
    """
    made = totals(made_by_policy(data.now), ["source", "destination"])
    sums = totals(data.now.counts, ["source", "destination", "status"])
    sums = sums[sums.index.get_level_values("status") == DENIED_STATUS].droplevel("status")
    table = pd.DataFrame({"requests": sums[sums > 0]})
    known = made.reindex(table.index, fill_value=0.0)
    table["by policy"] = np.minimum(known, table["requests"])
    table["by application"] = table["requests"] - table["by policy"]
    ranked = table.sort_values("requests", ascending=False, kind="stable")
    return ranked.reset_index()


def changes(data: Http, *, most: int = 15) -> pd.DataFrame:
    """Give the combinations of source, destination, method and status that changed most.

    Parameters
    ----------
    most
        Number of rows.

    Returns
    -------
    pandas.DataFrame
        ``source``, ``destination``, ``method``, ``status``, ``requests``, ``expected``,
        ``change``; by the size of the change, rises and falls alike.
    """
    return tables.most_changed(_compare(data, KEYS), most)


def traces(data: Http, *, most: int = 10) -> pd.DataFrame:
    """List traces to look up: of the slowest requests, and of the last that failed.

    Parameters
    ----------
    most
        Rows of each.

    Returns
    -------
    pandas.DataFrame
        ``trace``, ``why`` (``slow``, ``failed``), ``time``, ``duration`` [s] (NaN where the
        exemplar does not tell), ``source``, ``destination``, ``method``, ``status``.
    """
    table = data.exemplars
    if not len(table):
        return pd.DataFrame()
    slow = table[table["of"] == "slow"].sort_values("value", ascending=False, kind="stable")
    failed = table[table["of"] == "failed"].sort_values("time", ascending=False, kind="stable")
    name = next((n for n in TRACE_LABELS if n in table), "")
    parts = [part.drop_duplicates(name or None).head(most) for part in (slow, failed)]
    chosen = pd.concat(parts, ignore_index=True)
    shown = {
        "trace": column(chosen, name),
        "why": chosen["of"],
        "time": chosen["time"],
        "duration": chosen["value"].where(chosen["of"] == "slow"),
        "source": party(chosen, "source"),
        "destination": party(chosen, "destination"),
    }
    return pd.DataFrame(shown | {n: column(chosen, n) for n in ("method", "status")})


def notes(data: Http) -> list[str]:
    """Say what the data cannot show, and how far to trust it."""
    said = [] if data.now.counts.shape[1] or data.now.statusless else [_invisible(data)]
    if data.now.statusless:
        said.append(
            f"No label tells how {data.now.statusless:,.0f} requests ended: whether they failed is"
            " unknown (Helm: hubble.metrics.enabled with httpV2 counts requests by status)."
        )
    if data.now.unpaired:
        said.append(
            f"Whether {data.now.unpaired:,.0f} requests got a response is unknown: Hubble counts"
            " responses apart, and names their source and destination otherwise (Helm:"
            " hubble.metrics.enabled with httpV2 counts requests by status)."
        )
    if data.now.counts.shape[1] and not data.baseline.counts.shape[1]:
        said.append("No requests in the baseline: everything looks new, nothing can be compared.")
    said += durations.untold(data)
    if data.now.twice:
        pairs = ", ".join(f"{a or 'unnamed'} → {b or 'unnamed'}" for a, b in data.now.twice[:3])
        said.append(f"Both ends reported some requests ({pairs}): one of both was counted.")
    named = any(any(frames.values(data.now.counts, side)) for side in ("source", "destination"))
    if data.now.counts.shape[1] and not named:
        said.append(
            "Sources and destinations are not in the data (Helm: hubble.metrics.enabled with"
            " httpV2:labelsContext=source_namespace,source_workload,destination_namespace,"
            "destination_workload)."
        )
    proxied = float(only(of_http(data.now.proxy), {"rule": "denied"}).sum().sum())
    if proxied and not data.now.refused.shape[1] and data.now.counts.shape[1]:
        said.append(
            f"Of the 403s, {proxied:,.0f} were made by policies, as the proxies counted; their"
            " sources and destinations are estimated, as hubble_drop_total is not there."
        )
    return verdict.with_source_notes([*said, *data.crowd_note], data)


def _invisible(data: Http) -> str:
    """Say why no request is visible, which does not mean that there was none."""
    counted = (*REQUESTS.queries, *RESPONSES.queries)
    if data.remarks.lacks(*counted):
        return "Unknown: the server refused to tell of HTTP."
    if data.remarks.workloads:
        return f"Hubble saw no HTTP request of {data.remarks.workloads}."
    handled = totals(of_http(data.now.proxy), ["rule"]).sum()
    sent = only(data.now.redirects, {"protocol_l7": "http"})
    if handled > 0:
        return (
            "The proxies handled layer 7 requests, but Hubble's HTTP metrics are not there"
            " (Helm: hubble.metrics.enabled with httpV2): how they ended is unknown."
        )
    if sent.sum().sum() > 0:
        return (
            "Policies send HTTP through a proxy, but no request was counted: there was none, or"
            " Hubble's HTTP metrics are off (Helm: hubble.metrics.enabled with httpV2). Which of"
            " the two is unknown."
        )
    if not data.now.hubble_scraped:
        return (
            "HTTP is unknown: no target with Hubble's metrics was scraped in this window. That does"
            " not mean no traffic."
        )
    reason = (
        "no layer 7 CiliumNetworkPolicy selects it, or"
        if data.now.agents_scraped
        else "the agents, which know whether a layer 7 policy selects it, were not scraped;"
    )
    return (
        f"HTTP is not visible: {reason} Hubble's HTTP metrics may be off (Helm:"
        " hubble.metrics.enabled with httpV2). That does not mean no traffic."
    )
