"""Endpoints on the simulated cluster, through real servers, against what was really there."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cilium_analysis import connect
from cilium_analysis.errors import ParameterError
from cilium_analysis.findings import Finding, Severity
from cilium_analysis.queries import parse_matchers
from cilium_analysis.topics import endpoints
from cilium_analysis.topics.endpoints.data import QUERIES
from cilium_analysis.topics.endpoints.growth import lives
from cilium_analysis.window import Window
from cilium_simulator.events import (
    Endpoints,
    Event,
    MapPressure,
    NodeJoins,
    NodeLeaves,
    NotReady,
    RegenerationFailures,
    ScrapeGap,
)
from cilium_simulator.scenario import Scenario, load
from cilium_simulator.simulation import Cluster
from tests.servers.process import ServerProcess
from tests.servers.served import ClusterServer
from tests.sources import MemorySource, grid

Serve = Callable[..., ClusterServer]
Make = Callable[[str | Scenario], Cluster]

HOUR = 3600
VERSIONS = ((1, 13, 4), (1, 15, 2), (1, 16, 5), (1, 18, 2), (1, 20, 0))
STYLES = ("annotations", "servicemonitor", "kube-prometheus-stack")
CALM = ("quiet", "restart_1_14", "restart_1_15", "node_reboot", "scrape_gap", "series_end")


def hours(served: ClusterServer | Scenario, begin: float, end: float) -> Window:
    """A window in hours since the scenario began."""
    start = (served if isinstance(served, Scenario) else served.scenario).start
    first, last = (start + timedelta(hours=h) for h in (begin, end))
    return Window.parse(first.isoformat(), last.isoformat(), step="30s")


def ask(served: ClusterServer, begin: float, end: float, **options: str) -> endpoints.Endpoints:
    window = hours(served, begin, end)
    return endpoints.load(connect(served.url), window, window.baseline(**options))


def quiet(*events: Event, **changes: Any) -> Scenario:
    """The quiet scenario, in which something happens after all."""
    return load("quiet").with_(events=events, **changes)


def only(data: endpoints.Endpoints, kind: str) -> Finding:
    (found,) = [finding for finding in endpoints.findings(data) if finding.kind == kind]
    return found


def kinds(data: endpoints.Endpoints) -> list[str]:
    return sorted(finding.kind for finding in endpoints.findings(data))


def moment(finding: Finding, scenario: Scenario, at: float) -> timedelta:
    """How far a finding's start is from an hour of its scenario."""
    return abs(finding.start - (scenario.start + timedelta(hours=at)))


def last(made: Cluster, name: str, before: datetime, **labels: str) -> float:
    """The last value that was scraped until then."""
    (series,) = made.find(name, **labels)
    scraped = np.asarray(series.values)
    return float(scraped[series.times <= before.timestamp() * 1000][-1])


def named(style: str, made: Cluster, node: str) -> str:
    """How a node is called: nothing but the address tells, where agents do not name themselves."""
    old = made.scenario.version < (1, 19, 0)
    address = next(n.ip for n in made.nodes if n.name == node)
    return node if style != "annotations" or old else address


# What happens is found


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("style", STYLES)
def test_growth_is_found_at_every_version_and_style(
    version: tuple[int, int, int], style: str, cluster_server: Serve, cluster: Make
) -> None:
    scenario = load("endpoints").with_(version=version, style=style)
    made, served = cluster(scenario), cluster_server(scenario)
    data = ask(served, 1, 4)
    # The connection tracking maps tell their fill since Cilium 1.16.
    limit = ["endpoint_limit"] if version >= (1, 16, 0) else []
    assert kinds(data) == ["endpoint_growth", *limit, "endpoint_not_ready"]
    grown, node = only(data, "endpoint_growth"), named(style, made, "worker-2")
    ip = next(n.ip for n in made.nodes if n.name == "worker-2")
    assert grown.labels == {"node": node}
    assert grown.value == last(made, "cilium_endpoint", data.window.end, instance=f"{ip}:9962")
    assert grown.unit == "endpoints"
    assert moment(grown, scenario, 1.5) <= timedelta(minutes=5)
    assert grown.end == data.window.end
    assert grown.trust == "good"
    assert {f.labels["node"] for f in endpoints.findings(data)} == {node}


