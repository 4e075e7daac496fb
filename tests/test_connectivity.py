"""Connectivity on the simulated cluster, through real servers, against what really happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from cilium_analysis import connect, frames, plots
from cilium_analysis.bundle import Bundle, Recorder
from cilium_analysis.errors import ParameterError
from cilium_analysis.findings import Finding, Severity
from cilium_analysis.queries import parse_matchers
from cilium_analysis.topics import connectivity
from cilium_analysis.window import Window
from cilium_simulator import remote_write
from cilium_simulator.connectivity import probe_seconds
from cilium_simulator.events import KINDS, Event
from cilium_simulator.scenario import Scenario, load
from cilium_simulator.scrape import Series
from cilium_simulator.simulation import simulate
from tests.conftest import started
from tests.field.asking import available, topic
from tests.field.make import Metrics, agent, minutes, scrapes, vitals
from tests.servers.process import ServerProcess
from tests.servers.served import ClusterServer
from tests.sources import MemorySource

Serve = Callable[..., ClusterServer]
Base = Callable[..., connectivity.Connectivity]

#: The last version whose probes name their targets, and the first ones whose probes do not.
NAMED, BOTH, COUNTED, NEWEST = (1, 15, 2), (1, 17, 3), (1, 18, 3), (1, 20, 0)
STYLES = ("annotations", "servicemonitor", "kube-prometheus-stack")
NEAR = timedelta(seconds=90)
BASE = load("connectivity")


def event(kind: str, node: str | tuple[str, ...], begin: int, end: int, **more: object) -> Event:
    """Something between two minutes of the scenario."""
    nodes = (node,) if isinstance(node, str) else node
    return KINDS[kind](start=60 * begin, end=60 * end, nodes=nodes, **more)


def changed(name: str, *events: Event, **changes: object) -> Scenario:
    return BASE.with_(name=f"connectivity_{name}", events=events, **changes)


def half(served: ClusterServer, *, step: str = "30s") -> Window:
    """The second half of a scenario, so that the first is its baseline."""
    scenario = served.scenario
    middle = scenario.start + (scenario.end - scenario.start) / 2
    return Window.parse(middle.isoformat(), scenario.end.isoformat(), step=step)


def read(served: ClusterServer, window: Window | None = None) -> connectivity.Connectivity:
    chosen = window or half(served)
    return connectivity.load(connect(served.url), chosen, chosen.baseline())


@pytest.fixture(scope="module")
def base(cluster_server: Serve) -> Base:
    """Give what was loaded of the outage of one node, once for each version and kind of server."""

    @cache
    def give(
        version: tuple[int, int, int] = BASE.version, kind: str = "prometheus-2"
    ) -> connectivity.Connectivity:
        return read(cluster_server(BASE.with_(version=version), kind))

    return give


def found(served: ClusterServer, window: Window | None = None) -> list[Finding]:
    return list(connectivity.findings(read(served, window)))


def at(minute: int) -> datetime:
    return BASE.start + timedelta(minutes=minute)


def slack(version: tuple[int, int, int]) -> timedelta:
    """How well times can be known: to one probe, and one scrape of 30 s."""
    return timedelta(seconds=probe_seconds(BASE.with_(version=version)) + 30)


def near(
    finding: Finding, begin: int, end: int, version: tuple[int, int, int] = BASE.version
) -> bool:
    off = slack(version)
    return abs(finding.start - at(begin)) <= off and abs(finding.end - at(end)) <= off


def name_of(node: str, scenario: Scenario) -> str:
    """How a node is called where no label names it: by its address."""
    unnamed = scenario.style == "annotations" and scenario.version >= (1, 19, 0)
    return f"10.10.0.{10 + scenario.nodes.index(node)}" if unnamed else node


@pytest.mark.slow
@pytest.mark.parametrize("version", [NAMED, NEWEST])
def test_an_outage_is_found_on_every_server(
    version: tuple[int, int, int], server_kind: str, base: Base
) -> None:
    (finding,) = connectivity.findings(base(version, server_kind))
    assert finding.kind == "node_unreachable"
    assert finding.severity is Severity.CRITICAL
    assert finding.labels == {"node": "worker-5", "type": "node"}
    assert (finding.value, finding.baseline_value, finding.total) == (1.0, 0.0, None)
    assert near(finding, 70, 85, version)
    assert "unreachable from all 7 other nodes" in finding.title
    assert "node and endpoint" in finding.title
    assert (finding.trust == "good") == (version == NAMED)


@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("version", [(1, 13, 4), NAMED, BOTH, COUNTED, NEWEST])
def test_an_outage_is_found_in_every_version_and_way_to_scrape(
    version: tuple[int, int, int], style: str, cluster_server: Serve
) -> None:
    served = cluster_server(BASE.with_(version=version, style=style))
    (finding,) = found(served)
    assert finding.labels["node"] == name_of("worker-5", served.scenario)
    assert finding.value == 1.0
    assert near(finding, 70, 85, version)
    assert ("likely" in finding.title) == (version >= COUNTED)


@pytest.mark.slow
@pytest.mark.parametrize(("interval", "step"), [(10, "5m"), (15, "15s"), (30, "1m"), (60, "30s")])
def test_the_times_do_not_depend_on_the_step(
    interval: int, step: str, cluster_server: Serve
) -> None:
    served = cluster_server(BASE.with_(interval=interval))
    (finding,) = found(served, half(served, step=step))
    assert near(finding, 70, 85)
    assert finding.value == 1.0


QUIET = ("quiet", "restart_1_14", "restart_1_15", "scrape_gap", "series_end")


@pytest.mark.slow
@pytest.mark.parametrize("version", [None, NEWEST])
@pytest.mark.parametrize("scenario", QUIET)
def test_what_is_no_outage_is_no_finding(
    scenario: str, version: tuple[int, int, int] | None, cluster_server: Serve
) -> None:
    chosen = load(scenario)
    served = cluster_server(chosen.with_(version=version) if version else chosen)
    begin = chosen.start + timedelta(minutes=10)
    window = Window.parse(begin.isoformat(), chosen.end.isoformat(), step="30s")
    data = read(served, window)
    assert list(connectivity.findings(data)) == []
    assert connectivity.timeline(data).shape[1] == 0


@pytest.mark.slow
@pytest.mark.parametrize("version", [NAMED, NEWEST])
def test_a_reboot_is_told_as_long_as_it_took(
    version: tuple[int, int, int], cluster_server: Serve
) -> None:
    served = cluster_server(load("node_reboot").with_(version=version))
    (reboot,) = [i for i in served.truth.incidents if i.kind == "node_reboot"]
    (finding,) = found(served)
    assert finding.labels["node"] == "worker-2"
    assert abs(finding.start - reboot.start) <= slack(version)
    assert abs(finding.end - reboot.end) <= slack(version)
    assert "not scraped" in finding.title


@pytest.mark.slow
@pytest.mark.parametrize("version", [NAMED, NEWEST])
def test_two_nodes_out_at_once_are_two_findings(
    version: tuple[int, int, int], cluster_server: Serve
) -> None:
    events = [event("unreachable", "worker-2", 70, 85), event("unreachable", "worker-4", 75, 95)]
    served = cluster_server(changed("two", *events, version=version))
    findings = {f.labels["node"]: f for f in found(served)}
    assert set(findings) == {"worker-2", "worker-4"}
    assert near(findings["worker-2"], 70, 85, version)
    assert near(findings["worker-4"], 75, 95, version)


@pytest.mark.slow
def test_two_nodes_that_reach_each_other_only(cluster_server: Serve) -> None:
    pair = event("unreachable", ("worker-2", "worker-4"), 70, 85)
    findings = found(cluster_server(changed("island", pair)))
    assert {f.labels["node"] for f in findings} == {"worker-2", "worker-4"}
    assert all(f.value == pytest.approx(6 / 7) and near(f, 70, 85) for f in findings)


@pytest.mark.slow
@pytest.mark.parametrize("version", [NAMED, NEWEST])
def test_a_cluster_that_falls_into_halves_is_one_finding(
    version: tuple[int, int, int], cluster_server: Serve
) -> None:
    part = event("unreachable", ("worker-1", "worker-2", "worker-3", "worker-4"), 70, 85)
    (finding,) = found(cluster_server(changed("split", part, version=version)))
    assert finding.value == pytest.approx(4 / 7)
    assert "node" not in finding.labels
    assert near(finding, 70, 85, version)
    if version == NAMED:
        assert "control-plane, worker-5, worker-6, worker-7 | worker-1" in finding.title


def test_one_way_is_asymmetric(cluster_server: Serve) -> None:
    one_way = event("unreachable", "worker-2", 70, 85, observer="worker-1")
    served = cluster_server(changed("one_way", one_way))
    data = read(served)
    (finding,) = connectivity.findings(data)
    assert finding.severity is Severity.WARNING
    assert finding.labels["node"] == "worker-2"
    assert finding.value == pytest.approx(1 / 7)
    assert near(finding, 70, 85)
    assert "1 of 7 other nodes (worker-1)" in finding.title
    assert "asymmetric" in finding.title
    pairs = connectivity.pairs(data)
    assert set(zip(pairs["source"], pairs["target"], strict=True)) == {("worker-1", "worker-2")}
    assert set(pairs["asymmetric"]) == {"yes"}
    assert pairs["minutes"].tolist() == pytest.approx([15], abs=1.5)
    assert pairs["type"].tolist() == ["node and endpoint"]


def test_one_way_without_targets_is_told_of_the_observer(cluster_server: Serve) -> None:
    one_way = event("unreachable", "worker-2", 70, 85, observer="worker-1")
    (finding,) = found(cluster_server(changed("one_way", one_way, version=NEWEST)))
    assert finding.labels["node"] == "worker-1"
    assert finding.value == pytest.approx(1 / 7)
    assert any("target is not in the data" in reason for reason in finding.trust_reasons)
    # Only one agent saw it, whose probes of an address may be two rounds apart.
    assert "to within two probes" in finding.title


@pytest.mark.slow
@pytest.mark.parametrize("version", [NAMED, NEWEST])
def test_a_node_that_all_others_miss_but_that_reaches_them(
    version: tuple[int, int, int], cluster_server: Serve
) -> None:
    others = [node for node in BASE.nodes if node != "worker-2"]
    events = [event("unreachable", "worker-2", 70, 85, observer=other) for other in others]
    (finding,) = found(cluster_server(changed("only_in", *events, version=version)))
    assert finding.labels["node"] == "worker-2"
    assert finding.value == 1.0
    assert "asymmetric" in finding.title


@pytest.mark.slow
@pytest.mark.parametrize("version", [NAMED, NEWEST])
def test_a_node_that_misses_all_others_though_they_reach_it(
    version: tuple[int, int, int], cluster_server: Serve
) -> None:
    others = tuple(node for node in BASE.nodes if node != "worker-2")
    only_out = event("unreachable", others, 70, 85, observer="worker-2")
    (finding,) = found(cluster_server(changed("only_out", only_out, version=version)))
    assert finding.labels["node"] == "worker-2"
    assert finding.severity is Severity.WARNING
    assert "could not reach all 7 other nodes" in finding.title


@pytest.mark.slow
def test_what_few_see_is_not_hidden_by_another_outage(cluster_server: Serve) -> None:
    events = [
        event("unreachable", "worker-2", 65, 80),
        event("unreachable", "worker-6", 90, 100, observer="worker-2"),
        event("unreachable", "worker-7", 70, 80, observer="worker-1"),
    ]
    findings = found(cluster_server(changed("hidden", *events)))
    assert [f.labels["node"] for f in findings] == ["worker-2", "worker-7", "worker-6"]
    assert near(findings[1], 70, 80)
    assert near(findings[2], 90, 100)
    assert "1 of 7 other nodes (worker-2)" in findings[2].title


def test_a_broken_link_is_one_finding(cluster_server: Serve) -> None:
    events = [
        event("unreachable", "worker-2", 70, 85, observer="worker-1"),
        event("unreachable", "worker-1", 70, 85, observer="worker-2"),
    ]
    data = read(cluster_server(changed("link", *events)))
    (finding,) = connectivity.findings(data)
    assert "worker-1 and worker-2 could not reach each other" in finding.title
    assert set(connectivity.pairs(data)["asymmetric"]) == {"no"}


@pytest.mark.slow
@pytest.mark.parametrize("version", [NAMED, NEWEST])
def test_only_the_endpoint_is_told_as_such(
    version: tuple[int, int, int], cluster_server: Serve
) -> None:
    only = event("unreachable", "worker-2", 70, 85, type="endpoint")
    (finding,) = found(cluster_server(changed("endpoint", only, version=version)))
    assert finding.labels == {"node": "worker-2", "type": "endpoint"}
    assert "health endpoint" in finding.next_step


@pytest.mark.slow
@pytest.mark.parametrize("version", [NAMED, NEWEST])
def test_flapping_is_one_finding_that_counts(
    version: tuple[int, int, int], cluster_server: Serve
) -> None:
    events = [event("unreachable", "worker-2", 70 + 5 * i, 73 + 5 * i) for i in range(5)]
    # Later versions have to probe more often than they do by themselves to see each of them.
    served = cluster_server(changed("flapping", *events, version=version, probe_ratio=0.0))
    data = read(served)
    (finding,) = connectivity.findings(data)
    assert "failing 5 times" in finding.title
    assert near(finding, 70, 93)
    (row,) = connectivity.outages(data).to_dict("records")
    assert row["flaps"] == 4
    # From the first failure to the last, as the title says, pauses included.
    assert row["minutes"] == pytest.approx(23, abs=2)


def test_what_begins_before_the_window_or_lasts_is_said(cluster_server: Serve) -> None:
    served = cluster_server(changed("edges", event("unreachable", "worker-2", 50, 120)))
    (finding,) = found(served)
    window = half(served)
    assert (finding.start, finding.end) == (window.start, window.end)
    assert "before the window" in finding.title
    assert "until the end" in finding.title


@pytest.mark.slow
@pytest.mark.parametrize("version", [NAMED, NEWEST])
def test_a_slow_node_is_told(version: tuple[int, int, int], cluster_server: Serve) -> None:
    slow = event("latency", "worker-3", 75, 95, added=0.05)
    served = cluster_server(changed("slow", slow, version=version))
    (finding,) = found(served)
    assert finding.kind == "node_latency"
    assert finding.labels == {"node": "worker-3", "type": "node"}
    assert finding.unit == "s"
    # A histogram counts the node's fast path to itself among eight.
    share = 1.0 if version == NAMED else 7 / 8
    assert finding.value == pytest.approx(0.05 * share + 0.0009, rel=0.05)
    assert finding.baseline_value == pytest.approx(0.0008, rel=0.2)
    assert near(finding, 75, 95, version)
    assert (finding.trust == "good") == (version == NAMED)


@pytest.mark.slow
@pytest.mark.parametrize("version", [NAMED, NEWEST])
def test_half_of_the_nodes_slow_to_the_others_is_one_finding(
    version: tuple[int, int, int], cluster_server: Serve
) -> None:
    part = ("worker-1", "worker-2", "worker-3", "worker-4")
    slow = event("latency", part, 75, 95, added=0.05)
    (finding,) = found(cluster_server(changed("all_slow", slow, version=version)))
    assert finding.labels == {"type": "node"}
    assert "8 nodes" in finding.title


@pytest.mark.slow
@pytest.mark.parametrize("version", [NAMED, NEWEST])
def test_little_latency_is_no_finding(version: tuple[int, int, int], cluster_server: Serve) -> None:
    slow = event("latency", "worker-3", 75, 95, added=0.002)
    assert found(cluster_server(changed("little", slow, version=version))) == []


@pytest.mark.slow
@pytest.mark.parametrize("version", [NAMED, NEWEST])
def test_an_outage_is_found_in_a_week(version: tuple[int, int, int], cluster_server: Serve) -> None:
    served = cluster_server(BASE.with_(version=version))
    begin = served.scenario.end - timedelta(days=7)
    window = Window.parse(begin.isoformat(), served.scenario.end.isoformat(), step="30m")
    (finding,) = found(served, window)
    assert finding.labels["node"] == "worker-5"
    assert finding.value == 1.0
    # What holds all nodes is looked at in longer steps, and that is said.
    assert near(finding, 70, 85) == (version == NAMED)
    assert abs(finding.end - at(85)) <= timedelta(minutes=4)


def test_quantiles_of_latency_leave_failures_out(base: Base) -> None:
    for version in (NAMED, NEWEST):
        table = connectivity.latency(base(version))
        assert len(table) == 4
        assert (table[["p50", "p90", "p99"]] < 0.006).all(axis=None)
        assert (table["p50"] <= table["p99"]).all()
    # 7 of 64 paths, and 7 back, fail for a quarter of the hour.
    assert table["failed probes"].tolist() == pytest.approx([14 / 64 / 4] * 4, rel=0.1)


def test_the_matrix_shows_row_and_column_of_a_node(base: Base) -> None:
    table = connectivity.matrix(base())
    assert table.index[0] == table.columns[0] == "worker-5"
    assert table.isna().to_numpy()[0, 0]
    alone = table.drop(index="worker-5").drop(columns="worker-5")
    assert (alone.fillna(0.0) == 0.0).all(axis=None)
    assert table["worker-5"].drop("worker-5").tolist() == pytest.approx([0.25] * 7, abs=0.02)


def test_a_metric_without_targets_is_not_counted_beside_the_other(base: Base) -> None:
    data = base(BOTH)
    assert data.now.targets_named
    assert data.now.paths.shape[1] == 0
    assert len(connectivity.outages(data)) == 1


def mixed(*older: str) -> list[Series]:
    """What is stored during an upgrade, when only these nodes name their targets."""
    by_version = {version: simulate(BASE.with_(version=version)) for version in (NAMED, NEWEST)}
    return [
        series
        for version, cluster in by_version.items()
        for series in cluster.series
        if (series.labels.get("node") in older) == (version == NAMED)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("older", [("worker-1", "worker-2", "worker-5"), ("worker-1", "worker-2")])
def test_an_upgrade_gives_one_finding(older: tuple[str, ...], own_server: ServerProcess) -> None:
    fill(own_server, mixed(*older))
    window = Window.parse(at(60).isoformat(), at(120).isoformat(), step="30s")
    data = connectivity.load(connect(own_server.url), window, window.baseline())
    (finding,) = connectivity.findings(data)
    assert finding.labels["node"] == "worker-5"
    assert near(finding, 70, 85)
    assert "both other nodes" in finding.title
    assert "asymmetric" not in finding.title
    assert any("others do not" in note for note in connectivity.notes(data))


@pytest.mark.slow
def test_a_bundle_gives_the_same_findings(cluster_server: Serve, tmp_path: object) -> None:
    from pathlib import Path

    served = cluster_server(BASE)
    window = half(served)
    directory = Path(str(tmp_path)) / "bundle"
    with Recorder(connect(served.url), directory, window=window) as recorder:
        first = connectivity.load(recorder, window, window.baseline())
    again = connectivity.load(Bundle(directory), window, window.baseline())
    one, other = connectivity.findings(first).as_json(), connectivity.findings(again).as_json()
    assert one == other


def test_matchers_choose_the_observers(cluster_server: Serve) -> None:
    served = cluster_server(BASE)
    window = half(served)
    source = connect(served.url)
    only = connectivity.load(source, window, window.baseline(), match='node=~"worker-[12]"')
    (finding,) = connectivity.findings(only)
    assert "both other nodes" in finding.title
    assert "not scraped" not in finding.title
    with pytest.raises(ParameterError):
        connectivity.load(source, window, window.baseline(), match="node")


def test_an_empty_server_is_said_to_be_blind(prometheus2: ServerProcess) -> None:
    window = Window.parse("2026-03-21T08:00Z", "2026-03-21T10:00Z", step="30s")
    empty_says_so(connectivity.load(connect(prometheus2.url), window, window.baseline()))


def test_a_source_without_answers_is_said_to_be_blind() -> None:
    window = Window.parse("2026-03-21T08:00Z", "2026-03-21T10:00Z", step="30s")
    empty_says_so(connectivity.load(MemorySource(), window, window.baseline()))


@pytest.mark.parametrize("first", [-120, 40])
def test_what_agents_say_themselves_is_told_where_probes_are_not_stored(first: int) -> None:
    """Keep lists name cilium_unreachable_nodes, and not what has many series."""
    metrics = Metrics()
    for number in (1, 2, 3):
        vitals(metrics, agent(number))
        for name, last in (("nodes", 55), ("health_endpoints", 56 if first > 0 else 121)):
            missed = [
                (time, float(number != 3 and minutes(time, first, last))) for time in scrapes()
            ]
            metrics.add(f"cilium_unreachable_{name}", agent(number), missed)
    with available(metrics) as url:
        told = topic(url, "node_connectivity")
    one = told.one("node_unreachable")
    if first < 0:  # as it may be every day
        assert (one["severity"], one["end"]) == ("info", "2026-11-20T12:00:00Z")
        return
    assert one["severity"] == "warning"
    assert one["title"] == "2 of 3 agents could not reach 1 other node for 16 min"
    assert (one["start"], one["end"]) == ("2026-11-20T10:40:00Z", "2026-11-20T10:56:00Z")
    assert one["value"] == pytest.approx(1 / 3, rel=0.1)
    assert one["labels"] == {"type": "node"}
    assert told.one("missing_metrics")["title"].endswith("which probes failed is not known")


def empty_says_so(data: connectivity.Connectivity) -> None:
    (finding,) = connectivity.findings(data)
    assert finding.kind == "missing_metrics"
    assert finding.title.startswith("Unknown: no connectivity metrics")
    notes = connectivity.notes(data)
    assert any("nothing can be said" in note for note in notes)
    assert any("No metric of health checking" in note for note in notes)
    for name in ("outages", "pairs", "missed", "latency"):
        assert connectivity.empty(data, name).startswith("Unknown")
    for table in (connectivity.outages, connectivity.pairs, connectivity.latency):
        assert len(table(data)) == 0
    assert connectivity.matrix(data).size == 0
    assert connectivity.timeline(data).size == 0


START = round(BASE.start.timestamp() * 1000)
MINUTES = np.arange(0, 40)


def probes(nodes: list[str], down: int, *, only: str = "node") -> Iterator[Series]:
    """The probes of a whole cluster, of which one node cannot be reached in the last minutes."""
    times = START + 60_000 * MINUTES
    for place, source in enumerate(nodes):
        scraped = {"instance": f"10.{place // 250}.{place % 250}.1:9962", "node": source}
        for target in nodes:
            near_ = "local_node" if source == target else "remote_intra_cluster"
            failing = (target == nodes[down]) != (source == nodes[down])
            values = np.where((MINUTES >= 30) & failing, 0.0, 1.0)
            own = {"source_cluster": "default", "source_node_name": source, "type": only}
            own |= {"target_cluster": "default", "target_node_name": target}
            labels = {**scraped, **own, "target_node_type": near_}
            yield Series("cilium_node_connectivity_status", "gauge", labels, times, values)


def fill(server: ServerProcess, series: list[Series]) -> None:
    for body in remote_write.requests(series, float_le=False):
        server.get("/api/v1/write", body, remote_write.HEADERS)


def over_the_end() -> Window:
    begin, end = BASE.start + timedelta(minutes=20), BASE.start + timedelta(minutes=39)
    return Window.parse(begin.isoformat(), end.isoformat(), step="1m")


@pytest.fixture
def own_server() -> Iterator[ServerProcess]:
    """An empty server of this test's own."""
    yield from started("prometheus-2")


