"""Which stored targets are one, where each is, and what tells them apart; on rows made by hand.

The same through a real Prometheus and the real command is in tests/field.
"""

from __future__ import annotations

from itertools import product
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from cilium_analysis import frames
from cilium_analysis.queries import Matcher, Query
from cilium_analysis.targets import Targets, host
from cilium_analysis.targets.model import put_together
from cilium_analysis.targets.naming import Names
from cilium_analysis.targets.replicas import Evidence, compare, compare_starts
from cilium_analysis.targets.stored import Row, interval, longest_kept

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cilium_analysis.targets.replicas import Counters, Pair
    from cilium_analysis.targets.stored import Component

START = pd.Timestamp("2026-11-20 08:00", tz="UTC")
STRETCH = pd.Timedelta("10min")
BINS = {n: (START + n * STRETCH, START + (n + 1) * STRETCH) for n in range(12)}
COMPONENTS: tuple[Component, ...] = ("agent", "hubble")
NOTHING = Names({}, {}, {})


def row(
    component: Component = "agent",
    more: Mapping[str, str] = MappingProxyType({}),
    *,
    bins: Sequence[int] = range(12),
    **labels: str,
) -> Row:
    return Row(component, {**labels, **more}, dict.fromkeys(bins, 20.0), up=True)


def understood(
    rows: Sequence[Row],
    *,
    same: Callable[[Row, Row], Evidence] = lambda one, other: Evidence(),
    names: Names = NOTHING,
    counters: Counters = MappingProxyType({}),
) -> Targets:
    def compared(pairs: Sequence[Pair]) -> dict[Pair, Evidence]:
        return {pair: same(rows[pair[0]], rows[pair[1]]) for pair in pairs}

    return put_together(
        rows,
        BINS,
        compared=compared,
        named=lambda valid, clusters: names,
        ends=lambda numbers: counters,
    )


PROVED = Evidence(agree=3.0)
REFUTED = Evidence(contradict=2)


@pytest.mark.parametrize(
    ("instance", "address"),
    [
        ("10.0.0.1:9962", "10.0.0.1"),
        ("[fd00::1]:9962", "fd00::1"),
        ("fd00::1", "fd00::1"),
        ("worker-1", "worker-1"),
        ("kube-apiserver:443", "kube-apiserver"),
        ("worker-1:http", "worker-1:http"),
        ("", ""),
    ],
)
def test_the_host_of_an_instance(instance: str, address: str) -> None:
    assert host(instance) == address


# Which node


def test_a_node_label_wins_and_names_all_targets_of_its_address() -> None:
    found = understood(
        [
            row(instance="10.0.0.1:9962", job="a", node="worker-1"),
            row("hubble", instance="10.0.0.1:9965", job="h"),
            row(instance="10.0.0.2:9962", job="a", node="worker-2"),
        ]
    )
    assert found.table["node"].tolist() == ["worker-1", "worker-1", "worker-2"]
    assert found.labels == ("instance",)


@pytest.mark.parametrize("label", ["kubernetes_node", "node_name", "hostname"])
def test_other_labels_name_nodes_too(label: str) -> None:
    rows = [row(instance=f"10.0.0.{n}:9962", more={label: f"worker-{n}"}) for n in (1, 2)]
    assert understood(rows).table["node"].tolist() == ["worker-1", "worker-2"]


def test_a_proxy_that_all_agents_are_scraped_through_is_no_node() -> None:
    rows = [
        row(component, instance="kube-apiserver:443", job=component, pod=f"cilium-{pod}")
        for component, pod in product(COMPONENTS, "abc")
    ]
    found = understood(rows)
    assert found.table["node"].tolist() == ["cilium-a", "cilium-b", "cilium-c"] * 2
    assert found.labels == ("pod",)


@pytest.mark.parametrize("proof", [REFUTED, Evidence()])
def test_a_label_that_each_collector_adds_tells_nodes_that_share_an_address(
    proof: Evidence,
) -> None:
    rows = [
        row(component, instance=f"localhost:996{port}", job=component, machine=f"m{n}", zone="z")
        for (component, port), n in product(zip(COMPONENTS, (2, 5), strict=True), (1, 2, 3))
    ]
    found = understood(rows, same=lambda one, other: proof)
    assert found.table["node"].tolist() == ["m1", "m2", "m3"] * 2
    assert found.table["replica_of"].tolist() == [-1] * 6
    assert found.clusters == ()


