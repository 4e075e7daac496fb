"""Tables about what agents are told, and what nodes forward: frames in, frames out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.frames import totals
from cilium_analysis.topics.health.streams import pick
from cilium_analysis.topics.health.tables import compare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cilium_analysis.topics.health.data import Health, Span

MB = 1e6


def events(data: Health, *, most: int = 30) -> pd.DataFrame:
    """Give the events that all agents together were told of.

    Parameters
    ----------
    most
        Number of rows.

    Returns
    -------
    pandas.DataFrame
        ``about`` (a kind of Kubernetes object, or nodes and services as agents keep them),
        ``action``, ``received``, ``unchanged`` and ``invalid`` (of those: the object was as
        before, or not valid), ``handled``, ``failed``, ``expected`` (what the baseline makes one
        expect of those received, or handled), ``change``; most first. NaN where the metric does
        not tell.
    """
    rows = [*_objects(data), *_others(data)]
    columns = ["about", "action", *_COUNTS, "expected", "change"]
    table = pd.DataFrame(rows, columns=columns)
    table = table[(table[["received", "handled", "expected"]] >= 0.5).any(axis=1)]
    order = table[["received", "handled"]].max(axis=1).sort_values(ascending=False, kind="stable")
    return table.loc[order.index[:most]].reset_index(drop=True)


_COUNTS = ("received", "unchanged", "invalid", "handled", "failed")


def _objects(data: Health) -> list[dict[str, object]]:
    """Give one row per kind of Kubernetes object and action."""
    by = ["scope", "action"]
    received, handled = compare(data, "events_received", by), compare(data, "events", by)
    table = pd.DataFrame(
        {
            "received": received["count"],
            "unchanged": _part(data.now, "events_received", "equal", "true".__eq__),
            "invalid": _part(data.now, "events_received", "valid", "false".__eq__),
            "handled": handled["count"],
            "failed": _part(data.now, "events", "status", "success".__ne__),
            # Agents that only count what they handle have nothing to compare but that.
            "expected": received["expected"].combine_first(handled["expected"]),
        },
        dtype="float64",
    ).fillna(0.0)
    table["change"] = table[["received", "handled"]].max(axis=1) - table["expected"]
    return [{"about": key[0], "action": key[1], **row} for key, row in _rows(table)]


def _part(span: Span, name: str, label: str, chosen: Callable[[str], bool]) -> pd.Series:
    return totals(pick(span[name], label, chosen), ["scope", "action"])


def _others(data: Health) -> list[dict[str, object]]:
    """Give nodes by source and event, and services by action."""
    nodes = compare(data, "node_events", ["source", "event_type"])
    services = compare(data, "service_events", ["action"])
    return [
        *(
            {"about": f"nodes ({key[0]})", "action": key[1], **_row("received", row)}
            for key, row in _rows(nodes)
        ),
        *(
            {"about": "services", "action": key[0], **_row("handled", row)}
            for key, row in _rows(services)
        ),
    ]


def _rows(table: pd.DataFrame) -> Iterator[tuple[tuple[str, ...], dict[str, float]]]:
    """Give each row as its labels and its numbers by column."""
    for place, key in enumerate(table.index):
        labels = key if isinstance(key, tuple) else (key,)
        numbers = {str(name): float(table[name].iloc[place]) for name in table.columns}
        yield tuple(str(label) for label in labels), numbers


def _row(name: str, row: dict[str, float]) -> dict[str, float]:
    return {name: row["count"], "expected": row["expected"], "change": row["change"]}


def told(data: Health) -> pd.DataFrame:
    """Give what each agent knows and was told.

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
            rows.append({"what": what, "kind": " ".join(key), **row})
    columns = ["what", "kind", "calls", "mean", "usual mean", "spent"]
    table = pd.DataFrame(rows, columns=columns).sort_values("spent", ascending=False, kind="stable")
    table["calls"] = table["calls"].astype("float64").round()
    return table.drop(columns="spent").head(most).reset_index(drop=True)
