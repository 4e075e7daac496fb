"""Tables: their columns and types, rows -> frame, frame -> JSON and back. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cilium_analysis.kube.objects import Row

_TYPES = {"text": "str", "flag": "bool", "number": "int64", "time": "datetime64[us, UTC]"}
_PYTHON = {"text": str, "flag": bool, "number": int, "pairs": dict, "list": list}
_NEVER = datetime.min.replace(tzinfo=UTC)
_SAFE = 2**63


def _columns(text: str) -> dict[str, str]:
    """Return the type of each column; without one it holds texts."""
    return {name: kind or "text" for name, _, kind in (c.partition(":") for c in text.split())}


_POLICY = _columns("""
    kind namespace name created:time changed:time generation:number directions l7 denies:flag
    selects valid
""")
#: Columns of each table: their types are text, flag, number, time, pairs (of texts) and list.
COLUMNS = {
    "events": _columns("""
        namespace kind name type reason message count:number first:time last:time component node
    """),
    "nodes": _columns("""
        name internal_ip addresses:list ready:flag ready_changed:time unschedulable:flag
        kubelet_version kernel_version zone roles created:time
    """),
    "namespaces": _columns("name phase labels:pairs created:time"),
    "pods": _columns("""
        namespace name node ip host_ip phase ready:flag restarts:number last_exit:time
        last_exit_reason owner_kind owner labels:pairs prometheus:pairs ports:list created:time
    """),
    "services": _columns("""
        namespace name type headless:flag selector:pairs labels:pairs prometheus:pairs ports:list
        created:time
    """),
    "cilium_policies": _POLICY,
    "cilium_clusterwide_policies": _POLICY,
    "network_policies": _POLICY,
}


def ordered(table: str, rows: Iterable[Row]) -> list[Row]:
    """Sort the rows of a table: events by time, everything else by name."""
    if table != "events":
        return sorted(rows, key=lambda row: (row.get("namespace", ""), row["name"]))
    texts = ("namespace", "kind", "name", "reason", "message", "node")
    return sorted(
        rows, key=lambda row: (row["last"] or _NEVER, row["first"] or _NEVER, *map(row.get, texts))
    )


def frame(table: str, rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Make the frame of a table: rows in the same order, and the same types if there are none."""
    return pd.DataFrame(
        {
            name: pd.Series([row[name] for row in rows], dtype=_TYPES.get(kind, "object"))
            for name, kind in COLUMNS[table].items()
        }
    )


def as_json(table: str, frame: pd.DataFrame) -> list[dict[str, object]]:
    """Return a frame's rows as JSON-ready values; times as ISO 8601 in UTC, to the microsecond."""
    columns = {
        name: [time_as_json(value) for value in frame[name]]
        if kind == "time"
        else frame[name].tolist()
        for name, kind in COLUMNS[table].items()
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def from_json(table: str, rows: object) -> pd.DataFrame:
    """Make the frame of a table from rows that `as_json` gave.

    Raises
    ------
    ValueError
        If they are not such rows.
    """
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{table} is no list of rows")
    columns = COLUMNS[table]
    return frame(table, [{n: _value(row, n, columns[n]) for n in columns} for row in rows])


def time_as_json(value: object) -> str | None:
    """Write a time as ISO 8601 in UTC, to the microsecond; None for none."""
    if not isinstance(value, datetime) or pd.isna(value):
        return None
    return value.isoformat(timespec="microseconds").replace("+00:00", "Z")


def time_from_json(value: object) -> datetime | None:
    """Read a time that `as_json` wrote; ValueError if it is none."""
    if value is None:
        return None
    moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"{value!r} is no time")
    return moment.astimezone(UTC)


def _value(row: Mapping[str, object], name: str, kind: str) -> object:
    """Return a value of a row, which must have its type."""
    value = row.get(name)
    if kind == "time":
        return time_from_json(value)
    if type(value) is not _PYTHON[kind] or (isinstance(value, int) and abs(value) >= _SAFE):
        raise ValueError(f"{name} holds {value!r}, which is no {kind}")
    return value
