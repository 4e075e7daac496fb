"""Answers that are no range: vectors, exemplars, metadata. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from cilium_analysis.errors import QueryRejected
from cilium_analysis.prometheus.columns import Columns, milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cilium_analysis.prometheus.decode import Answer


def exemplars(data: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Lay exemplars out as a table, one row each, in order of time.

    Parameters
    ----------
    data
        Of ``/api/v1/query_exemplars``.
    """
    rows = [
        {"time": milliseconds(found["timestamp"]), "value": float(found["value"])}
        | row.get("seriesLabels", {})
        | found.get("labels", {})
        for row in data
        for found in row.get("exemplars") or ()
    ]
    table = pd.DataFrame(rows, columns=None if rows else ["time", "value"])
    table["time"] = pd.to_datetime(table["time"].astype("int64"), unit="ms", utc=True)
    return table.sort_values("time", ignore_index=True)


def metadata(data: Mapping[str, Iterable[Mapping[str, str]]]) -> pd.DataFrame:
    """Lay metadata out as a table; targets that disagree give a metric several rows.

    Parameters
    ----------
    data
        Of ``/api/v1/metadata``.
    """
    rows = [
        {"metric": name, **entry} for name, entries in sorted(data.items()) for entry in entries
    ]
    return pd.DataFrame(rows, columns=["metric", "type", "help", "unit"])


def add_instant(answer: Answer) -> int:
    """Make a vector or a scalar into columns; give the number of histograms left out."""
    kind, result = answer.data.get("resultType"), answer.data.get("result") or []
    rows: list[Mapping[str, Any]] = (
        [{"metric": {}, "value": result}] if kind == "scalar" else result
    )
    if kind == "string":
        raise QueryRejected("the query gives a string, not numbers")
    plain = [row for row in rows if "value" in row]
    series = [
        {"metric": row["metric"], "values": [row["value"]]} for row in plain if kind != "matrix"
    ]
    answer.columns = answer.columns if kind == "matrix" else _columns(series)
    return len(rows) - len(plain)


def _columns(series: list[dict[str, Any]]) -> Columns:
    columns = Columns()
    for row in series:
        columns.add_samples(row["metric"], row["values"])
    return columns
