"""Answers in the form of prometheus-pandas (github.com/dcoles/prometheus-pandas, MIT), faster.

Upstream builds every series sample by sample. Here the values are parsed already, and the index of
series that share their times is built once, by the very expression that upstream uses, so that
its resolution is the same with every version of pandas.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from prometheus_pandas.query import metric_name, to_pandas

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cilium_analysis.prometheus.columns import Answer


def as_upstream(answer: Answer) -> Any:
    """Return what ``prometheus_pandas.query.to_pandas`` returns.

    Parameters
    ----------
    answer
        Of an instant or a range query.

    Returns
    -------
    pandas.DataFrame, pandas.Series, numpy.float64 or list
        A matrix, vector, scalar or string. Upstream 0.3.3 means a scalar to be a number, but
        gives an array of its time and its value; here it is the value. Where upstream fails on
        native histograms, they are left out.
    """
    kind = answer.data.get("resultType")
    if kind == "matrix":
        return _matrix(answer)
    if kind == "scalar":
        return np.float64(answer.data["result"][1])
    if kind == "vector":
        plain = [row for row in answer.data.get("result") or [] if "value" in row]
        return to_pandas({"resultType": kind, "result": plain})
    return to_pandas(answer.data)


def _matrix(answer: Answer) -> pd.DataFrame:
    columns = answer.columns
    index: pd.Index = pd.Index([])
    known = None
    series = {}
    for labels, times, values in zip(columns.labels, columns.times, columns.floats, strict=True):
        if not len(values):
            # By upstream's very expression, since its dtype is pandas' choice.
            series[metric_name(labels)] = pd.Series(iter(()), index=iter(()))  # type: ignore[call-overload]
            continue
        if times is not known:
            index, known = _index(times), times
        series[metric_name(labels)] = pd.Series(values, index=index)
    return pd.DataFrame(series)


def _index(times: NDArray[np.int64]) -> pd.Index:
    """Build an index of times [ms] as upstream does: of whole seconds as int, others as float."""
    seconds = [ms // 1000 if ms % 1000 == 0 else ms / 1000 for ms in times.tolist()]
    return pd.Index([pd.Timestamp(second, unit="s") for second in seconds])


def as_upstream_writes(value: str | float | datetime | timedelta) -> str:
    """Write a time or a duration as prometheus-pandas does: anything else is left as it is."""
    if isinstance(value, datetime):
        return str(value.timestamp())
    if isinstance(value, timedelta):
        return str(value.total_seconds())
    return str(value)


def timeout_of(timeout: str | timedelta | None) -> dict[str, str]:
    """Return the parameter of a query's own timeout, if there is one."""
    return {} if timeout is None else {"timeout": as_upstream_writes(timeout)}
