"""HTTP by statuses, shares, places and durations, on answers from memory and a live server."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from cilium_analysis import connect, frames
from cilium_analysis.errors import QueryRejected
from cilium_analysis.findings import Severity
from cilium_analysis.frames import totals
from cilium_analysis.targets.histograms import BOUNDS
from cilium_analysis.texts import percent
from cilium_analysis.topics import http
from cilium_analysis.topics.http.data import QUERIES
from cilium_analysis.topics.http.durations import NAME
from cilium_analysis.window import Window
from cilium_simulator.exporter import LiveExporter
from tests.conftest import installed_or_skip
from tests.servers.prometheus import NotInstalled, PrometheusServer
from tests.sources import MemorySource, grid
from tests.waiting import until

WINDOW = Window.parse("2026-03-21T08:00Z", "2026-03-21T09:00Z", step="30s")
WIDE = WINDOW.extended(before=timedelta(minutes=5))
LABELS = "method status node instance source destination"
WORLD = "cidr:203.0.113.7/32,reserved:world"
WEB = "k8s:app.kubernetes.io/name=web,k8s:io.kubernetes.pod.namespace=shop"

Series = dict[tuple[str, ...], object]


def answers(**values: pd.DataFrame) -> MemorySource:
    rendered = {QUERIES[name].render(step=WINDOW.step): frame for name, frame in values.items()}
    return MemorySource(rendered)


def requests(**rates: float) -> pd.DataFrame:
    """Requests per step by status: of ``s200`` all the time, of others in the second half."""
    later = np.arange(WIDE.points) > WIDE.points // 2
    series: Series = {
        ("GET", name.removeprefix("s"), "n", "i", "shop/front", "shop/cart"): np.cumsum(
            np.where(later | (name == "s200"), rate, 0.0)
        )
        for name, rate in rates.items()
    }
    return grid(WIDE, series, LABELS)


def load(source: MemorySource) -> http.Http:
    return http.load(source, WINDOW, WINDOW.baseline())


# Statuses


@pytest.mark.parametrize("statuses", [("0",), ("",), ("0", "")])
def test_requests_without_a_response_have_failed(statuses: tuple[str, ...]) -> None:
    rates = {f"s{status}": 12.0 / len(statuses) for status in statuses}
    data = load(answers(requests=requests(s200=40.0, **rates)))
    (finding,) = http.findings(data)
    assert finding.kind == "http_errors"
    assert finding.severity is Severity.CRITICAL
    assert finding.labels["status"] == "0"
    assert finding.title.startswith(
        "Requests from shop/front to shop/cart without a response: 0.4/s (23.1% of all requests to"
        " shop/cart in that time)"
    )
    gone = totals(data.now.counts, ["status"])["0"]
    assert finding.total == pytest.approx(gone)
    (row,) = http.by_destination(data).to_dict("records")
    assert row["errors"] == gone
    assert row["usual ratio"] == 0.0
    assert http.rates(data)["no response"].sum() * 30 == pytest.approx(gone)
    assert http.failures(data)["0"].max() == pytest.approx(12 / 52)


def test_requests_of_which_no_status_is_known_are_unknown() -> None:
    data = load(answers(requests=requests(s=40.0)))
    assert list(http.findings(data)) == []
    assert data.now.counts.shape[1] == 0
    assert any("whether they failed is unknown" in note for note in http.notes(data))
    assert not any("not visible" in note for note in http.notes(data))
    assert "no label tells how 2,600 requests ended" in http.unknown(data)


def test_requests_of_http_v1_have_their_statuses_elsewhere() -> None:
    many = 40.0 * np.arange(WIDE.points)
    asked = grid(WIDE, {("GET", "n", "i", "a/b", "c/d"): many}, LABELS.replace("status ", ""))
    answered = grid(WIDE, {("GET", "200", "n", "i", "c/d", "a/b"): many}, LABELS)
    data = load(answers(requests=asked, responses=answered))
    assert set(totals(data.now.counts, ["source", "status"]).index) == {("a/b", "200")}
    assert data.now.statusless == 0


# Shares, and who


@pytest.mark.parametrize(
    ("bad", "of", "severity"),
    [(2.0, 5000.0, Severity.INFO), (1.0, 150.0, Severity.INFO), (3.0, 150.0, Severity.WARNING)],
    ids=["a trickle", "a handful", "a part"],
)
def test_errors_are_judged_by_their_share(bad: float, of: float, severity: Severity) -> None:
    (finding,) = http.findings(load(answers(requests=requests(s200=of, s500=bad))))
    assert finding.severity is severity
    assert (
        f"({percent(bad / (bad + of))} of all requests to shop/cart in that time)" in finding.title
    )
    assert finding.share == pytest.approx(bad / (bad + of), rel=0.01)


def test_identities_are_named_and_not_cut_at_a_slash() -> None:
    frame = requests(s200=40.0, s500=10.0)
    frame = frames.relabel(frame, "source", [WORLD] * frame.shape[1])
    frame = frames.relabel(frame, "destination", [WEB] * frame.shape[1])
    (finding,) = http.findings(load(answers(requests=frame)))
    assert finding.labels == {
        "status": "500",
        "source": "203.0.113.7/32",
        "destination_namespace": "shop",
        "destination_workload": "web",
    }
    assert finding.title.startswith("Requests from 203.0.113.7/32 to shop/web answered with 500")


def test_what_is_not_scraped_is_not_blamed_on_a_policy() -> None:
    (note, *_) = http.notes(load(MemorySource()))
    assert "no target with Hubble's metrics was scraped" in note
    assert "CiliumNetworkPolicy" not in note


# Durations


def buckets(names: tuple[str, str], turn: int) -> pd.DataFrame:
    """Buckets of 40 requests a step, with a bound that is spelled otherwise from a step on."""
    points = np.arange(WIDE.points)
    shares = {"0.5": 0.5, names[0]: 0.9, names[1]: 0.9, "+Inf": 1.0}
    when = {names[0]: points < turn, names[1]: points >= turn}
    series: Series = {
        (le, "n", "i", "shop/front", "shop/cart"): np.where(
            when.get(le, points >= 0), 5000.0 + 40.0 * share * points, np.nan
        )
        for le, share in shares.items()
    }
    return grid(WIDE, series, "le node instance source destination")


@pytest.mark.parametrize("turn", [0, 3, 10, 60, WIDE.points])
def test_a_bound_is_a_number_however_it_is_spelled(turn: int) -> None:
    source = answers(requests=requests(s200=40.0), durations=buckets(("1", "1.0"), turn))
    data = load(source)
    assert set(data.now.durations.columns.get_level_values("le")) == {"0.5", "1", "+Inf"}
    (row,) = http.latency(data).to_dict("records")
    assert row["p50"] == row["usual p50"] == pytest.approx(0.5)
    # A tenth took longer than the last bound, and nobody knows how much.
    assert row["p95"] == row["usual p95"] == math.inf
    assert (row["first bound"], row["last bound"]) == (0.5, 1.0)
    assert not [f for f in http.findings(data) if f.kind == "http_latency"]


class Refusing(MemorySource):
    """A server that stores native histograms, and cannot read them."""

    def range(self, promql: str, window: Window) -> pd.DataFrame:
        if promql.startswith("count by (__name__) "):
            return grid(window, {(NAME,): 1.0}, "__name__")
        if "histogram_fraction" in promql:
            error = QueryRejected("unknown function")
            error.reason = "unknown function: histogram_fraction"
            raise error
        return super().range(promql, window)


@pytest.mark.parametrize("kind", [MemorySource, Refusing])
def test_the_page_says_why_there_are_no_durations(kind: type[MemorySource]) -> None:
    data = load(kind(answers(requests=requests(s200=40.0)).answers))
    said = " ".join(http.notes(data))
    why = "unknown function: histogram" if kind is Refusing else "nor as a native histogram"
    assert why in said
    assert math.isnan(http.by_destination(data)["p95"].iloc[0])


def test_no_observation_is_said() -> None:
    still = grid(WIDE, {("1", "n", "i"): 7.0, ("+Inf", "n", "i"): 9.0}, "le node instance")
    data = load(answers(requests=requests(s200=40.0), durations=still))
    assert any("no request was timed" in note for note in http.notes(data))


CONVERTED = "    convert_classic_histograms_to_nhcb: true\n"
OWN = {"source": "shop/front", "destination": "shop/cart", "method": "GET", "reporter": "server"}


def observe(exporter: LiveExporter, counts: tuple[float, ...]) -> None:
    """Add requests by bucket, not cumulative, the last one without a bound."""
    for bound, count in zip((*BOUNDS, math.inf), np.cumsum(counts), strict=True):
        le = "+Inf" if math.isinf(bound) else f"{bound:g}"
        exporter.metrics.add(f"{NAME}_bucket", OWN | {"le": le}, float(count))
    exporter.metrics.add(f"{NAME}_count", OWN, sum(counts))
    exporter.metrics.add(f"{NAME}_sum", OWN, 0.1 * sum(counts))
    exporter.metrics.add("hubble_http_requests_total", OWN | {"status": "200"}, sum(counts))


@pytest.mark.slow
def test_native_histograms_give_the_same_quantiles() -> None:
    """Prometheus 3 may store classic histograms as native ones, without any bucket."""
    fast = (0, 3, 10, 25, 40, 9, 4, 3, 2, 1, 1, 2)
    slow = (0, 0, 0, 0, 1, 2, 3, 4, 50, 30, 10, 0)
    kinds = {"": [], CONVERTED: ["--enable-feature=native-histograms"]}
    found = {}
    with LiveExporter() as exporter:
        try:
            servers = {
                more: PrometheusServer(
                    "prometheus-3", config=exporter.config(node="worker-1") + more, flags=flags
                )
                for more, flags in kinds.items()
            }
        except NotInstalled as error:
            installed_or_skip(error)
            return
        with servers[""], servers[CONVERTED]:
            for number, counts in enumerate((fast, slow, fast), start=1):
                observe(exporter, counts)
                for server in servers.values():
                    wait(server.url, 100.0 * number)
            window = Window.parse("now-5m", "now", step="1s")
            for more, server in servers.items():
                data = http.load(connect(server.url), window, window.baseline())
                found[more] = http.latency(data)
                known = data.remarks.targets
                assert known is not None
                assert (NAME in known.native) is bool(more)
                assert totals(data.now.durations, ["le"])["+Inf"] > 0
    pd.testing.assert_frame_equal(found[""], found[CONVERTED])
    assert found[""]["p50"].iloc[0] > 0.1


def wait(url: str, requests_: float) -> None:
    """Wait until a server has scraped so many requests."""
    source = connect(url)

    def scraped() -> bool:
        seen = source.instant("hubble_http_requests_total", pd.Timestamp.now("UTC").to_pydatetime())
        return bool(seen.shape[1]) and bool(seen.to_numpy()[0, 0] >= requests_)

    until(scraped)