def asked(server: ServerProcess, nodes: int) -> int:
    """Load a window with one node down among so many; give the number of series that came."""
    fill(server, list(probes([f"n{i}" for i in range(nodes)], 3)))
    source, window = connect(server.url), over_the_end()
    data = connectivity.load(source, window, window.baseline("2026-03-19T12:05Z/2026-03-19T12:20Z"))
    (finding,) = connectivity.findings(data)
    assert finding.labels["node"] == "n3"
    assert f"all {nodes - 1} other nodes" in finding.title
    assert abs(finding.start - at(30)) <= NEAR
    return sum(record.series for record in source.journal)


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [20, 80])
def test_the_series_asked_for_do_not_grow_with_the_square(
    nodes: int, own_server: ServerProcess
) -> None:
    # With 1,000 nodes this bound is 3,000; there are two million series on the server then.
    assert asked(own_server, nodes) <= 2 * nodes + 1_000


HOSTILE = ["plain", 'a"} or vector(1) or x{y="', "b|.*", "c\\d$", "<script>alert(1)</script>", "é"]


def test_hostile_names_stay_names(own_server: ServerProcess) -> None:
    fill(own_server, list(probes(HOSTILE, 1)))
    window = over_the_end()
    data = connectivity.load(connect(own_server.url), window, window.baseline("1d"))
    found_ = connectivity.findings(data)
    (finding,) = found_
    assert finding.labels["node"] == HOSTILE[1]
    assert "all 5 other nodes" in finding.title
    inside = finding.query.split("{", 1)[1].rsplit("}", 1)[0]
    assert [m.value for m in parse_matchers(inside)] == [HOSTILE[1]]
    assert "<script>" not in found_.to_html()
    assert set(connectivity.matrix(data).columns) == set(HOSTILE)


