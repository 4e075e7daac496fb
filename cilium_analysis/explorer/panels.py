"""From the data of a topic to its panel: the frame of a picture, a total, a table. Pure.

Filters select among the series of the answers; all totals are sums of what the topics counted, so
that they equal those of a report.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.topics import connectivity
from cilium_analysis.topics.http.statuses import status_class

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta

    from cilium_analysis.explorer.asking import Loaded
    from cilium_analysis.explorer.state import State
    from cilium_analysis.topics.connectivity import Connectivity
    from cilium_analysis.topics.drops import Drops
    from cilium_analysis.topics.endpoints import Endpoints
    from cilium_analysis.topics.http import Http

Kind = Literal["stacked", "lines", "outages"]

#: What each topic can be grouped by.
CHOICES: Mapping[str, tuple[str, ...]] = {
    "drop_reasons": ("reason", "direction", "node"),
    "node_connectivity": ("node", "source to target"),
    "endpoint_growth": ("node", "state", "cluster"),
    "http_status": ("class", "status", "source", "destination", "method", "node"),
}
#: What each topic can be filtered by.
DIMENSIONS: Mapping[str, tuple[str, ...]] = {
    "drop_reasons": ("reason", "direction", "node"),
    "node_connectivity": ("node",),
    "endpoint_growth": ("node",),
    "http_status": ("class", "status", "source", "destination", "method", "node"),
}


@dataclass(frozen=True)
class Panel:
    """What is shown of one topic.

    Parameters
    ----------
    topic
        Name of its notebook.
    kind
        How `frame` is drawn.
    frame
        Rows are times, columns the groups, by name.
    unit
        Of the frame.
    total
        The main number: packets, nodes with failed probes, endpoints, requests.
    headline, beside
        The total in words, and what it is compared with.
    table
        By group, the largest first.
    marks
        Intervals of the findings.
    empty
        Text if there is nothing to draw.
    """

    topic: str
    kind: Kind
    frame: pd.DataFrame
    unit: str
    total: float
    headline: str
    beside: str
    table: pd.DataFrame
    marks: tuple[tuple[Any, Any], ...] = ()
    empty: str = "No data in this window"


def panel(loaded: Loaded, state: State) -> Panel:
    """Show a topic, grouped and filtered as the state says."""
    made = _PANELS[loaded.topic](loaded, state)
    made = replace(made, marks=tuple((one.start, one.end) for one in loaded.findings))
    reasons = [r for each in loaded.findings.unknown for r in each.reasons]
    if not reasons:
        return _without_unknown_nodes(made, loaded, state)
    # The topic cannot be judged; its counts are shown all the same.
    counted = f"{made.headline}; " if made.total > 0 else ""
    beside = counted + "; ".join(reasons)
    return replace(made, headline="Unknown", beside=beside, empty=f"Unknown: {reasons[0]}")


def _without_unknown_nodes(made: Panel, loaded: Loaded, state: State) -> Panel:
    """Say of which of the chosen nodes there are no data: of these a count of 0 says nothing."""
    chosen, known = state.filter("node"), set(values(loaded).get("node", ()))
    if loaded.topic == "drop_reasons":
        # A series of drops is born at the first one.
        scraped = loaded.data.now.scraped
        known |= {str(node) for node in scraped.columns if scraped[node].any()}
    missing = [node or "unnamed" for node in chosen if node not in known]
    if not missing:
        return made
    said = f"no data of {', '.join(missing)} in this window"
    if len(missing) < len(chosen) or made.total:
        return replace(made, beside=f"{made.beside}; {said}")
    return replace(made, headline="Unknown", beside=said, empty=f"Unknown: {said}")


def key(loaded: Loaded, state: State) -> tuple[object, ...]:
    """Give what the panel of a topic depends on: equal keys need no new picture."""
    dimensions = DIMENSIONS[loaded.topic]
    filters = tuple(one for one in state.filters if one[0] in dimensions)
    return (loaded, state.group(loaded.topic), filters)


def values(loaded: Loaded) -> dict[str, tuple[str, ...]]:
    """Give the values in the data of each dimension that can be filtered by."""
    data: Any = loaded.data
    if loaded.topic == "endpoint_growth":
        return {"node": tuple(sorted(map(str, data.now.counts.columns)))}
    if loaded.topic == "node_connectivity":
        names = (
            set(frames.labels(data.now.observers)["node"]) if data.now.observers.shape[1] else set()
        )
        return {"node": tuple(sorted(map(str, names)))}
    counts = _classed(data.now.counts) if loaded.topic == "http_status" else data.now.counts
    table = frames.labels(counts)
    return {
        name: tuple(sorted({str(value) for value in table[name]}))
        for name in DIMENSIONS[loaded.topic]
        if name in table
    }


def kept(frame: pd.DataFrame, state: State) -> pd.DataFrame:
    """Keep the series of a label frame whose labels the filters of a state let through."""
    keep = np.ones(frame.shape[1], dtype=bool)
    for dimension, chosen in state.filters:
        if dimension in frame.columns.names:
            keep &= np.asarray(frame.columns.get_level_values(dimension).isin(list(chosen)))
    return frame if keep.all() else frame.loc[:, keep]


def _drops(loaded: Loaded, state: State) -> Panel:
    data: Drops = loaded.data
    by = state.group("drop_reasons")
    now, baseline = kept(data.now.counts, state), kept(data.baseline.counts, state)
    table = compared(now, baseline, by, data.window.length / data.baseline.length, "packets")
    total, expected = table["packets"].sum(), table["expected"].sum()
    return Panel(
        "drop_reasons",
        "stacked",
        _per_second(now, by, data.window.step),
        "packets/s",
        total,
        f"{total:,.0f} packets dropped",
        f"{expected:,.0f} expected from the baseline",
        table,
        empty="No packet was dropped",
    )


def _http(loaded: Loaded, state: State) -> Panel:
    data: Http = loaded.data
    by = state.group("http_status")
    now, baseline = (
        kept(_classed(frame), state) for frame in (data.now.counts, data.baseline.counts)
    )
    scale = data.window.length / data.baseline.length
    table = compared(now, baseline, by, scale, "requests")
    total, expected = table["requests"].sum(), table["expected"].sum()
    bad = [name in ("4xx", "5xx") for name in now.columns.get_level_values("class")]
    wrong = float(now.loc[:, bad].to_numpy(dtype="float64", na_value=0.0).sum() if any(bad) else 0)
    return Panel(
        "http_status",
        "stacked",
        _per_second(now, by, data.window.step),
        "requests/s",
        total,
        f"{total:,.0f} requests, {wrong:,.0f} with 4xx or 5xx",
        f"{expected:,.0f} requests expected from the baseline",
        table,
        empty="No request is visible",
    )


def _endpoints(loaded: Loaded, state: State) -> Panel:
    data: Endpoints = loaded.data
    by, nodes = state.group("endpoint_growth"), state.filter("node")
    chosen = [n for n in data.now.counts.columns if not nodes or str(n) in nodes]
    names = ["endpoints", "usual", "change", "not ready"]
    table = loaded.by_node
    table = table.loc[[n for n in table.index if not nodes or str(n) in nodes]]
    there = table[table["left"].isna()]
    total, baseline = there["endpoints"].sum(), there["usual"].sum()
    frame, shown = data.now.counts[chosen], table[names]
    if by == "state":
        frame = _plain(frames.group(kept(data.now.states, state), ["endpoint_state"]))
        shown = pd.DataFrame({"endpoints": frames.last(frame), "most": frame.max()})
        shown.index.name = "state"
    elif by == "cluster":
        frame = frame.sum(axis=1, min_count=1).rename("all nodes").to_frame()
        sums = table[names].sum().rename("all nodes").to_frame().T
        shown = sums.rename_axis("cluster")
    return Panel(
        "endpoint_growth",
        "lines",
        frame,
        "endpoints",
        total,
        f"{total:,.0f} endpoints at the end",
        f"{baseline:,.0f} usual in the baseline; {there['not ready'].sum():,.0f} not ready now",
        shown,
        empty="No endpoint is in the data",
    )


def _connectivity(loaded: Loaded, state: State) -> Panel:
    data: Connectivity = loaded.data
    nodes = state.filter("node")
    by_pair = state.group("node_connectivity") != "node"
    frame = _pairs(data, nodes) if by_pair else connectivity.timeline(data)
    if not by_pair and nodes:
        frame = frame[[name for name in frame.columns if str(name) in nodes]]
    if len(frame):
        frame = frame.loc[:, frame.gt(0).any()]
    total, seen = float(frame.shape[1]), data.now.observers.shape[1]
    step = frames.step_seconds(frame) / 60 if len(frame) else 0.0
    table = pd.DataFrame(
        {"minutes": frame.gt(0).sum() * step, "worst": frame.max()}, dtype="float64"
    ).sort_values(["minutes", "worst"], ascending=False, kind="stable")
    table.index.name = "source to target" if by_pair else "node"
    what = ("pair" if total == 1 else "pairs") if by_pair else ("node" if total == 1 else "nodes")
    return Panel(
        "node_connectivity",
        "outages",
        frame if total else _no_failures(data, nodes),
        "share of paths that failed",
        total,
        f"{total:,.0f} {what} with failed probes" if total else "No failed probes",
        f"{seen:,} nodes probe each other",
        table,
        empty="No failed probe is in the data",
    )


def _no_failures(data: Connectivity, nodes: Sequence[str]) -> pd.DataFrame:
    """Give zeros where a node's own probes are in the data: none of them failed."""
    inside = frames.between(data.now.observers, data.window.start, data.window.end)
    seen = _plain(frames.group(inside, ["node"], how="max")) * 0.0
    return seen[[name for name in seen.columns if not nodes or name in nodes]]


