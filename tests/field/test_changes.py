"""Cases of `siblings_changes`: what is true of each, asked of one topic at a time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from cilium_analysis import connect
from cilium_analysis.question import ask
from cilium_analysis.topics import setup
from tests.field.asking import Told, topic
from tests.field.checks import lasts, near, no_gaps, said_any
from tests.field.conftest import Asked, Serve
from tests.field.make import END, START, iso

LOST, FAILED = 24_060, 6012


def spike(told: Told, *, within: float = 30) -> dict[str, Any]:
    """Check that there is one finding of drops: the incident's."""
    found = told.one("drop_spike")
    assert found["total"] == near(LOST)
    lasts(found, 40, 60, within=within)
    return found


def test_pairs_of_servers_of_two_clusters_count_once_without_doubt(asked: Asked) -> None:
    told = asked("s19_pairs_of_clusters", "drop_reasons")
    found = spike(told)
    assert found["labels"]["node"] == "green/worker-2"
    assert not found["trust_reasons"]
    assert not said_any(told, ["may count a target twice"])


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["longer", "shorter"])
def test_another_scrape_interval_is_no_missing_scrapes(serve: Serve, variant: str) -> None:
    url, _ = serve(f"s20_interval.{variant}")
    told = topic(url, "drop_reasons")
    found = spike(told, within=60)
    assert found["labels"]["node"] == "worker-2"
    assert not found["trust_reasons"]
    no_gaps(told)
    told = topic(url, "endpoint_growth")
    found = told.one("endpoint_growth")
    assert (found["baseline_value"], found["value"]) == (20, 80)
    no_gaps(told)
    told = topic(url, "http_status")
    found = told.one("http_errors")
    assert found["total"] == near(FAILED)
    lasts(found, 80, 100, within=60)
    no_gaps(told)


@pytest.mark.parametrize("variant", ["up", "none"])
def test_scrapes_of_one_target_that_fail_in_turn_are_no_longer_interval(
    asked: Asked, variant: str
) -> None:
    told = asked(f"s26_failing_scrapes.{variant}", "drop_reasons")
    found = spike(told)
    assert found["labels"]["node"] == "worker-2"
    assert found["trust_reasons"] == ["worker-2 was scraped in only 50.0% of the steps"]
    assert said_any(told, ["worker-2 was not scraped for 30 of the window's 120 minutes"])


@pytest.mark.parametrize("name", ["drop_reasons", "http_status"])
def test_a_node_with_the_address_of_another_is_not_that_one(asked: Asked, name: str) -> None:
    told = asked("s21_replaced_node", name)
    found = told.one("drop_spike" if name == "drop_reasons" else "http_errors")
    assert found["labels"]["node"] == "worker-9"
    assert found["total"] == near(LOST if name == "drop_reasons" else FAILED)
    lasts(found, 40, 60, within=30)


def test_a_node_that_is_replaced_did_not_reboot(asked: Asked) -> None:
    told = asked("s21_replaced_node", "agent_health")
    assert not told.of("agent_restart")


def test_an_agent_is_not_silent_where_nothing_was_scraped(asked: Asked) -> None:
    found = asked("s22_server_stopped", "node_connectivity").one("node_unreachable")
    assert found["labels"]["node"] == "worker-3"
    assert "it could not reach them either" in found["title"]
    lasts(found, 40, 60, within=30)


@pytest.mark.parametrize("variant", ["starts", "none"])
def test_who_is_scraped_later_did_not_join_before(asked: Asked, variant: str) -> None:
    told = asked(f"s23_late_targets.{variant}", "endpoint_growth")
    assert not told.of("endpoint_growth")
    said = [note for note in told.notes["endpoint_growth"] if "joined" in note]
    assert len(said) == 2
    assert all("joined at 10:5" in note and "UTC" in note for note in said), said


def test_hosts_of_agents_and_addresses_of_hubble_are_one_node(serve: Serve) -> None:
    url, _ = serve("s24_hosts_and_addresses")
    assert spike(topic(url, "drop_reasons"))["labels"]["node"] == "worker-2.prod.example.com"
    found = topic(url, "http_status").one("http_errors")
    assert found["labels"]["node"] == "worker-2.prod.example.com"
    assert found["total"] == near(FAILED)


def test_clusters_told_by_two_labels_are_no_more_than_two(serve: Serve) -> None:
    url, _ = serve("s25_clusters_by_two_labels")
    source = connect(url)
    for name, kind, total in (
        ("drop_reasons", "drop_spike", LOST),
        ("http_status", "http_errors", FAILED),
    ):
        told = topic(url, name)
        found = told.one(kind)
        assert found["total"] == near(total)
        assert found["labels"]["node"] == "green/worker-2"
        assert said_any(told, ["of 2 clusters, told apart by `cluster` and `k8s_cluster`: blue, g"])
        # The query that is printed selects what the finding is about, and nothing else.
        shown = source.instant(found["query"], datetime.fromtimestamp(START + 3000, UTC))
        assert shown.to_numpy().max() > 1.0, found["query"]


def test_a_target_is_listed_once_whichever_label_tells_its_cluster(serve: Serve) -> None:
    url, _ = serve("s25_clusters_by_two_labels")
    question = ask(source=url, start=iso(START), end=iso(END))
    data = setup.load(question.source, question.window, question.baseline)
    assert len(data.now.targets) == 12
    assert (data.now.targets["up"] == 1.0).all()
