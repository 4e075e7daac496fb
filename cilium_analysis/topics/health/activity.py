"""Tables about what agents and operators do, were told and forwarded; and how long it took."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.topics.buckets import quantile
from cilium_analysis.topics.health.common import pick
from cilium_analysis.topics.health.tables import compare
from cilium_analysis.topics.loading import plain

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping

    from cilium_analysis.topics.health.data import Health

MB = 1e6
#: What `latency` compares, by the name of the queries: in words, and the label to tell apart.
LATENCIES: Mapping[str, tuple[str, str]] = {
    "api": ("agent's API", "method"),
    "kubernetes": ("Kubernetes API", "method"),
    "kubernetes_wait": ("own rate limit before the Kubernetes API", ""),
    "policy": ("policy until it is in the datapath", "source"),
    "policy_identity": ("new identity until it is in all policies", "scope"),
    "controller": ("controllers", "status"),
    "syscall": ("BPF system calls", "operation"),
    "conntrack_gc": ("connection tracking garbage collection", "protocol"),
    "kvstore": ("key-value store", "action"),
    "kvstore_wait": ("queue of the key-value store", ""),
    "ec2": ("EC2 API", "response_code"),
    "azure": ("Azure API", "response_code"),
    "alibabacloud": ("AlibabaCloud API", "response_code"),
    "ec2_wait": ("own rate limit before the EC2 API", ""),
    "azure_wait": ("own rate limit before the Azure API", ""),
    "alibabacloud_wait": ("own rate limit before the AlibabaCloud API", ""),
}

#: What `activity` counts, by the name of the queries: in words, and the labels to tell apart.
ACTIVITIES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "api_codes": ("calls to the agents' API", ("return_code",)),
    "kubernetes_methods": ("calls to the Kubernetes API", ("method", "return_code")),
    "controller_runs": ("runs of controllers", ("status",)),
    "jobs_failed": ("failed runs of modules' jobs", ("module_id", "job_name")),
    "policy_sources": ("changes of policies", ("source", "operation", "outcome")),
    "requests_limited": ("requests to the rate-limited API", ("outcome",)),
    "map_names": ("operations on BPF maps", ("map_name", "operation", "outcome")),
    "conntrack_runs": ("connection tracking garbage collections", ("status",)),
    "conntrack_dumps": ("interrupted dumps of connection tracking", ("area", "family", "name")),
    "kvstore_count": ("operations on the key-value store", ("action", "outcome")),
    "kvstore_events": ("events of the key-value store", ("action", "scope")),
    "kvstore_quorum": ("quorum errors of the key-value store", ()),
    "kvstore_sync": ("failed writes to the key-value store", ()),
}


def latency(data: Health) -> pd.DataFrame:
    """Give mean durations of what agents and operators do, beside the baseline's.

    Returns
    -------
    pandas.DataFrame
        ``what``, ``kind`` (method, operation, …), ``calls`` in the window, ``mean``,
        ``usual mean`` [s], ``slowest node`` and its ``mean there`` [s], and ``p99`` [s]
        of policies and identities, interpolated within the buckets of their histograms.
    """
    rows = [
        row
        for name, (what, label) in LATENCIES.items()
        for row in _latencies(data, name, what, label)
    ]
    columns = ["what", "kind", "calls", "mean", "usual mean", "slowest node", "mean there", "p99"]
    return pd.DataFrame(rows, columns=columns)


def _latencies(data: Health, name: str, what: str, label: str) -> list[dict[str, object]]:
    by = [label] if label else ["node"]
    kinds = sorted({str(v) for v in data.now[f"{name}_count"].columns.get_level_values(by[0])})
    rows = []
    for kind in kinds if label else kinds[:1]:
        counts, seconds, baseline_counts, baseline_seconds = (
            plain(
                frames.group(
                    pick(span[f"{name}_{part}"], label, kind) if label else span[f"{name}_{part}"],
                    ["node"],
                )
            ).sum()
            for span in (data.now, data.baseline)
            for part in ("count", "seconds")
        )
        calls = float(counts.sum())
        if not calls and not baseline_counts.sum():
            continue
        means = (seconds / counts.where(counts > 0)).dropna().sort_values(kind="stable")
        rows.append(
            {
                "what": what,
                "kind": kind if label else "",
                "calls": round(calls),
                "mean": _ratio(seconds.sum(), calls),
                "usual mean": _ratio(baseline_seconds.sum(), baseline_counts.sum()),
                "slowest node": str(means.index[-1]) if len(means) else "",
                "mean there": float(means.iloc[-1]) if len(means) else np.nan,
                "p99": _p99(data, name, kind),
            }
        )
    return rows


def _ratio(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else np.nan


def _p99(data: Health, name: str, kind: str) -> float:
    """Give a quantile over all nodes, if they all have the same buckets."""
    if name == "policy":
        buckets = data.now["policy_buckets"]
    elif name == "policy_identity":
        buckets = pick(data.now["policy_identity_buckets"], "scope", kind)
    else:
        return np.nan
    within = frames.totals(buckets, ["le"])
    return quantile(0.99, {str(le): float(count) for le, count in within.items()})


def activity(data: Health) -> pd.DataFrame:
    """Give how often agents did what, and how it ended, beside the baseline.

    Returns
    -------
    pandas.DataFrame
        ``what``, ``kind`` (return code, outcome, …), ``count``, ``expected`` (of the baseline,
        for a window of this length), ``change``.
    """
    rows = [
        {"what": what, "kind": _joined(key) if labels else "", **row}
        for name, (what, labels) in ACTIVITIES.items()
        for key, row in _rows(compare(data, name, labels or ("node",)).sort_index())
    ]
    table = pd.DataFrame(rows, columns=["what", "kind", "count", "expected", "change"])
    shown = (table[["count", "expected"]] >= 0.5).any(axis=1)
    by = ["what", "kind"]
    return table[shown].groupby(by, sort=False, as_index=False).sum() if shown.any() else table[:0]


def _rows(table: pd.DataFrame) -> Iterator[tuple[Hashable, dict[str, float]]]:
    """Give each row as its label, or labels, and its numbers by column."""
    for key, row in table.to_dict("index").items():
        yield key, {str(name): float(value) for name, value in row.items()}


def _joined(key: Hashable) -> str:
    return " ".join(str(part) for part in key) if isinstance(key, tuple) else str(key)


def events(data: Health, *, most: int = 30) -> pd.DataFrame:
    """Give the events that all agents together received or handled.

    Parameters
    ----------
    most
        Number of rows.

    Returns
    -------
    pandas.DataFrame
        ``about`` (a kind of Kubernetes object, or nodes and services as agents keep them),
        ``action``, ``received``, ``unchanged`` and ``invalid`` (of those: the object was as
        before, or not valid), ``handled``, ``failed``, ``expected`` (those received in the
        baseline, or handled, for a window of this length), ``change``; most first. NaN where the
        metric does not count it.
    """
    nodes = compare(data, "node_events", ["source", "event_type"])
    services = compare(data, "service_events", ["action"])
    parts = (
        (_objects(data), "{0}", "{1}"),
        (nodes.rename(columns={"count": "received"}), "nodes ({0})", "{1}"),
        (services.rename(columns={"count": "handled"}), "services", "{0}"),
    )
    rows = [
        {"about": about.format(*labels), "action": action.format(*labels), **row}
        for part, about, action in parts
        for key, row in _rows(part)
        for labels in [key if isinstance(key, tuple) else (key,)]
    ]
    counts = ["received", "unchanged", "invalid", "handled", "failed"]
    table = pd.DataFrame(rows, columns=["about", "action", *counts, "expected", "change"])
    table = table[(table[["received", "handled", "expected"]] >= 0.5).any(axis=1)]
    order = table[["received", "handled"]].max(axis=1).sort_values(ascending=False, kind="stable")
    return table.loc[order.index[:most]].reset_index(drop=True)


def _objects(data: Health) -> pd.DataFrame:
    """Give the events of Kubernetes objects by scope and action."""
    by = ["scope", "action"]
    received, handled = compare(data, "events_received", by), compare(data, "events", by)
    table = pd.DataFrame(
        {
            "received": received["count"],
            "unchanged": frames.totals(pick(data.now["events_received"], "equal", "true"), by),
            "invalid": frames.totals(pick(data.now["events_received"], "valid", "false"), by),
            "handled": handled["count"],
            "failed": frames.totals(pick(data.now["events"], "status", "success".__ne__), by),
            # Agents that only count what they handle have nothing to compare but that.
            "expected": received["expected"].combine_first(handled["expected"]),
        },
        dtype="float64",
    ).fillna(0.0)
    table["change"] = table[["received", "handled"]].max(axis=1) - table["expected"]
    return table


def told(data: Health) -> pd.DataFrame:
    """Give how many nodes each agent knows, and how many events it received or handled.

    Returns
    -------
    pandas.DataFrame
        Index ``node``; ``nodes known`` at the end (``least`` in the window), ``objects`` received
        and ``handled`` (events of Kubernetes objects), ``node events``, ``service events`` in the
        window; agents that know the fewest nodes first.
    """
    known = data.now.per_node("nodes_known", how="max")
    counted = {
        word: data.now.per_node(name).sum(min_count=1)
        for word, name in (
            ("objects", "events_received_each"),
            ("handled", "events_each"),
            ("node events", "node_events_each"),
            ("service events", "service_events_each"),
        )
    }
    table = pd.DataFrame(
        {"nodes known": frames.last(known), "least": known.min(), **counted}, dtype="float64"
    )
    table.index.name = "node"
    return table.sort_values(["nodes known", "objects"], kind="stable")


def forwarded(data: Health) -> pd.DataFrame:
    """Give what each node forwarded, by direction, from the datapath's own counters.

    Returns
    -------
    pandas.DataFrame
        ``node``, ``direction``, ``packets``, ``packets/s`` and ``usual packets/s``, ``MB``,
        ``MB/s`` and ``usual MB/s`` [10^6 bytes]; most bytes first.
    """
    by = ["node", "direction"]
    packets, volume = compare(data, "forwarded", by), compare(data, "forwarded_bytes", by)
    seconds = data.window.length.total_seconds()
    table = pd.DataFrame(
        {
            "packets": packets["count"],
            "packets/s": packets["count"] / seconds,
            "usual packets/s": packets["expected"] / seconds,
            "MB": volume["count"] / MB,
            "MB/s": volume["count"] / MB / seconds,
            "usual MB/s": volume["expected"] / MB / seconds,
        },
        dtype="float64",
    )
    order = ["MB", "packets"]
    return table.sort_values(order, ascending=False, kind="stable").reset_index()


def forwarded_over_time(data: Health) -> pd.DataFrame:
    """Give what the whole cluster forwarded, one plain column per direction [MB/s]."""
    summed = data.now.whole("forwarded_bytes", ["direction"])
    summed.columns = pd.Index(summed.columns.get_level_values("direction"), name="direction")
    return summed / MB / data.window.step.total_seconds()


def calls(data: Health, *, most: int = 20) -> pd.DataFrame:
    """Give calls of all agents together by what they asked for, those that took most time first.

    Parameters
    ----------
    most
        Number of rows.

    Returns
    -------
    pandas.DataFrame
        ``what``, ``kind`` (method and path, or action and scope), ``calls`` in the window,
        ``mean`` and ``usual mean`` [s].
    """
    rows = []
    for what, name, by in (
        ("agent's API", "api_paths", ["method", "path", "return_code"]),
        ("Kubernetes API", "kubernetes_paths", ["method", "path"]),
        ("key-value store", "kvstore_scopes", ["action", "scope"]),
    ):
        counts, seconds = compare(data, f"{name}_count", by), compare(data, f"{name}_seconds", by)
        table = pd.DataFrame(
            {
                "calls": counts["count"],
                "mean": seconds["count"] / counts["count"].where(counts["count"] > 0),
                "usual mean": seconds["expected"]
                / counts["expected"].where(counts["expected"] > 0),
                "spent": seconds["count"],
            },
            dtype="float64",
        )
        for key, row in _rows(table[table["calls"] >= 0.5]):
            rows.append({"what": what, "kind": _joined(key), **row})
    columns = ["what", "kind", "calls", "mean", "usual mean", "spent"]
    table = pd.DataFrame(rows, columns=columns).sort_values("spent", ascending=False, kind="stable")
    table["calls"] = table["calls"].astype("float64").round()
    return table.drop(columns="spent").head(most).reset_index(drop=True)