@pytest.mark.slow
def test_every_server_tells_the_same(server_kind: str, cluster_server: Serve) -> None:
    data = ask(cluster_server("endpoints", server_kind), 1, 4)
    grown, stuck, limit = (
        only(data, f"endpoint_{kind}") for kind in ("growth", "not_ready", "limit")
    )
    assert grown.labels == {"node": "worker-2"}
    assert grown.value == endpoints.by_node(data)["endpoints"]["worker-2"]
    assert grown.baseline_value == endpoints.by_node(data)["usual"]["worker-2"]
    assert grown.value - grown.baseline_value == pytest.approx(70, abs=5)
    assert stuck.labels == {"node": "worker-2", "state": "waiting-for-identity"}
    assert (stuck.value, stuck.baseline_value) == (6.0, 0.0)
    assert stuck.severity is Severity.CRITICAL
    start = cluster_server("endpoints").scenario.start
    assert abs(stuck.start - start - timedelta(hours=2, minutes=40)) <= timedelta(minutes=1)
    assert abs(stuck.end - start - timedelta(hours=3, minutes=20)) <= timedelta(minutes=1)
    assert limit.labels == {"map_name": "ct4_global", "node": "worker-2"}
    assert limit.value == pytest.approx(97.0)
    assert limit.severity is Severity.CRITICAL


@pytest.mark.slow
@pytest.mark.parametrize(("begin", "end"), [(1.5, 3.0), (1.0, 3.0), (1.2, 2.5), (2.0, 3.0)])
def test_the_date_on_which_a_map_is_full(
    begin: float, end: float, cluster_server: Serve, cluster: Make
) -> None:
    made, served = cluster("endpoints"), cluster_server("endpoints")
    (fill,) = made.find("cilium_bpf_map_pressure", node="worker-2", map_name="ct4_global")
    base = last(made, fill.name, made.scenario.start + timedelta(hours=1), **fill.labels)
    full = made.scenario.start + timedelta(hours=1.5 + 2 * (1 - base) / (0.97 - base))
    data = ask(served, begin, end)
    limit = only(data, "endpoint_limit")
    table = endpoints.limits(data).set_index(["limit", "node"])
    said = str(table["runs out"]["BPF map ct4_global", "worker-2"])
    assert said in limit.title
    expected = datetime.fromisoformat(said.split(" UTC")[0]).replace(tzinfo=UTC)
    assert abs(expected - full) <= timedelta(minutes=2)
    assert limit.severity is Severity.CRITICAL
    now = last(made, fill.name, data.window.end, node="worker-2", map_name="ct4_global")
    assert limit.value == pytest.approx(100 * now, abs=0.5)


def test_the_growth_per_day_is_right(cluster_server: Serve) -> None:
    data = ask(cluster_server("endpoints"), 1.5, 3.4)
    table = endpoints.growth(data)
    # Pods that come and go anyhow are part of the truth.
    ends = endpoints.counts(data).iloc[[0, -1]]
    true = (ends.iloc[1] - ends.iloc[0]) * 24 / 1.9
    assert true["worker-2"] == pytest.approx(70 / 2 * 24, rel=0.06)
    assert table["per day"]["worker-2"] == pytest.approx(true["worker-2"], rel=0.05)
    assert table["per day"].iloc[0] == pytest.approx(true.sum(), rel=0.05)
    assert table["now"].iloc[0] == endpoints.by_node(data)["endpoints"].sum()
    assert (table["low"] <= table["per day"]).all()
    assert (table["high"] >= table["per day"]).all()


@pytest.mark.slow
def test_a_full_pool_is_foretold(cluster_server: Serve) -> None:
    event = Endpoints(int(1.5 * HOUR), 4 * HOUR, ("worker-1",), count=180, shape="ramp")
    for version in ((1, 16, 5), (1, 20, 0)):
        served = cluster_server(quiet(event, version=version))
        data = ask(served, 2, 4)
        limit = only(data, "endpoint_limit")
        assert limit.labels == {"family": "ipv4", "node": "worker-1"}
        (row,) = (
            endpoints.limits(data)
            .query("limit == 'IP pool (ipv4)' and node == 'worker-1'")[
                ["fill", "per day", "low", "high"]
            ]
            .to_numpy()
        )
        used = endpoints.by_node(data)["endpoints"]["worker-1"]
        assert row[0] == pytest.approx(used / 254)
        # What the pods that come and go anyhow add is part of the slope.
        assert row[1] * 254 / 24 == pytest.approx(72, rel=0.1)
        assert row[2] < row[1] < row[3]
        assert limit.severity is Severity.CRITICAL


