"""A drop-in for prometheus-pandas: the same values, indexes and names for the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import prometheus_pandas.query
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from cilium_analysis.errors import QueryRejected, ServerUnavailable
from cilium_analysis.prometheus import Prometheus
from tests.answers import Style, Written, answers, go_time, label_sets, numbers, patient, render
from tests.faults import Reply, Stub, forward, refusal, success, vector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.served import ClusterServer

QUERIES = [
    "cilium_drop_count_total",
    "sum by (reason) (rate(cilium_drop_count_total[5m]))",
    "sum(cilium_endpoint)",
    "cilium_endpoint / 0",
    "0 / (cilium_endpoint * 0)",
    "cilium_bpf_map_pressure / 3",
    "no_such_metric",
    "vector(1)",
    "time()",
    "quantile_over_time(0.9, cilium_bpf_map_pressure[5m])",
    "sort_desc(cilium_endpoint)",
    "{__name__=~'cilium_.*'}",
]


def assert_same(found: Any, wanted: Any) -> None:
    """Everything that pandas can tell apart, and the sign of zero."""
    assert type(found) is type(wanted)
    if isinstance(wanted, pd.DataFrame):
        pd.testing.assert_frame_equal(
            found, wanted, check_exact=True, check_freq=True, check_flags=True
        )
        assert found.index.dtype == wanted.index.dtype
    elif isinstance(wanted, pd.Series):
        pd.testing.assert_series_equal(found, wanted, check_exact=True, check_flags=True)
    else:
        assert found == wanted
        return
    if wanted.size and wanted.to_numpy().dtype.kind == "f":
        assert np.array_equal(np.signbit(found.to_numpy()), np.signbit(wanted.to_numpy()))


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    with Stub(success({"resultType": "vector", "result": []})) as server:
        yield server


@pytest.fixture(scope="module")
def ours(stub: Stub) -> Iterator[Prometheus]:
    with Prometheus(stub.url, retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def theirs(stub: Stub) -> Iterator[prometheus_pandas.query.Prometheus]:
    with prometheus_pandas.query.Prometheus(stub.url) as client:
        yield client


@patient
@given(written=answers(histograms=False))
def test_the_same_matrix_of_the_same_bytes(
    written: Written,
    stub: Stub,
    ours: Prometheus,
    theirs: prometheus_pandas.query.Prometheus,
) -> None:
    stub.play(Reply(written.body))
    assert_same(ours.query_range("x", 0, 60, 15), theirs.query_range("x", 0, 60, 15))
    assert_same(ours.query("x[5m]"), theirs.query("x[5m]"))


EMPTY = [
    [{"metric": {"a": "1"}, "values": []}],
    [{"metric": {"a": "1"}, "values": []}, {"metric": {"a": "2"}, "values": [[1, "2"]]}],
    [{"metric": {"a": "2"}, "values": [[1, "2"], [2.5, "3"]]}, {"metric": {}, "values": []}],
    [{"metric": {"a": "1"}, "values": []}, {"metric": {"a": "2"}, "values": []}],
]


@pytest.mark.parametrize("rows", EMPTY)
@pytest.mark.parametrize("space", ["", " "])
def test_a_series_whose_samples_are_an_empty_list_is_kept(
    rows: list[Any],
    space: str,
    stub: Stub,
    ours: Prometheus,
    theirs: prometheus_pandas.query.Prometheus,
) -> None:
    answer = {"status": "success", "data": {"resultType": "matrix", "result": rows}}
    stub.play(Reply(json.dumps(answer, separators=("," + space, ":")).encode()))
    found = ours.query_range("x", 0, 60, 15)
    assert_same(found, theirs.query_range("x", 0, 60, 15))
    assert found.shape[1] == len(rows)


@st.composite
def vectors(draw: st.DrawFn) -> bytes:
    """An instant query's answer; names may repeat, as pandas allows."""
    rows = [
        {
            "metric": draw(label_sets),
            "value": [go_time(draw(st.integers(0, 4 * 10**12))), draw(numbers)],
        }
        for _ in range(draw(st.integers(0, 4)))
    ]
    data = {"resultType": "vector", "result": rows}
    return render({"status": "success", "data": data, "infos": ["i"]}, Style()).encode()


@patient
@given(body=vectors())
def test_the_same_vector_of_the_same_bytes(
    body: bytes, stub: Stub, ours: Prometheus, theirs: prometheus_pandas.query.Prometheus
) -> None:
    stub.play(Reply(body))
    assert_same(ours.query("x"), theirs.query("x"))


@pytest.mark.parametrize("value", ["text", "", "1", "NaN", 'é "\\'])
def test_the_same_string(
    value: str, stub: Stub, ours: Prometheus, theirs: prometheus_pandas.query.Prometheus
) -> None:
    stub.play(success({"resultType": "string", "result": [1.5, value]}))
    assert ours.query("x") == theirs.query("x") == [1.5, value]


@pytest.mark.parametrize("value", ["2", "-0.5", "1e-07", "+Inf", "NaN"])
def test_a_scalar_is_its_value_where_upstream_gives_an_array(
    value: str, stub: Stub, ours: Prometheus, theirs: prometheus_pandas.query.Prometheus
) -> None:
    stub.play(success({"resultType": "scalar", "result": [1435781451.781, value]}))
    found = ours.query("x")
    assert type(found) is np.float64
    np.testing.assert_equal(found, float(value))
    assert not isinstance(theirs.query("x"), float)


