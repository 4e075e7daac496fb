"""Answers that are no range: vectors, exemplars, metadata. Pure."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cilium_analysis.errors import NotPrometheus, QueryRejected
from cilium_analysis.prometheus.columns import Columns, milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cilium_analysis.prometheus.decode import Answer


def exemplars(data: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Lay exemplars out as a table, one row each, in order of time.

    Parameters
    ----------
    data
        Of ``/api/v1/query_exemplars``.
    """
    own: dict[str, list[Any]] = {"time": [], "value": []}
    labels = []
    for row in data:
        for found in row.get("exemplars") or ():
            own["time"].append(milliseconds(found["timestamp"]))
            own["value"].append(float(found["value"]))
            labels.append(row.get("seriesLabels", {}) | found.get("labels", {}))
    table = pd.DataFrame(labels, index=range(len(labels))).fillna("")
    # A label of such a name gives way.
    table = table.drop(columns=list(own), errors="ignore")
    times = np.array(own["time"], dtype="datetime64[ms]")
    table.insert(0, "time", pd.DatetimeIndex(times, tz="UTC"))
    table.insert(1, "value", np.array(own["value"], dtype=np.float64))
    return table.sort_values("time", kind="stable", ignore_index=True)


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


def names(data: Sequence[str]) -> list[str]:
    """Give the values of a label, as ``/api/v1/label/…/values`` lists them."""
    if not isinstance(data, list) or not all(isinstance(value, str) for value in data):
        raise TypeError("not a list of names")
    return data


def series(data: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    """Lay series out as a table, one row each; a label that one lacks is empty.

    Parameters
    ----------
    data
        Of ``/api/v1/series``.
    """
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise TypeError("not a list of label sets")
    return pd.DataFrame(data, index=range(len(data))).fillna("")


@contextmanager
def expected_of(server: str) -> Iterator[None]:
    """Turn what is of another form than documented into an error of the server's."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        text = "did not answer like Prometheus: the data are of another form"
        raise NotPrometheus(f"{server} {text}") from None


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