def test_one_node_stored_three_times_is_one() -> None:
    rows = [row(instance="10.0.0.1:9962", job="a", store=f"s{n}") for n in (1, 2, 3)]
    found = understood(rows, same=lambda one, other: PROVED)
    assert found.table["node"].tolist() == ["10.0.0.1"] * 3
    assert found.table["replica_of"].tolist() == [-1, 0, 0]


@pytest.mark.parametrize("label", ["cluster_name", "tenant_name", "k8s_cluster_name"])
def test_a_name_that_nothing_proves_a_copys_is_no_copys(label: str) -> None:
    rows = [
        row(instance=f"10.0.0.{n}:9962", job="a", more={label: which})
        for which in ("eu", "us")
        for n in (1, 2)
    ]
    found = understood(rows)
    assert found.table["node"].nunique() == 4
    assert any(label in caveat for caveat in found.caveats)


def test_the_address_of_a_federated_server_is_no_node() -> None:
    rows = [
        row(instance="prom-eu:9090", job="federate", exported_instance=f"10.0.0.{n}:9962")
        for n in (1, 2, 3)
    ]
    found = understood(rows)
    assert found.table["node"].tolist() == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert found.labels == ("exported_instance",)


def test_the_node_of_who_scrapes_is_not_that_of_the_agents() -> None:
    rows = [row(instance=f"10.0.0.{n}:9962", node="infra-1") for n in (1, 2, 3)]
    assert understood(rows).table["node"].tolist() == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


def test_what_others_call_a_node_comes_after_its_labels() -> None:
    rows = [
        row(instance="10.0.0.1:9962", node="a"),
        row(instance="10.0.0.2:9962"),
        row(instance="10.0.0.3:9962", pod="cilium-x"),
        row(instance="10.0.0.4:9962"),
    ]
    names = Names({3: "d"}, {"cilium-x": "c"}, {"10.0.0.1": "wrong", "10.0.0.2": "b"})
    assert understood(rows, names=names).table["node"].tolist() == ["a", "b", "c", "d"]


def test_pod_container_and_port_in_one_name_a_pod() -> None:
    rows = [row(instance=f"cilium-{n}:cilium-agent:prometheus", job="j") for n in "ab"]
    assert understood(rows).table["node"].tolist() == ["cilium-a", "cilium-b"]


def test_a_pod_that_replaces_another_is_on_the_same_node() -> None:
    rows = [
        row(instance="10.0.0.1:9962", pod="cilium-old", bins=range(6)),
        row(instance="10.0.0.1:9962", pod="cilium-new", bins=range(5, 12)),
    ]
    found = understood(rows)
    assert found.table["node"].tolist() == ["10.0.0.1", "10.0.0.1"]
    assert found.table["replica_of"].tolist() == [-1, -1]


def test_pods_of_a_rollout_take_over_where_pinned_counters_go_on() -> None:
    rows = [
        row(component, instance=f"cilium-{age}{n}:cilium-agent:{component}", bins=bins)
        for age, bins in (("old", range(6)), ("new", range(6, 12)))
        for n in (1, 2)
        for component in COMPONENTS
    ]
    counters: Counters = {
        0: {"x": (90.0, 120_000.0)},
        2: {"x": (50.0, 9_000.0)},
        4: {"x": (9_001.0, 9_100.0)},
        6: {"x": (120_003.0, 120_009.0)},
    }
    found = understood(rows, counters=counters)
    assert found.table["node"].nunique() == 2
    assert found.table["node"][0] == found.table["node"][6] == found.table["node"][7]
    assert found.table["node"][2] == found.table["node"][4] == found.table["node"][5]
    # Where counters fall, it was another node.
    fallen: Counters = {**counters, 4: {"x": (10.0, 20.0)}, 6: {"x": (11.0, 22.0)}}
    assert understood(rows, counters=fallen).table["node"].nunique() == 4


def test_without_any_label_no_node_is_invented() -> None:
    found = understood([row(job="cilium-agent")])
    assert found.table["node"].tolist() == [""]
    assert any("aggregated away" in text for text in found.caveats)


# Which are one