def test_the_size_of_a_pool_that_is_not_told_is_not_guessed(cluster_server: Serve) -> None:
    served = cluster_server(load("endpoints").with_(version=(1, 13, 4)))
    data = ask(served, 1, 4)
    assert not endpoints.limits(data, most=99)["limit"].str.startswith("IP pool").any()
    assert any("how many more endpoints fit is unknown" in note for note in endpoints.notes(data))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "shown"),
    [((1, 14, 5), "policy_*"), ((1, 16, 5), "cilium_policy_*"), ((1, 20, 0), "cilium_policy_v3_*")],
)
def test_policy_maps_under_all_their_names(
    version: tuple[int, int, int], shown: str, cluster_server: Serve
) -> None:
    name = "cilium_policy_*"
    event = MapPressure(HOUR, 4 * HOUR, ("worker-1",), map_name=name, fill=0.93, shape="ramp")
    limit = only(ask(cluster_server(quiet(event, version=version)), 2, 4), "endpoint_limit")
    assert limit.labels == {"map_name": shown, "node": "worker-1"}
    assert limit.value == pytest.approx(93, abs=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fill", "severity"), [(0.85, None), (0.92, Severity.WARNING), (0.96, Severity.CRITICAL)]
)
def test_a_level_fill_matters_only_when_it_is_high(
    fill: float, severity: Severity | None, cluster_server: Serve
) -> None:
    event = MapPressure(1, 4 * HOUR, ("worker-1",), map_name="ct4_global", fill=fill)
    found = endpoints.findings(ask(cluster_server(quiet(event)), 2, 4))
    assert found.worst is severity
    assert len(found) == (severity is not None)


def test_the_same_limit_on_all_nodes_is_one_finding(cluster_server: Serve) -> None:
    event = MapPressure(HOUR, 4 * HOUR, map_name="ct4_global", fill=0.97, shape="ramp")
    limit = only(ask(cluster_server(quiet(event)), 2, 4), "endpoint_limit")
    assert limit.labels == {"map_name": "ct4_global"}
    assert "worst of 4 nodes" in limit.title


@pytest.mark.slow
def test_two_changes_are_two_findings_and_one_on_two_nodes_is_one(cluster_server: Serve) -> None:
    def grows(node: str, begin: float) -> Event:
        first, stop = int(begin * HOUR), int((begin + 0.3) * HOUR)
        return Endpoints(first, stop, (node,), count=40, shape="ramp")

    apart = endpoints.findings(
        ask(cluster_server(quiet(grows("worker-1", 2.3), grows("worker-3", 3.2))), 2, 4)
    )
    ordered = sorted(apart, key=lambda finding: finding.start)
    assert [f.labels for f in ordered] == [{"node": "worker-1"}, {"node": "worker-3"}]
    both = quiet(grows("worker-1", 2.3), grows("worker-3", 2.3))
    grown = only(ask(cluster_server(both), 2, 4), "endpoint_growth")
    assert grown.labels == {}
    assert grown.value - grown.baseline_value == pytest.approx(80, abs=8)


@pytest.mark.slow
def test_a_little_on_every_node_is_much(cluster_server: Serve) -> None:
    nodes = tuple(f"worker-{i}" for i in range(10))
    event = Endpoints(int(2.5 * HOUR), 3 * HOUR, count=7, shape="ramp")
    grown = only(ask(cluster_server(quiet(event, nodes=nodes)), 2, 4), "endpoint_growth")
    assert "node" not in grown.labels
    assert grown.value - grown.baseline_value == pytest.approx(70, abs=20)


