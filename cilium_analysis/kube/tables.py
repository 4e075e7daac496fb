"""Tables: their columns and types, rows -> frame, frame -> JSON and back. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cilium_analysis.kube.rows import Row

Type = Literal["text", "flag", "number", "time", "pairs", "list"]

_TYPES = {"text": "str", "flag": "bool", "number": "int64", "time": "datetime64[us, UTC]"}
_PYTHON: dict[Type, type] = {"text": str, "flag": bool, "number": int, "pairs": dict, "list": list}
_NEVER = datetime.min.replace(tzinfo=UTC)
_SAFE = 2**63

_POLICY: dict[str, Type] = {
    "kind": "text",
    "namespace": "text",
    "name": "text",
    "created": "time",
    "changed": "time",
    "generation": "number",
    "directions": "text",
    "l7": "text",
    "denies": "flag",
    "selects": "text",
    "valid": "text",
}
COLUMNS: dict[str, dict[str, Type]] = {
    "events": {
        "namespace": "text",
        "kind": "text",
        "name": "text",
        "type": "text",
        "reason": "text",
        "message": "text",
        "count": "number",
        "first": "time",
        "last": "time",
        "component": "text",
        "node": "text",
    },
    "nodes": {
        "name": "text",
        "internal_ip": "text",
        "addresses": "list",
        "ready": "flag",
        "ready_changed": "time",
        "unschedulable": "flag",
        "kubelet_version": "text",
        "kernel_version": "text",
        "zone": "text",
        "roles": "text",
        "created": "time",
    },
    "namespaces": {"name": "text", "phase": "text", "labels": "pairs", "created": "time"},
    "pods": {
        "namespace": "text",
        "name": "text",
        "node": "text",
        "ip": "text",
        "host_ip": "text",
        "phase": "text",
        "ready": "flag",
        "restarts": "number",
        "last_exit": "time",
        "last_exit_reason": "text",
        "owner_kind": "text",
        "owner": "text",
        "labels": "pairs",
        "prometheus": "pairs",
        "ports": "list",
        "created": "time",
    },
    "services": {
        "namespace": "text",
        "name": "text",
        "type": "text",
        "headless": "flag",
        "selector": "pairs",
        "labels": "pairs",
        "prometheus": "pairs",
        "ports": "list",
        "created": "time",
    },
    "cilium_policies": _POLICY,
    "cilium_clusterwide_policies": _POLICY,
    "network_policies": _POLICY,
}


def ordered(table: str, rows: Iterable[Row]) -> list[Row]:
    """Sort rows as their table shows them: events by time, everything else by name."""
    if table == "events":
        texts = ("namespace", "kind", "name", "reason", "message", "node")
        return sorted(
            rows, key=lambda row: (_time(row, "last"), _time(row, "first"), *map(row.get, texts))
        )
    return sorted(rows, key=lambda row: (row.get("namespace", ""), row["name"]))


def _time(row: Row, name: str) -> datetime:
    found = row[name]
    return found if isinstance(found, datetime) else _NEVER


def frame(table: str, rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Make the frame of a table; the rows stay in order, and without any the types are the same."""
    return pd.DataFrame(
        {
            name: pd.Series([row[name] for row in rows], dtype=_TYPES.get(kind, "object"))
            for name, kind in COLUMNS[table].items()
        }
    )


def as_json(table: str, frame: pd.DataFrame) -> list[dict[str, object]]:
    """Give a frame's rows as JSON-ready values; times as ISO 8601 in UTC, to the microsecond."""
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


def _value(row: Mapping[str, object], name: str, kind: Type) -> object:
    """Take a value of a row, and see that it has its type."""
    value = row.get(name)
    if kind == "time":
        return time_from_json(value)
    if type(value) is not _PYTHON[kind] or (isinstance(value, int) and abs(value) >= _SAFE):
        raise ValueError(f"{name} holds {value!r}, which is no {kind}")
    return value