def test_two_jobs_that_scrape_one_agent_count_once(own_server: ServerProcess) -> None:
    once = list(probes(["a", "b", "c", "d"], 2))
    twice = [replace(one, labels=one.labels | {"job": job}) for job in "xy" for one in once]
    fill(own_server, twice)
    (finding,) = over(own_server)
    assert finding.labels["node"] == "c"
    assert "all 3 other nodes" in finding.title


def test_two_clusters_with_the_same_names_are_told_apart(own_server: ServerProcess) -> None:
    parts = [
        (cluster, probes(["a", "b", "c", "d"], place)) for cluster, place in (("x", 1), ("y", 2))
    ]
    fill(
        own_server,
        [replace(one, labels=one.labels | {"cluster": c}) for c, part in parts for one in part],
    )
    findings = over(own_server)
    assert {f.labels["node"] for f in findings} == {"x/b", "y/c"}
    assert all("all 3 other nodes" in f.title for f in findings)


def over(server: ServerProcess) -> list[Finding]:
    window = over_the_end()
    return list(
        connectivity.findings(connectivity.load(connect(server.url), window, window.baseline("1d")))
    )


def test_an_old_outage_is_not_alarming(own_server: ServerProcess) -> None:
    fill(own_server, list(probes(["a", "b", "c", "d"], 2)))
    begin, end = at(35), at(39)
    window = Window.parse(begin.isoformat(), end.isoformat(), step="1m")
    data = connectivity.load(
        connect(own_server.url), window, window.baseline("2026-03-19T12:31Z/2026-03-19T12:35Z")
    )
    (finding,) = connectivity.findings(data)
    assert finding.severity is Severity.WARNING
    assert finding.baseline_value == 1.0
    assert "baseline already" in finding.title