@pytest.mark.slow
@pytest.mark.parametrize("version", [(1, 16, 5), (1, 20, 0)])
def test_failed_regenerations_are_counted(
    version: tuple[int, int, int], cluster_server: Serve, cluster: Make
) -> None:
    event = RegenerationFailures(9000, 9900, ("worker-2",), rate=0.1)
    scenario = quiet(event, version=version)
    data = ask(cluster_server(scenario), 2, 4)
    failed = only(data, "regeneration_failures")
    name = "cilium_endpoint_regenerations_total"
    true = last(cluster(scenario), name, data.window.end, outcome="fail")
    assert failed.total == true
    assert failed.labels["node"] == "worker-2"
    assert failed.share is not None
    assert 0.5 < failed.share < 1.0
    assert f"{true:.0f} of " in failed.title
    assert moment(failed, scenario, 2.5) <= timedelta(minutes=1)
    table = endpoints.regenerations(data)
    assert table["failed"]["worker-2"] == true
    assert (table["done"] > 0).all()
    assert table["mean time"].to_numpy() == pytest.approx(0.15, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("length", "found"), [(180, 0), (600, 1)])
def test_only_what_stays_not_ready_counts(length: int, found: int, cluster_server: Serve) -> None:
    event = NotReady(9000, 9000 + length, ("worker-1",), count=2)
    stuck = endpoints.findings(ask(cluster_server(quiet(event)), 2, 4))
    assert len(stuck) == found
    assert all(f.kind == "endpoint_not_ready" and f.value == 2 for f in stuck)


def test_what_was_never_ready_is_not_new(cluster_server: Serve) -> None:
    event = NotReady(60, 4 * HOUR, ("worker-1",), count=2)
    assert kinds(ask(cluster_server(quiet(event)), 2, 4)) == []


# What is no growth


@pytest.mark.slow
@pytest.mark.parametrize("scenario", CALM)
@pytest.mark.parametrize("begin", [0.3, 0.5])
def test_restarts_reboots_and_gaps_are_nothing(
    scenario: str, begin: float, cluster_server: Serve
) -> None:
    served = cluster_server(scenario)
    length = (served.scenario.end - served.scenario.start) / timedelta(hours=1)
    data = ask(served, begin * length, length)
    assert kinds(data) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["quiet", "restart_1_14"])
def test_nothing_on_any_server(kind: str, server_kind: str, cluster_server: Serve) -> None:
    assert kinds(ask(cluster_server(kind, server_kind), 1, 2)) == []


def test_a_restart_is_told_and_left_out_of_the_growth(cluster_server: Serve) -> None:
    served = cluster_server("restart_1_15")
    data = ask(served, 0.5, 2)
    restarted = {r["node"] for r in served.truth.restarts if r["why"] != "first"}
    assert restarted
    for node in restarted:
        assert endpoints.counts(data)[node].min() < 0.9 * endpoints.counts(data)[node].median()
        assert endpoints.by_node(data)["restarts"][node] >= 1
        assert any(f"agent on {node} started" in note for note in endpoints.notes(data))
        assert any("until its endpoints are restored" in note for note in endpoints.notes(data))
        ends = endpoints.counts(data)[node].iloc[[0, -1]]
        told = endpoints.growth(data)["per day"][node] * 1.5 / 24
        assert told == pytest.approx(float(ends.iloc[1] - ends.iloc[0]), abs=1.5)


@pytest.mark.slow
@pytest.mark.parametrize("when", [1.9, 2.5])
def test_a_node_that_joins_is_not_growth(when: float, cluster_server: Serve) -> None:
    event = NodeJoins(int(when * HOUR), 4 * HOUR, ("worker-3",))
    data = ask(cluster_server(quiet(event)), 2, 4)
    assert kinds(data) == []
    joined = lives(data)["joined"]["worker-3"]
    assert abs(joined - (data.window.start + timedelta(hours=when - 2))) <= timedelta(minutes=2)
    assert any("worker-3 joined" in note for note in endpoints.notes(data))
    assert "worker-3" not in endpoints.growth(data).index


