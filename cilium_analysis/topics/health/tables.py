"""Tables about agents, operators and the clusters of a mesh; see `activity` for what they do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.topics import verdict
from cilium_analysis.topics.health.common import pick
from cilium_analysis.topics.health.errors import operator_starts
from cilium_analysis.topics.health.restarts import restarts as _restarted
from cilium_analysis.topics.loading import plain
from cilium_analysis.topics.tables import rates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cilium_analysis.topics.health.data import Health

MIB = 2.0**20
_MESH_COLUMNS = ("ready", "usual ready", "failures", "usual failures")
#: what, unit, window, baseline
_Row = tuple[object, ...]


def resources(data: Health) -> pd.DataFrame:
    """Give what each node's agent needs, beside the baseline.

    Returns
    -------
    pandas.DataFrame
        Index ``node``; ``scraped`` (share of the window's steps), ``CPU``, ``peak CPU``,
        ``usual CPU`` [cores], ``memory``, ``peak memory``, ``usual memory`` [MiB] (the highest
        of the last step, of the window, the baseline's mean), and ``connections`` (entries that
        connection tracking kept).
    """
    cores = cpu(data), cpu(data, baseline=True)
    alive = plain(frames.group(pick(data.now["conntrack_entries"], "status", "alive"), ["node"]))
    table = pd.DataFrame(
        {
            "CPU": cores[0].mean(),
            "peak CPU": cores[0].max(),
            "usual CPU": cores[1].mean(),
            **_levels(data, "memory", "memory", MIB),
            "connections": frames.last(alive),
        },
        dtype="float64",
    )
    nodes = sorted({*table.index, *data.now.scraped.columns})
    # What was only in the baseline is not there now.
    nodes = [node for node in nodes if node in data.now.scraped or table.loc[node].notna().any()]
    table = table.reindex(pd.Index(nodes, name="node"))
    table.insert(0, "scraped", verdict.scraped(data.now.scraped).reindex(table.index))
    return table.sort_values(["peak CPU", "peak memory"], ascending=False, kind="stable")


def _levels(data: Health, name: str, word: str, unit: float) -> dict[str, pd.Series]:
    now = data.now.per_node(name, how="max") / unit
    baseline = data.baseline.per_node(name, how="max") / unit
    return {word: frames.last(now), f"peak {word}": now.max(), f"usual {word}": baseline.mean()}


def cpu(data: Health, *, baseline: bool = False) -> pd.DataFrame:
    """Give the CPU time that agents take over time, one plain column per node [cores].

    Parameters
    ----------
    baseline
        Whether to look at the baseline instead of the window.
    """
    span = data.baseline if baseline else data.now
    taken = span.per_node("cpu")
    # Of many nodes it is asked for in longer steps.
    return taken / (frames.step_seconds(taken) or span.window.step.total_seconds())


def memory(data: Health) -> pd.DataFrame:
    """Give the memory that agents hold over time, one plain column per node [MiB]."""
    return data.now.per_node("memory", how="max") / MIB


def errors(data: Health, *, most: int = 20) -> pd.DataFrame:
    """Give errors and warnings in the agents' logs.

    Parameters
    ----------
    most
        Number of rows.

    Returns
    -------
    pandas.DataFrame
        ``subsystem``, ``level``, ``node``, ``count``, ``expected`` (of the baseline, for a
        window of this length), ``change``; what grew most first.
    """
    table = compare(data, "errors", ["subsystem", "level", "node"])
    return table[(table[["count", "expected"]] >= 0.5).any(axis=1)].reset_index().head(most)


def compare(data: Health, name: str, by: Sequence[str]) -> pd.DataFrame:
    """Compare what was counted in the window with the baseline.

    Parameters
    ----------
    data
        As from `load`.
    name
        Of the query.
    by
        Labels, in the order of the index.

    Returns
    -------
    pandas.DataFrame
        ``count``, ``expected`` (for a window of this length), ``change``; what grew most first.
    """
    scale = data.window.length / data.baseline.length
    table = pd.DataFrame(
        {
            "count": frames.totals(data.now[name], by),
            "expected": frames.totals(data.baseline[name], by) * scale,
        },
        dtype="float64",
    ).fillna(0.0)
    table["change"] = table["count"] - table["expected"]
    return table.sort_values(["change", "count"], ascending=False, kind="stable")


def errors_over_time(data: Health, by: str = "subsystem") -> pd.DataFrame:
    """Give errors and warnings per minute, one plain column per subsystem (or node, or level).

    Parameters
    ----------
    by
        The label to tell apart.
    """
    return rates(data.now["errors"], by, seconds=data.window.step.total_seconds() / 60)


def restarts(data: Health) -> pd.DataFrame:
    """Give every restart of an agent in the window.

    Returns
    -------
    pandas.DataFrame
        ``time`` of the new process, ``node``, ``how``, ``last seen`` (the process before),
        ``version``.
    """
    rows = [
        {
            "time": start.time.round("s"),
            "node": start.node,
            "how": start.how,
            "last seen": start.last_seen,
            "version": " → ".join(dict.fromkeys(v for v in start.versions if v)),
        }
        for each in _restarted(data)
        for start in each.starts
    ]
    table = pd.DataFrame(rows, columns=["time", "node", "how", "last seen", "version"])
    return table.sort_values(["time", "node"], ignore_index=True)


def pressure(data: Health, *, most: int = 20) -> pd.DataFrame:
    """Give how full BPF maps are, and whether operations on them failed.

    Parameters
    ----------
    most
        Number of rows.

    Returns
    -------
    pandas.DataFrame
        ``map``, ``node``, ``fill``, ``peak fill``, ``usual peak fill`` (1 is full), ``failed
        updates``;
        fullest first.
    """
    by = ["map_name", "node"]
    now, baseline = (
        frames.group(span["pressure"], by, how="max") for span in (data.now, data.baseline)
    )
    table = pd.DataFrame(
        {
            "fill": frames.last(now),
            "peak fill": now.max(),
            "usual peak fill": baseline.max(),
            "failed updates": data.now.whole("map_failures", by).sum(),
        },
        dtype="float64",
    )
    if data.now["map_operations"].shape[1]:
        table["failed updates"] = table["failed updates"].fillna(0.0)
    if not len(table):
        table.index = pd.MultiIndex.from_arrays([[], []])
    table.index = table.index.set_names(["map", "node"])
    table = table[table["peak fill"].notna() | (table["failed updates"] > 0)]
    return table.sort_values("peak fill", ascending=False, kind="stable").reset_index().head(most)


def pressure_over_time(data: Health) -> pd.DataFrame:
    """Give how full the maps are over time, one plain column per map and node [%]."""
    levels = frames.group(data.now["pressure"], ["map_name", "node"], how="max") * 100
    table = frames.labels(levels)
    names = [
        f"{name} on {node}" for name, node in zip(table["map_name"], table["node"], strict=True)
    ]
    levels.columns = pd.Index(names, dtype="object")
    return levels


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


def _operator_process(data: Health) -> list[_Row]:
    rows: list[_Row] = []
    for name, what, unit, scale in (
        ("operator_cpu", "CPU, mean of all operators together", "cores", None),
        ("operator_memory", "memory, all operators together, peak", "MiB", MIB),
    ):
        values = []
        for span in (data.now, data.baseline):
            frame = span[name]
            whole = frame.sum(axis=1, min_count=1)
            step = span.window.step.total_seconds()
            values.append(float(whole.mean() / step if scale is None else whole.max() / scale))
        rows.append((what, unit, *values))
    if data.now["operators"].shape[1] or data.baseline["operators"].shape[1]:
        starts = [float(len(operator_starts(span))) for span in (data.now, data.baseline)]
        rows.append(("starts of an operator", "count", *starts))
    return rows


def _operator_counts(data: Health) -> list[_Row]:
    rows: list[_Row] = []
    for name, label, what in (
        ("operator_errors", "level", "log lines"),
        ("identity_runs", "outcome", "identity garbage collections"),
        ("ipam_resyncs", "", "resyncs with the cloud's API"),
        ("ipam_creations", "status", "interfaces created"),
        ("ec2_count", "response_code", "calls to the EC2 API"),
        ("azure_count", "response_code", "calls to the Azure API"),
        ("alibabacloud_count", "response_code", "calls to the AlibabaCloud API"),
    ):
        if not data.now[name].shape[1] and not data.baseline[name].shape[1]:
            continue
        table = compare(data, name, [label or "node"])
        if not label:
            sums = table.sum()
            rows.append((what, "count", sums["count"], sums["expected"]))
            continue
        for kind, row in table.sort_index().iterrows():
            rows.append((f"{what}: {kind}", "count", row["count"], row["expected"]))
    return rows


def _operator_levels(data: Health) -> list[_Row]:
    rows: list[_Row] = []
    for name, label, what, unit in (
        ("identity_entries", "status", "identities", "identities"),
        ("unmanaged_pods", "", "pods that Cilium does not manage", "pods"),
        ("addresses", "type", "addresses", "addresses"),
        ("ipam_nodes", "category", "nodes by address supply", "nodes"),
        ("ipam_interfaces", "", "interfaces with addresses to spare", "interfaces"),
    ):
        both = [
            frames.last(span.whole(name, [label] if label else [], how="max"))
            for span in (data.now, data.baseline)
        ]
        for key in sorted({*both[0].index, *both[1].index}, key=str):
            kind = f"{what}: {key[0] if isinstance(key, tuple) else key}" if label else what
            rows.append((kind, unit, *(float(part.get(key, np.nan)) for part in both)))
    return rows


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
            ready, baseline, failures, before = (
                plain(pick(span[f"{prefix}_{part}"], "target_cluster", cluster))
                for part in ("ready", "failures")
                for span in (data.now, data.baseline)
            )
            latest = frames.last(ready)
            rows.append(
                {
                    "seen by": who,
                    "cluster": cluster,
                    "ready": ready.melt()["value"].mean(),
                    "usual ready": baseline.melt()["value"].mean(),
                    "failures": float(failures.sum().sum()),
                    "usual failures": float(before.sum().sum()),
                    "not ready on": ", ".join(str(n) for n in latest.index[latest == 0]),
                }
            )
    columns = ["seen by", "cluster", *_MESH_COLUMNS, "not ready on"]
    return pd.DataFrame(rows, columns=columns)
