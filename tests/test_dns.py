"""DNS on the simulated cluster, through real servers, against what was really looked up."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cilium_analysis import connect
from cilium_analysis.bundle import Bundle, Recorder
from cilium_analysis.errors import BudgetExceeded, ParameterError, QueryRejected
from cilium_analysis.findings import Finding, Severity
from cilium_analysis.frames import totals
from cilium_analysis.queries import parse_matchers
from cilium_analysis.topics import dns
from cilium_analysis.topics.dns.data import QUERIES
from cilium_analysis.topics.dns.outcomes import DENIED, NO_RESPONSE
from cilium_analysis.window import Window
from cilium_simulator import proxy
from cilium_simulator import scenario as scenarios
from cilium_simulator.events import Dns, Event, NodeJoins, NodeLeaves
from cilium_simulator.scenario import Scenario
from tests.servers.process import ServerProcess
from tests.servers.served import ClusterServer, whole
from tests.sources import MemorySource, grid
from tests.timeline import Timeline

Serve = Callable[..., ClusterServer]

FAILURE = "billing.example.org."
MINUTE = timedelta(minutes=1)
QUIET = ("quiet", "restart_1_14", "restart_1_15", "node_reboot", "scrape_gap", "series_end")
FLOWS = Path(__file__).parent / "data" / "hubble-flows" / "dns.csv"


def load(served: ClusterServer, window: Window, *, match: str = "") -> dns.Dns:
    source = connect(served.url)
    return dns.load(source, window, window.baseline("previous"), match=match)


def variant(name: str, **changes: object) -> Scenario:
    return scenarios.load(name).with_(**changes)


def with_lookups(*events: Event, seconds: int = 7200) -> Scenario:
    """A quiet cluster with DNS, and something that happens to it."""
    return variant("quiet", dns=2.0, dns_query=True, seconds=seconds, events=events)


def assert_within(counted: pd.Series, really: pd.Series, *, edge: float) -> None:
    """Compare totals; what falls between the last scrape and an edge is in no server."""
    both = pd.DataFrame({"counted": counted, "really": really}).fillna(0.0)
    assert ((both["counted"] - both["really"]).abs() <= 0.01 * both["really"] + edge).all(), both


def the_failure(served: ClusterServer, data: dns.Dns) -> Finding:
    """Check times and amount of the one finding."""
    (finding,) = dns.findings(data)
    incident = served.truth.incident("dns")
    assert finding.kind == "dns_failures"
    assert finding.unit == "responses/s"
    assert abs(finding.start - incident.start) <= MINUTE
    assert abs(finding.end - incident.end) <= MINUTE
    assert finding.total == pytest.approx(incident.total, rel=0.02)
    return finding


@pytest.mark.slow
def test_totals_and_the_failure_on_every_server(server_kind: str, cluster_server: Serve) -> None:
    served = cluster_server("dns_failures", server_kind)
    window = whole(served, settle=60)
    data = load(served, window)
    really = served.truth.lookups(window.start, window.end)
    assert_within(totals(data.now.counts, ["rcode"]), really, edge=60)
    assert float(totals(data.now.counts, ["rcode"]).sum()) == pytest.approx(really.sum(), rel=0.01)
    finding = the_failure(served, data)
    assert finding.labels == {
        "rcode": "Server Failure",
        "source": "default/web",
        "destination": "kube-system/coredns",
        "query": FAILURE,
    }
    assert finding.severity is Severity.CRITICAL
    assert finding.trust == "good"
    assert finding.share == pytest.approx(0.2, abs=0.03)
    assert finding.baseline_value < 0.1


@pytest.mark.slow
def test_types_and_the_proxys_times_are_the_true_ones(
    server_kind: str, cluster_server: Serve
) -> None:
    served = cluster_server("dns_failures", server_kind)
    window = whole(served, settle=60)
    data = load(served, window)
    really = served.truth.lookups(window.start, window.end)
    (row,) = dns.by_qtype(data).reset_index().to_dict("records")
    assert row["qtypes"] == "A"
    assert row["queries"] == pytest.approx(really.sum(), rel=0.01)
    assert row["responses"] == pytest.approx(really.sum(), rel=0.01)
    assert row["nxdomain"] == pytest.approx(really["Non-Existent Domain"], rel=0.02)
    others = really.drop(["No Error", "Non-Existent Domain"]).sum()
    assert row["failed"] - row["missing"] == pytest.approx(others, rel=0.02)
    assert row["failed"] == dns.by_client(data)["failed"].sum()
    ips = dns.by_ips(data)["responses"]
    assert ips["1"] == pytest.approx(really["No Error"], rel=0.01)
    times = dns.proxy_latency(data).set_index("step")
    assert set(times.index) == set(proxy.DNS_SECONDS)
    assert set(times["outcome"]) == {"allow"}
    for step, line in times.iterrows():
        assert line["lookups"] == pytest.approx(really.sum(), rel=0.01)
        bound = min(b for b in proxy.BOUNDS if b >= proxy.DNS_SECONDS[str(step)])
        assert 0.0 <= line["p50"] <= line["p99"] <= bound
    waits = dns.waits(data)
    assert waits["mean time"].to_numpy() == pytest.approx(proxy.DNS_SECONDS["upstreamTime"])
    assert waits["lookups"].sum() == pytest.approx(really.sum(), rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "context", "style", "names"),
    [
        ((1, 13, 4), "none", "annotations", False),
        ((1, 13, 4), "labels", "servicemonitor", True),
        ((1, 15, 2), "workload", "servicemonitor", True),
        ((1, 18, 1), "pod", "annotations", True),
        ((1, 20, 0), "labels-pod", "kube-prometheus-stack", False),
    ],
)
def test_the_failure_is_found_whatever_is_configured(
    version: tuple[int, int, int], context: str, style: str, names: bool, cluster_server: Serve
) -> None:
    changes = {"version": version, "context": context, "style": style, "dns_query": names}
    served = cluster_server(variant("dns_failures", **changes))
    window = whole(served)
    data = load(served, window)
    assert_within(
        totals(data.now.counts, ["rcode"]),
        served.truth.lookups(window.start, window.end),
        edge=60,
    )
    finding = the_failure(served, data)
    assert finding.labels["rcode"] == "Server Failure"
    assert finding.labels.get("query", "") == (FAILURE if names else "")
    assert finding.labels.get("source", "") == ("default/web" if context != "none" else "")
    said = " ".join(dns.notes(data))
    assert ("dns:query adds" in said) == (not names)
    assert ("Clients are not visible" in said) == (context == "none")
    assert len(dns.by_name(data)) == (0 if not names else 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dns_failures", "quiet"])
def test_codes_under_the_name_of_another_label(
    name: str, server_kind: str, cluster_server: Serve
) -> None:
    """A fault of Cilium with some numbers of context labels."""
    denied = Dns(4800, 5700, source="default/web", rcode=DENIED, query="evil.example.", rate=0.5)
    changes: dict[str, object] = {"events": (denied,)} if name == "quiet" else {}
    served = cluster_server(variant(name, dns=2.0, dns_code="type", **changes), server_kind)
    window = whole(served, settle=60 if name == "quiet" else 10)
    data = load(served, window)
    really = served.truth.lookups(window.start, window.end)
    assert_within(totals(data.now.counts, ["rcode"]), really, edge=60)
    finding = the_failure(served, data)
    assert finding.labels["rcode"] == (DENIED if name == "quiet" else "Server Failure")
    assert f'type="{finding.labels["rcode"]}"' in finding.query
    assert connect(served.url).instant(finding.query, finding.end).shape[1]
    assert any("under the name type" in note for note in dns.notes(data))
    failed = served.truth.lookups(window.start, window.end, by=("source", "rcode"))
    ordinary = [
        code not in ("No Error", "Non-Existent Domain") for code in failed.index.get_level_values(1)
    ]
    clients = dns.by_client(data)["failed"].astype(float)
    assert_within(clients, failed[ordinary].groupby(level=0).sum(), edge=10)


def test_sums_have_the_codes_wherever_they_are(cluster_server: Serve) -> None:
    served = cluster_server(variant("dns_failures", dns=2.0, dns_code="type"))
    window = whole(served)
    data = dns.load(Refusing(served.url), window, window.baseline("previous"))
    assert data.summed
    really = served.truth.lookups(window.start, window.end)
    counted = totals(data.now.counts, ["rcode"])
    assert set(counted.index) == set(really.index)
    assert counted["Server Failure"] == pytest.approx(really["Server Failure"], rel=0.02)


def test_clients_and_servers_are_told_apart(cluster_server: Serve) -> None:
    served = cluster_server("dns_failures")
    window = whole(served)
    data = load(served, window)
    really = served.truth.lookups(window.start, window.end, by=("source",))
    clients = dns.by_client(data)
    assert next(iter(clients.index)) == "default/web"
    for column in ("queries", "responses"):
        assert_within(clients[column].astype(float), really, edge=60)
    assert clients["missing"].sum() <= 5
    failed = served.truth.lookups(window.start, window.end, by=("source", "rcode"))
    assert clients.loc["default/web", "failed"] == pytest.approx(
        failed["default/web", "Server Failure"], rel=0.01
    )
    assert list(dns.by_server(data).index) == ["kube-system/coredns"]
    names = served.truth.lookups(window.start, window.end, by=("query",))
    counted = dns.by_name(data).groupby("query")["responses"].sum()
    assert_within(counted.astype(float), names, edge=60)


@pytest.mark.slow
@pytest.mark.parametrize("name", QUIET)
def test_nothing_is_found_where_nothing_fails(name: str, cluster_server: Serve) -> None:
    served = cluster_server(variant(name, dns=2.0, dns_query=True))
    window = whole(served)
    data = load(served, window)
    assert list(dns.findings(data)) == []
    really = served.truth.lookups(window.start, window.end)
    counted = totals(data.now.counts, ["rcode"])
    assert float(counted.sum()) == pytest.approx(float(really.sum()), rel=0.01)
    assert dns.missing(data).sum().sum() < 0.001 * really.sum()


@pytest.mark.slow
def test_queries_without_a_response(server_kind: str, cluster_server: Serve) -> None:
    event = Dns(
        4800, 5700, source="batch/report", rcode=NO_RESPONSE, query="nfs.example.", rate=1.0
    )
    served = cluster_server(with_lookups(event), server_kind)
    finding = the_failure(served, load(served, whole(served, settle=60)))
    assert finding.labels == {
        "rcode": NO_RESPONSE,
        "source": "batch/report",
        "destination": "kube-system/coredns",
        "query": "nfs.example.",
    }
    assert "lookups of nfs.example. from batch/report to kube-system/coredns" in finding.title
    assert "without a response" in finding.title
    assert finding.severity is Severity.CRITICAL


def test_a_policy_that_denies_lookups(cluster_server: Serve) -> None:
    event = Dns(4800, 5700, source="default/web", rcode=DENIED, query="evil.example.", rate=0.5)
    served = cluster_server(with_lookups(event))
    data = load(served, whole(served, settle=60))
    finding = the_failure(served, data)
    assert finding.labels["rcode"] == DENIED
    assert finding.labels["source"] == "default/web"
    assert finding.severity is Severity.WARNING
    assert "hubble_dns_queries_total" in finding.query
    assert dns.missing(data).sum().sum() <= 5


def test_names_that_do_not_exist_count_when_they_rise(cluster_server: Serve) -> None:
    event = Dns(
        4800,
        5700,
        source="default/web",
        rcode="Non-Existent Domain",
        query="gone.default.svc.cluster.local.",
        rate=4.0,
    )
    served = cluster_server(with_lookups(event))
    finding = the_failure(served, load(served, whole(served, settle=60)))
    assert finding.labels["query"] == event.query
    assert finding.severity is Severity.WARNING


def test_more_lookups_of_the_same_kind_are_no_failure(cluster_server: Serve) -> None:
    events = [
        Dns(4800, 5700, source="default/web", rcode=code, query=name, rate=rate)
        for code, name, rate in (("No Error", "a.", 40.0), ("Non-Existent Domain", "a.b.", 4.4))
    ]
    served = cluster_server(with_lookups(*events))
    data = load(served, whole(served, settle=60))
    assert dns.by_rcode(data)["change"]["Non-Existent Domain"] > 10_000
    assert list(dns.findings(data)) == []


@pytest.mark.slow
@pytest.mark.parametrize("step", ["15s", "30s", "2m"])
def test_incidents_of_different_clients_stay_apart(step: str, cluster_server: Serve) -> None:
    """Also at a step shorter than the time between two scrapes."""
    short = Dns(
        4200,
        4440,
        nodes=("worker-1",),
        source="default/web",
        rcode="Server Failure",
        query="a.example.",
        rate=5.0,
    )
    long = Dns(
        4800,
        6600,
        source="batch/report",
        rcode="Server Failure",
        query="b.example.",
        rate=0.2,
    )
    served = cluster_server(with_lookups(short, long))
    begin, end = served.scenario.start + 60 * MINUTE, served.scenario.end
    window = Window.parse(begin.isoformat(), end.isoformat(), step=step)
    found = {f.labels["query"]: f for f in dns.findings(load(served, window))}
    assert set(found) == {"a.example.", "b.example."}
    for incident in served.truth.incidents:
        finding = found[incident.labels["query"]]
        assert finding.labels["source"] == incident.labels["source"]
        assert finding.total == pytest.approx(incident.total, rel=0.1)
        assert abs(finding.start - incident.start) <= 4 * MINUTE
        assert abs(finding.end - incident.end) <= 4 * MINUTE
        assert finding.trust == "good"


@pytest.mark.slow
@pytest.mark.parametrize("names", [True, False])
def test_an_outage_for_all_clients_is_one_finding(names: bool, cluster_server: Serve) -> None:
    clients = ("default/frontend", "default/web", "batch/report")
    events = [
        Dns(4800, 6000, source=c, rcode="Server Failure", query=f"{c[-3:]}.", rate=rate)
        for c, rate in zip(clients, (0.3, 2.0, 5.0), strict=True)
    ]
    served = cluster_server(with_lookups(*events).with_(dns_query=names))
    (finding,) = dns.findings(load(served, whole(served, settle=60)))
    assert finding.labels == {"rcode": "Server Failure", "destination": "kube-system/coredns"}
    really = sum(incident.total for incident in served.truth.incidents)
    assert finding.total == pytest.approx(really, rel=0.03)


def test_a_node_that_joins_has_no_baseline(cluster_server: Serve) -> None:
    events = (
        NodeJoins(4800, 7200, nodes=("worker-3",)),
        NodeLeaves(5400, 7200, nodes=("worker-2",)),
    )
    served = cluster_server(with_lookups(*events))
    assert list(dns.findings(load(served, whole(served, settle=60)))) == []


def test_dns_that_is_not_visible_is_said_to_be_so(cluster_server: Serve) -> None:
    served = cluster_server("quiet")
    data = load(served, whole(served))
    assert list(dns.findings(data)) == []
    assert "not the same as no DNS traffic" in dns.notes(data)[0]
    assert_empty(data)


def test_an_empty_server_is_said_to_be_blind(prometheus2: ServerProcess) -> None:
    window = Window.parse("2026-03-21T08:00Z", "2026-03-21T10:00Z", step="30s")
    data = dns.load(connect(prometheus2.url), window, window.baseline())
    (finding,) = dns.findings(data)
    assert finding.kind == "missing_metrics"
    assert any(note.endswith("in this window, nor any agent.") for note in dns.notes(data))
    assert_empty(data)


def assert_empty(data: dns.Dns) -> None:
    tables = (dns.by_rcode, dns.by_client, dns.by_server, dns.by_name, dns.by_type, dns.changes)
    for table in tables:
        assert len(table(data)) == 0
    assert dns.rates(data).shape[1] == 0
    assert not dns.flow(data).notna().any().any()


class Refusing:
    """A source that finds every series of DNS too many, but answers with their sums."""

    def __init__(self, url: str, *starts: str) -> None:
        self.source, self.starts = connect(url), starts or ("max",)
        self.name, self.server, self.journal = (
            self.source.name,
            self.source.server,
            self.source.journal,
        )
        self.instant, self.exemplars = self.source.instant, self.source.exemplars

    def range(self, promql: str, window: Window) -> pd.DataFrame:
        if promql.startswith(self.starts) and "hubble_dns" in promql:
            raise QueryRejected("too many samples") if self.starts[1:] else BudgetExceeded("many")
        return self.source.range(promql, window)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dns_failures", "node_reboot"])
def test_sums_by_the_server_when_the_series_are_too_many(
    name: str, server_kind: str, cluster_server: Serve
) -> None:
    served = cluster_server(variant(name, dns=2.0), server_kind)
    window = whole(served)
    data = dns.load(Refusing(served.url), window, window.baseline("previous"))
    really = served.truth.lookups(window.start, window.end)
    counted = totals(data.now.counts, ["rcode"])
    assert float(counted.sum()) == pytest.approx(float(really.sum()), rel=0.01)
    assert any("too many" in note for note in dns.notes(data))
    if name == "dns_failures":
        assert the_failure(served, data).labels == {"rcode": "Server Failure"}
    else:
        assert list(dns.findings(data)) == []


def test_what_is_too_much_in_any_form_is_left_out(cluster_server: Serve) -> None:
    served = cluster_server("dns_failures")
    window = whole(served, settle=60)
    source = Refusing(served.url, "max", "sum")
    data = dns.load(source, window, window.baseline("previous"))
    assert list(dns.findings(data)) == []
    assert any("refused to tell" in note for note in dns.notes(data))
    assert not any("not visible here" in note for note in dns.notes(data))
    assert_empty(data)


@pytest.mark.slow
def test_a_bundle_gives_the_same_findings(cluster_server: Serve, tmp_path: Path) -> None:
    served = cluster_server("dns_failures")
    window = whole(served, settle=60)
    baseline = window.baseline("previous")
    for source in (connect(served.url), Refusing(served.url)):
        directory = tmp_path / type(source).__name__
        with Recorder(source, directory, window=window, baseline=baseline) as recorder:
            first = dns.findings(dns.load(recorder, window, baseline))
        again = dns.findings(dns.load(Bundle(directory), window, baseline))
        assert again.as_json()["findings"] == first.as_json()["findings"]
        assert len(first) == 1


def test_matchers_narrow_every_query(cluster_server: Serve) -> None:
    served = cluster_server("dns_failures")
    window = whole(served, settle=60)
    data = load(served, window, match='node="worker-1"')
    assert set(data.now.counts.columns.get_level_values("node")) == {"worker-1"}
    assert list(data.now.scraped.columns) == ["worker-1"]
    narrow = load(served, window, match='rcode="Server Failure"')
    assert set(narrow.now.counts.columns.get_level_values("rcode")) == {"Server Failure"}
    with pytest.raises(ParameterError):
        load(served, window, match="rcode")


WINDOW = Window.parse("2026-03-21T08:00Z", "2026-03-21T09:00Z", step="30s")
WIDE = WINDOW.extended(before=timedelta(minutes=5))
LABELS = "rcode query source destination node instance"


def answers(**values: pd.DataFrame) -> MemorySource:
    """A source that knows some of the queries, in the window and in its baseline."""
    return MemorySource({QUERIES[n].render(step=WINDOW.step): f for n, f in values.items()})


def test_hostile_labels_stay_text() -> None:
    bad = 'x"} or vector(1) or y{z="<script>$'
    counts = 50.0 * np.maximum(np.arange(WIDE.points) - 60, 0)
    source = answers(responses=grid(WIDE, {(bad, bad, bad, bad, bad, "i"): counts}, LABELS))
    data = dns.load(source, WINDOW, WINDOW.baseline())
    (finding,) = dns.findings(data)
    inside = finding.query.split("{", 1)[1].rsplit("}", 1)[0]
    assert {m.value for m in parse_matchers(inside)} == {bad}
    assert "<script>" not in dns.findings(data).to_html()
    assert list(dns.by_client(data).index) == [bad]


def test_an_answer_a_step_later_is_not_missing() -> None:
    beat = np.where(np.arange(WIDE.points) % 2, 5.0, 0.0)
    asked, answered = np.cumsum(beat), np.cumsum(np.roll(beat, 1))
    source = answers(
        queries=grid(WIDE, {("", "", "a", "b", "n", "i"): asked}, LABELS),
        responses=grid(WIDE, {("No Error", "", "b", "a", "n", "i"): answered}, LABELS),
    )
    data = dns.load(source, WINDOW, WINDOW.baseline())
    assert dns.missing(data).sum().sum() <= 5.0
    assert list(dns.findings(data)) == []


def test_a_client_with_two_names_is_not_without_answers() -> None:
    many = 10.0 * np.arange(WIDE.points)
    source = answers(
        queries=grid(WIDE, {("", "", "10.0.0.1", "b", "n", "i"): many}, LABELS),
        responses=grid(WIDE, {("No Error", "", "b", "default/web", "n", "i"): many}, LABELS),
    )
    data = dns.load(source, WINDOW, WINDOW.baseline())
    assert dns.missing(data).sum().sum() > 0
    assert list(dns.findings(data)) == []


def test_real_flows_counted_as_hubble_does() -> None:
    """The DNS flows of a real cluster: their responses carry the server as the source."""
    with FLOWS.open(encoding="utf-8", newline="") as handle:
        flows = list(csv.DictReader(handle))
    names = ("source_namespace", "source_pod", "destination_namespace", "destination_pod")
    context = (*names, "traffic_direction")
    codes = {"0": "No Error", "3": "Non-Existent Domain"}
    asked: Counter[tuple[str, ...]] = Counter()
    answered: Counter[tuple[str, ...]] = Counter()
    for flow in flows:
        reply = flow["is_reply"] == "true"
        own = (codes[flow["rcode"]] if reply else "", flow["qtypes"], flow["ips"], flow["query"])
        key = (*own, *(flow[n] for n in context), flow["node"], flow["node"])
        (answered if reply else asked)[key] += 1
    labels = " ".join(("rcode", "qtypes", "ips_returned", "query", *context, "node", "instance"))
    later = np.arange(WIDE.points) >= WIDE.points // 2
    frames = [
        grid(WIDE, {key: np.where(later, n, np.nan) for key, n in part.items()}, labels)
        for part in (asked, answered)
    ]
    up = grid(WIDE, {(node, node): 1.0 for node in {f["node"] for f in flows}}, "node instance")
    source = Timeline(
        {
            "max_over_time(hubble_dns_queries_total": frames[0],
            "max_over_time(hubble_dns_responses_total": frames[1],
            "count_over_time(hubble_flows_processed_total": up,
            "cilium_process_start_time_seconds": up,
        }
    )
    data = dns.load(source, WINDOW, WINDOW.baseline())
    clients, servers = dns.by_client(data), dns.by_server(data)
    assert clients["queries"].sum() == clients["responses"].sum() == len(flows) / 2
    assert all(name.startswith("kube-system/node-local-dns-") for name in clients.index)
    assert list(servers.index) == ["kube-system/kube-dns"]
    assert clients["missing"].sum() == 0
    assert not data.now.both_ends
    really = Counter(codes[f["rcode"]] for f in flows if f["is_reply"] == "true")
    assert dns.by_rcode(data)["responses"].to_dict() == really