def test_a_node_that_was_never_probed_is_not_unreachable(own_server: ServerProcess) -> None:
    series = list(probes(["a", "b", "c", "d"], 2))
    never = [
        replace(
            one, name="cilium_node_connectivity_latency_seconds", values=np.full(len(MINUTES), -1.0)
        )
        for one in series
        if one.labels["target_node_name"] == "c"
    ]
    known = [one for one in series if one.labels["source_node_name"] != "c"]
    fill(own_server, [*known, *never])
    assert over(own_server) == []


def paths(nodes: int, down: int) -> Iterator[Series]:
    """What observers say who name no target, of whom one is cut off in the last minutes."""
    times = START + 60_000 * MINUTES
    for place in range(nodes):
        own = {"instance": f"10.{place // 250}.{place % 250}.1:9962", "node": f"n{place}"}
        bad = np.where(MINUTES >= 30, nodes - 1.0 if place == down else 1.0, 0.0)
        for kind in ("node", "endpoint"):
            for status, values in (("reachable", nodes - bad), ("unreachable", bad)):
                labels = {**own, "type": kind, "status": status}
                name = "cilium_node_health_connectivity_status"
                yield Series(name, "gauge", labels, times, values)


@pytest.mark.slow
def test_a_thousand_observers_stay_within_bounds(own_server: ServerProcess) -> None:
    fill(own_server, list(paths(1_000, 3)))
    source, window = connect(own_server.url), over_the_end()
    data = connectivity.load(source, window, window.baseline("1d"))
    (finding,) = connectivity.findings(data)
    assert finding.labels == {"node": "n3", "type": "node"}
    assert "all 999 other nodes" in finding.title
    assert sum(record.series for record in source.journal) <= 5_000


