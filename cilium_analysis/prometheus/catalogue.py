"""What a server says beside the answers to queries: what it is, its metrics, labels and series."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from cilium_analysis.errors import AccessDenied, NotPrometheus, QueryRejected
from cilium_analysis.metrics import Exported, Help, help_on, search
from cilium_analysis.prometheus.columns import milliseconds
from cilium_analysis.prometheus.credentials import shown_parameters
from cilium_analysis.prometheus.planning import between, escaped
from cilium_analysis.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cilium_analysis.prometheus.transport import Transport

#: VictoriaMetrics repeats earlier values in its newest points (-search.latencyOffset).
_LATENCY = timedelta(seconds=30)


class Catalogue:
    """The part of `cilium_analysis.Prometheus` that lists what the server has."""

    transport: Transport
    called: str

    @property
    def name(self) -> str:
        """Name of the source, by which it is found again: an address without credentials."""
        wire = self.transport
        return self.called or wire.base.rstrip("/") + shown_parameters(wire.parameters)

    def metadata(self) -> pd.DataFrame:
        """List type, help and unit of metrics, as the scraped targets state them.

        Returns
        -------
        pandas.DataFrame
            ``metric``, ``type``, ``help``, ``unit``; more than one row for a metric on which
            targets disagree.
        """
        answer = self.transport.ask("api/v1/metadata", {}, form=False)
        with expected_of(self.name):
            data: Mapping[str, Iterable[Mapping[str, str]]] = answer.envelope.get("data") or {}
            rows = [{"metric": name, **one} for name, each in sorted(data.items()) for one in each]
            return pd.DataFrame(rows, columns=["metric", "type", "help", "unit"])

    def label_values(
        self, name: str, *, match: str = "", window: Window | None = None
    ) -> list[str]:
        """List the values of a label.

        Parameters
        ----------
        name
            Of the label; any UTF-8.
        match
            A selector that narrows the series, such as ``cilium_endpoint``.
        window
            Narrows the time, roughly.
        """
        return self._names(f"label/{quote(escaped(name), safe='')}/values", match, window)

    def label_names(self, *, match: str = "", window: Window | None = None) -> list[str]:
        """List the names of labels; parameters as of `label_values`."""
        return self._names("labels", match, window)

    def _names(self, path: str, match: str, window: Window | None) -> list[str]:
        params = between(window) | ({"match[]": match} if match else {})
        answer = self.transport.ask(f"api/v1/{path}", params, form=False)
        with expected_of(self.name):
            data: list[str] = answer.envelope.get("data") or []
            if not isinstance(data, list) or not all(isinstance(value, str) for value in data):
                raise TypeError("not a list of names")
            return data

    def metrics(self, about: str = "") -> pd.DataFrame:
        """Find metrics by name or by meaning; as of `cilium_analysis.metrics.search`.

        Parameters
        ----------
        about
            Part of a name, or words such as ``dropped packets``; empty for all metrics.
        """
        there = dict.fromkeys(self._metric_names(), Exported())
        table = self.metadata()
        for name, kind, text in zip(table["metric"], table["type"], table["help"], strict=True):
            if name in there:
                there[name] = Exported(kind, text)
        return search(about, there=there)

    def metric(self, name: str) -> Help:
        """Explain a metric of Cilium; as of `cilium_analysis.metrics.help_on`."""
        return help_on(name, there=self._metric_names())

    def _metric_names(self) -> list[str]:
        """List all metrics that were ever stored.

        Without a start, or with 0, VictoriaMetrics lists the last day only.
        """
        ever = Window(datetime(2000, 1, 1, tzinfo=UTC), datetime.now(UTC), timedelta(days=1))
        return self.label_values("__name__", window=ever)

    def series(self, match: str, *, window: Window | None = None) -> pd.DataFrame:
        """List the series that a selector matches: one row each, one column per label."""
        params = between(window) | {"match[]": match}
        answer = self.transport.ask("api/v1/series", params, query=match)
        with expected_of(self.name):
            data: Sequence[Mapping[str, str]] = answer.envelope.get("data") or []
            if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
                raise TypeError("not a list of label sets")
            return pd.DataFrame(data, index=range(len(data))).fillna("")


@contextmanager
def expected_of(server: str) -> Iterator[None]:
    """Turn data of another form than documented into an error that names the server."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        text = "did not answer like Prometheus: the data are of another form"
        raise NotPrometheus(f"{server} {text}") from None


def exemplars(data: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return exemplars as a table, one row each, in order of time.

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
    # A label with the name of one of our columns is left out.
    table = table.drop(columns=list(own), errors="ignore")
    times = np.array(own["time"], dtype="datetime64[ms]")
    table.insert(0, "time", pd.DatetimeIndex(times, tz="UTC"))
    table.insert(1, "value", np.array(own["value"], dtype=np.float64))
    return table.sort_values("time", kind="stable", ignore_index=True)


def build_of(transport: Transport) -> dict[str, str]:
    """Ask a server for its build: ``application``, ``version``, …; empty if it does not say."""
    try:
        data = transport.ask("api/v1/status/buildinfo", {}, form=False).data
    except (QueryRejected, NotPrometheus, AccessDenied):
        data = {}
    info = {key: str(value) for key, value in data.items() if isinstance(value, str) and value}
    if transport.is_victoria and "revision" not in info:
        # The version it gives there is that of the Prometheus whose API it offers.
        return {"application": "VictoriaMetrics"}
    return {"application": "Prometheus", **info} if info else {}


def newest_points(transport: Transport, window: Window) -> Iterator[str]:
    """Warn of the newest points of a window where the server makes them up."""
    if transport.is_victoria and datetime.now(UTC) - window.end < _LATENCY:
        yield "the newest 30 s are not real: VictoriaMetrics repeats earlier values there"
