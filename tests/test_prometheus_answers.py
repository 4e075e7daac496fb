"""What is in an answer: samples, histograms, and all that a server says beside them."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cilium_analysis import frames
from cilium_analysis.errors import (
    PrometheusError,
    QueryRejected,
)
from cilium_analysis.prometheus import Prometheus
from cilium_analysis.window import Window
from cilium_simulator import remote_write
from tests.answers import assert_label_frame
from tests.conftest import installed_or_skip
from tests.faults import (
    Reply,
    Stub,
    matrix,
    success,
    vector,
)
from tests.servers.prometheus import NotInstalled, PrometheusServer
from tests.servers.served import start
from tests.test_prometheus_client import LARGE, large, pieces_of, window_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cilium_simulator.simulation import Cluster
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


# Beside the data.


def test_what_the_server_says_is_in_the_journal() -> None:
    said = [f"warning {n}" for n in range(10)] + ["3 more warning annotations omitted"]
    reply = matrix(({"a": "b"}, {1774080000: "1"}), warnings=said, infos=["an info"])
    window = Window.parse("2026-03-21T08:00Z", "2026-03-21T08:30Z", step="30s")
    with Stub(reply) as stub, Prometheus(stub.url) as client:
        assert not client.range("x", window).empty
        assert client.journal[0].warnings == (*said, "an info")
        stub.play(vector(({"a": "b"}, 1774080000, "1"), warnings=["slow"], isPartial=True))
        client.instant("x", window.start)
    assert client.journal[1].warnings[0] == "slow"
    assert "partial answer" in client.journal[1].warnings[1]
    assert client.journal[1].window is None


def test_pieces_say_the_same_only_once() -> None:
    with Stub(large(lambda _: matrix(warnings=["slow"]))) as stub, Prometheus(stub.url) as client:
        client.range("x", LARGE)
        assert len(pieces_of(stub)) == 24
    assert client.journal[0].warnings == ("slow",)


def test_infos_of_a_real_server(cluster_server: Callable[..., ClusterServer]) -> None:
    """Prometheus 3 says when rate() is taken of what looks like a gauge."""
    held = cluster_server("restart_1_15", "prometheus-3")
    with Prometheus(held.url) as client:
        client.range("rate(cilium_endpoint[5m])", window_of(held))
        client.instant("rate(cilium_endpoint[5m])", held.scenario.end)
    for record in client.journal:
        (said,) = record.warnings
        assert "metric might not be a counter" in said


@pytest.mark.parametrize("kind", ["prometheus-3", "victoria", "victoria-1.79"])
def test_the_newest_points_of_victoria_are_not_real(kind: str) -> None:
    try:
        server = start(kind)
    except NotInstalled as error:
        installed_or_skip(error)
        return
    with server, Prometheus(server.url) as client:
        client.range("vector(1)", Window.parse("now-5m", "now", step="5s"))
        client.range("vector(1)", Window.parse("now-5m", "now-1m", step="5s"))
    newest, older = (record.warnings for record in client.journal)
    assert older == ()
    assert bool(newest) == kind.startswith("victoria")
    assert all("the newest 30 s are not real" in said for said in newest)


# Instants.


def test_an_instant(held: ClusterServer, client: Prometheus) -> None:
    end = held.scenario.end
    window = window_of(held)
    for query in ("cilium_endpoint", "sum by (reason) (cilium_drop_count_total)"):
        found = client.instant(query, end)
        wanted = client.range(query, window).iloc[[-1]].dropna(axis=1)
        assert_label_frame(found, wanted)
    assert client.journal[0].series == client.journal[0].samples
    assert client.instant("cilium_endpoint", end).shape == (1, client.journal[0].series)
    assert_label_frame(client.instant("no_such_metric", end), frames.empty())
    scalar = client.instant("scalar(vector(2.5))", end)
    assert scalar.to_numpy().tolist() == [[2.5]]
    assert frames.milliseconds(scalar.index).tolist() == [round(end.timestamp() * 1000)]


def test_raw_samples(
    cluster: Callable[..., Cluster], held: ClusterServer, client: Prometheus
) -> None:
    (truth,) = cluster("restart_1_15").find("cilium_endpoint", node="worker-3")
    found = client.instant("cilium_endpoint{node='worker-3'}[3h]", held.scenario.end)
    assert found.shape[1] == 1
    assert frames.milliseconds(found.index).tolist() == truth.times.tolist()
    assert found.iloc[:, 0].tolist() == truth.values.tolist()


def test_markers_of_the_end_of_a_series_are_no_samples(
    cluster: Callable[..., Cluster],
    cluster_server: Callable[..., ClusterServer],
    server_kind: str,
) -> None:
    held = cluster_server("series_end", server_kind)
    (truth,) = cluster("series_end").find("cilium_endpoint", node="worker-4")
    query = "cilium_endpoint{node='worker-4'}"
    with Prometheus(held.url) as client:
        raw = client.instant(f"{query}[3h]", held.scenario.end).dropna()
        found = client.range(query, window_of(held, "15s"))
    assert frames.milliseconds(raw.index).tolist() == truth.times.tolist()
    assert raw.iloc[:, 0].tolist() == truth.values.tolist()
    # It is gone with its marker: no NaN, nor the old value for five minutes more.
    last = frames.milliseconds(found.index)[-1]
    assert truth.times[-1] <= last < truth.stale[0]
    assert found.notna().to_numpy().all()


def test_a_text_is_no_frame(cluster_server: Callable[..., ClusterServer]) -> None:
    held = cluster_server("restart_1_15", "prometheus-3")
    with Prometheus(held.url) as client:
        with pytest.raises(QueryRejected, match="gives a string, not numbers"):
            client.instant('"text"', held.scenario.end)
        assert client.query('"text"')[1] == "text"


# Native histograms.


def protobuf(number: int, value: int | float | bytes) -> bytes:
    """Encode one field."""
    if isinstance(value, bytes):
        return remote_write.field(number, value)
    if isinstance(value, float):
        return bytes([number << 3 | 1]) + np.float64(value).tobytes()
    return remote_write.varint(number << 3) + remote_write.varint(value)


def labels_as_protobuf(labels: dict[str, str]) -> bytes:
    pairs = sorted(labels.items())
    return b"".join(
        protobuf(1, protobuf(1, k.encode()) + protobuf(2, v.encode())) for k, v in pairs
    )


def write(server: ServerProcess, *series: bytes) -> None:
    body = remote_write.snappy(b"".join(protobuf(1, one) for one in series))
    server.get("/api/v1/write", body, remote_write.HEADERS)


def sample(value: float, ms: int) -> bytes:
    return protobuf(2, protobuf(1, value) + protobuf(2, ms))


def native_histogram(total: float, ms: int) -> bytes:
    """Four observations, in two buckets (prompb/types.proto)."""
    zigzag_4, zigzag_0 = 8, 0
    return protobuf(
        4,
        protobuf(1, 4)
        + protobuf(3, total)
        + protobuf(4, 0)
        + protobuf(5, 1e-128)
        + protobuf(6, 0)
        + protobuf(11, protobuf(1, zigzag_0) + protobuf(2, 1))
        + protobuf(12, bytes([zigzag_4]))
        + protobuf(15, ms),
    )


@pytest.fixture(scope="module")
def histograms() -> Iterator[tuple[PrometheusServer, Window]]:
    """A Prometheus with native histograms, floats, and a series that changed from one to other."""
    try:
        server = PrometheusServer(
            "prometheus-3", remote_write=True, flags=["--enable-feature=native-histograms"]
        )
    except NotInstalled as error:
        installed_or_skip(error)
        return
    with server:
        end = round(time.time()) // 60 * 60_000
        times = [end - n * 15_000 for n in range(20, -1, -1)]
        native = labels_as_protobuf({"__name__": "latency", "kind": "native"})
        plain = labels_as_protobuf({"__name__": "latency", "kind": "plain"})
        mixed = labels_as_protobuf({"__name__": "latency", "kind": "mixed"})
        for place, ms in enumerate(times):
            one = native_histogram(1.5, ms)
            changed = sample(7.0, ms) if place < 10 else one
            write(server, native + one, plain + sample(2.0, ms), mixed + changed)
        window = Window(
            datetime.fromtimestamp(times[0] / 1000, UTC),
            datetime.fromtimestamp(end / 1000, UTC),
            timedelta(seconds=15),
        )
        yield server, window


def test_native_histograms_are_left_out_and_told(
    histograms: tuple[PrometheusServer, Window],
) -> None:
    server, window = histograms
    with Prometheus(server.url) as client:
        found = client.range("latency", window)
        now = client.instant("latency", window.end)
        raw = client.instant("latency[10m]", window.end)
        upstream = client.query("latency", window.end)
    assert found.columns.get_level_values("kind").tolist() == ["mixed", "plain"]
    assert found.count().tolist() == [10, 21]
    assert now.columns.get_level_values("kind").tolist() == ["plain"]
    assert raw.count().tolist() == [10, 21]
    assert upstream.tolist() == [2.0]
    for record, left_out in zip(client.journal, (32, 2, 32), strict=True):
        assert any(f"{left_out} native histogram samples" in said for said in record.warnings)


def test_native_histograms_in_functions(histograms: tuple[PrometheusServer, Window]) -> None:
    server, window = histograms
    with Prometheus(server.url) as client:
        found = client.range("histogram_count(latency)", window)
        assert client.range("latency{kind='native'}", window).empty
    assert found.columns.get_level_values("kind").tolist() == ["mixed", "native"]
    assert found.count().tolist() == [11, 21]
    assert set(frames.tidy(found)["value"]) == {4.0}


@pytest.mark.parametrize(
    "result",
    [
        7,
        {"a": 1},
        [{"value": [1, "2"]}],
        [{"metric": {}, "value": [1]}],
        [{"metric": {}, "value": [1, "x"]}],
        [{"metric": {}, "value": ["x", "1"]}],
        [{"metric": {"a": 1}, "value": [1, "1"]}],
        [[1, 2]],
    ],
)
def test_a_vector_of_another_form(result: Any) -> None:
    data = {"resultType": "vector", "result": result}
    with Stub(success(data)) as stub, Prometheus(stub.url, pause=lambda _: None) as client:
        for ask in (client.query, lambda query: client.instant(query, datetime.now(UTC))):
            with pytest.raises(PrometheusError):
                ask("x")


def test_what_stands_beside_an_error_is_no_answer() -> None:
    """Prometheus may give data beside an error (docs/querying/api.md, Format overview)."""
    document = json.loads(matrix(({"a": "b"}, {1774080000: "1"})).body)
    document |= {"status": "error", "errorType": "execution", "error": "half of it"}
    window = Window.parse("2026-03-21T08:00Z", "2026-03-21T08:30Z", step="30s")
    for status in (422, 200):
        with Stub(Reply(json.dumps(document).encode(), status)) as stub:
            with Prometheus(stub.url) as client:
                with pytest.raises(QueryRejected, match="execution: half of it"):
                    client.range("x", window)
                assert client.journal == []
