"""Cases of `siblings_nodes`: what is true of each, asked of one topic at a time."""

from __future__ import annotations

import pytest

from tests.field.asking import when
from tests.field.checks import lasts
from tests.field.conftest import Asked
from tests.field.make import MINUTE, START

NAMING = ("named", "counted")
UNREACHABLE = "node_unreachable"


@pytest.mark.parametrize("variant", NAMING)
def test_two_nodes_that_do_not_reach_each_other_are_named(asked: Asked, variant: str) -> None:
    found = asked(f"s36_two_nodes.{variant}", "node_connectivity").one(UNREACHABLE)
    assert found["title"].startswith("worker-1 and worker-2 could not reach each other for 20 min")
    lasts(found, 40, 60, within=90)


@pytest.mark.parametrize("variant", NAMING)
def test_another_cluster_that_is_not_reached_is_no_split(asked: Asked, variant: str) -> None:
    told = asked(f"s37_mesh.{variant}", "node_connectivity")
    found = told.of(UNREACHABLE)
    assert "split" not in told.said()
    for each in found:
        assert each["value"] == 1.0
        lasts(each, 40, 60, within=90)
    if variant == "named":
        assert {each["labels"]["node"] for each in found} == {
            f"west/worker-{n}" for n in (11, 12, 13)
        }
    else:
        (one,) = found
        assert one["title"].startswith(
            "3 nodes that the data does not name unreachable from 3 of 3"
        )


@pytest.mark.parametrize("variant", NAMING)
def test_clusters_that_know_nothing_of_each_other_are_judged_apart(
    asked: Asked, variant: str
) -> None:
    told = asked(f"s38_two_clusters.{variant}", "node_connectivity")
    first, second = sorted(told.of(UNREACHABLE), key=lambda each: str(each["start"]))
    assert "node" not in first["labels"]
    assert "us/" not in first["title"]
    lasts(first, 20, 30, within=120)
    assert second["labels"]["node"] == "eu/worker-3"
    assert "unreachable from both other nodes" in second["title"]
    lasts(second, 60, 80, within=120)
    assert "asymmetric" not in told.said()
    assert {first["severity"], second["severity"]} == {"critical"}


@pytest.mark.parametrize("variant", NAMING)
def test_an_outage_may_have_lasted_while_nothing_was_scraped(asked: Asked, variant: str) -> None:
    found = asked(f"s30_server_down.{variant}", "node_connectivity").one(UNREACHABLE)
    assert found["labels"]["node"] == "worker-3"
    assert "for 10.5 min or longer" in found["title"]
    assert "to within" not in found["title"]
    (reason,) = (each for each in found["trust_reasons"] if "nothing was scraped" in each)
    assert reason == "nothing was scraped for 29.5 min after it: it may be longer"


@pytest.mark.parametrize("variant", NAMING)
def test_a_node_that_leaves_wakes_nobody(asked: Asked, variant: str) -> None:
    told = asked(f"s31_leaves.{variant}", "node_connectivity")
    assert told.warnings() == []
    found = told.one(UNREACHABLE, node="worker-4")
    assert found["title"].endswith("then it left the cluster")


@pytest.mark.parametrize("variant", ["slow", "fast"])
def test_a_restart_is_seen_whatever_the_clock_of_its_node_says(asked: Asked, variant: str) -> None:
    found = asked(f"s32_clock.{variant}", "agent_health").one("agent_restart")
    assert found["labels"] == {"node": "worker-2"}
    assert "in place" in found["title"]
    assert "not scraped" not in found["title"]
    for end in ("start", "end"):
        assert abs(when(found[end]) - START - 25 * MINUTE) <= 60
    assert any("the clock of worker-2 differs" in reason for reason in found["trust_reasons"])


@pytest.mark.parametrize("variant", ["window", "before"])
def test_another_operator_that_leads_logs_no_more_than_before(asked: Asked, variant: str) -> None:
    found = asked(f"s33_failover.{variant}", "agent_health").one("operator_errors")
    lasts(found, 70, 80, within=60)
    assert found["total"] == pytest.approx(363, abs=3)
    assert found["baseline_value"] == pytest.approx(63, abs=3)
    assert "300 errors and 63 warnings" in found["title"]


def test_pods_of_a_drained_node_are_no_growth_of_the_cluster(asked: Asked) -> None:
    told = asked("s34_drained", "endpoint_growth")
    assert told.warnings() == []
    found = told.one("endpoint_growth")
    assert (found["baseline_value"], found["value"]) == (60, 90)
    assert found["title"].endswith("while those on worker-3 fell from 34 to 4")


def test_what_a_gap_hides_goes_on_only_if_it_does_after_the_gap(asked: Asked) -> None:
    told = asked("s35_hidden_end", "endpoint_growth")
    for kind in ("endpoint_limit", "endpoint_not_ready"):
        lasts(told.one(kind, node="worker-2"), 40, 55, within=30)
