"""HTTP on the simulated cluster, through real servers, against what was really requested."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cilium_analysis import connect
from cilium_analysis.bundle import Bundle, Recorder
from cilium_analysis.errors import BudgetExceeded, QueryRejected
from cilium_analysis.findings import Severity
from cilium_analysis.frames import totals
from cilium_analysis.topics import http
from cilium_analysis.topics.buckets import quantile
from cilium_analysis.topics.http.data import EXEMPLARS, QUERIES
from cilium_analysis.window import Window
from cilium_simulator.events import Http
from cilium_simulator.exporter import LiveExporter
from cilium_simulator.scenario import Scenario, Service
from cilium_simulator.scenario import load as scenario
from tests.conftest import installed_or_skip
from tests.servers.prometheus import NotInstalled, PrometheusServer
from tests.servers.served import ClusterServer
from tests.sources import MemorySource, grid
from tests.waiting import until

Serve = Callable[..., ClusterServer]

PAIRS = ("source", "destination", "status")
WINDOW = Window.parse("2026-03-21T08:00Z", "2026-03-21T10:00Z", step="30s")
WIDE = Window.parse("2026-03-21T07:55Z", "2026-03-21T10:00Z", step="30s")


def second_half(served: ClusterServer) -> Window:
    told = served.scenario
    middle = told.start + (told.end - told.start) / 2
    return Window.parse(middle.isoformat(), told.end.isoformat(), step="30s")


def load(served: ClusterServer, window: Window) -> http.Http:
    return http.load(connect(served.url), window, window.baseline())


def named(counts: pd.Series, least: float = 50.0) -> dict[object, float]:
    """What is large enough to be right within 1 %, whatever the scrapes' moments are."""
    return {key: float(value) for key, value in counts.items() if value >= least}


def assert_close(found: pd.Series, true: pd.Series) -> None:
    """Within 1 %, and what was under way when the window was cut (30 s of 40 requests/s)."""
    assert set(named(found)) <= set(true.index)
    for key, amount in named(true).items():
        assert found.get(key, 0.0) == pytest.approx(amount, rel=0.01, abs=25), key


# Amounts


@pytest.mark.slow
@pytest.mark.parametrize("name", ["http_errors", "annotations_style"])
def test_requests_are_those_that_were_made(
    name: str, cluster_server: Serve, server_kind: str
) -> None:
    served = cluster_server(name, server_kind)
    window = second_half(served)
    data = load(served, window)
    true = served.truth.requests(window.start, window.end, by=PAIRS)
    assert_close(totals(data.now.counts, PAIRS), true)


@pytest.mark.slow
def test_denied_requests_are_those_of_the_policy(cluster_server: Serve, server_kind: str) -> None:
    served = cluster_server("sample", server_kind)
    data = load(served, WINDOW)
    (row,) = http.forbidden(data).to_dict("records")
    policy = served.truth.incident("policy")
    assert (row["source"], row["destination"]) == ("default/frontend", "default/web")
    assert row["by policy"] == pytest.approx(policy.total, rel=0.01)
    assert row["by application"] == pytest.approx(0.0, abs=0.01 * policy.total)


