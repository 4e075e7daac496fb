"""The simulated cluster obeys what is known of Cilium, and its truth adds up."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cilium_simulator import openmetrics, remote_write
from cilium_simulator.events import Drops
from cilium_simulator.fields import ScenarioError
from cilium_simulator.generate import random_scenario
from cilium_simulator.scenario import load, names
from cilium_simulator.simulation import Cluster, simulate
from cilium_simulator.truth import Truth

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cilium_simulator.scrape import Series

DROPS = "cilium_drop_count_total"


def jumps(series: Series) -> np.ndarray:
    return np.diff(series.values)


def resets(series: list[Series]) -> int:
    return sum(int((jumps(s) < 0).sum()) for s in series)


def only(series: list[Series]) -> Series:
    (one,) = series
    return one


def final(cluster: Cluster, name: str, **labels: str) -> float:
    """Add the last values of the series that were still alive at the end."""
    return float(sum(s.values[-1] for s in cluster.find(name, **labels)))


def seconds(cluster: Cluster, series: Series) -> np.ndarray:
    return series.times / 1000 - cluster.scenario.epoch


# Counters from the BPF map


@pytest.mark.parametrize(
    ("node", "total", "end"), [("worker-1", 1200, 1214), ("worker-3", 400, 2106)]
)
def test_a_burst_between_scrapes_is_in_the_first_value(
    cluster: Callable[..., Cluster], node: str, total: int, end: int
) -> None:
    made = cluster("burst_between_scrapes")
    series = only(made.find(DROPS, node=node))
    assert set(series.values) == {total}
    born = seconds(made, series)[0]
    assert end <= born < end + 15
    scraped = only(made.find("up", node=node, job="cilium-agent"))
    assert seconds(made, scraped)[0] < 15


@pytest.mark.slow
def test_series_are_born_above_zero(cluster: Callable[..., Cluster]) -> None:
    for name in ("sample", "node_reboot", "annotations_style"):
        made = cluster(name)
        for series in [*made.find(DROPS), *made.find("hubble_drop_total")]:
            assert series.values[0] > 0


def test_old_agents_dip_to_zero_and_jump_back(cluster: Callable[..., Cluster]) -> None:
    made = cluster("restart_1_14")
    for series in made.find(DROPS, node="worker-1"):
        (dips,) = np.nonzero(series.values == 0)
        assert 1 <= len(dips) <= 2
        before, after = series.values[dips[0] - 1], series.values[dips[-1] + 1]
        assert before <= after < before + 100
        assert 3600 <= seconds(made, series)[dips[0]] < 3700


def test_newer_agents_read_the_pinned_map(cluster: Callable[..., Cluster]) -> None:
    made = cluster("restart_1_15")
    assert resets(made.find(DROPS)) == resets(made.find("cilium_forward_count_total")) == 0
    restarted = made.find(DROPS, node="worker-1")
    assert restarted
    for series in restarted:
        assert max(np.diff(series.times)) >= 30_000, "no scrape while the agent was down"


def test_other_counters_do_reset(cluster: Callable[..., Cluster]) -> None:
    for name in ("restart_1_14", "restart_1_15"):
        made = cluster(name)
        flows = made.find("hubble_flows_processed_total", node="worker-1", type="Trace")
        assert resets(flows) == len(flows) > 0
        started = only(made.find("cilium_process_start_time_seconds", node="worker-1"))
        assert (jumps(started) > 0).sum() == 1


def test_a_reboot_resets_even_the_pinned_map(cluster: Callable[..., Cluster]) -> None:
    made = cluster("node_reboot")
    stale = only(made.find(DROPS, node="worker-2", reason="Stale or unroutable IP"))
    assert resets([stale]) == 1
    assert resets([s for s in made.find(DROPS) if s.labels["node"] != "worker-2"]) == 0
    (fell,) = np.nonzero(jumps(stale) < 0)
    assert seconds(made, stale)[fell[0] + 1] >= 3600 + 150
    down = only(made.find("up", node="worker-2", job="cilium-agent"))
    assert (down.values == 0).sum() == 10


def test_a_replaced_pod_is_a_new_target(cluster: Callable[..., Cluster]) -> None:
    made = cluster("restart_1_15")
    first, second = made.find("up", node="worker-2", job="cilium-agent")
    assert first.labels["pod"] != second.labels["pod"]
    assert first.labels["instance"] == second.labels["instance"] == "10.10.0.12:9962"
    assert (first.stale > first.times[-1]).all()
    assert len(first.stale) == 1
    runs = [r["why"] for r in made.truth.restarts if r["node"] == "worker-2"]
    assert runs == ["first", "replaced"]


# Truth against counters


@pytest.mark.parametrize("name", ["quiet", "annotations_style", "http_errors", "scrape_gap"])
def test_the_truth_adds_up_with_the_counters(cluster: Callable[..., Cluster], name: str) -> None:
    made = cluster(name)
    for node in [n for n in made.nodes if len(n.runs) == 1]:
        for series in made.find(DROPS, instance=f"{node.ip}:9962"):
            labels = (series.labels["reason"], series.labels["direction"])
            first, last = np.floor(seconds(made, series)[[0, -1]]) + made.scenario.epoch
            true = made.truth.dropped(first, last, by=("reason", "direction", "node"))
            counted = series.values[-1] - series.values[0]
            assert counted == true.get((*labels, node.name), 0)


def test_the_truth_of_a_burst(cluster: Callable[..., Cluster]) -> None:
    truth = cluster("burst_between_scrapes").truth
    by_workload = truth.dropped(
        "2026-03-10T08:00:00Z", "2026-03-10T09:00:00Z", by=("source", "destination")
    )
    assert by_workload.to_dict() == {
        ("batch/report", "default/db"): 400,
        ("default/web", "default/db"): 1200,
    }
    first, second = truth.incidents
    assert (first.total, second.total) == (1200, 400)
    assert first.start <= first.onset < first.end
    assert truth.dropped("2026-03-10T08:20:08", "2026-03-10T08:20:14", incident=0).sum() == 1200
    assert truth.dropped("2026-03-10T08:20:14", "2026-03-10T08:21:00").empty


def test_the_truth_survives_its_file(cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    truth = cluster("http_errors").truth
    truth.write(tmp_path / "truth.json")
    again = Truth.read(tmp_path / "truth.json")
    span = ("2026-03-18T09:00:00Z", "2026-03-18T09:30:00Z")
    assert again.dropped(*span).equals(truth.dropped(*span))
    assert again.requests(*span).equals(truth.requests(*span))
    assert again.incidents == truth.incidents
    assert again.restarts == truth.restarts


# Hubble


def test_hubble_counts_a_denied_packet_about_twice(cluster: Callable[..., Cluster]) -> None:
    made = cluster("sample")
    span = ("2026-03-21T09:00:00Z", "2026-03-21T10:00:00Z")
    true = made.truth.dropped(*span, by=("source",))["batch/report"]
    found = made.find("hubble_drop_total", source_workload="report", reason="POLICY_DENIED")
    web = [s for s in found if s.labels["destination_workload"] == "web"]
    events = sum(s.values[-1] for s in web)
    assert 1.9 * true < events < 2.0 * true
    assert set(web[0].labels) >= {"source_namespace", "traffic_direction", "protocol", "node"}


def test_other_drops_are_counted_about_once(cluster: Callable[..., Cluster]) -> None:
    made = cluster("node_reboot")
    true = made.truth.incident("drops").total
    found = made.find("hubble_drop_total", destination_workload="db", node="worker-2")
    values = np.concatenate([s.values for s in found])
    events = np.where(np.diff(values) < 0, values[1:], np.diff(values)).sum() + values[0]
    assert 0.97 * true < events <= true


def test_series_of_a_deleted_pod_vanish_after_a_minute(cluster: Callable[..., Cluster]) -> None:
    made = cluster("series_end")
    found = made.find("hubble_drop_total", node="worker-1", reason="POLICY_DENIED")
    old, new = sorted(
        (s for s in found if s.labels["destination_workload"] == "web"), key=lambda s: s.times[0]
    )
    assert old.labels["destination_pod"] != new.labels["destination_pod"]
    assert 3040 <= seconds(made, old)[-1] < 3060
    assert len(old.stale) == 1
    assert new.values[0] < old.values[-1]


def test_contexts(cluster: Callable[..., Cluster]) -> None:
    base = load("burst_between_scrapes")
    extra = {
        context: set(cluster(base.with_(context=context)).find("hubble_drop_total")[0].labels)
        for context in ("none", "workload", "pod", "labels", "labels-pod")
    }
    assert extra["workload"] - extra["none"] == {"source", "destination"}
    assert extra["pod"] == extra["workload"]
    assert extra["labels-pod"] - extra["labels"] == {"source_pod", "destination_pod"}


def test_the_policy_of_the_sample_refuses_requests(cluster: Callable[..., Cluster]) -> None:
    made = cluster("sample")
    span = ("2026-03-21T09:00:12Z", "2026-03-21T09:41:30Z")
    refused = made.truth.requests(*span, by=("denied", "status"))
    assert [status for denied, status in refused.index if denied == "True"] == ["403"]
    denied = made.find("cilium_policy_l7_total", rule="denied")
    assert {s.labels["node"] for s in denied} == {"worker-1", "worker-2", "worker-3"}
    assert sum(s.values[-1] for s in denied) == refused["True", "403"]
    assert final(made, "hubble_http_requests_total", status="403") == refused["True", "403"]
    policies = only(made.find("cilium_policy", node="worker-1"))
    assert sorted(set(policies.values)) == [7, 8]


def test_both_versions_of_the_http_metrics(cluster: Callable[..., Cluster]) -> None:
    new = load("http_errors")
    old = cluster(new.with_(http="v1"))
    assert not old.find("hubble_http_requests_total")[0].labels.keys() & {"status"}
    swapped = old.find("hubble_http_responses_total", status="200")
    assert {s.labels["source_workload"] for s in swapped} == {"web"}
    assert not cluster(new).find("hubble_http_responses_total")


def test_l7_rules_at_both_ends_count_twice() -> None:
    base = load("http_errors")
    services = tuple(replace(s, reporters=("server", "client")) for s in base.services)
    made = simulate(base.with_(services=services, events=()))
    name = "hubble_http_requests_total"
    server, client = (final(made, name, reporter=r) for r in ("server", "client"))
    assert server == client > 0


def test_old_agents_have_a_counter_per_rule(cluster: Callable[..., Cluster]) -> None:
    made = cluster(load("sample").with_(version=(1, 13, 4)))
    shown = made.find("cilium_policy_l7_denied_total")
    both = made.find("cilium_policy_l7_total", rule="denied")
    # Without labels a counter is there from the start, and 0 where nothing was denied.
    assert len(shown) == len(made.nodes)
    assert [v for s in shown if (v := s.values[-1])] == [s.values[-1] for s in both]
    assert not any("proxy_type" in s.labels for s in both)


def test_buckets_are_cumulative(cluster: Callable[..., Cluster]) -> None:
    made = cluster("http_errors")
    one = {"node": "worker-1", "method": "GET", "source_workload": "frontend"}
    name = "hubble_http_request_duration_seconds"
    buckets = {s.labels["le"]: s for s in made.find(f"{name}_bucket", **one)}
    last = [buckets[le].values[-1] for le in ("0.1", "1", "10", "+Inf")]
    assert last == sorted(last)
    assert last[-1] == only(made.find(f"{name}_count", **one)).values[-1]


def test_dns_names_the_client_on_both_ways(cluster: Callable[..., Cluster]) -> None:
    made = cluster("dns_failures")
    failed = {"rcode": "Server Failure", "destination_workload": "web", "node": "worker-1"}
    answers = only(made.find("hubble_dns_responses_total", **failed))
    assert answers.labels["source_workload"] == "coredns"
    assert answers.labels["query"] == "billing.example.org."
    assert {s.labels["rcode"] for s in made.find("hubble_dns_queries_total")} == {""}
    span = ("2026-03-19T17:10:00Z", "2026-03-19T17:30:00Z")
    true = made.truth.lookups(*span, by=("rcode", "source"))
    grown = made.truth.incident("dns").total
    assert grown < true["Server Failure", "default/web"] < grown + 50
    assert not cluster("quiet").find("hubble_dns_responses_total")


def test_smaller_troubles(cluster: Callable[..., Cluster]) -> None:
    made = cluster("dns_failures")
    resets = only(made.find("hubble_tcp_flags_total", flag="RST", destination_workload="api"))
    assert 5400 < resets.values[-1] < 6600
    failures = only(made.find("cilium_endpoint_regenerations_total", outcome="fail"))
    assert failures.labels["node"] == "worker-3"
    errors = only(made.find("cilium_operator_errors_warnings_total", level="error"))
    assert errors.values[-1] == 60
    slow = {
        (s.labels["source_node_name"], s.labels["target_node_name"])
        for s in made.find("cilium_node_connectivity_latency_seconds", type="node")
        if s.values.max() > 0.2
    }
    others = ("control-plane", "worker-1", "worker-2")
    assert slow == {(n, "worker-3") for n in others} | {("worker-3", n) for n in others}


# Gauges of nodes


def test_connectivity_has_two_and_four_n_squared_series(cluster: Callable[..., Cluster]) -> None:
    made = cluster("connectivity")
    assert len(made.find("cilium_node_connectivity_status")) == 2 * 8**2
    assert len(made.find("cilium_node_connectivity_latency_seconds")) == 4 * 8**2
    assert not made.find("cilium_node_health_connectivity_status")
    for series in made.find("cilium_node_connectivity_status"):
        cut = series.labels["target_node_name"] == "worker-5"
        alone = series.labels["source_node_name"] == "worker-5"
        assert (series.values == 0).any() == (cut != alone)


@pytest.mark.parametrize(
    ("version", "old", "new"),
    [((1, 16, 5), True, False), ((1, 17, 3), True, True), ((1, 19, 1), False, True)],
)
def test_the_successor_names_no_target(
    cluster: Callable[..., Cluster], version: tuple[int, int, int], old: bool, new: bool
) -> None:
    made = cluster(load("connectivity").with_(version=version))
    assert bool(made.find("cilium_node_connectivity_status")) == old
    paths = made.find("cilium_node_health_connectivity_status")
    assert len(paths) == (6 * 8 if new else 0)
    assert not any("target_node_name" in s.labels for s in paths)
    if new:
        failed = made.find("cilium_node_health_connectivity_status", status="unreachable")
        assert {s.values.max() for s in failed} == {1, 7}


def test_endpoints_grow(cluster: Callable[..., Cluster]) -> None:
    made = cluster("endpoints")
    grown = {s.labels["node"]: s.values[-1] - s.values[0] for s in made.find("cilium_endpoint")}
    assert grown.pop("worker-2") > 50
    assert max(grown.values()) < 10
    stuck = only(made.find("cilium_endpoint_state", endpoint_state="waiting-for-identity"))
    assert stuck.values.max() == 6
    full = only(made.find("cilium_bpf_map_pressure", node="worker-2", map_name="ct4_global"))
    assert full.values[-1] == pytest.approx(0.97)


# Scrapes


@pytest.mark.parametrize(
    ("style", "agent", "hubble"),
    [
        ("annotations", {"pod", "app_kubernetes_io_name"}, {"app_kubernetes_io_part_of"}),
        ("servicemonitor", {"pod", "node", "endpoint"}, {"pod", "node", "container"}),
        ("kube-prometheus-stack", {"pod", "node", "endpoint"}, {"pod", "node", "container"}),
    ],
)
def test_labels_of_the_scrape(
    cluster: Callable[..., Cluster], style: str, agent: set[str], hubble: set[str]
) -> None:
    made = cluster(load("quiet").with_(style=style))
    seen = made.find("cilium_endpoint")[0].labels
    flows = made.find("hubble_lost_events_total")[0].labels
    assert agent <= seen.keys()
    assert hubble <= flows.keys()
    assert seen["instance"].endswith(":9962")
    assert flows["instance"].endswith(":9965")
    if style == "annotations":
        assert not {"node", "endpoint"} & seen.keys()
        assert not {"node", "pod"} & flows.keys()
    assert bool(made.find("kube_node_info")) == (style == "kube-prometheus-stack")


def test_gaps(cluster: Callable[..., Cluster]) -> None:
    made = cluster("scrape_gap")
    for series in made.find("up"):
        gone = (series.times[:-1] < _at(made, 2400)) & (series.times[1:] >= _at(made, 3120))
        assert gone.sum() == 1, "nothing at all, not even up, while Prometheus is down"
        assert not ((series.stale > _at(made, 2400)) & (series.stale < _at(made, 3150))).any()
    lost = only(made.find("up", node="worker-2", job="cilium-agent"))
    assert (lost.values == 0).sum() == 16
    fine = only(made.find("up", node="worker-3", job="cilium-agent"))
    deaf = only(made.find("up", node="worker-3", job="hubble-metrics"))
    assert fine.values.all()
    assert (deaf.values == 0).sum() == 20


def _at(made: Cluster, second: int) -> int:
    return (made.scenario.epoch + second) * 1000


def test_nodes_come_and_go(cluster: Callable[..., Cluster]) -> None:
    made = cluster("series_end")
    left = only(made.find("cilium_endpoint", node="worker-4"))
    joined = only(made.find("cilium_endpoint", node="worker-3"))
    assert seconds(made, left)[-1] < 4200
    assert len(left.stale) == 1
    assert 1800 < seconds(made, joined)[0] < 1900


# The files


@pytest.mark.slow
def test_the_same_seed_gives_the_same_cluster() -> None:
    first, second = (simulate(random_scenario(7)) for _ in range(2))
    assert "".join(openmetrics.lines(first.series)) == "".join(openmetrics.lines(second.series))
    other = simulate(random_scenario(7).with_(seed=8))
    assert "".join(openmetrics.lines(other.series)) != "".join(openmetrics.lines(first.series))


@pytest.mark.parametrize("name", names())
def test_every_scenario_can_be_read(name: str) -> None:
    assert load(name).name == name


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40, 52))
def test_the_truth_adds_up_in_random_scenarios(seed: int) -> None:
    made = simulate(random_scenario(seed).with_(version=(1, 16, 5)))
    calm = {f"{n.ip}:9962": n.name for n in made.nodes if len(n.runs) == 1}
    for series in [s for s in made.find(DROPS) if s.labels["instance"] in calm]:
        span = np.floor(seconds(made, series)[[0, -1]]) + made.scenario.epoch
        true = made.truth.dropped(span[0], span[1], by=("node", "reason", "direction"))
        labels = (calm[series.labels["instance"]], *map(series.labels.get, ("reason", "direction")))
        assert series.values[-1] - series.values[0] == true.get(labels, 0)


@pytest.mark.parametrize("seed", range(12))
def test_random_scenarios_hold_together(seed: int) -> None:
    made = simulate(random_scenario(seed, hours=0.5))
    assert made.find("up")
    for series in made.series:
        times = np.concatenate([series.times, series.stale])
        assert len(np.unique(times)) == len(times)
        assert (np.diff(series.times) > 0).all()
        assert np.isfinite(series.values).all()


def test_a_contradiction_is_refused() -> None:
    with pytest.raises(ScenarioError, match="unknown node nowhere; there are: control-plane, w"):
        load("quiet").with_(events=(Drops(10, 20, ("nowhere",), packets=1),))
    with pytest.raises(ScenarioError, match="not within the simulation"):
        load("quiet").with_(events=(Drops(20, 10, packets=1),))
    with pytest.raises(ScenarioError, match="there are: annotations_style"):
        load("nothing")


def test_openmetrics_text(cluster: Callable[..., Cluster]) -> None:
    text = list(openmetrics.lines(cluster("burst_between_scrapes").series))
    assert text[-1] == "# EOF\n"
    types = [line for line in text if line.startswith("# TYPE")]
    assert len(set(types)) == len(types)
    assert "# TYPE cilium_drop_count counter\n" in types
    assert openmetrics.label_set({"a": 'x"\\\n', "b": ""}) == '{a="x\\"\\\\\\n"}'


def test_snappy_literals() -> None:
    assert remote_write.snappy(b"abc") == b"\x03" + bytes([61 << 2, 2, 0]) + b"abc"
    assert remote_write.varint(300) == b"\xac\x02"
