"""Tables about what agents and operators do: how often, and how long it takes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.topics.buckets import quantile
from cilium_analysis.topics.health.data import plain
from cilium_analysis.topics.health.streams import of_value
from cilium_analysis.topics.health.tables import compare

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cilium_analysis.topics.health.data import Health


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
        counts, seconds, usual_counts, usual_seconds = (
            plain(
                frames.group(
                    of_value(span[f"{name}_{part}"], label, kind)
                    if label
                    else span[f"{name}_{part}"],
                    ["node"],
                )
            ).sum()
            for span in (data.now, data.usual)
            for part in ("count", "seconds")
        )
        calls = float(counts.sum())
        if not calls and not usual_counts.sum():
            continue
        means = (seconds / counts.where(counts > 0)).dropna().sort_values(kind="stable")
        rows.append(
            {
                "what": what,
                "kind": kind if label else "",
                "calls": round(calls),
                "mean": _ratio(seconds.sum(), calls),
                "usual mean": _ratio(usual_seconds.sum(), usual_counts.sum()),
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
        buckets = of_value(data.now["policy_identity_buckets"], "scope", kind)
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
        {"what": what, "kind": _kind(key) if labels else "", **row}
        for name, (what, labels) in ACTIVITIES.items()
        for key, row in compare(data, name, list(labels) or ["node"])
        .groupby(level=list(labels) or "node")
        .sum()
        .to_dict("index")
        .items()
    ]
    table = pd.DataFrame(rows, columns=["what", "kind", "count", "expected", "change"])
    shown = (table[["count", "expected"]] >= 0.5).any(axis=1)
    by = ["what", "kind"]
    return table[shown].groupby(by, sort=False, as_index=False).sum() if shown.any() else table[:0]


def _kind(key: object) -> str:
    return " ".join(str(part) for part in key) if isinstance(key, tuple) else str(key)
