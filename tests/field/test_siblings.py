"""Cases of one's own: what is true of each, asked of one topic at a time of a real Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from cilium_analysis import frames
from cilium_analysis.topics import drops, http
from tests.conftest import installed_or_skip
from tests.field.asking import Told, topic
from tests.field.checks import counted_in, lasts, near, no_gaps, nowhere, said_any
from tests.field.conftest import Asked, Serve
from tests.field.make import END, START, build
from tests.field.native import serving_native
from tests.servers.prometheus import NotInstalled

LOST = 24_060


def spike(told: Told, *, within: float = 30) -> dict[str, Any]:
    """Check that there is one finding of drops: the incident's."""
    found = told.one("drop_spike")
    assert found["total"] == near(LOST)
    lasts(found, 40, 60, within=within)
    return found


def grown(told: Told) -> dict[str, Any]:
    """Check that endpoints of one node grow from 20 to 80 at 10:40."""
    found = told.one("endpoint_growth")
    assert found["value"] == near(80)
    assert found["baseline_value"] == near(20)
    return found


# Which targets exist


@pytest.mark.parametrize(("variant", "node"), [("plain", "10.0.0.2"), ("node", "worker-2")])
def test_federated_agents_are_known_by_their_own_instance(
    asked: Asked, variant: str, node: str
) -> None:
    told = asked(f"s01_federated.{variant}", "drop_reasons")
    found = spike(told)
    assert found["labels"]["node"] == node
    assert "prometheus-edge" not in found["title"]
    assert len(drops.by_node(told.data)) == 3


@pytest.mark.parametrize("variant", ["up", "alone"])
def test_a_sum_over_nodes_has_no_place_and_a_fall_is_no_reset(asked: Asked, variant: str) -> None:
    told = asked(f"s02_aggregated.{variant}", "drop_reasons")
    found = told.one("drop_spike")
    assert found["total"] == near(24_180)
    lasts(found, 40, 60, within=30)
    assert not found["labels"].get("node")
    nowhere(told)
    assert said_any(told, ["aggregated"])
    # After the fall the sum goes on; what it fell by is not counted again.
    assert told.data.now.counts.sum().sum() == near(24_000 + 0.15 * 7200, 0.02)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["port", "job", "pod"])
def test_targets_under_other_labels_go_on_counting(serve: Serve, variant: str) -> None:
    url, _ = serve(f"s03_renamed_targets.{variant}")
    told = topic(url, "drop_reasons")
    assert not told.of("drop_spike")
    assert told.data.now.counts.sum().sum() == near(1440)
    told = topic(url, "http_status")
    assert not told.warnings()
    assert told.data.now.counts.sum().sum() == near(80 * 7200)


@pytest.mark.slow
@pytest.mark.parametrize("label", ["location", "k8s_cluster", "env"])
def test_clusters_are_told_apart_in_every_topic(serve: Serve, label: str) -> None:
    url, _ = serve(f"s04_clusters.{label}")
    told = topic(url, "drop_reasons")
    found = spike(told)
    where = " ".join([found["title"], *found["labels"].values()])
    assert "worker-2" in where
    assert "green" in where
    assert len(drops.by_node(told.data)) == 6
    found = grown(topic(url, "endpoint_growth"))
    assert "green" in " ".join([found["title"], *found["labels"].values()])
    told = topic(url, "http_status")
    found = told.one("http_errors")
    assert found["total"] == near(6000)
    assert said_any(told, ["green"])


@pytest.mark.parametrize("label", ["location", "env"])
def test_a_matcher_chooses_a_cluster(serve: Serve, label: str) -> None:
    url, _ = serve(f"s04_clusters.{label}")
    told = topic(url, "drop_reasons", match=f'{label}="green"')
    assert spike(told)["labels"]["node"] == "worker-2"
    assert not topic(url, "drop_reasons", match=f'{label}="blue"').of("drop_spike")


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["label", "federated"])
def test_what_is_stored_twice_counts_once_in_every_topic(serve: Serve, variant: str) -> None:
    url, _ = serve(f"s05_replicas.{variant}")
    told = topic(url, "drop_reasons")
    assert spike(told)["labels"]["node"] == "worker-2"
    assert set(drops.by_node(told.data).index) == {"worker-1", "worker-2", "worker-3"}
    assert grown(topic(url, "endpoint_growth"))["labels"]["node"] == "worker-2"
    told = topic(url, "http_status")
    found = told.one("http_errors")
    assert found["total"] == near(6000)
    assert told.data.now.counts.sum().sum() == near(3 * 20 * 7200 + 6000)