def test_two_jobs_of_the_same_agents_are_one_target_each() -> None:
    rows = [
        labels
        for n in (1, 2)
        for labels in (
            row(instance=f"10.0.0.{n}:9962", job="cilium-agent", node=f"worker-{n}", pod=f"c-{n}"),
            row(instance=f"10.0.0.{n}:9962", job="kubernetes-pods", pod=f"c-{n}", k8s_app="cilium"),
        )
    ]
    found = understood(rows, same=lambda one, other: PROVED)
    assert found.table["node"].tolist() == ["worker-1"] * 2 + ["worker-2"] * 2
    assert found.table["replica_of"].tolist() == [-1, 0, -1, 2]
    assert found.labels == ("instance",)
    assert found.single == (Matcher("job", "=", "cilium-agent"),)
    assert found.clusters == ()


@pytest.mark.parametrize("label", ["prometheus_replica", "ha", "env", "cluster_id", "x"])
def test_what_agrees_in_its_counters_is_a_replica_whatever_the_label(label: str) -> None:
    rows = [
        row(instance=f"10.0.0.{n}:9962", more={label: value}) for n, value in product((1, 2), "ab")
    ]
    found = understood(rows, same=lambda one, other: PROVED)
    assert found.clusters == ()
    assert found.labels == ("instance",)
    assert found.single == (Matcher(label, "=", "a"),)
    assert any(label in text and "more than once" in text for text in found.notes)


@pytest.mark.parametrize("label", ["prometheus_replica", "ha", "env", "cluster_id", "x"])
def test_what_contradicts_in_its_counters_is_another_cluster_whatever_the_label(label: str) -> None:
    rows = [
        row(instance=f"10.0.0.{n}:9962", more={label: value}) for n, value in product((1, 2), "ab")
    ]
    found = understood(rows, same=lambda one, other: REFUTED)
    assert found.clusters == (label,)
    assert found.table["node"].tolist() == ["a/10.0.0.1", "b/10.0.0.1", "a/10.0.0.2", "b/10.0.0.2"]
    assert found.labels == (label, "instance")
    assert any("2 clusters" in text and label in text for text in found.notes)


def test_replicas_of_two_clusters_are_told_apart_by_both_labels() -> None:
    rows = [
        row(instance=f"10.0.0.{n}:9962", location=cluster, replica=replica)
        for n, cluster, replica in product((1, 2), ("eu", "us"), "01")
    ]

    def same(one: Row, other: Row) -> Evidence:
        return PROVED if one.labels["location"] == other.labels["location"] else REFUTED

    found = understood(rows, same=same)
    assert found.clusters == ("location",)
    assert set(found.table["node"]) == {"eu/10.0.0.1", "us/10.0.0.1", "eu/10.0.0.2", "us/10.0.0.2"}
    assert found.labels == ("location", "instance")
    assert found.single == (Matcher("replica", "=", "0"),)


def test_what_is_proved_of_some_pairs_holds_for_all_that_differ_in_the_same_label() -> None:
    rows = [
        row("hubble", instance=f"10.0.0.{n}:9965", replica=value)
        for n, value in product((1, 2, 3), "ab")
    ]

    def only_the_first(one: Row, other: Row) -> Evidence:
        return PROVED if one.labels["instance"].startswith("10.0.0.1:") else Evidence()

    assert (understood(rows, same=only_the_first).table["replica_of"] >= 0).sum() == 3


def test_what_nothing_proves_is_said() -> None:
    rows = [row(instance="10.0.0.1:9962", site=value) for value in "ab"]
    found = understood(rows)
    assert len(set(found.table["node"])) == 2
    assert any("`site`" in text and "--match" in text for text in found.caveats)


def test_clusters_without_common_addresses_are_named_by_a_label_called_so() -> None:
    rows = [
        row(instance="10.0.0.1:9962", k8s_cluster="eu"),
        row(instance="10.1.0.1:9962", k8s_cluster="us"),
    ]
    assert understood(rows).table["node"].tolist() == ["eu/10.0.0.1", "us/10.1.0.1"]


# What counters prove


def counter(*values: float, key: str = "a") -> pd.DataFrame:
    return pd.DataFrame({(key,): values})


