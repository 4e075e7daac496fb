"""HTTP on field cases: buckets under two spellings, identities as parties, a server upgraded."""

from __future__ import annotations

import pandas as pd
import pytest

from cilium_analysis import connect, frames, show
from cilium_analysis.topics import http
from cilium_analysis.window import Window
from tests.conftest import installed_or_skip
from tests.field.asking import available, served, serving, when
from tests.field.cases import INCIDENT
from tests.field.make import (
    END,
    START,
    Metrics,
    Rate,
    agent,
    burst,
    counter,
    hubble,
    iso,
    scrapes,
    steady,
    vitals,
)
from tests.field.siblings import CART, FRONT
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


#: Of requests to three destinations, how many a second took at most so long [s]: all are faster
#: than the first bound, all lie between the bounds, and a tenth is slower than the last one.
DURATIONS = {
    "fast": {"0.005": 20.0, "0.01": 20.0, "10": 20.0, "+Inf": 20.0},
    "inside": {"0.005": 0.0, "0.01": 20.0, "10": 20.0, "+Inf": 20.0},
    "slow": {"0.005": 0.0, "0.01": 0.0, "10": 18.0, "+Inf": 20.0},
}


def test_quantiles_are_written_as_far_as_the_servers_buckets_tell() -> None:
    metrics = Metrics()
    vitals(metrics, hubble(1) | {"job": "cilium-agent"}, hubble(1))
    own = hubble(1) | {"method": "GET", "protocol": "HTTP/1.1", "reporter": "server"}
    for workload, within in DURATIONS.items():
        to = own | {"destination_namespace": "shop", "destination_workload": workload}
        counter(metrics, "hubble_http_requests_total", to | {"status": "200"}, steady(20.0))
        for le, rate in within.items():
            name = "hubble_http_request_duration_seconds_bucket"
            counter(metrics, name, to | {"le": le}, steady(rate), base=1000)
    with available(metrics) as url:
        data = load(url)
        promql = (
            "histogram_quantile(0.5, sum by (le, destination_workload) (increase("
            "hubble_http_request_duration_seconds_bucket[2h])))"
        )
        theirs = connect(url).instant(promql, WINDOW.end).iloc[0]
    table = http.latency(data).set_index("destination")
    # The numbers are the server's own; how they are written says what they rest on.
    for workload in ("fast", "inside"):
        (level,) = theirs[theirs.index.get_level_values("destination_workload") == workload]
        assert table.loc[f"shop/{workload}", "p50"] == pytest.approx(level, rel=0.01)
    rows = [line.split() for line in repr(show.Table(table)).splitlines()[1:]]
    words = {name: " ".join(cells) for name, *cells in rows}
    assert words["shop/fast"] == " ".join(["< 5 ms"] * 6)
    assert words["shop/inside"].startswith("7.5 ms 9.75 ms 9.95 ms")
    assert words["shop/slow"].count("5.56 s > 10 s > 10 s") == 2
    by_destination = repr(show.Table(http.by_destination(data)))
    assert "< 5 ms" in by_destination
    assert "> 10 s" in by_destination


def test_workloads_of_one_name_are_told_apart_by_their_kind() -> None:
    """A Deployment and a Job called ``web``, as labelsContext tells them from Cilium 1.15 on."""
    metrics, target = Metrics(), hubble(1)
    vitals(metrics, agent(1), target)
    ends = {"reporter": "server", "method": "GET", "status": "500", "destination_workload": "db"}
    ends |= {"source_namespace": "shop", "source_workload": "web", "destination_namespace": "shop"}
    for kind, rate in (("Deployment", 10.0), ("Job", 8.0)):
        labels = target | ends | {"source_workload_kind": kind}
        counter(metrics, "hubble_http_requests_total", labels, steady(rate), at=scrapes())
    with available(metrics) as url:
        counts = load(url).now.counts
    assert counts.to_numpy().sum() == pytest.approx(18.0 * 7200, rel=0.01)
    assert set(counts.columns.get_level_values("source")) == {"shop/web"}


SERVER = {"200": steady(20.0)}
#: What each end counts, whether it names who talks to whom, and the failures in all.
REPORTERS: dict[str, tuple[dict[str, Rate], dict[str, Rate], bool, float]] = {
    # An egress rule that is new at 10:35; the server has counted all along.
    "later": (SERVER, {"200": burst(20.0, 35, 120), "503": burst(5.0, 40, 60)}, True, 6000),
    # The client's proxy answers a few requests itself.
    "proxy": (SERVER, {"200": steady(20.0), "503": burst(0.5, 40, 60)}, True, 600),
    # Both ends saw the same requests end otherwise.
    "otherwise": (
        SERVER | {"0": burst(5.0, 40, 60)},
        {"200": steady(20.0), "504": burst(5.0, 40, 60)},
        True,
        6000,
    ),
    # Two services, of which each has rules at another end.
    "unnamed": (SERVER, {"200": steady(5.0), "503": burst(5.0, 40, 60)}, False, 6000),
}


@pytest.mark.parametrize("name", REPORTERS)
def test_failures_that_only_one_end_saw_are_counted_once(name: str) -> None:
    *ends, named, failures = REPORTERS[name]
    metrics = Metrics()
    who = FRONT | CART if named else {}
    for n, (reporter, rates) in enumerate(zip(("server", "client"), ends, strict=True), start=1):
        vitals(metrics, agent(n), hubble(n))
        own = hubble(n) | who | {"method": "GET", "protocol": "HTTP/1.1", "reporter": reporter}
        for status, rate in rates.items():
            counter(metrics, "hubble_http_requests_total", own | {"status": status}, rate)
    with available(metrics) as url:
        data = load(url)
    sums = frames.totals(data.now.counts, ["status"])
    assert sums["200"] == pytest.approx(20 * 7200, rel=0.01)
    assert sums.drop("200").sum() == pytest.approx(failures, rel=0.01)
    (found,) = http.findings(data)
    assert found.total == pytest.approx(failures, rel=0.01)
