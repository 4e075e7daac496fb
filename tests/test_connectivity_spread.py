"""Outages that observers notice one after another, where probes name no target (1.18 and later)."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from cilium_analysis.findings import Severity
from cilium_analysis.topics import connectivity
from cilium_analysis.topics.connectivity.spread import sides
from cilium_simulator.connectivity import probe_seconds
from cilium_simulator.events import AgentRestart, Event, NodeReboot, Unreachable
from cilium_simulator.scenario import Scenario
from tests.test_connectivity import BASE, NEWEST, Serve, at, changed, event, found, read


def cluster(name: str, nodes: int, *events: Event, interval: int = 30) -> Scenario:
    names = ("control-plane", *(f"worker-{i}" for i in range(1, nodes)))
    return changed(f"spread_{name}", *events, nodes=names, interval=interval, version=NEWEST)


def slack(scenario: Scenario) -> timedelta:
    """One probe, and one scrape or step."""
    return timedelta(seconds=probe_seconds(scenario) + max(scenario.interval, 30))


def reboot(node: str, begin: float, seconds: int) -> Event:
    start = round(60 * begin)
    return NodeReboot(start=start, end=start + seconds, nodes=(node,))


@pytest.mark.slow
@pytest.mark.parametrize(("nodes", "interval"), [(3, 15), (6, 60), (12, 15)])
def test_a_short_reboot_is_told_of_the_node(
    nodes: int, interval: int, cluster_server: Serve
) -> None:
    scenario = cluster("reboot", nodes, reboot("worker-1", 75, 150), interval=interval)
    (finding,) = found(cluster_server(scenario))
    assert finding.labels["node"] == "worker-1"
    assert abs(finding.start - at(75)) <= slack(scenario)
    assert abs(finding.end - at(75) - timedelta(seconds=150)) <= slack(scenario)
    assert "its own agent was not scraped in that time" in finding.title
    assert "to within one probe" in finding.title


@pytest.mark.slow
@pytest.mark.parametrize("interval", [15, 60])
def test_a_short_cut_is_told_of_the_node_that_missed_most(
    interval: int, cluster_server: Serve
) -> None:
    cut = event("unreachable", "worker-4", 80, 82)
    restart = AgentRestart(start=4810, end=4830, nodes=("worker-2",))
    scenario = cluster("cut", 10, cut, restart, interval=interval)
    (finding,) = found(cluster_server(scenario))
    assert finding.labels["node"] == "worker-4"
    assert "it could not reach them either" in finding.title
    assert abs(finding.start - at(80)) <= slack(scenario)
    assert abs(finding.end - at(82)) <= slack(scenario)


def test_of_few_nodes_times_are_known_less_well(cluster_server: Serve) -> None:
    scenario = cluster("few", 3, event("unreachable", "worker-1", 70, 85), interval=15)
    (finding,) = found(cluster_server(scenario))
    assert finding.labels["node"] == "worker-1"
    assert "to within two probes" in finding.title
    off = slack(scenario) + timedelta(seconds=probe_seconds(scenario))
    assert abs(finding.start - at(70)) <= off
    assert abs(finding.end - at(85)) <= off


def test_two_nodes_that_reboot_in_turn_are_two_findings(cluster_server: Serve) -> None:
    events = [reboot("worker-1", 70, 150), reboot("worker-3", 90, 200)]
    findings = found(cluster_server(cluster("turn", 6, *events, interval=15)))
    assert {f.labels["node"] for f in findings} == {"worker-1", "worker-3"}
    assert len(findings) == 2


@pytest.mark.slow
def test_a_short_outage_without_any_hint_names_nobody(cluster_server: Serve) -> None:
    # All others miss worker-2, which reaches them, for so short that not all notice.
    others = [node for node in BASE.nodes if node != "worker-2"]
    events = [event("unreachable", "worker-2", 70, 73, observer=other) for other in others]
    (finding,) = found(cluster_server(changed("hintless", *events, version=NEWEST)))
    assert "node" not in finding.labels
    assert "A node that the data does not name" in finding.title


@pytest.mark.slow
@pytest.mark.parametrize(
    ("nodes", "part", "title"),
    [
        (5, (1, 2), "worker-1, worker-2 | control-plane, worker-3, worker-4"),
        (8, (1, 2, 3), "worker-1, worker-2, worker-3 | control-plane, worker-4"),
        (6, (1, 2, 3), "in 2 parts of 3 nodes, which the data does not tell apart"),
    ],
)
def test_a_split_is_one_finding_that_tells_the_parts(
    nodes: int, part: tuple[int, ...], title: str, cluster_server: Serve
) -> None:
    cut = event("unreachable", tuple(f"worker-{i}" for i in part), 70, 85)
    scenario = cluster("split", nodes, cut, interval=15)
    data = read(cluster_server(scenario))
    (finding,) = connectivity.findings(data)
    assert connectivity.timeline(data).max().tolist() == [pytest.approx(finding.value)]
    assert title in finding.title
    assert "node" not in finding.labels
    assert finding.severity is Severity.CRITICAL
    assert finding.trust == "doubtful"
    assert finding.query.startswith("cilium_node_health_connectivity_status")
    assert abs(finding.start - at(70)) <= slack(scenario)
    assert abs(finding.end - at(85)) <= slack(scenario)


def test_a_lasting_fault_of_one_observer_hides_no_reboot(cluster_server: Serve) -> None:
    one_way = event("unreachable", "worker-5", 65, 95, observer="worker-6")
    scenario = cluster("lasting", 8, reboot("worker-2", 75, 160), one_way, interval=15)
    findings = {f.labels.get("node", ""): f for f in found(cluster_server(scenario))}
    assert set(findings) == {"worker-2", "worker-6"}
    assert findings["worker-6"].value == pytest.approx(1 / 7)
    assert abs(findings["worker-6"].end - at(95)) <= 2 * slack(scenario)


def test_an_agent_that_only_restarts_is_not_blamed_for_what_others_miss(
    cluster_server: Serve,
) -> None:
    cut = Unreachable(start=4200, end=4290, nodes=("worker-2",))
    restart = AgentRestart(start=4230, end=4250, nodes=("worker-1",))
    findings = found(cluster_server(cluster("coincidence", 4, cut, restart)))
    assert "worker-1" not in {f.labels.get("node") for f in findings}


def test_an_outage_long_after_a_split_is_told_beside_it(cluster_server: Serve) -> None:
    events = [
        event("unreachable", ("worker-1", "worker-2", "worker-3"), 65, 77),
        event("unreachable", "worker-6", 95, 110),
    ]
    findings = found(cluster_server(cluster("beside", 8, *events, interval=60)))
    assert [f.labels.get("node", "") for f in findings] in (
        ["", "worker-6"],
        ["worker-6", ""],
    )


def test_agents_that_only_restart_are_no_outage(cluster_server: Serve) -> None:
    events = [
        AgentRestart(start=4200 + 60 * i, end=4220 + 60 * i, nodes=(node,))
        for i, node in enumerate(BASE.nodes)
    ]
    assert found(cluster_server(cluster("rollout", 8, *events, interval=15))) == []


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ([3, 3, 2, 2, 2], ((2, (0, 1)), (3, (2, 3, 4)))),
        ([2, 2, 2, 2], ((2, (0, 1, 2, 3)),)),
        ([4, 4, 4, 4, 4, 4], ((2, (0, 1, 2, 3, 4, 5)),)),
        ([4, 1, 1, 1, 1], None),
        ([7, 7, 2, 2, 2, 2, 2, 2], None),
        ([3, 3, 2, 2, float("nan")], None),
        ([2.5, 2, 2, 2], None),
        ([0, 0, 0, 0], None),
    ],
)
def test_counts_tell_how_large_the_parts_are(counts: list[float], told: object) -> None:
    assert sides(np.array(counts, dtype=np.float64)) == told