def test_pods_of_a_node_that_leaves_are_not_growth_elsewhere(cluster_server: Serve) -> None:
    leaves = NodeLeaves(9000, 4 * HOUR, ("worker-3",))
    moved = Endpoints(9060, 9300, ("worker-1",), count=13, shape="ramp")
    data = ask(cluster_server(quiet(leaves, moved)), 2, 4)
    assert kinds(data) == []
    assert not pd.isna(lives(data)["left"]["worker-3"])
    assert any("worker-3 was last seen" in note for note in endpoints.notes(data))


def test_a_gap_is_unknown(cluster_server: Serve) -> None:
    served = cluster_server("scrape_gap")
    data = ask(served, 0.5, 3)
    levels = endpoints.counts(data)
    start = served.scenario.start
    inside = (levels.index > start + timedelta(minutes=42)) & (
        levels.index < start + timedelta(minutes=52)
    )
    assert levels[inside].isna().all(axis=None)
    assert (levels.min() > 0).all()
    assert any("worker-2 was not scraped" in note for note in endpoints.notes(data))


def test_growth_through_a_gap_is_doubtful(cluster_server: Serve) -> None:
    grows = Endpoints(9000, 10800, ("worker-1",), count=40, shape="ramp")
    gap = ScrapeGap(9600, 10200, ("worker-1",))
    grown = only(ask(cluster_server(quiet(grows, gap)), 2, 4), "endpoint_growth")
    assert grown.trust == "doubtful"
    assert any("scraped" in reason for reason in grown.trust_reasons)


def test_without_a_baseline_the_window_is_compared_with_itself(cluster_server: Serve) -> None:
    served = cluster_server("endpoints")
    data = ask(served, 1, 4, text="1w")
    grown = only(data, "endpoint_growth")
    assert grown.labels == {"node": "worker-2"}
    assert grown.trust == "doubtful"
    assert any(note.startswith("No baseline") for note in endpoints.notes(data))
    assert np.isnan(grown.baseline_value)


# What the data do not hold


def test_an_empty_server_is_said_to_be_blind(prometheus2: ServerProcess) -> None:
    window = Window.parse("2026-03-21T08:00Z", "2026-03-21T10:00Z", step="30s")
    data = endpoints.load(connect(prometheus2.url), window, window.baseline())
    assert kinds(data) == ["missing_metrics"]
    assert only(data, "missing_metrics").title.startswith("Unknown")
    assert any("nothing can be said" in note for note in endpoints.notes(data))
    assert endpoints.ready(data).startswith("Unknown")
    for table in (
        endpoints.by_node,
        endpoints.states,
        endpoints.growth,
        endpoints.limits,
        endpoints.regenerations,
    ):
        assert len(table(data)) == 0
    assert endpoints.counts(data).shape[1] == 0
    assert endpoints.not_ready(data).shape[1] == 0


WINDOW = Window.parse("2026-03-21T08:00Z", "2026-03-21T09:00Z", step="30s")
WIDE = WINDOW.extended(before=timedelta(minutes=5))


def answers(**values: pd.DataFrame) -> MemorySource:
    """A source that knows some of the queries, in the window and in its baseline."""
    return MemorySource({QUERIES[n].render(step=WINDOW.step): f for n, f in values.items()})


def from_memory(**values: pd.DataFrame) -> endpoints.Endpoints:
    return endpoints.load(answers(**values), WINDOW, WINDOW.baseline())


@pytest.mark.parametrize("name", sorted(QUERIES))
def test_any_metric_alone_is_enough_to_go_on(name: str) -> None:
    labels = "cidr endpoint_state error family instance map_name node outcome reason status type"
    frame = grid(WIDE, {("",) * 4 + ("10.0.0.1:9962",) + ("",) * 6: 5.0}, labels)
    data = from_memory(**{name: frame})
    assert set(kinds(data)) <= {"missing_metrics", "endpoint_not_ready", "endpoint_limit"}
    for table in ("by_node", "states", "growth", "limits", "regenerations", "notes"):
        getattr(endpoints, table)(data)


def test_a_pool_that_grows_by_itself_is_not_foretold() -> None:
    used = np.linspace(60, 118, WIDE.points).round()
    columns = "family instance node"
    key = ("ipv4", "i", "a")
    data = from_memory(
        addresses=grid(WIDE, {key: used}, columns),
        pools=grid(WIDE, {key: np.ceil((used + 8) / 16) * 16}, columns),
        endpoints=grid(WIDE, {("a", "i"): 10.0}, "node instance"),
    )
    assert kinds(data) == []
    assert set(endpoints.limits(data)["runs out"]) == {"the pool's size changes by itself"}


