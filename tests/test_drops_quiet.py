"""Drops on quiet clusters are no warning at any size and load, and incidents are not missed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.benchmarks.quiet_drops import SECONDS, STEPS, WINDOW, Cluster, quiet, warnings


@pytest.mark.slow
@pytest.mark.parametrize("forwarded", [True, False])
def test_quiet_clusters_of_any_size_and_load_have_no_warning(forwarded: bool) -> None:
    # Where the traffic is not known, that it has become many times as much is not either.
    most = 8.0 if forwarded else 2.0
    clusters = [quiet(seed, most=most) for seed in range(1000, 1010)]
    assert [f.title for c in clusters for f in warnings(c.drops(forwarded=forwarded))] == []


def test_drops_that_grow_as_the_traffic_does_are_no_incident() -> None:
    cluster = Cluster(20, 2_000.0, 1)
    cluster.traffic[STEPS + 60 :] *= 8.0
    for node in range(20):
        mean = 0.05 * SECONDS * cluster.traffic[:, node]
        cluster.add("Policy denied", "INGRESS", node, cluster.rng.poisson(mean).astype(float))
    assert warnings(cluster.drops()) == []
    # Without the traffic nobody can tell that from an incident.
    assert warnings(cluster.drops(forwarded=False)) != []


def test_a_rollouts_few_packets_are_told_and_no_warning() -> None:
    cluster = Cluster(20, 500.0, 2)
    cluster.lost("Stale or unroutable IP", 3, minute=40, minutes=8, rate=31 / 480)
    assert warnings(cluster.drops()) == []


INCIDENTS: dict[str, dict[str, float]] = {
    "20 packets/s for 20 minutes": {"minutes": 20, "rate": 20.0},
    "50,000 in one scrape": {"minutes": 0.5, "rate": 50_000 / SECONDS},
    "1 packet/s for 10 minutes": {"minutes": 10, "rate": 1.0},
}


@pytest.mark.parametrize("name", INCIDENTS)
@pytest.mark.parametrize(("nodes", "load"), [(5, 30.0), (100, 20_000.0)])
def test_real_incidents_are_found_beside_what_is_ordinary(
    name: str, nodes: int, load: float
) -> None:
    cluster = Cluster(nodes, load, 7)
    cluster.trickles()
    cluster.rollouts()
    lost = INCIDENTS[name]
    cluster.lost("Invalid identity", 4, minute=60, **lost)
    (finding,) = warnings(cluster.drops())
    assert finding.labels["reason"] == "Invalid identity"
    assert finding.labels["node"] == "worker-4"
    assert finding.start == WINDOW.start + timedelta(minutes=60)
    assert finding.total == pytest.approx(lost["minutes"] * 60 * lost["rate"], rel=0.15)


def test_the_title_says_the_share_of_the_traffic() -> None:
    cluster = Cluster(5, 100.0, 3)
    cluster.lost("Policy denied", 2, minute=60, minutes=20, rate=25.0)
    (finding,) = warnings(cluster.drops())
    forwarded, dropped = 100.0 * 20 * 60, finding.total or 0.0
    part = float(finding.title.rpartition(", ")[2].removesuffix("% of all ingress packets there"))
    assert part == pytest.approx(100.0 * dropped / (dropped + forwarded), rel=0.02)
    (finding,) = warnings(cluster.drops(forwarded=False))
    assert "unknown share of all ingress packets there" in finding.title
