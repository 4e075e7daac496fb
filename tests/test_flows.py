"""Flows on the simulated cluster, through real servers, against what was made to happen."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cilium_analysis import connect
from cilium_analysis.bundle import Bundle, Recorder
from cilium_analysis.errors import BudgetExceeded, ParameterError
from cilium_analysis.findings import Severity
from cilium_analysis.frames import totals
from cilium_analysis.topics import flows
from cilium_analysis.topics.flows.data import COUNTERS
from cilium_analysis.topics.flows.findings import NO_ANSWER
from cilium_analysis.window import Window
from cilium_simulator import scenario as scenarios
from cilium_simulator.events import Event, Flows, TcpFlags
from cilium_simulator.scenario import Scenario
from cilium_simulator.simulation import Cluster
from tests.servers.process import ServerProcess
from tests.servers.served import ClusterServer, whole

Serve = Callable[..., ClusterServer]
Make = Callable[[Scenario], Cluster]

MINUTE = timedelta(minutes=1)
#: Scenarios in which no connection fails and no traffic shifts, whatever else happens.
QUIET = (
    "annotations_style",
    "burst_between_scrapes",
    "connectivity",
    "endpoints",
    "http_errors",
    "node_reboot",
    "quiet",
    "restart_1_14",
    "restart_1_15",
    "scrape_gap",
    "series_end",
)
WEB, API, DB, BATCH = "default/web", "default/api", "default/db", "batch/report"


def load(served: ClusterServer, window: Window, *, match: str = "") -> flows.Flows:
    source = connect(served.url)
    return flows.load(source, window, window.baseline("previous"), match=match)


def quiet(*events: Event, **changes: object) -> Scenario:
    return scenarios.load("quiet").with_(**{"seconds": 7200, "events": events, **changes})


def talk(source: str, destination: str, rate: float, start: int, end: int) -> Event:
    """Forwarded flows between two workloads, on every node."""
    return Flows(start, end, source=source, destination=destination, rate=rate)


def counted_in(made: Cluster, name: str, **labels: str) -> float:
    """Add up what series that begin with an event have counted in the end."""
    last = [series.values[-1] for series in made.find(name, **labels)]  # noqa: PD011
    return float(sum(last))


@pytest.mark.slow
def test_resets_are_found_on_every_server(
    server_kind: str, cluster_server: Serve, cluster: Make
) -> None:
    served = cluster_server("dns_failures", server_kind)
    (finding,) = flows.findings(load(served, whole(served, settle=60)))
    incident = served.truth.incident("tcp_flags")
    assert finding.kind == "tcp_failures"
    assert finding.unit == "flows/s"
    assert finding.labels == {
        "protocol": "TCP",
        "flag": "RST",
        "source": WEB,
        "destination": API,
    }
    assert "worker-1" in finding.title
    assert abs(finding.start - incident.start) <= MINUTE
    assert abs(finding.end - incident.end) <= MINUTE
    really = counted_in(
        cluster(served.scenario), "hubble_tcp_flags_total", flag="RST", source_workload="web"
    )
    assert really > 5_000
    assert finding.total == pytest.approx(really, rel=0.01)
    assert finding.severity is Severity.WARNING
    assert finding.trust == "good"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "context", "style"),
    [
        ((1, 13, 4), "none", "annotations"),
        ((1, 15, 2), "workload", "servicemonitor"),
        ((1, 18, 1), "pod", "annotations"),
        ((1, 20, 0), "labels-pod", "kube-prometheus-stack"),
    ],
)
def test_handshakes_without_an_answer(
    version: tuple[int, int, int], context: str, style: str, cluster_server: Serve
) -> None:
    event = TcpFlags(4200, 5400, source=WEB, destination=DB, rate=2.0, flag="SYN")
    changes = {"version": version, "context": context, "style": style}
    served = cluster_server(quiet(event, **changes))
    data = load(served, whole(served))
    (finding,) = flows.findings(data)
    assert finding.labels["flag"] == NO_ANSWER
    parties = {"source": WEB, "destination": DB} if context != "none" else {}
    assert {n: v for n, v in finding.labels.items() if n in ("source", "destination")} == parties
    incident = served.truth.incident("tcp_flags")
    assert abs(finding.start - incident.start) <= MINUTE
    assert abs(finding.end - incident.end) <= MINUTE
    assert finding.total == pytest.approx(2.0 * 4 * 1200, rel=0.05)
    worst = flows.handshakes(data).iloc[0]
    assert (worst["source"], worst["destination"]) == tuple(parties.values() or ("", ""))
    visible = not any(
        "Sources and destinations are not visible" in note for note in flows.notes(data)
    )
    assert visible == (context != "none")


@pytest.mark.slow
@pytest.mark.parametrize("context", ["labels", "workload", "pod"])
def test_traffic_that_stops_and_traffic_that_rises(context: str, cluster_server: Serve) -> None:
    events = (
        talk(WEB, API, 4.0, 0, 7200),
        talk(WEB, API, 20.0, 5400, 6600),
        talk(BATCH, DB, 3.0, 0, 4500),
    )
    served = cluster_server(quiet(*events, context=context))
    data = load(served, whole(served, settle=60))
    stop, rise = flows.findings(data)
    assert {stop.kind, rise.kind} == {"traffic_shift"}
    same = {"verdict": "FORWARDED", "protocol": "TCP"}
    assert stop.labels == same | {"source": BATCH, "destination": DB}
    assert stop.severity is Severity.WARNING
    assert stop.value == pytest.approx(0.0, abs=0.1)
    assert stop.baseline_value == pytest.approx(12.0, rel=0.05)
    assert abs(stop.start - (served.scenario.start + timedelta(seconds=4500))) <= MINUTE
    assert stop.end == data.window.end
    assert rise.labels == same | {"source": WEB, "destination": API}
    assert rise.severity is Severity.INFO
    assert rise.value == pytest.approx(96.0, rel=0.05)
    assert all("% of all forwarded flows" in finding.title for finding in (stop, rise))
    assert rise.total == pytest.approx(96.0 * 1200, rel=0.03)
    assert abs(rise.start - (served.scenario.start + timedelta(seconds=5400))) <= MINUTE
    assert abs(rise.end - (served.scenario.start + timedelta(seconds=6600))) <= MINUTE
    pairs = flows.talkers(data).set_index(["source", "destination"])
    really = (16.0 * 3600 + 80.0 * 1200, 12.0 * 900)
    for pair, amount in zip(((WEB, API), (BATCH, DB)), really, strict=True):
        assert pairs.loc[pair, "flows"] == pytest.approx(amount, rel=0.03)
    spaces = flows.talkers(data, "namespace")
    assert {"default", "batch"} <= set(spaces["source"])


def test_a_small_part_of_the_traffic_that_stops_is_no_warning(cluster_server: Serve) -> None:
    events = (talk(WEB, API, 300.0, 0, 7200), talk(BATCH, DB, 1.0, 0, 4500))
    served = cluster_server(quiet(*events))
    (stop,) = flows.findings(load(served, whole(served, settle=60)))
    assert "stopped" in stop.title
    assert "0.2% of all" in stop.title
    assert stop.severity is Severity.INFO


@pytest.mark.slow
@pytest.mark.parametrize("name", QUIET)
def test_nothing_is_found_where_nothing_shifts(name: str, cluster_server: Serve) -> None:
    served = cluster_server(name)
    assert list(flows.findings(load(served, whole(served)))) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["restart_1_15", "node_reboot", "scrape_gap"])
def test_steady_talkers_survive_restarts_and_gaps(name: str, cluster_server: Serve) -> None:
    scenario = scenarios.load(name)
    steady = talk(WEB, API, 3.0, 0, scenario.seconds)
    served = cluster_server(scenario.with_(events=(*scenario.events, steady)))
    window = whole(served)
    data = load(served, window)
    assert [f for f in flows.findings(data) if f.kind == "traffic_shift"] == []
    pair = flows.talkers(data).set_index(["source", "destination"]).loc[(WEB, API)]
    seconds = window.length.total_seconds() * len(scenario.nodes)
    assert pair["flows"] == pytest.approx(3.0 * seconds, rel=0.03)


@pytest.mark.slow
def test_amounts_are_those_of_the_counters(server_kind: str, cluster_server: Serve) -> None:
    """A second way: the last value minus the first, where nothing was reset or born."""
    served = cluster_server("quiet", server_kind)
    window = whole(served, settle=120)
    data = load(served, window)
    for name, metric in COUNTERS.items():
        frame = connect(served.url).range(metric.name, window)
        stable = frame.loc[:, frame.notna().all()]
        direct = float((stable.iloc[-1] - stable.iloc[0]).sum())
        assert direct > 0
        counted = float(getattr(data.now, name).sum().sum())
        assert counted == pytest.approx(direct, rel=0.01)
    assert flows.ports(data).index[0] == "8080/TCP"
    assert float(flows.echoes(data)["share"]["window"]) < 0.01
    assert set(flows.flags(data).columns) == {"SYN", "SYN-ACK", "FIN", "RST"}
    assert set(flows.rates(data).columns) == {"FORWARDED", "DROPPED"}
    assert set(flows.policy(data)["action"]) == {"forwarded", "dropped"}
    assert any("lost" in note for note in flows.notes(data))


def test_an_empty_server_is_said_to_be_blind(prometheus2: ServerProcess) -> None:
    window = Window.parse("2026-03-21T08:00Z", "2026-03-21T10:00Z", step="30s")
    data = flows.load(connect(prometheus2.url), window, window.baseline())
    (finding,) = flows.findings(data)
    assert finding.kind == "missing_metrics"
    assert any("at all" in note for note in flows.notes(data))
    assert_empty(data)


def assert_empty(data: flows.Flows) -> None:
    tables = (
        flows.verdicts,
        flows.icmp,
        flows.echoes,
        flows.ports,
        flows.policy,
        flows.denied,
        flows.world,
        flows.talkers,
        flows.handshakes,
    )
    for table in tables:
        assert len(table(data)) == 0
    assert flows.rates(data).shape[1] == flows.flags(data).shape[1] == 0


class Refusing:
    """A source that finds some queries to be about too many series."""

    def __init__(self, url: str, *starts: str) -> None:
        self.source, self.starts = connect(url), starts
        self.name, self.server, self.journal = (
            self.source.name,
            self.source.server,
            self.source.journal,
        )
        self.instant, self.exemplars = self.source.instant, self.source.exemplars

    def range(self, promql: str, window: Window) -> pd.DataFrame:
        about = any(metric.name in promql for metric in COUNTERS.values())
        if about and promql.startswith(self.starts):
            raise BudgetExceeded("too many")
        return self.source.range(promql, window)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dns_failures", "node_reboot", "restart_1_14"])
def test_sums_by_the_server_when_the_series_are_too_many(
    name: str, server_kind: str, cluster_server: Serve
) -> None:
    served = cluster_server(name, server_kind)
    window = whole(served)
    baseline = window.baseline("previous")
    data = flows.load(Refusing(served.url, "max"), window, baseline)
    usual = load(served, window)
    for metric in ("flows", "flags", "ports"):
        own = list(COUNTERS[metric].labels)
        few, many = (totals(getattr(d.now, metric), own) for d in (data, usual))
        np.testing.assert_allclose(few.sum(), many.sum(), rtol=0.01)
    assert sum("too many series" in note for note in flows.notes(data)) == len(COUNTERS)
    found = [(f.kind, dict(f.labels)) for f in flows.findings(data)]
    reset = ("tcp_failures", {"protocol": "TCP", "flag": "RST"})
    assert found == ([reset] if name == "dns_failures" else [])


def test_what_is_too_much_in_any_form_is_left_out(cluster_server: Serve) -> None:
    served = cluster_server("quiet")
    window = whole(served)
    source = Refusing(served.url, "max", "sum")
    data = flows.load(source, window, window.baseline("previous"))
    assert list(flows.findings(data)) == []
    assert set(data.refused) == {metric.name for metric in COUNTERS.values()}
    assert any("refused to tell" in note for note in flows.notes(data))
    assert_empty(data)


@pytest.mark.slow
def test_a_bundle_gives_the_same_findings(cluster_server: Serve, tmp_path: Path) -> None:
    served = cluster_server("dns_failures")
    window = whole(served, settle=60)
    baseline = window.baseline("previous")
    for number, source in enumerate((connect(served.url), Refusing(served.url, "max"))):
        directory = tmp_path / str(number)
        with Recorder(source, directory, window=window, baseline=baseline) as recorder:
            first = flows.findings(flows.load(recorder, window, baseline))
        again = flows.findings(flows.load(Bundle(directory), window, baseline))
        assert again.as_json()["findings"] == first.as_json()["findings"]
        assert len(first) == 1


def test_matchers_narrow_every_query(cluster_server: Serve) -> None:
    served = cluster_server("quiet")
    window = whole(served)
    data = load(served, window, match='node="worker-1"')
    assert set(data.now.flows.columns.get_level_values("node")) == {"worker-1"}
    assert list(data.now.scraped.columns) == ["worker-1"]
    with pytest.raises(ParameterError):
        load(served, window, match="node")