def test_outages_are_drawn_as_strips_and_pairs_as_a_matrix(base: Base) -> None:
    data = base()
    strips = plots.outages(connectivity.timeline(data), timezone="Europe/Berlin")
    assert [label.get_text() for label in strips.get_yticklabels()] == ["worker-5"]
    (mesh,) = strips.collections
    shares = np.asarray(mesh.get_array(), dtype=float)
    assert shares.max() == 1.0
    assert np.sum(shares == 1.0) == pytest.approx(30, abs=4)
    square = plots.matrix(connectivity.matrix(data))
    assert square.get_yticklabels()[0].get_text() == "worker-5"
    assert square.get_xlabel() == "Target"
    plt.close("all")


def test_nothing_to_draw_is_said_and_not_drawn() -> None:
    window = Window.parse("2026-03-21T08:00Z", "2026-03-21T10:00Z", step="30s")
    data = connectivity.load(MemorySource(), window, window.baseline())
    for ax, text in (
        (plots.outages(connectivity.timeline(data)), "No outage"),
        (plots.matrix(connectivity.matrix(data)), "No pair"),
    ):
        assert not ax.axison
        assert ax.texts[0].get_text().startswith(text)
    plt.close("all")


def test_names_with_dollars_are_drawn_as_they_are() -> None:
    times = frames.time_index(START + 60_000 * MINUTES)
    strips = plots.outages(pd.DataFrame({"$a$ & <b>": np.linspace(0, 1, 40)}, index=times))
    square = plots.matrix(pd.DataFrame({"$x$": [np.nan, 1.0]}, index=["$x$", "$y$"]))
    for ax in (strips, square):
        ax.figure.canvas.draw()
    assert strips.get_yticklabels()[0].get_text() == r"\$a\$ & <b>"
    plt.close("all")


