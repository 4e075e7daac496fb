"""Tables about what agents and operators do, fail to do and forward; and how long it took."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.topics.buckets import BOUNDS, bounds, quantiles
from cilium_analysis.topics.health.common import pick
from cilium_analysis.topics.health.failures import counted
from cilium_analysis.topics.health.tables import compare
from cilium_analysis.topics.loading import plain
from cilium_analysis.topics.telling import total

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cilium_analysis.topics.health.data import Health

MB = 1e6
#: What `latency` compares, by the name of the queries: in words, and the label to tell apart.
LATENCIES: Mapping[str, tuple[str, str]] = {
    "kubernetes": ("Kubernetes API", "method"),
    "kubernetes_wait": ("own rate limit before the Kubernetes API", ""),
    "policy": ("policy until it is in the datapath", "source"),
    "policy_identity": ("new identity until it is in all policies", "scope"),
    "controller": ("controllers", "status"),
    "kvstore": ("key-value store", "action"),
    "ec2_wait": ("own rate limit before the EC2 API", ""),
    "azure_wait": ("own rate limit before the Azure API", ""),
    "alibabacloud_wait": ("own rate limit before the AlibabaCloud API", ""),
}


def latency(data: Health) -> pd.DataFrame:
    """Give mean durations of what agents and operators do, beside the baseline's.

    Returns
    -------
    pandas.DataFrame
        ``what``, ``kind`` (method, status, …), ``calls`` in the window, ``mean time``,
        ``usual mean time`` [s], ``slowest node`` and ``its mean time`` [s], and ``p99`` [s] of
        policies and identities, interpolated within the buckets of their histograms (`BOUNDS`);
        what became slowest first.
    """
    rows = [
        row
        for name, (what, label) in LATENCIES.items()
        for row in _latencies(data, name, what, label)
    ]
    times = ["mean time", "usual mean time", "slowest node", "its mean time", "p99", *BOUNDS]
    table = pd.DataFrame(rows, columns=["what", "kind", "calls", *times])
    slower = (table["mean time"] / table["usual mean time"]).astype("float64")
    order = slower.sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


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
                "mean time": _ratio(seconds.sum(), calls),
                "usual mean time": _ratio(baseline_seconds.sum(), baseline_counts.sum()),
                "slowest node": str(means.index[-1]) if len(means) else "",
                "its mean time": float(means.iloc[-1]) if len(means) else np.nan,
                **_p99(data, name, kind),
            }
        )
    return rows


def _ratio(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else np.nan


def _p99(data: Health, name: str, kind: str) -> dict[str, float]:
    """Give a quantile over all nodes, if they all have the same buckets; and their bounds."""
    if name == "policy":
        buckets = data.now["policy_buckets"]
    elif name == "policy_identity":
        buckets = pick(data.now["policy_identity_buckets"], "scope", kind)
    else:
        return {}
    told = {str(le): float(count) for le, count in frames.totals(buckets, ["le"]).items()}
    return quantiles(told, [0.99]) | dict(zip(BOUNDS, bounds(told), strict=True))


def failed(data: Health) -> pd.DataFrame:
    """Give what agents and operators failed to do, beside the baseline.

    Returns
    -------
    pandas.DataFrame
        ``what``, ``failures`` in the window, ``expected`` (of the baseline, for a window of this
        length), ``change``; what grew most first. What is logged is in `tables.errors`.
    """
    scale = data.window.length / data.baseline.length
    rows = [
        {
            "what": each.what,
            "failures": total(each.counts),
            "expected": total(each.baseline) * scale,
        }
        for each in counted(data)
        if not each.what.endswith("log")
    ]
    table = pd.DataFrame(rows, columns=["what", "failures", "expected"])
    table["change"] = (table["failures"] - table["expected"]).astype("float64")
    shown = table[(table[["failures", "expected"]] >= 0.5).any(axis=1)]
    return shown.sort_values("change", ascending=False, kind="stable", ignore_index=True)


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
