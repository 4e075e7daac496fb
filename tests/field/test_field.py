"""The given cases: what is true of each, through the real command and a real Prometheus.

Of a case with variants one goes through the command, and the others through the topic that the
command would run, which is cheaper. `c09_limit` has no test here yet.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from cilium_analysis.topics import drops, http
from tests.field.asking import Told, topic
from tests.field.checks import counted_in, lasts, near, no_gaps, nowhere, said_any
from tests.field.conftest import Asked, Reported, Serve
from tests.field.make import END, START, build


def one_spike(told: Told, total: float, *, within: float = 30) -> dict[str, Any]:
    """Check that there is one finding of drops, of this total, from 10:40 to 11:00."""
    found = told.one("drop_spike")
    assert found["total"] == near(total)
    lasts(found, 40, 60, within=within)
    return found


@pytest.mark.slow
def test_agents_behind_the_api_servers_proxy_are_several(reported: Reported) -> None:
    told = reported("c01_gardener")
    found = one_spike(told, 24_000)
    assert "kube-apiserver" not in found["title"]
    assert found["labels"].get("node", "") in {"", "cilium-ccccc"}
    assert said_any(told, ["cilium-ccccc", "node is not known", "node is unknown"])
    nowhere(told)


@pytest.mark.slow
def test_the_node_of_kube_state_metrics_is_not_that_of_the_agents(reported: Reported) -> None:
    told = reported("c14_exported_node")
    found = one_spike(told, 24_000)
    assert found["labels"]["node"] == "worker-3"
    assert "infra-1" not in found["title"]
    where = "\n".join(text for heading, text in told.pages["drop_reasons"] if heading == "Where")
    assert all(f"worker-{n}" in where for n in (1, 2, 3))


@pytest.mark.slow
def test_two_clusters_are_told_apart_by_whichever_label_does_it(reported: Reported) -> None:
    told = reported("c04_clusters")
    found = one_spike(told, 24_060)
    words = " ".join([found["title"], *map(str, found["labels"].values())])
    assert "10.0.0.2" in words
    assert re.search(r"\bus\b", words) or 'cluster_id="' in told.said()


@pytest.mark.slow
def test_a_rollout_under_new_instances_drops_nothing(reported: Reported) -> None:
    told = reported("c02_pod_instance")
    assert not told.of("drop_spike")
    assert not told.warnings()


def test_a_rollout_under_new_instances_is_counted_once(asked: Asked) -> None:
    told = asked("c02_pod_instance", "drop_reasons")
    assert told.data.now.counts.sum().sum() == near(576)


@pytest.mark.parametrize("variant", ["node", "plain"])
def test_metrics_switched_on_are_unknown_before(asked: Asked, variant: str) -> None:
    name = f"c29_switched_on.{variant}"
    told = asked(name, "drop_reasons")
    assert not told.of("drop_spike")
    truth = counted_in(build(name)[0], "cilium_drop_count_total", after=START, until=END)
    assert told.data.now.counts.sum().sum() == near(truth, 0.02)
    assert said_any(told, ["baseline"])


@pytest.mark.slow
def test_metrics_switched_on_are_no_finding(reported: Reported) -> None:
    assert not reported("c29_switched_on.plain").of("drop_spike")


@pytest.mark.parametrize(("variant", "total"), [("burst", 50_000), ("steady", 24_000)])
def test_the_first_drops_ever_count_without_start_times(
    asked: Asked, variant: str, total: int
) -> None:
    told = asked(f"c17_no_port.{variant}", "drop_reasons")
    found = told.one("drop_spike")
    assert found["total"] == total
    assert found["labels"]["node"] == "pool1-vmss000002"
    lasts(found, 40, 40.5 if variant == "burst" else 60, within=30)
    assert not said_any(told, ["No metrics of Cilium agents"])
    assert "shop/cart" in found["title"]


@pytest.mark.slow
def test_a_node_by_its_name_without_port_is_reported(reported: Reported) -> None:
    told = reported("c17_no_port.burst")
    assert told.one("drop_spike")["total"] == 50_000


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["rbac", "apiserver", "501"])
def test_what_may_be_read_by_get_only_is_read(asked: Asked, variant: str) -> None:
    told = asked(f"c25_get_only.{variant}", "drop_reasons")
    found = one_spike(told, 24_060)
    assert found["labels"]["node"] == "worker-1"
    assert told.data.now.counts.sum().sum() == near(24_360)


@pytest.mark.slow
def test_what_may_be_read_by_get_only_is_reported(reported: Reported) -> None:
    one_spike(reported("c25_get_only.rbac"), 24_060)


@pytest.mark.slow
def test_two_jobs_of_the_same_agents_count_once(reported: Reported) -> None:
    told = reported("c03_two_jobs")
    found = one_spike(told, 24_060)
    assert found["labels"]["node"] == "worker-2"
    assert "10.0.0.2" not in found["title"]


def test_two_jobs_of_the_same_agents_are_three_nodes(asked: Asked) -> None:
    told = asked("c03_two_jobs", "drop_reasons")
    nodes = set(drops.by_node(told.data).index)
    assert nodes == {"worker-1", "worker-2", "worker-3"}
    truth = counted_in(
        build("c03_two_jobs")[0],
        "cilium_drop_count_total",
        after=START,
        until=END,
        job="cilium-agent",
    )
    assert told.data.now.counts.sum().sum() == near(truth, 0.001)


@pytest.mark.slow
def test_requests_stored_twice_count_once(reported: Reported) -> None:
    found = reported("c11_stored_twice.replica").one("http_errors")
    assert found["total"] == near(12_000)
    assert found["value"] == near(10.0, 0.05)
    assert found["labels"]["destination_workload"] == "cart"
    lasts(found, 40, 60, within=60)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["window", "between", "base", "never"])
def test_durations_are_the_same_under_another_spelling(asked: Asked, variant: str) -> None:
    told = asked(f"c05_le.{variant}", "http_status")
    found = told.one("http_latency")
    lasts(found, 70, 90, within=30)
    assert found["value"] == near(4.69, 0.03)
    assert not told.of("http_errors")
    row = http.latency(told.data).iloc[0]
    assert row["usual p50"] == near(0.035, 0.03)
    assert row["usual p95"] == near(0.1, 0.03)
    # One request in six was slow.
    assert row["p99"] == near(4.69, 0.03)


@pytest.mark.slow
def test_durations_of_an_upgrade_in_the_window_are_reported(reported: Reported) -> None:
    lasts(reported("c05_le.window").one("http_latency"), 70, 90, within=30)


@pytest.mark.slow
def test_labels_of_identities_are_never_split(reported: Reported) -> None:
    told = reported("c06_identity")
    out, back = (
        told.one("drop_spike", direction="EGRESS"),
        told.one("drop_spike", direction="INGRESS"),
    )
    for found, first, last in ((out, 40, 60), (back, 80, 100)):
        assert found["total"] == near(48_000)
        lasts(found, first, last, within=30)
        assert "shop/web" in found["title"]
        assert "203.0.113.7" in found["title"]
        assert found["labels"]["namespace"] == "shop"
        assert found["labels"]["workload"] == "web"
        assert not [text for text in found["labels"].values() if text.startswith(("cidr", "32"))]


@pytest.mark.slow
@pytest.mark.parametrize("every", [60, 120, 300])
def test_rare_scrapes_are_no_missing_scrapes(asked: Asked, serve: Serve, every: int) -> None:
    url, _ = serve(f"c08_slow_scrape.{every}")
    told = topic(url, "drop_reasons")
    found = one_spike(told, 24_060, within=every)
    assert found["labels"]["node"] == "worker-2"
    no_gaps(told)
    told = topic(url, "node_connectivity")
    found = told.one("node_unreachable")
    assert found["labels"]["node"] == "worker-3"
    assert "3 other nodes" in found["title"] or "all" in found["title"]
    lasts(found, 40, 60, within=every)
    no_gaps(told)
    told = topic(url, "http_status")
    found = told.one("http_errors")
    assert found["total"] == near(24_000)
    lasts(found, 80, 100, within=every)
    no_gaps(told)
    told = topic(url, "agent_health")
    found = told.one("agent_restart")
    assert found["labels"]["node"] == "worker-4"
    assert "T10:25" in found["end"]  # when the new process began
    assert not told.of("scrape_gap")
    no_gaps(told)


@pytest.mark.slow
def test_rare_scrapes_are_reported_without_doubt_about_them(reported: Reported) -> None:
    told = reported("c08_slow_scrape.300")
    kinds = {each["kind"] for each in told.all_findings}
    assert kinds == {"drop_spike", "http_errors", "node_unreachable", "agent_restart"}
    no_gaps(told)