DUAL = (event("unreachable", "worker-5", 70, 85, address_type="secondary"),)


@pytest.mark.slow
@pytest.mark.parametrize("version", [NAMED, BOTH, COUNTED, NEWEST])
def test_an_outage_of_secondary_addresses_is_told_as_such(
    version: tuple[int, int, int], cluster_server: Serve
) -> None:
    data = read(cluster_server(changed("secondary", *DUAL, secondary=1, version=version)))
    (finding,) = connectivity.findings(data)
    assert finding.labels == {"node": "worker-5", "type": "node"}
    assert near(finding, 70, 85, version)
    assert "unreachable from all 7 other nodes" in finding.title
    assert "only secondary addresses" in finding.title
    table = connectivity.latency(data)
    assert set(table["address_type"]) == {"primary", "secondary"}


@pytest.mark.slow
@pytest.mark.parametrize("version", [NAMED, COUNTED])
@pytest.mark.parametrize("secondary", [1, 2])
def test_an_outage_of_all_addresses_is_told_without_them(
    secondary: int, version: tuple[int, int, int], cluster_server: Serve
) -> None:
    both = event("unreachable", "worker-5", 70, 85)
    served = cluster_server(changed("dual", both, secondary=secondary, version=version))
    (finding,) = found(served)
    assert finding.labels == {"node": "worker-5", "type": "node"}
    assert near(finding, 70, 85, version)
    assert "addresses" not in finding.title


@pytest.mark.slow
def test_one_observer_that_misses_addresses_is_told_in_addresses(cluster_server: Serve) -> None:
    one_way = event("unreachable", ("worker-5", "worker-6"), 70, 85, observer="worker-2")
    served = cluster_server(changed("dual_one_way", one_way, secondary=1, version=COUNTED))
    (finding,) = found(served)
    assert finding.labels["node"] == "worker-2"
    assert "could not reach 4 of 14 addresses of other nodes" in finding.title
    assert finding.value == pytest.approx(4 / 14)
