"""HTTP on field cases: buckets under two spellings, identities as parties, a server upgraded."""

from __future__ import annotations

import pandas as pd
import pytest

from cilium_analysis import connect
from cilium_analysis.topics import http
from cilium_analysis.window import Window
from tests.conftest import installed_or_skip
from tests.field.asking import served, serving, when
from tests.field.cases import INCIDENT
from tests.field.make import END, START, Metrics, counter, hubble, iso, steady, vitals
from tests.servers.prometheus import NotInstalled

WINDOW = Window.parse(iso(START), iso(END), step="30s")


def load(url: str) -> http.Http:
    return http.load(connect(url), WINDOW, WINDOW.baseline())


@pytest.fixture(scope="module")
def never() -> pd.DataFrame:
    """The table of durations where nothing was upgraded."""
    try:
        with served("c05_le.never") as (url, _):
            return http.latency(load(url))
    except NotInstalled as error:
        installed_or_skip(error)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["window", "between", "base", "never"])
def test_durations_are_the_same_whenever_the_server_is_upgraded(
    name: str, never: pd.DataFrame
) -> None:
    with served(f"c05_le.{name}") as (url, truth):
        data = load(url)
        (found,) = http.findings(data)
        numbers = truth["numbers"]
    pd.testing.assert_frame_equal(http.latency(data), never, rtol=1e-6)
    (row,) = http.latency(data).to_dict("records")
    for quantile, value in numbers["usual_seconds"].items():
        assert row[f"usual {quantile}"] == pytest.approx(value, rel=0.01)
    assert found.kind == "http_latency"
    assert found.title.startswith("Requests to shop/cart are slow: p95 4.6")
    assert found.value == pytest.approx(numbers["incident_seconds"]["p95"], rel=0.01)
    assert found.baseline_value == pytest.approx(numbers["usual_seconds"]["p95"], rel=0.01)
    assert abs(found.start.timestamp() - when(numbers["incident"]["start"])) <= 30
    assert abs(found.end.timestamp() - when(numbers["incident"]["end"])) <= 30
    assert http.by_status(data)["requests"].sum() == pytest.approx(40 * 7200, rel=0.01)


IDENTITIES = {
    "cidr:203.0.113.7/32,reserved:world": ({"source": "203.0.113.7/32"}, "203.0.113.7/32"),
    "reserved:host": ({"source": "host"}, "host"),
    "k8s:k8s-app=front,k8s:io.kubernetes.pod.namespace=edge": (
        {"source_namespace": "edge", "source_workload": "front"},
        "edge/front",
    ),
}


@pytest.mark.parametrize("identity", IDENTITIES)
def test_parties_of_requests_are_read_from_identities(identity: str) -> None:
    """As the field case of drops, for requests: 20 answers 503 a second, and 20 without any."""
    labels, name = IDENTITIES[identity]
    metrics = Metrics()
    vitals(metrics, hubble(1) | {"job": "cilium-agent"}, hubble(1))
    own = hubble(1) | {"method": "GET", "protocol": "HTTP/1.1", "reporter": "server"}
    own |= {"source": identity}
    own |= {"destination": "k8s:app=cart,k8s:io.kubernetes.pod.namespace=shop"}
    for status, rate in (("200", steady(30.0)), ("503", INCIDENT), ("0", INCIDENT)):
        name_ = "hubble_http_requests_total"
        counter(metrics, name_, own | {"status": status}, rate, base=1000)
    try:
        with serving(metrics) as url:
            found = {f.labels["status"]: f for f in http.findings(load(url))}
    except NotInstalled as error:
        installed_or_skip(error)
    assert set(found) == {"503", "0"}
    to = {"destination_namespace": "shop", "destination_workload": "cart"}
    for status, how in (("503", "answered with 503"), ("0", "without a response")):
        assert found[status].labels == {"status": status} | labels | to
        assert found[status].title.startswith(f"Requests from {name} to shop/cart {how}: ")
        assert found[status].total == pytest.approx(24_000, rel=0.01)
        assert found[status].share == pytest.approx(2 / 7, rel=0.03)
