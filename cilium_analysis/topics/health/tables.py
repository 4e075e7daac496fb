"""Tables about agents and operators: frames in, frames out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.topics import verdict
from cilium_analysis.topics.health.data import plain
from cilium_analysis.topics.health.restarts import restarts as _restarted
from cilium_analysis.topics.health.streams import of_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cilium_analysis.topics.health.data import Health

MIB = 2.0**20


def resources(data: Health) -> pd.DataFrame:
    """Give what each node's agent needs, beside the baseline.

    Returns
    -------
    pandas.DataFrame
        Index ``node``; ``scraped`` (share of the window's steps), ``CPU``, ``peak CPU``,
        ``usual CPU`` [cores], ``memory``, ``peak memory``, ``usual memory`` [MiB] (the highest
        of the last step, of the window, the baseline's mean), ``virtual memory`` [MiB], ``files``,
        ``peak files``, ``usual files``, ``files limit``; ``connections``
        (entries that connection tracking kept), ``degraded modules`` (the most at once), and
        ``BPF maps`` and ``BPF programs`` [MiB], the memory that all of the host may take.
    """
    cores = cpu(data), cpu(data, baseline=True)
    table = pd.DataFrame(
        {
            "CPU": cores[0].mean(),
            "peak CPU": cores[0].max(),
            "usual CPU": cores[1].mean(),
            **_levels(data, "memory", "memory", MIB),
            "virtual memory": frames.last(data.now.per_node("virtual", how="max")) / MIB,
            **_levels(data, "files", "files", 1.0),
            "files limit": frames.last(data.now.per_node("files_limit", how="max")),
            "connections": frames.last(_alive(data)),
            "degraded modules": data.now.per_node("modules_degraded", how="max").max(),
            "BPF maps": frames.last(data.now.per_node("map_memory", how="max")) / MIB,
            "BPF programs": frames.last(data.now.per_node("program_memory", how="max")) / MIB,
        },
        dtype="float64",
    )
    nodes = sorted({*table.index, *data.now.seen.columns})
    # What was only in the baseline is not there now.
    nodes = [node for node in nodes if node in data.now.seen or table.loc[node].notna().any()]
    table = table.reindex(pd.Index(nodes, name="node"))
    table.insert(0, "scraped", verdict.scraped(data.now.seen).reindex(table.index))
    if table["files limit"].notna().all():
        table["files limit"] = table["files limit"].astype("int64")
    return table.sort_values(["peak CPU", "peak memory"], ascending=False, kind="stable")


def _alive(data: Health) -> pd.DataFrame:
    alive = of_value(data.now["conntrack_entries"], "status", "alive")
    return plain(frames.group(alive, ["node"]))


def _levels(data: Health, name: str, word: str, unit: float) -> dict[str, pd.Series]:
    now = data.now.per_node(name, how="max") / unit
    usual = data.usual.per_node(name, how="max") / unit
    return {word: frames.last(now), f"peak {word}": now.max(), f"usual {word}": usual.mean()}


def cpu(data: Health, *, baseline: bool = False) -> pd.DataFrame:
    """Give the CPU time that agents take over time, one plain column per node [cores].

    Parameters
    ----------
    baseline
        Whether to look at the baseline instead of the window.
    """
    span = data.usual if baseline else data.now
    taken = span.per_node("cpu")
    # Of many nodes it is asked for in longer steps.
    step = taken.index[1] - taken.index[0] if len(taken) > 1 else span.window.step
    return taken / step.total_seconds()


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
    by = ["subsystem", "level", "node"]
    table = compare(data, "errors", by)
    table = table[(table[["count", "expected"]] >= 0.5).any(axis=1)]
    return table.reset_index().head(most)


def compare(data: Health, name: str, by: Sequence[str]) -> pd.DataFrame:
    """Set what was counted in the window beside what the baseline makes one expect.

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
            "count": _sums(data.now[name], by),
            "expected": _sums(data.usual[name], by) * scale,
        },
        dtype="float64",
    ).fillna(0.0)
    table["change"] = table["count"] - table["expected"]
    return table.sort_values(["change", "count"], ascending=False, kind="stable")


def _sums(frame: pd.DataFrame, by: Sequence[str]) -> pd.Series:
    if not frame.shape[1]:
        index = pd.MultiIndex.from_arrays([[] for _ in by], names=list(by))
        return pd.Series([], index=index, dtype="float64")
    found = frame.sum().groupby(level=list(by)).sum()
    if len(by) > 1:
        return found
    found.index = pd.MultiIndex.from_arrays([found.index], names=list(by))
    return found


def errors_over_time(data: Health, by: str = "subsystem") -> pd.DataFrame:
    """Give errors and warnings per minute, one plain column per subsystem (or node, or level).

    Parameters
    ----------
    by
        The label to tell apart.
    """
    summed = data.now.whole("errors", [by]) / (data.window.step.total_seconds() / 60)
    summed.columns = pd.Index(summed.columns.get_level_values(by), name=by)
    return summed


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
    columns = ["time", "node", "how", "last seen", "version"]
    table = pd.DataFrame(rows, columns=columns)
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
        ``map``, ``node``, ``now``, ``peak``, ``usual peak`` [share of 1], ``failed updates``;
        fullest first.
    """
    by = ["map_name", "node"]
    now, usual = (frames.group(span["pressure"], by, how="max") for span in (data.now, data.usual))
    table = pd.DataFrame(
        {
            "now": frames.last(now),
            "peak": now.max(),
            "usual peak": usual.max(),
            "failed updates": data.now.whole("map_failures", by).sum(),
        },
        dtype="float64",
    )
    if data.now["map_operations"].shape[1]:
        table["failed updates"] = table["failed updates"].fillna(0.0)
    table.index = table.index.set_names(["map", "node"]) if len(table) else _no_maps()
    table = table[table["peak"].notna() | (table["failed updates"] > 0)]
    return table.sort_values("peak", ascending=False, kind="stable").reset_index().head(most)


def _no_maps() -> pd.MultiIndex:
    return pd.MultiIndex.from_arrays([[], []], names=["map", "node"])


def pressure_over_time(data: Health) -> pd.DataFrame:
    """Give how full the maps are over time, one plain column per map and node [%]."""
    levels = frames.group(data.now["pressure"], ["map_name", "node"], how="max") * 100
    table = frames.labels(levels)
    names = [
        f"{name} on {node}" for name, node in zip(table["map_name"], table["node"], strict=True)
    ]
    levels.columns = pd.Index(names, dtype="object")
    return levels
