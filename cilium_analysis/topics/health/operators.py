"""Tables about operators and the clusters of a mesh: frames in, frames out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.topics.health.data import plain
from cilium_analysis.topics.health.streams import of_value
from cilium_analysis.topics.health.tables import MIB, compare
from cilium_analysis.topics.health.troubles import operator_starts

if TYPE_CHECKING:
    from cilium_analysis.topics.health.data import Health, Span


def operator(data: Health) -> pd.DataFrame:
    """Give what is known about the operator, beside the baseline.

    Returns
    -------
    pandas.DataFrame
        ``what``, ``unit``, ``window``, ``baseline``: of levels the last value, of counts the sum
        (the baseline's for a window of this length).
    """
    rows = [*_operator_process(data), *_operator_counts(data), *_operator_levels(data)]
    table = pd.DataFrame(rows, columns=["what", "unit", "window", "baseline"])
    return table[table[["window", "baseline"]].notna().any(axis=1)].reset_index(drop=True)


def _row(what: str, unit: str, window: float, baseline: float) -> dict[str, object]:
    return {"what": what, "unit": unit, "window": window, "baseline": baseline}


def _operator_process(data: Health) -> list[dict[str, object]]:
    rows = []
    for name, what, unit, scale in (
        ("operator_cpu", "CPU, mean of all operators together", "cores", None),
        ("operator_memory", "memory, all operators together, peak", "MiB", MIB),
    ):
        values = []
        for span in (data.now, data.usual):
            frame = span[name]
            whole = frame.sum(axis=1, min_count=1)
            step = span.window.step.total_seconds()
            values.append(float(whole.mean() / step if scale is None else whole.max() / scale))
        rows.append(_row(what, unit, *values))
    if data.now["operators"].shape[1] or data.usual["operators"].shape[1]:
        starts = [float(len(operator_starts(span))) for span in (data.now, data.usual)]
        rows.append(_row("starts of an operator", "count", *starts))
    return rows


def _operator_counts(data: Health) -> list[dict[str, object]]:
    rows = []
    for name, label, what in (
        ("operator_errors", "level", "log lines"),
        ("identity_runs", "outcome", "identity garbage collections"),
        ("ipam_resyncs", "", "resyncs with the cloud's API"),
        ("ipam_creations", "status", "interfaces created"),
        ("ec2_count", "response_code", "calls to the EC2 API"),
        ("azure_count", "response_code", "calls to the Azure API"),
        ("alibabacloud_count", "response_code", "calls to the AlibabaCloud API"),
    ):
        if not data.now[name].shape[1] and not data.usual[name].shape[1]:
            continue
        table = compare(data, name, [label or "node"])
        if not label:
            sums = table.sum()
            rows.append(_row(what, "count", sums["count"], sums["expected"]))
            continue
        for key, row in table.sort_index().iterrows():
            kind = str(key[0]) if isinstance(key, tuple) else str(key)
            rows.append(_row(f"{what}: {kind}", "count", row["count"], row["expected"]))
    return rows


def _operator_levels(data: Health) -> list[dict[str, object]]:
    rows = []
    for name, label, what, unit in (
        ("identity_entries", "status", "identities", "identities"),
        ("unmanaged_pods", "", "pods that Cilium does not manage", "pods"),
        ("addresses", "type", "addresses", "addresses"),
        ("ipam_nodes", "category", "nodes by address supply", "nodes"),
        ("ipam_interfaces", "", "interfaces with addresses to spare", "interfaces"),
    ):
        both = [
            frames.last(span.whole(name, [label] if label else [], how="max"))
            for span in _spans(data)
        ]
        for key in sorted({*both[0].index, *both[1].index}, key=str):
            kind = str(key[0]) if isinstance(key, tuple) else str(key)
            values = [float(part.get(key, np.nan)) for part in both]
            rows.append(_row(f"{what}: {kind}" if label else what, unit, *values))
    return rows


def _spans(data: Health) -> tuple[Span, Span]:
    return data.now, data.usual


def clustermesh(data: Health) -> pd.DataFrame:
    """Give how the remote clusters of a mesh fare, as agents and kvstoremesh see them.

    Returns
    -------
    pandas.DataFrame
        ``seen by``, ``cluster``, ``ready`` (share of agents and steps), ``usual ready``,
        ``failures``, ``usual failures``, ``not ready on`` (nodes, at the end of the window).
    """
    rows = []
    for who, prefix in (("agents", "mesh"), ("kvstoremesh", "kvstoremesh")):
        names = {
            str(name)
            for part in ("ready", "failures")
            for name in data.now[f"{prefix}_{part}"].columns.get_level_values("target_cluster")
        }
        for cluster in sorted(names):
            ready, usual, failures, before = (
                plain(of_value(span[f"{prefix}_{part}"], "target_cluster", cluster))
                for part in ("ready", "failures")
                for span in (data.now, data.usual)
            )
            latest = frames.last(ready)
            rows.append(
                {
                    "seen by": who,
                    "cluster": cluster,
                    "ready": _mean(ready),
                    "usual ready": _mean(usual),
                    "failures": float(failures.sum().sum()),
                    "usual failures": float(before.sum().sum()),
                    "not ready on": ", ".join(str(n) for n in latest.index[latest == 0]),
                }
            )
    columns = [
        "seen by",
        "cluster",
        "ready",
        "usual ready",
        "failures",
        "usual failures",
        "not ready on",
    ]
    return pd.DataFrame(rows, columns=columns)


def _mean(levels: pd.DataFrame) -> float:
    known = levels.to_numpy(dtype="float64")
    return float(np.nanmean(known)) if np.isfinite(known).any() else np.nan