def test_a_rise_seen_for_too_short_a_time_gives_no_date() -> None:
    fill = np.linspace(0.1, 0.16, WIDE.points)
    data = from_memory(
        pressure=grid(WIDE, {("a", "ct4_global", "i"): fill}, "node map_name instance"),
        endpoints=grid(WIDE, {("a", "i"): 10.0}, "node instance"),
    )
    assert kinds(data) == []
    assert list(endpoints.limits(data)["runs out"]) == ["later than this window can tell"]


def test_an_agent_with_other_policies_is_named() -> None:
    policies: dict[tuple[str, ...], object] = {
        (f"n{i}", f"i{i}"): 40.0 - 20 * (i == 3) for i in range(5)
    }
    counts: dict[tuple[str, ...], object] = dict.fromkeys(policies, 10.0)
    data = from_memory(
        policies=grid(WIDE, policies, "node instance"),
        endpoints=grid(WIDE, counts, "node instance"),
    )
    assert any("n3 has 20 policies" in note for note in endpoints.notes(data))


def test_hostile_labels_stay_text() -> None:
    bad = 'x"} or vector(1) or y{z="<script>$'
    rows = np.arange(WIDE.points)
    data = from_memory(
        endpoints=grid(WIDE, {(bad, "i"): np.where(rows > 80, 60.0, 10.0)}, "node instance"),
        states=grid(
            WIDE, {(bad, bad, "i"): np.where(rows > 80, 7.0, 0.0)}, "endpoint_state node instance"
        ),
        pressure=grid(WIDE, {(bad, bad, "i"): 0.99}, "map_name node instance"),
        regenerations=grid(
            WIDE,
            {(bad, "fail", bad, bad, "i"): 10.0 * np.maximum(rows - 80, 0)},
            "error outcome reason node instance",
        ),
    )
    found = endpoints.findings(data)
    assert {f.kind for f in found} == {
        "endpoint_growth",
        "endpoint_limit",
        "endpoint_not_ready",
        "regeneration_failures",
    }
    for finding in found:
        inside = finding.query.split("{", 1)[1].rsplit("}", 1)[0]
        assert bad in {m.value for m in parse_matchers(inside)}
    assert "<script>" not in found.to_html()


def test_matchers_narrow_every_query(cluster_server: Serve) -> None:
    served = cluster_server("quiet")
    window, source = hours(served, 2, 4), connect(served.url)
    data = endpoints.load(source, window, window.baseline(), match='node="worker-1"')
    assert list(endpoints.counts(data).columns) == ["worker-1"]
    assert set(data.now.pressure.columns.get_level_values("node")) == {"worker-1"}
    with pytest.raises(ParameterError):
        endpoints.load(source, window, window.baseline(), match="node")


def test_a_node_that_goes_by_its_address_can_be_asked_for(cluster_server: Serve) -> None:
    event = Endpoints(9000, 9900, ("worker-1",), count=40, shape="ramp")
    served = cluster_server(quiet(event, style="annotations", version=(1, 20, 0)))
    data = ask(served, 2, 4)
    grown = only(data, "endpoint_growth")
    shown = connect(served.url).instant(grown.query, data.window.end)
    assert shown.to_numpy().tolist() == [[grown.value]]


def test_a_longer_step_tells_the_same(cluster_server: Serve) -> None:
    served = cluster_server("endpoints")
    fine = hours(served, 1, 4)
    coarse = Window.parse(fine.start.isoformat(), fine.end.isoformat(), step="5m")
    data = endpoints.load(connect(served.url), coarse, coarse.baseline())
    assert kinds(data) == ["endpoint_growth", "endpoint_limit", "endpoint_not_ready"]
    stuck = only(data, "endpoint_not_ready")
    assert stuck.value == pytest.approx(6.0)
    assert math.isclose(only(data, "endpoint_limit").value, 97.0, rel_tol=1e-3)