@pytest.mark.parametrize("variant", ["two_names", "two_addresses"])
def test_names_of_nodes_that_contradict_are_not_used(asked: Asked, variant: str) -> None:
    told = asked(f"s06_node_info.{variant}", "drop_reasons")
    assert spike(told)["labels"]["node"] == "10.0.0.2"
    assert set(drops.by_node(told.data).index) == {"10.0.0.1", "10.0.0.2", "10.0.0.3"}


def test_hubble_without_a_node_label_is_of_the_same_nodes(asked: Asked) -> None:
    told = asked("s07_hubble_without_node", "drop_reasons")
    found = spike(told)
    assert found["labels"]["node"] == "worker-2"
    assert "shop/cart" in found["title"]
    assert "10.0.0.2" not in told.said()
    assert set(told.data.now.hubble.columns.get_level_values("node")) == {
        "worker-1",
        "worker-2",
        "worker-3",
    }


def test_endpoints_of_agents_behind_a_proxy_are_not_merged(asked: Asked) -> None:
    told = asked("s08_proxied", "endpoint_growth")
    found = told.one("endpoint_growth")
    assert found["value"] - found["baseline_value"] == near(40)
    assert "proxy.monitoring" not in found["title"]
    nowhere(told)


@pytest.mark.parametrize("variant", ["instance", "none"])
def test_a_label_of_a_collector_on_each_node_tells_the_nodes(asked: Asked, variant: str) -> None:
    told = asked(f"s27_collectors.{variant}", "drop_reasons")
    found = spike(told)
    assert (found["labels"]["node"], found["labels"]["workload"]) == ("machine-2", "cart")
    assert frames.totals(told.data.now.counts, ["node"]).to_dict() == {
        "machine-1": near(360),
        "machine-2": near(LOST + 300),
        "machine-3": near(360),
    }


@pytest.mark.slow
def test_sums_over_many_nodes_count_once(asked: Asked) -> None:
    told = asked("s09_many_nodes_twice", "drop_reasons", step="60s", baseline="previous")
    found = spike(told, within=60)
    assert found["labels"]["node"] == "worker-77"
    assert "shop/cart" in found["title"]
    assert len(drops.by_node(told.data)) == 120


@pytest.mark.slow
def test_sums_over_many_nodes_say_what_a_gap_hides(serve: Serve) -> None:
    url, _ = serve("s29_many_nodes_gap")
    found = topic(url, "drop_reasons", step="60s").one("drop_spike")
    assert found["total"] == near(4 * LOST)
    assert "on 4 of 101 nodes" in found["title"]
    found = topic(url, "http_status", step="60s").one("http_errors")
    assert 24_000 - 7 * 60 * 5 <= found["total"] <= 24_000
    assert [why for why in found["trust_reasons"] if "worker-3 was not scraped" in why]


# What a counter gained


def test_a_reason_that_is_spelled_otherwise_goes_on_counting(asked: Asked) -> None:
    told = asked("s10_renamed_reason", "drop_reasons")
    assert not told.of("drop_spike")
    assert told.data.now.counts.sum().sum() == near(1440, 0.02)


def test_first_failed_requests_count_without_start_times(asked: Asked) -> None:
    found = asked("s11_first_burst.http", "http_status").one("http_errors")
    assert found["total"] == 9000
    lasts(found, 40, 40.5, within=30)


def test_a_restart_between_rare_scrapes_takes_nothing_away(asked: Asked) -> None:
    found = asked("s28_rare_scrapes_restart", "http_status").one("http_errors")
    assert 24_000 - 460 <= found["total"] <= 24_010
    assert found["labels"]["node"] == "worker-2"


def test_first_failed_lookups_count_without_start_times(asked: Asked) -> None:
    found = asked("s11_first_burst.dns", "dns").one("dns_failures")
    assert found["total"] == 9000
    assert "db.shop" in found["title"]
    lasts(found, 40, 40.5, within=30)


