"""Metrics are found by name and by meaning, and known with their traps."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cilium_analysis import connect
from cilium_analysis.errors import ParameterError
from cilium_analysis.metrics import Exported, help_on, known, search
from cilium_analysis.window import Window
from tests.servers.served import ClusterServer

#: Of the scenario.
WINDOW = Window.parse("2026-03-13T08:00Z", "2026-03-13T10:00Z")


@pytest.mark.parametrize(
    ("about", "first"),
    [
        ("drop", ["cilium_drop_count_total", "hubble_drop_total", "cilium_drop_bytes_total"]),
        ("dropped packets", ["cilium_drop_count_total"]),
        ("packet loss", ["cilium_drop_count_total", "hubble_drop_total"]),
        ("endpoint", ["cilium_endpoint"]),
        ("http errors", ["hubble_http_requests_total"]),
        ("slow dns", ["hubble_dns_queries_total", "hubble_dns_responses_total"]),
        ("policies", ["cilium_policy"]),
        ("map full", ["cilium_bpf_map_pressure"]),
        ("hubble_drop_total", ["hubble_drop_total"]),
    ],
)
def test_words_find_what_an_engineer_means(about: str, first: list[str]) -> None:
    found = connect("sample").metrics(about)
    assert list(found["metric"])[: len(first)] == first


def test_latency_finds_durations_too() -> None:
    found = set(connect("sample").metrics("latency")["metric"])
    assert {
        "cilium_node_connectivity_latency_seconds",
        "hubble_http_request_duration_seconds",
    } <= found


def test_a_row_says_type_labels_versions_and_whether_it_is_there() -> None:
    found = connect("sample").metrics("node connectivity").set_index("metric")
    row = found.loc["cilium_node_connectivity_status"]
    assert (row["type"], row["component"], row["until"]) == ("gauge", "agent", "1.18")
    assert "target_node_name" in row["labels"].split(", ")
    assert row["there"]
    assert not found.loc["cilium_node_health_connectivity_latency_seconds", "there"]
    assert found["there"].dtype == bool


def test_no_words_list_everything_and_strange_ones_nothing() -> None:
    assert len(search("", there={})) == len(known())
    assert search("xyzzy", there={}).empty
    assert search("xyzzy", there={}).columns[0] == "metric"


def test_metrics_of_others_are_found_where_they_are_exported() -> None:
    there = {"node_load1": Exported("gauge", "1m load average."), "lag_seconds_bucket": Exported()}
    assert search("load average", there=there)["metric"].iloc[0] == "node_load1"
    assert search("lag", there=there)["metric"].iloc[0] == "lag_seconds"


def test_help_names_the_traps() -> None:
    told = repr(help_on("cilium_drop_count_total", there=["cilium_drop_count_total"]))
    for part in ("counter", "direction, reason", "1.13 and later", "pinned BPF map", "source: yes"):
        assert part in told
    histogram = help_on("hubble_http_request_duration_seconds_bucket", there=[])
    assert histogram.metric.kind == "histogram"
    assert not histogram.there
    assert "up to 1.17" in repr(help_on("cilium_node_connectivity_status", there=[]))


def test_an_unknown_metric_suggests_one() -> None:
    with pytest.raises(ParameterError, match="did you mean cilium_drop_count_total"):
        help_on("cilium_drop_total", there=[])


def test_a_bundle_lists_labels_and_values_of_its_answers() -> None:
    bundle = connect("sample")
    assert "Policy denied" in bundle.label_values("reason", match="cilium_drop_count_total")
    assert "reason" in bundle.label_names(match="cilium_drop_count_total")
    assert "cilium_endpoint" in bundle.label_values("__name__")
    assert bundle.label_values("reason", match="cilium_endpoint") == []


def test_a_server_says_what_it_has(
    cluster_server: Callable[..., ClusterServer], server_kind: str
) -> None:
    with connect(cluster_server("restart_1_15", server_kind).url) as source:  # type: ignore[union-attr]
        found = source.metrics("drop").set_index("metric")
        assert found.index[0] == "cilium_drop_count_total"
        assert found.loc["cilium_drop_count_total", "there"]
        assert source.label_values("__name__", match="cilium_endpoint", window=WINDOW)
        found_labels = source.label_names(match="cilium_drop_count_total", window=WINDOW)
        assert {"reason", "direction"} <= set(found_labels)
        assert source.metric("hubble_drop_total").there