def _pairs(data: Connectivity, nodes: Sequence[str]) -> pd.DataFrame:
    inside = frames.between(data.now.pairs, data.window.start, data.window.end)
    if not inside.shape[1]:
        return pd.DataFrame(index=inside.index)
    worst = frames.group(inside, ["source", "target"], how="max")
    ends = frames.labels(worst)
    if nodes:
        keep = ends["source"].isin(list(nodes)) | ends["target"].isin(list(nodes))
        worst, ends = worst.loc[:, keep.to_numpy()], ends[keep]
    worst.columns = pd.Index(ends["source"].astype(str) + " → " + ends["target"].astype(str))
    return worst


_PANELS: Mapping[str, Callable[[Loaded, State], Panel]] = {
    "drop_reasons": _drops,
    "node_connectivity": _connectivity,
    "endpoint_growth": _endpoints,
    "http_status": _http,
}


def compared(
    now: pd.DataFrame, baseline: pd.DataFrame, by: str, scale: float, amount: str
) -> pd.DataFrame:
    """Compare counts with what the baseline makes one expect, the largest first.

    `scale` is the length of the window, divided by that of the baseline.
    """
    table = pd.DataFrame(
        {amount: frames.totals(now, [by]), "expected": frames.totals(baseline, [by]) * scale}
    ).fillna(0.0)
    table["change"] = table[amount] - table["expected"]
    table.index = table.index.rename(by)
    return table.sort_values([amount, "expected"], ascending=False, kind="stable")


def _per_second(counts: pd.DataFrame, by: str, step: timedelta) -> pd.DataFrame:
    return _plain(frames.group(counts, [by])) / step.total_seconds()


def _plain(grouped: pd.DataFrame) -> pd.DataFrame:
    """Make the columns of a frame with one label plain names; an empty one becomes ``unnamed``."""
    (name,) = grouped.columns.names
    texts = [str(value) or "unnamed" for value in grouped.columns.get_level_values(0)]
    return grouped.set_axis(pd.Index(texts, name=name), axis=1)


def _classed(counts: pd.DataFrame) -> pd.DataFrame:
    """Add the class of the status as a label, such as ``5xx``."""
    if "status" not in counts.columns.names:
        return frames.with_levels(counts, [*map(str, counts.columns.names), "class"])
    found = [status_class(str(status)) for status in counts.columns.get_level_values("status")]
    return frames.relabel(counts, "class", found)