def test_requests_that_nobody_counted_before_are_no_rise(asked: Asked) -> None:
    told = asked("s12_hubble_switched_on", "http_status")
    assert not told.of("http_errors")
    assert said_any(told, ["baseline"])
    truth = counted_in(
        build("s12_hubble_switched_on")[0],
        "hubble_http_requests_total",
        after=START,
        until=END,
        status="500",
    )
    table = http.by_status(told.data)
    assert table.loc["500", "requests"] == near(truth, 0.03)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["window", "never"])
def test_buckets_of_agents_are_numbers(serve: Serve, variant: str) -> None:
    url, _ = serve(f"s13_le_of_agents.{variant}")
    for name in ("node_connectivity", "endpoint_growth"):
        assert not topic(url, name).warnings()


# Scrape intervals


@pytest.mark.slow
@pytest.mark.parametrize("every", [60, 120, 300])
def test_rare_scrapes_of_endpoints_lookups_and_handshakes(serve: Serve, every: int) -> None:
    url, _ = serve(f"s14_slow_scrape.{every}")
    told = topic(url, "endpoint_growth")
    assert grown(told)["labels"]["node"] == "worker-2"
    no_gaps(told)
    told = topic(url, "dns")
    found = told.one("dns_failures")
    assert found["total"] == near(24_000)
    lasts(found, 80, 100, within=every)
    no_gaps(told)
    told = topic(url, "flows")
    assert not told.warnings()
    no_gaps(told)


@pytest.mark.parametrize("every", [60, 120])
def test_rare_scrapes_of_the_newer_connectivity_metrics(asked: Asked, every: int) -> None:
    told = asked(f"s15_slow_health.{every}", "node_connectivity")
    found = told.one("node_unreachable")
    assert found["labels"]["node"] == "worker-3"
    lasts(found, 40, 60, within=every)
    no_gaps(told)


# Worth acting on


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["3", "20", "100", "doubled"])
def test_a_handful_of_packets_is_no_warning(asked: Asked, variant: str) -> None:
    assert not asked(f"s16_quiet.{variant}", "drop_reasons").warnings()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["http_status", "dns", "flows"])
def test_failures_that_double_with_all_traffic_are_no_warning(asked: Asked, name: str) -> None:
    assert not asked("s16_quiet.doubled", name).warnings()


def test_hubble_alone_shows_drops(asked: Asked) -> None:
    told = asked("s17_hubble_only", "drop_reasons")
    found = spike(told)
    assert "from shop/front to shop/cart" in found["title"]
    assert found["labels"]["node"] == "worker-2"
    assert found["trust_reasons"] or "event" in found["title"] + found["unit"]
    assert not said_any(told, ["No packet was dropped"])


@pytest.mark.parametrize("variant", ["denied", "zero", "none"])
def test_failed_requests_name_the_source_first(asked: Asked, variant: str) -> None:
    told = asked(f"s18_failed_requests.{variant}", "http_status")
    found = told.one("http_denied" if variant == "denied" else "http_errors")
    assert found["total"] == near(12_000)
    assert "from shop/front to shop/cart" in found["title"]
    lasts(found, 40, 60, within=30)


def test_totals_are_whole_packets(asked: Asked) -> None:
    told = asked("s07_hubble_without_node", "drop_reasons")
    total = told.one("drop_spike")["total"]
    assert total == np.round(total)


@pytest.fixture(scope="module")
def native() -> Iterator[str]:
    """Serve c05 with its durations stored as native histograms."""
    name = "hubble_http_request_duration_seconds"
    try:
        with serving_native(build("c05_le.never")[0], name) as url:
            yield url
    except NotInstalled as error:
        installed_or_skip(error)


def test_durations_are_the_same_from_native_histograms(native: str) -> None:
    told = topic(native, "http_status")
    assert not told.of("http_errors")
    found = told.of("http_latency")
    if not found:
        # Then the page says why.
        assert said_any(told, ["native", "nhcb"])
        return
    lasts(found[0], 70, 90, within=30)
    assert found[0]["value"] == near(4.69, 0.03)
    assert http.latency(told.data).iloc[0]["usual p95"] == near(0.1, 0.03)