@pytest.mark.parametrize(
    ("one", "other", "verdict"),
    [
        # The same counter, read a little later.
        (counter(10, 20, 30, 40), counter(12, 23, 31, 42), "same"),
        # One that stands still, at the same value.
        (counter(5000, 5000, 5000), counter(5000, 5000, 5000), "same"),
        (counter(5000, 5000, 5000), counter(7000, 7000, 7000), "distinct"),
        (counter(500_000, 500_010, 500_020), counter(300, 310, 320), "distinct"),
        (counter(10, 20, 30, key="a"), counter(10, 20, 30, key="b"), "distinct"),
        # A few events may agree by chance.
        (counter(1, 1, 2), counter(1, 1, 2), "unknown"),
        (counter(0, 0, 0), counter(0, 0, 0), "unknown"),
        (counter(np.nan, 20, np.nan), counter(12, np.nan, 31), "unknown"),
    ],
)
def test_counters_of_one_agent_never_contradict_each_other(
    one: pd.DataFrame, other: pd.DataFrame, verdict: str
) -> None:
    assert compare(one, other).verdict == verdict
    assert compare(other, one).verdict == verdict


def test_processes_that_started_at_other_times_are_not_one() -> None:
    assert compare_starts(1_795_000_000.53, 1_795_000_000.53).verdict == "same"
    assert compare_starts(1_795_000_000.0, 1_795_000_000.0).verdict == "unknown"
    assert compare_starts(1_795_000_000.0, 1_795_000_100.0).verdict == "distinct"
    assert compare_starts(np.nan, 1_795_000_100.0).verdict == "unknown"


# How often they are scraped


@pytest.mark.parametrize("seconds", [5, 10, 15, 30, 60, 90, 120, 300])
@pytest.mark.parametrize("offset", [0, 7, 211])
def test_the_scrape_interval_is_learned_from_the_samples(seconds: int, offset: int) -> None:
    times = np.arange(offset, 7200, seconds)
    counts = np.bincount(times // 600)
    assert interval(counts, 600.0) == seconds


def test_a_gap_or_a_young_target_does_not_make_the_interval_longer() -> None:
    assert interval([40, 40, 13, 0, 0, 9, 40, 40], 600.0) == 15
    assert interval([0, 0, 0, 11, 40], 600.0) == 15


def test_of_two_intervals_one_after_the_other_the_longer_is_told() -> None:
    assert longest_kept([40] * 12 + [10] * 9, 600.0) == 60
    assert longest_kept([10] * 9 + [40] * 12, 600.0) == 60
    # Scrapes that fail now and then.
    assert longest_kept([40] * 12 + [12, 31, 22, 9, 27], 600.0) == 15
    # Older samples that a store keeps 5 min apart.
    assert longest_kept([2] * 12 + [20] * 12, 600.0) == 30


# What is made of answers


def frame(*series: dict[str, str]) -> pd.DataFrame:
    return frames.build(np.array([0]), np.arange(1.0, len(series) + 1)[None, :], series)


def test_answers_go_by_node_and_replicas_are_merged() -> None:
    rows = [
        row(instance=f"10.0.0.{n}:9962", job=job, node=f"w{n}") for n, job in product((1, 2), "ab")
    ]
    known = understood(rows, same=lambda one, other: PROVED)
    answer = frame(
        {"instance": "10.0.0.1:9962", "reason": "x"}, {"instance": "10.0.0.2:9962", "reason": "x"}
    )
    assert list(known.resolve(answer).columns) == [("w1", "x"), ("w2", "x")]


def test_a_target_that_nobody_knew_goes_by_its_own_labels() -> None:
    known = understood([row(instance="10.0.0.1:9962", node="w1")])
    answer = frame({"instance": "10.0.0.9:9962"}, {"instance": "10.0.0.1:9962"})
    assert list(known.resolve(answer).columns) == [("10.0.0.9",), ("w1",)]


def test_sums_over_nodes_have_no_node() -> None:
    rows = [row(instance=f"10.0.0.{n}:9962") for n in (1, 2)]
    assert list(understood(rows).resolve(frame({"reason": "x"})).columns) == [("", "x")]


def test_queries_keep_the_labels_that_tell_targets_apart() -> None:
    rows = [row(instance="kube-apiserver:443", pod=f"cilium-{pod}") for pod in "ab"]
    known = understood(rows)
    query = Query("max by (<target>, reason) (sum by (<cluster>, x) (m{<match>}))", "1", "")
    assert known.render(query, step=pd.Timedelta("30s")) == (
        "max by (pod, reason) (sum by (x) (m{}))"
    )
