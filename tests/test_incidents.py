"""The incidents to judge an analysis by can be simulated, and their truth is in the metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from cilium_analysis.findings import Finding, Findings, Severity
from cilium_simulator.events import Dns, Drops, Http, Load, OperatorDown, Policy
from cilium_simulator.expected import Expected, Sought
from cilium_simulator.fields import ScenarioError, places
from cilium_simulator.scenario import Scenario, Service, load
from cilium_simulator.simulation import Cluster, simulate
from cilium_simulator.truth import Truth
from tests.benchmarks.incidents import judge, summary, table, window_of
from tests.incidents import HELD, TUNED, Case, cases, names, variant

CASES = list(cases())
DROPS = "cilium_drop_count_total"
QUIET_AT_LEAST, INCIDENTS_AT_LEAST = 8, 24


def loud(case: Case) -> bool:
    return bool(case.scenario.truth and case.scenario.truth.finding)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.scenario.name)
def test_every_case_says_what_is_to_be_found(case: Case) -> None:
    truth = case.scenario.truth
    assert truth is not None
    for sought in truth.finding:
        for position in sought.total:
            event = case.scenario.events[position]
            assert isinstance(event, Drops | Http | Dns | Policy)
    if truth.finding:
        assert case.scenario.events


def test_there_are_enough_of_both_and_in_both_halves() -> None:
    for half in ("tune", "held"):
        mine = [c for c in CASES if c.half == half]
        assert [c.name for c in mine] == names()
        assert sum(loud(c) for c in mine) >= INCIDENTS_AT_LEAST
        assert sum(not loud(c) for c in mine) >= QUIET_AT_LEAST


def test_variants_differ_and_stay_the_same() -> None:
    for name in names():
        first, second = variant(name, TUNED), variant(name, HELD)
        assert first == variant(name, TUNED)
        assert first.seed != second.seed
        assert first.version != second.version
    assert len({c.scenario.version for c in CASES}) >= 8
    assert len({len(c.scenario.nodes) for c in CASES}) >= 8
    large = [c.scenario for c in CASES if len(c.scenario.nodes) > 40]
    assert large
    assert all(s.version >= (1, 18, 0) for s in large)


def test_nodes_are_addressed_in_a_cluster_of_any_size() -> None:
    small = ("control-plane", "worker-1", "worker-2")
    assert places("#0", small) == ("worker-1",)
    assert places("#-1", small) == ("worker-2",)
    assert places("!#0", small) == ("worker-2",)
    assert places("10%", small) == ("worker-1",)
    assert places("worker-2", small) == ("worker-2",)
    large = tuple(f"n{i}" for i in range(21))
    assert places("30%", large) == large[1:7]


def test_a_truth_that_contradicts_its_scenario_is_refused() -> None:
    case = CASES[0].scenario
    for truth, problem in (
        (Expected((0, case.seconds + 1)), "window"),
        (Expected((0, 60), finding=(Sought("drop_spkie"),)), "drop_spkie"),
        (Expected((0, 60), finding=(Sought("drop_spike", event=99),)), "there is none"),
        (Expected((0, 60), finding=(Sought("drop_spike", event=0),)), "outside the window"),
    ):
        with pytest.raises(ScenarioError, match=problem):
            case.with_(truth=truth)


# A sample of them, simulated


def gained(cluster: Cluster, name: str, **labels: str) -> float:
    """What series gained in their time; those that begin late begin from nothing."""
    scraped = min(s.times[0] for s in cluster.find("up")) + 120_000
    return float(
        sum(
            s.values[-1] - (s.values[0] if s.times[0] < scraped else 0)
            for s in cluster.find(name, **labels)
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["mtu_blackhole", "tunnel_key", "unencrypted", "policy_denylist", "nat_exhausted"]
)
def test_the_total_of_an_event_is_that_of_the_counters(name: str) -> None:
    scenario = small(name)
    made = simulate(scenario)
    assert scenario.truth is not None
    (sought,) = [s for s in scenario.truth.finding if s.kind == "drop_spike"]
    labels = {k: v for k, v in sought.labels if k in ("reason", "direction")}
    true = sum(made.truth.caused(e, made.scenario.start, made.scenario.end) for e in sought.total)
    # Events that last to the end drop packets after the last scrape too.
    assert true * 0.99 <= gained(made, DROPS, **labels) <= true
    assert true == sum(made.truth.incidents[e].total for e in sought.total)


def small(name: str) -> Scenario:
    """One variant of an incident that the counters can follow: no agent restarts there."""
    return next(c.scenario for c in CASES if c.name == name and len(c.scenario.nodes) <= 20)


def test_a_denied_packet_counts_about_twice_whatever_denied_it() -> None:
    made = simulate(small("policy_denylist"))
    true = made.truth.incidents[1].total
    assert 1.9 * true * 0.99 < gained(made, "hubble_drop_total", reason="POLICY_DENY") < 2 * true


@pytest.fixture
def busy() -> Scenario:
    """A quiet hour with HTTP and DNS."""
    base = load("quiet")
    return base.with_(seconds=3600, records=((0, 3600),), dns=2.0, burstiness=0.0)


def test_a_share_turns_requests_and_lookups_and_adds_none(
    busy: Scenario, cluster: Callable[..., Cluster]
) -> None:
    events = (
        Http(1200, 2400, status="503", share=0.25, latency=2.0),
        Dns(1200, 2400, rcode="no response", share=1.0),
    )
    before, after = cluster(busy), cluster(busy.with_(events=events))
    span = (busy.epoch + 1200, busy.epoch + 2400)
    for one, failed, share in (("requests", "503", 0.25), ("lookups", "no response", 1.0)):
        label = "status" if one == "requests" else "rcode"
        usual = getattr(before.truth, one)(*span, by=(label,))
        now = getattr(after.truth, one)(*span, by=(label,))
        assert now.sum() == pytest.approx(usual.sum(), rel=0.03)
        assert now[failed] / now.sum() == pytest.approx(share, abs=0.02)
    assert after.truth.caused(1, *span) == after.truth.lookups(*span).sum()
    answered = after.find("hubble_dns_responses_total")
    for series in answered:
        inside = (series.times / 1000 > span[0] + 60) & (series.times / 1000 < span[1])
        assert len(np.unique(series.values[inside])) <= 1


def test_load_multiplies_what_it_names(busy: Scenario, cluster: Callable[..., Cluster]) -> None:
    node = busy.nodes[1]
    events = (Load(1200, 2400, nodes=(node,), factor=3.0),)
    span = (busy.epoch + 1200, busy.epoch + 2400)
    before, after = (
        c.truth.requests(*span, by=("node",))
        for c in (cluster(busy), cluster(busy.with_(events=events)))
    )
    ratio = after / before
    assert ratio[node] == pytest.approx(3.0, rel=0.1)
    assert ratio.drop(node).to_numpy() == pytest.approx(1.0, abs=0.1)
    more = (*busy.services, Service("default/frontend", "default/other", 4.0))
    named = (replace(events[0], destination="default/other"),)
    ends = ("node", "destination")
    plain, other = (
        cluster(busy.with_(services=more, events=happens)).truth.requests(*span, by=ends)
        for happens in ((), named)
    )
    each = (other / plain).to_dict()
    assert each.pop((node, "default/other")) == pytest.approx(3.0, rel=0.1)
    assert list(each.values()) == pytest.approx([1.0] * len(each), abs=0.1)


def test_an_operator_that_was_down_is_a_new_process(
    busy: Scenario, cluster: Callable[..., Cluster]
) -> None:
    made = cluster(busy.with_(events=(OperatorDown(1200, 2400),)))
    (up,) = made.find("up", job="cilium-operator")
    down = up.times[up.values == 0] / 1000 - busy.epoch
    assert len(down) == 1200 // busy.interval
    assert 1200 <= down.min() <= down.max() < 2400
    (started,) = made.find("cilium_operator_process_start_time_seconds")
    assert started.values[-1] == busy.epoch + 2400
    assert len(np.unique(started.values)) == 2


@pytest.mark.parametrize(
    ("version", "shown"),
    [((1, 14, 5), set()), ((1, 15, 2), {"nat"}), ((1, 16, 5), {"nat", "conntrack"})],
)
def test_maps_show_their_pressure_since_their_version(
    busy: Scenario, version: tuple[int, int, int], shown: set[str]
) -> None:
    made = simulate(busy.with_(version=version, seconds=300, records=((0, 300),)))
    maps = {"nat": "snat_v4_external", "conntrack": "ct4_global"}
    found = {k for k, v in maps.items() if made.find("cilium_bpf_map_pressure", map_name=v)}
    assert found == shown


# The judge


def at_onset(kind: str, truth: Truth, *, total: float | None = None, late: float = 0.0) -> Finding:
    incident = truth.incidents[0]
    return Finding(
        kind=kind,
        severity=Severity.WARNING,
        title=kind,
        start=incident.onset + timedelta(seconds=late),
        end=incident.end,
        labels={"reason": "Fragmentation needed", "direction": "EGRESS", "node": "worker-1"},
        value=1.0,
        baseline_value=0.0,
        unit="packets/s",
        query="",
        next_step="",
        total=total,
    )


def test_the_judge_compares_with_the_truth() -> None:
    case = next(c for c in CASES if c.name == "mtu_blackhole")
    made = simulate(case.scenario)
    true, window = made.truth.incidents[0].total, window_of(case)
    empty = Findings("", window, window.baseline())
    coarse = max(window.step.total_seconds(), case.scenario.interval)
    right = at_onset("drop_spike", made.truth, total=true * 0.9, late=3.0 * coarse)
    wrong = at_onset("endpoint_growth", made.truth, total=true * 2)
    after = at_onset("http_errors", made.truth, total=1.0)
    answers = [replace(empty, items=(right, wrong, after)), replace(empty, items=(right,)), empty]
    verdict = judge(case, made.truth, answers)
    assert verdict.rank == 2
    assert verdict.onset == pytest.approx(3.0)
    assert verdict.total == pytest.approx(-0.1)
    assert verdict.false == ("endpoint_growth",)
    assert verdict.moved == (1, None)
    assert "+3.0  -10.00%     1 1/-" in list(table([verdict]))[1]
    assert "0% (0 of 1)" in next(summary([verdict]))
    missed = judge(case, made.truth, [empty])
    assert (missed.rank, missed.onset, missed.total, missed.false) == (None, None, None, ())


def test_the_judge_knows_that_some_metrics_name_no_node() -> None:
    scenario = variant("node_cut_off", 0).with_(style="annotations")
    truth, ranks = simulate(scenario).truth, {}
    for version in ((1, 18, 2), (1, 19, 1)):
        case = Case("node_cut_off", 0, scenario.with_(version=version))
        empty = Findings("", window_of(case), window_of(case).baseline())
        for node in ("worker-2", "10.10.0.12"):
            found = replace(at_onset("node_unreachable", truth), labels={"node": node})
            ranks[version[1], node] = judge(case, truth, [replace(empty, items=(found,))]).rank
    assert ranks == {
        (18, "worker-2"): 1,
        (18, "10.10.0.12"): None,
        (19, "worker-2"): None,
        (19, "10.10.0.12"): 1,
    }
