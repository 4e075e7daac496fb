"""What there is on a server: series, labels, metadata, exemplars, and the server itself."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from cilium_analysis import frames
from cilium_analysis.errors import (
    NotPrometheus,
)
from cilium_analysis.prometheus import Prometheus
from cilium_analysis.prometheus.planning import escaped
from cilium_analysis.window import Window
from cilium_simulator import remote_write
from cilium_simulator.exporter import LiveExporter
from cilium_simulator.scrape import Series
from tests.conftest import installed_or_skip
from tests.faults import (
    Reply,
    Stub,
    page,
    success,
    text,
)
from tests.servers.prometheus import NotInstalled, PrometheusServer
from tests.test_prometheus_client import LARGE, exchange, window_of
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.process import ServerProcess
    from tests.servers.served import ClusterServer


@pytest.fixture
def held(cluster_server: Callable[..., ClusterServer], server_kind: str) -> ClusterServer:
    """A server with two hours of a cluster, scraped each 15 s."""
    return cluster_server("restart_1_15", server_kind)


@pytest.fixture
def client(held: ClusterServer) -> Iterator[Prometheus]:
    with Prometheus(held.url) as prometheus:
        yield prometheus


def test_what_a_server_is(held: ClusterServer, client: Prometheus) -> None:
    wanted = {
        "prometheus-2": ("Prometheus", "2."),
        "prometheus-3": ("Prometheus", "3."),
        "victoria": ("VictoriaMetrics", ""),
    }[held.kind]
    found = client.server
    assert found["application"] == wanted[0]
    # The version that VictoriaMetrics gives is that of a Prometheus.
    assert found.get("version", "").startswith(wanted[1])
    assert ("version" in found) == (held.kind != "victoria")


def test_what_a_mimir_is() -> None:
    _, reply = exchange("mimir-grafana-play__buildinfo")
    with Stub(reply) as stub, Prometheus(stub.url) as client:
        assert client.server["application"] == "Grafana Mimir"
        assert client.server["version"] == "r411-926f316c"
        assert "features" not in client.server
        assert client.server is client.server
        assert len(stub.requests) == 1


@pytest.mark.parametrize("reply", [page(404), text(404, "no"), text(403, "no"), success(None)])
def test_a_server_that_does_not_say_what_it_is(reply: Reply) -> None:
    with Stub(reply) as stub, Prometheus(stub.url) as client:
        assert client.server == {}


def test_series_and_label_values(held: ClusterServer, client: Prometheus) -> None:
    window = window_of(held)
    nodes = sorted(held.scenario.nodes)
    assert sorted(client.label_values("node", match="cilium_endpoint", window=window)) == nodes
    reasons = client.label_values("reason", match="cilium_drop_count_total", window=window)
    assert "Policy denied" in reasons
    assert "cilium_endpoint" in client.label_values("__name__", window=window)
    assert client.label_values("no_such_label", window=window) == []
    found = client.series("cilium_drop_count_total", window=window)
    assert len(found) == client.range("cilium_drop_count_total", window).shape[1]
    assert set(found["__name__"]) == {"cilium_drop_count_total"}
    assert sorted(found["reason"].unique()) == sorted(reasons)
    both = client.series("{__name__=~'cilium_endpoint|cilium_drop_count_total'}", window=window)
    assert (both.loc[both["__name__"] == "cilium_endpoint", "reason"] == "").all()
    assert client.series("no_such_metric", window=window).empty


def test_the_catalogue_outside_of_the_data(client: Prometheus) -> None:
    early = Window.parse("2026-01-01T08:00Z", "2026-01-01T09:00Z", step="30s")
    assert client.label_values("node", window=early) == []
    assert client.series("cilium_endpoint", window=early).empty


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("node", "node"),
        ("http.status_code", "U__http_2e_status__code"),
        ("a/b", "U__a_2f_b"),
        ("é", "U___e9_"),
        ("\N{GRINNING FACE}", "U___1f600_"),
    ],
)
def test_odd_label_names_in_a_path(name: str, path: str) -> None:
    assert escaped(name) == path


def test_odd_label_names_on_a_real_server(prometheus3: ServerProcess) -> None:
    labels = {"__name__": "odd.metric", "http.status_code": "404", "ü": 'a"\\\n'}
    now = round(time.time()) * 1000
    series = Series("odd.metric", "gauge", labels, np.array([now]), np.array([1.0]))
    for body in remote_write.requests([series], float_le=False):
        prometheus3.get("/api/v1/write", body, remote_write.HEADERS)
    query = '{"odd.metric"}'
    window = Window.parse("now-10m", "now", step="1s", now=datetime.fromtimestamp(now / 1000, UTC))
    with Prometheus(prometheus3.url) as client:
        assert client.label_values("http.status_code", match=query) == ["404"]
        assert client.label_values("ü", match=query) == ['a"\\\n']
        found = client.range(query, window)
        assert client.series(query).to_dict("records") == [labels]
    assert frames.labels(found).to_dict("records") == [labels]


@pytest.fixture
def scraped() -> Iterator[tuple[LiveExporter, PrometheusServer]]:
    with LiveExporter() as exporter:
        try:
            server = PrometheusServer(config=exporter.config(node="worker-1"), exemplars=True)
        except NotInstalled as error:
            installed_or_skip(error)
            return
        with server:
            yield exporter, server


@pytest.mark.slow
def test_exemplars_and_metadata_of_a_live_target(
    scraped: tuple[LiveExporter, PrometheusServer],
) -> None:
    exporter, server = scraped
    exporter.metrics.add("hubble_http_requests_total", {"method": "GET"}, trace="abc123")
    exporter.metrics.add("hubble_http_requests_total", {"status": "500"}, 2.5, trace="def456")
    with Prometheus(server.url) as client:

        def found() -> pd.DataFrame:
            window = Window.parse("now-5m", "now", step="1s")
            return client.exemplars("rate(hubble_http_requests_total[1m])", window)

        until(lambda: len(found()) == 2)
        table = found().sort_values("traceID", ignore_index=True)
        metadata = client.metadata()
        none = client.exemplars("no_such_metric", Window.parse("now-5m", "now", step="1s"))
    assert table.columns[:2].tolist() == ["time", "value"]
    assert table["traceID"].tolist() == ["abc123", "def456"]
    assert table["value"].tolist() == [1.0, 2.5]
    assert table["method"].tolist() == ["GET", ""]
    assert table["node"].tolist() == ["worker-1"] * 2
    assert table["time"].dtype == "datetime64[ms, UTC]"
    assert (abs(table["time"] - pd.Timestamp.now("UTC")) < timedelta(minutes=5)).all()
    assert none.columns.tolist() == ["time", "value"]
    assert none.dtypes.astype(str).tolist() == ["datetime64[ms, UTC]", "float64"]
    row = metadata[metadata["metric"].str.startswith("hubble_http_requests")].iloc[0]
    assert row["type"] == "counter"
    assert metadata.columns.tolist() == ["metric", "type", "help", "unit"]


def test_exemplars_in_order_of_time_whatever_their_labels() -> None:
    documented = [
        {
            "seriesLabels": {"__name__": "x", "value": "of the label", "b": "1"},
            "exemplars": [
                {"labels": {"traceID": "later"}, "value": "6", "timestamp": 1600096945.479},
                {"labels": {"time": "noon"}, "value": "+Inf", "timestamp": 1600096935},
            ],
        },
        {"seriesLabels": {"a": "2"}, "exemplars": []},
        {"seriesLabels": {"a": "2"}},
    ]
    with Stub(success(documented)) as stub, Prometheus(stub.url) as client:
        found = client.exemplars("x", LARGE)
        stub.play(Reply(status=204, content_type=""))
        assert client.exemplars("1", LARGE).empty
    assert found["value"].tolist() == [float("inf"), 6.0]
    assert frames.milliseconds(found.set_index("time").index).tolist() == [
        1600096935000,
        1600096945479,
    ]
    assert found["traceID"].tolist() == ["", "later"]
    assert found["b"].tolist() == ["1", "1"]


def test_metadata_on_which_targets_disagree() -> None:
    entries = [{"type": "counter", "help": "a", "unit": ""}, {"type": "gauge", "help": "b"}]
    with Stub(success({"b": entries, "a": entries[:1]})) as stub, Prometheus(stub.url) as client:
        found = client.metadata()
        stub.play(success({}))
        assert client.metadata().columns.tolist() == ["metric", "type", "help", "unit"]
    assert found["metric"].tolist() == ["a", "b", "b"]
    assert found["type"].tolist() == ["counter", "counter", "gauge"]


@pytest.mark.parametrize("data", [7, "text", {"a": 1}, [1], [{"a": 1}], [["a"]]])
@pytest.mark.parametrize("ask", ["exemplars", "metadata", "label_values", "series"])
def test_a_catalogue_of_another_form(ask: str, data: Any) -> None:
    calls: dict[str, Callable[[Prometheus], object]] = {
        "exemplars": lambda client: client.exemplars("x", LARGE),
        "metadata": lambda client: client.metadata(),
        "label_values": lambda client: client.label_values("x"),
        "series": lambda client: client.series("x"),
    }
    harmless = {("exemplars", "[{'a': 1}]"), ("series", "[{'a': 1}]")}
    with Stub(success(data)) as stub, Prometheus(stub.url) as client:
        if (ask, repr(data)) in harmless:
            calls[ask](client)
            return
        with pytest.raises(NotPrometheus, match="another form"):
            calls[ask](client)