def test_histograms_are_left_out_where_upstream_fails(
    stub: Stub, ours: Prometheus, theirs: prometheus_pandas.query.Prometheus
) -> None:
    native = {"count": "3", "sum": "1.5"}
    rows = [
        {"metric": {"a": "1"}, "histogram": [1, native]},
        {"metric": {"a": "2"}, "value": [1, "2"]},
    ]
    stub.play(success({"resultType": "vector", "result": rows}))
    assert ours.query("x").to_dict() == {'{a="2"}': 2.0}
    with pytest.raises(KeyError):
        theirs.query("x")
    ranges = [
        {"metric": {"a": "1"}, "histograms": [[1, native]]},
        {"metric": {"a": "2"}, "values": [[1, "2"]], "histograms": [[2, native]]},
    ]
    stub.play(success({"resultType": "matrix", "result": ranges}))
    found = ours.query_range("x", 0, 60, 15)
    assert found.to_dict("list") == {'{a="2"}': [2.0]}
    with pytest.raises(KeyError):
        theirs.query_range("x", 0, 60, 15)


BERLIN = timezone(timedelta(hours=1))


@pytest.mark.parametrize(
    ("time", "timeout"),
    [
        (None, None),
        (1435781451, "30s"),
        (1435781451.781, timedelta(seconds=1.5)),
        ("2015-07-01T20:10:51.781Z", timedelta(minutes=2)),
        (datetime(2015, 7, 1, 20, 10, 51, 781000, tzinfo=UTC), "2m"),
        (datetime(2015, 7, 1, 20, 10, 51, tzinfo=BERLIN), None),
        (datetime(2015, 7, 1, 20, 10, 51), None),
        (pd.Timestamp("2015-07-01T20:10:51.781Z"), None),
        (np.float64(1435781451.781), None),
    ],
)
def test_the_same_parameters_are_sent(
    time: Any,
    timeout: Any,
    stub: Stub,
    ours: Prometheus,
    theirs: prometheus_pandas.query.Prometheus,
) -> None:
    stub.play(vector())
    for client in (ours, theirs):
        client.query('up{a="é+&"}', time, timeout)
    mine, wanted = (dict(request.params) for request in stub.requests)
    if timeout is None:
        assert mine.pop("timeout") == "120.0"
    assert mine == wanted
    assert [request.path for request in stub.requests] == ["/api/v1/query"] * 2


@pytest.mark.parametrize("step", ["15s", 15, 0.5, timedelta(minutes=1, milliseconds=1)])
@pytest.mark.parametrize(
    "end", [1435781460, "2015-07-01T20:11:00Z", datetime(2015, 7, 1, 20, 11, tzinfo=UTC)]
)
def test_the_same_parameters_of_a_range_are_sent(
    end: Any,
    step: Any,
    stub: Stub,
    ours: Prometheus,
    theirs: prometheus_pandas.query.Prometheus,
) -> None:
    stub.play(success({"resultType": "matrix", "result": []}))
    for client in (ours, theirs):
        client.query_range("up", 1435781430.781, end, step, "5s")
    mine, wanted = stub.requests
    assert mine.params == wanted.params
    assert mine.path == wanted.path == "/api/v1/query_range"


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (refusal(400, "bad_data", "1:3: parse error: no"), QueryRejected),
        (refusal(422, "execution", "too many samples"), QueryRejected),
        (refusal(503, "timeout", "query timed out"), ServerUnavailable),
    ],
)
def test_errors_are_caught_as_those_of_upstream(
    reply: Reply,
    kind: type[Exception],
    stub: Stub,
    ours: Prometheus,
    theirs: prometheus_pandas.query.Prometheus,
) -> None:
    stub.play(reply)
    with pytest.raises(RuntimeError) as wanted:
        theirs.query("x")
    with pytest.raises(RuntimeError) as found:
        ours.query("x")
    assert type(found.value) is kind
    # Upstream's whole message is a part of ours.
    assert str(wanted.value) in str(found.value)


def test_the_session_and_the_context_are_those_of_upstream(stub: Stub) -> None:
    stub.play(vector())
    for make in (Prometheus, prometheus_pandas.query.Prometheus):
        with requests.Session() as session:
            session.headers["X-Own"] = "kept"
            with make(stub.url + "/", session) as client:
                client.query("x")
            with make(stub.url, http=session) as client:
                client.query(query="x", time=1, timeout="1s")
            with make(api_url=stub.url, http=session) as client:
                client.query("x")
                assert client.api_url == stub.url + "/"
    assert [request.headers["x-own"] for request in stub.requests] == ["kept"] * 6


# Real servers.


@pytest.fixture
def held(cluster_server: Callable[..., ClusterServer], server_kind: str) -> ClusterServer:
    return cluster_server("restart_1_15", server_kind)


@pytest.mark.slow
@pytest.mark.parametrize("query", QUERIES)
def test_the_same_of_a_real_server(query: str, held: ClusterServer) -> None:
    """The very same bytes: VictoriaMetrics gives series in another order each time."""
    end = held.scenario.end
    start = end - timedelta(minutes=50)
    answer = forward(held.url)
    kept: dict[str, Reply] = {}

    def once(request: Any) -> Reply:
        return kept.setdefault(request.path, answer(request))

    with Stub(once) as stub:
        with Prometheus(stub.url) as ours, prometheus_pandas.query.Prometheus(stub.url) as theirs:
            for step in (30, "1m", timedelta(seconds=7.5)):
                kept.clear()
                found = ours.query_range(query, start, end, step)
                assert_same(found, theirs.query_range(query, start, end, step))
            found = ours.query(query, end)
            if isinstance(found, np.float64):
                assert found == float(json.loads(kept["/api/v1/query"].body)["data"]["result"][1])
            else:
                assert_same(found, theirs.query(query, end))