MADE = scenario("http_errors")
VARIANTS = {
    "1.13": MADE.with_(version=(1, 13, 4)),
    "1.14 http v1": MADE.with_(version=(1, 14, 5), http="v1"),
    "1.18 http v1": MADE.with_(version=(1, 18, 2), http="v1"),
    "1.20": MADE.with_(version=(1, 20, 0)),
    "pods": MADE.with_(context="labels-pod"),
    "pod context": MADE.with_(context="pod"),
    "workload context": MADE.with_(context="workload"),
    "annotations": MADE.with_(style="annotations"),
    "stack": MADE.with_(style="kube-prometheus-stack"),
    "minutely": MADE.with_(interval=60),
    "both ends": MADE.with_(
        services=tuple(
            Service(
                s.source,
                s.destination,
                s.rate,
                s.methods,
                s.statuses,
                reporters=("client", "server"),
            )
            for s in MADE.services
        )
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_every_version_context_and_style_counts_the_same(
    variant: Scenario, cluster_server: Serve
) -> None:
    served = cluster_server(variant)
    window = second_half(served)
    data = load(served, window)
    by = ("status",) if variant.context == "pod" else PAIRS
    assert_close(
        totals(data.now.counts, by), served.truth.requests(window.start, window.end, by=by)
    )
    kinds = {(f.kind, f.labels.get("status")) for f in http.findings(data)}
    assert {("http_errors", "503"), ("http_errors", "403"), ("http_latency", None)} <= kinds


def test_without_context_statuses_are_still_right(cluster_server: Serve) -> None:
    served = cluster_server(MADE.with_(context="none"))
    window = second_half(served)
    data = load(served, window)
    true = served.truth.requests(window.start, window.end, by=("status",))
    assert_close(totals(data.now.counts, ["status"]), true)
    assert any("Sources and destinations are not in the data" in note for note in http.notes(data))


def test_what_both_ends_reported_is_counted_once_and_said(cluster_server: Serve) -> None:
    data = load(served := cluster_server(VARIANTS["both ends"]), second_half(served))
    assert data.now.twice == (("default/frontend", "default/web"),)
    assert any("one of both was counted" in note for note in http.notes(data))


# Findings


@pytest.mark.slow
def test_a_narrow_policy_is_told_from_an_application(
    cluster_server: Serve, server_kind: str
) -> None:
    served = cluster_server("sample", server_kind)
    (found,) = http.findings(load(served, WINDOW))
    policy = served.truth.incident("policy")
    assert found.kind == "http_denied"
    assert found.severity is Severity.CRITICAL
    assert found.labels == {
        "status": "403",
        "source_namespace": "default",
        "source_workload": "frontend",
        "destination_namespace": "default",
        "destination_workload": "web",
    }
    assert abs(found.start - policy.start) <= timedelta(seconds=60)
    assert abs(found.end - policy.end) <= timedelta(seconds=60)
    assert found.total == pytest.approx(policy.total, rel=0.01)
    assert found.trust == "good"
    asked = "Requests from default/frontend to default/web denied by policy (403): "
    assert found.title.startswith(asked)
    whole = served.truth.requests(found.start, found.end, by=("destination",))["default/web"]
    assert found.share == pytest.approx(policy.total / whole, rel=0.02)
    assert f"({found.share:.1%} of all requests to default/web in that time)" in found.title


@pytest.mark.slow
def test_errors_delays_and_own_403s_are_three_findings(
    cluster_server: Serve, server_kind: str
) -> None:
    served = cluster_server("http_errors", server_kind)
    found = {
        (f.kind, f.labels.get("status")): f
        for f in http.findings(load(served, second_half(served)))
    }
    assert set(found) == {("http_errors", "503"), ("http_errors", "403"), ("http_latency", None)}
    errors, own = served.truth.incidents
    for finding, incident in (
        (found["http_errors", "503"], errors),
        (found["http_errors", "403"], own),
    ):
        assert abs(finding.start - incident.start) <= timedelta(seconds=60)
        assert abs(finding.end - incident.end) <= timedelta(seconds=60)
        assert finding.total == pytest.approx(incident.total, rel=0.02)
    assert found["http_errors", "403"].labels["source_workload"] == "crawler"
    title = found["http_errors", "503"].title
    assert title.startswith("Requests from default/frontend to default/web answered with 503")
    late = found["http_latency", None]
    assert late.title.startswith("Requests to default/web are slow: p")
    # The application answers 8 of its 32 requests/s with a median of 1.5 s.
    assert 1.0 < late.value < 5.0
    assert late.baseline_value < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["quiet", "restart_1_14", "restart_1_15", "node_reboot", "series_end"]
)
def test_ordinary_life_is_no_finding(name: str, cluster_server: Serve) -> None:
    told = scenario(name)
    service = Service(
        "default/frontend", "default/web", 6.0, statuses={"200": 0.98, "404": 0.01, "500": 0.01}
    )
    served = cluster_server(told.with_(services=(service,)))
    assert list(http.findings(load(served, second_half(served)))) == []


def test_more_traffic_with_the_same_share_of_errors_is_no_finding(cluster_server: Serve) -> None:
    told = scenario("quiet")
    events = tuple(
        Http(
            told.seconds // 2 + 600,
            told.seconds,
            source="default/frontend",
            destination="default/web",
            status=status,
            rate=rate,
        )
        for status, rate in (("200", 40.0), ("500", 0.4))
    )
    service = Service("default/frontend", "default/web", 6.0, statuses={"200": 0.99, "500": 0.01})
    served = cluster_server(told.with_(services=(service,), events=events))
    assert [
        f for f in http.findings(load(served, second_half(served))) if f.kind == "http_errors"
    ] == []


@pytest.mark.slow
def test_what_the_proxies_did_is_told(cluster_server: Serve) -> None:
    served = cluster_server("sample")
    data = load(served, WINDOW)
    table = http.proxies(data).set_index(["proxy", "rule"])["requests"]
    really = served.truth.requests(WINDOW.start, WINDOW.end, by=("denied",))
    assert table["envoy", "denied"] == pytest.approx(really["True"], rel=0.01)
    assert table["envoy", "received"] == pytest.approx(really.sum(), rel=0.01)
    lookups = served.truth.lookups(WINDOW.start, WINDOW.end).sum()
    assert table["fqdn", "received"] == pytest.approx(lookups, rel=0.01)
    redirects = http.redirects(data)
    # Of each node with a service one for it, and one for each client of DNS.
    assert redirects.loc["http", "redirects"] == 5
    assert (redirects["least"]["dns"], redirects["most"]["dns"]) == (3, 3)
    versions = http.by_protocol(data)
    assert list(versions.index) == ["HTTP/1.1"]
    assert versions["requests"].sum() == pytest.approx(http.by_status(data)["requests"].sum())


def test_denials_are_found_without_hubbles_drops(cluster_server: Serve) -> None:
    """Only the proxies' own counts say then which 403s were a policy's."""

    class WithoutDrops(MemorySource):
        def __init__(self, url: str) -> None:
            super().__init__()
            self.inner = connect(url)

        def range(self, promql: str, window: Window) -> pd.DataFrame:
            frame = self.inner.range(promql, window)
            self.journal.append(self.inner.journal[-1])
            return frame.iloc[:, :0] if "hubble_drop_total" in promql else frame

        def instant(self, promql: str, moment: datetime) -> pd.DataFrame:
            return self.inner.instant(promql, moment)

    served = cluster_server("sample")
    data = http.load(WithoutDrops(served.url), WINDOW, WINDOW.baseline())
    found = [f for f in http.findings(data) if f.kind == "http_denied"]
    assert len(found) == 1
    assert found[0].total == pytest.approx(served.truth.incident("policy").total, rel=0.02)
    assert any("estimated" in reason for reason in found[0].trust_reasons)


# Quantiles


def test_quantiles_are_those_of_prometheus(cluster_server: Serve) -> None:
    served = cluster_server("http_errors")
    window = second_half(served)
    data = load(served, window)
    seconds = round((window.end - window.start).total_seconds())
    for q, column in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99")):
        promql = (
            f"histogram_quantile({q}, sum by (le)"
            f" (increase(hubble_http_request_duration_seconds_bucket[{seconds}s])))"
        )
        (theirs,) = connect(served.url).instant(promql, window.end).to_numpy().ravel()
        (ours,) = http.latency(data)[column]
        assert ours == pytest.approx(theirs, rel=0.02)


@given(st.lists(st.floats(0.0, 30.0), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(values: list[float], q: float) -> None:
    bounds = [0.1, 0.5, 1.0, 5.0, 10.0, math.inf]
    buckets = {
        ("+Inf" if math.isinf(b) else f"{b:g}"): float(sum(v <= b for v in values)) for b in bounds
    }
    true = float(np.quantile(values, q, method="inverted_cdf"))
    found = quantile(q, buckets)
    upper = next(b for b in bounds if true <= b)
    lower = max([b for b in bounds if b < true], default=0.0)
    assert lower <= found <= (upper if math.isfinite(upper) else 10.0)


def test_a_quantile_of_nothing_is_unknown() -> None:
    assert math.isnan(quantile(0.5, {}))
    assert math.isnan(quantile(0.5, {"1": 0.0, "+Inf": 0.0}))
    assert math.isnan(quantile(0.5, {"1": 3.0}))
    assert quantile(0.5, {"1": 0.0, "10": 0.0, "+Inf": 5.0}) == 10.0


# Nothing, little, hostile


def answers(**values: pd.DataFrame) -> MemorySource:
    rendered = {QUERIES[name].render(step=WINDOW.step): frame for name, frame in values.items()}
    return MemorySource(rendered)


def test_nothing_visible_is_not_nothing_there() -> None:
    data = http.load(MemorySource(), WINDOW, WINDOW.baseline())
    assert list(http.findings(data)) == []
    assert any("That does not mean no traffic" in note for note in http.notes(data))
    for table in (http.by_status, http.by_destination, http.forbidden, http.changes, http.latency):
        assert len(table(data)) == 0
    assert http.rates(data).shape[1] == 0
    assert http.failures(data).shape[1] == 0


def test_a_proxy_without_hubbles_metrics_is_said() -> None:
    proxy = grid(
        WIDE, {("received", "a", "i"): 10.0 * np.arange(WIDE.points)}, "rule node instance"
    )
    data = http.load(answers(proxy=proxy), WINDOW, WINDOW.baseline())
    assert any("Hubble's HTTP metrics are not there" in note for note in http.notes(data))


def test_more_series_than_allowed_are_left_out_and_said() -> None:
    class Refusing(MemorySource):
        def range(self, promql: str, window: Window) -> pd.DataFrame:
            if "duration" in promql:
                raise BudgetExceeded("too many")
            return super().range(promql, window)

    data = http.load(Refusing(), WINDOW, WINDOW.baseline())
    (reason,) = http.unknown(data)
    assert QUERIES["durations"].about in reason
    assert any("refused to tell of HTTP requests answered within" in n for n in http.notes(data))


HOSTILE = '<script>"\'}{x="'


def test_names_that_mean_harm_stay_names() -> None:
    counts = np.where(np.arange(WIDE.points) > 100, 30.0 * np.arange(WIDE.points), 0.0)
    labels = ("GET", HOSTILE, "n", "i", HOSTILE, HOSTILE)
    frame = grid(WIDE, {labels: counts}, "method status node instance source destination")
    data = http.load(answers(requests=frame), WINDOW, WINDOW.baseline())
    assert list(http.by_status(data).index) == [HOSTILE]
    assert list(http.findings(data)) == []
    worse = grid(
        WIDE,
        {("GET", "500", *labels[2:]): counts},
        "method status node instance source destination",
    )
    (found,) = http.findings(http.load(answers(requests=worse), WINDOW, WINDOW.baseline()))
    assert HOSTILE in found.title
    assert (
        found.query
        == 'sum by (status, reporter) (rate(hubble_http_requests_total{status="500"}[5m]))'
    )


# Traces


@pytest.mark.slow
def test_traces_of_a_live_cluster_are_listed_and_kept_in_a_bundle(tmp_path: Path) -> None:
    labels = {"method": "GET", "status": "503", "source": "a/b", "destination": "c/d"}
    with LiveExporter() as exporter:
        try:
            server = PrometheusServer(config=exporter.config(node="worker-1"), exemplars=True)
        except NotInstalled as error:
            installed_or_skip(error)
            return
        with server:
            for trace in ("first", "last"):
                exporter.metrics.add("hubble_http_requests_total", labels, trace=trace)
                window = seen(server.url, trace)
            with Recorder(connect(server.url), tmp_path / "b", window=window) as recorder:
                live = http.load(recorder, window, window.baseline())
    found = http.traces(live)
    assert found["trace"].tolist() == ["last", "first"]
    assert found.iloc[0][["why", "source", "destination", "method", "status"]].tolist() == [
        "failed",
        "a/b",
        "c/d",
        "GET",
        "503",
    ]
    kept = http.load(Bundle(tmp_path / "b"), window, window.baseline())
    pd.testing.assert_frame_equal(http.traces(kept), found)


def seen(url: str, trace: str) -> Window:
    """Wait until the server has scraped a trace."""
    source = connect(url)

    def scraped() -> Window | None:
        window = Window.parse("now-5m", "now", step="1s")
        table = source.exemplars("hubble_http_requests_total", window)
        return window if len(table) and trace in set(table["traceID"]) else None

    found = until(scraped)
    assert found is not None
    return found


def test_the_slowest_traces_come_first() -> None:
    times = pd.date_range("2026-03-21 09:00", periods=3, freq="1min", tz="UTC")
    table = pd.DataFrame({"time": times, "value": [0.2, 4.0, 1.0], "traceID": ["a", "b", "c"]})
    promql = EXEMPLARS["slow"].render(step=WINDOW.step)
    data = http.load(MemorySource(tables={promql: table}), WINDOW, WINDOW.baseline())
    found = http.traces(data, most=2)
    assert found["trace"].tolist() == ["b", "c"]
    assert found["duration"].tolist() == [4.0, 1.0]


def test_a_server_without_exemplars_is_no_failure() -> None:
    class Older(MemorySource):
        def exemplars(self, promql: str, window: Window) -> pd.DataFrame:
            raise QueryRejected("404 page not found")

    data = http.load(Older(), WINDOW, WINDOW.baseline())
    assert len(http.traces(data)) == 0
