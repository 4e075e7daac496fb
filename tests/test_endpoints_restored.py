"""Endpoints where agents restart or are scraped rarely: what is restored, and what is no gap."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from cilium_analysis.findings import Severity
from cilium_analysis.topics import endpoints
from tests.cluster.scenario import Event, load
from tests.sources import grid
from tests.test_endpoints import WIDE, WINDOW, Serve, ask, from_memory, kinds, only, quiet

HALF = WIDE.points // 2
#: when the agents below start
START = WINDOW.start.timestamp() + 1800
LABELS = "instance node outcome phase"
Series = dict[tuple[str, ...], object]


def restoration(
    skipped: float = 0.0, **counts: tuple[float, float, float]
) -> dict[str, pd.DataFrame]:
    """Agents that start in the middle and have restored these (total, successful, failed)."""
    now = np.arange(WIDE.points) > HALF
    less = defaultdict(float, {("total", "regeneration"): skipped})
    shown: Series = {
        ("i" + node, node, outcome, phase): np.where(now, number - less[outcome, phase], 0.0)
        for node, parts in counts.items()
        for outcome, number in zip(("total", "successful", "failed"), parts, strict=True)
        for phase in (("regeneration",) if outcome != "total" else ("restoration", "regeneration"))
    }
    starts: Series = {("i" + node, node): np.where(now, START, START - 1e6) for node in counts}
    seconds: Series = {("i" + node, node): np.where(now, 12.5, 0.0) for node in counts}
    return {
        "restoration": grid(WIDE, shown, LABELS),
        "restoration_seconds": grid(WIDE, seconds, "instance node"),
        "agents": grid(WIDE, starts, "instance node"),
    }


def test_what_a_restarted_agent_restored_is_told(cluster_server: Serve) -> None:
    served = cluster_server(load("restart_1_15").with_(version=(1, 20, 0)))
    data = ask(served, 0.5, 2)
    table = endpoints.restorations(data)
    restarted = {r["node"] for r in served.truth.restarts if r["why"] != "first"}
    assert set(table["node"]) == restarted
    assert (table["total"] > 0).all()
    assert (table["restored"] == table["total"]).all()
    assert (table["open"] == 0).all()
    assert any("restored" in n and "endpoints in 45 s" in n for n in endpoints.notes(data))
    assert kinds(data) == []


def test_endpoints_that_were_not_restored_are_a_finding() -> None:
    data = from_memory(**restoration(a=(30, 28, 2), b=(20, 20, 0)))
    finding = only(data, "endpoint_not_ready")
    assert finding.labels == {"node": "a"}
    assert finding.severity is Severity.WARNING
    assert "2 of 30 endpoints on a were not restored" in finding.title
    assert "(regeneration failed)" in finding.title
    assert (finding.value, finding.share) == (2.0, pytest.approx(2 / 30))
    assert any("failed with 2" in note for note in endpoints.notes(data))


def test_many_that_were_not_restored_are_critical() -> None:
    finding = only(from_memory(**restoration(a=(30, 21, 9), b=(9, 3, 6))), "endpoint_not_ready")
    assert finding.severity is Severity.CRITICAL
    assert finding.labels == {}
    assert "15 of 39 endpoints on a, b" in finding.title


def test_an_agent_that_still_restores_is_said_to() -> None:
    data = from_memory(**restoration(a=(30, 10, 0)))
    assert kinds(data) == []
    assert any("has 20 yet to restore" in note for note in endpoints.notes(data))


def test_what_is_skipped_is_no_failure() -> None:
    data = from_memory(**restoration(skipped=1.0, a=(4, 3, 0)))
    assert kinds(data) == []
    (row,) = endpoints.restorations(data).to_dict("records")
    assert (row["restored"], row["skipped"], row["open"]) == (3.0, 1.0, 0.0)


@pytest.mark.parametrize("interval", [15, 60, 120, 300])
def test_rare_scrapes_are_no_gaps(interval: int, cluster_server: Serve) -> None:
    grows = Event("endpoints", 9000, 10800, ("worker-1",), size=40, shape="ramp")
    data = ask(cluster_server(quiet(grows, interval=interval)), 2, 4)
    grown = only(data, "endpoint_growth")
    assert grown.labels == {"node": "worker-1"}
    assert grown.trust == "good"
    assert grown.value - grown.baseline_value == pytest.approx(40, abs=6)
    assert not [note for note in endpoints.notes(data) if "not scraped" in note]
    assert not [note for note in endpoints.notes(data) if "joined" in note or "seen" in note]
    assert (endpoints.by_node(data)["scraped"] == 1.0).all()


def test_what_is_not_ready_at_one_rare_scrape_is_not_stuck(cluster_server: Serve) -> None:
    brief = Event("not_ready", 9000, 9240, ("worker-1",), size=2)
    long = Event("not_ready", 11000, 12600, ("worker-1",), size=2)
    data = ask(cluster_server(quiet(brief, long, interval=300)), 2, 4)
    stuck = only(data, "endpoint_not_ready")
    assert abs((stuck.end - stuck.start) - timedelta(seconds=1600)) <= timedelta(minutes=6)


def test_endpoints_count_in_states_where_nothing_else_counts_them() -> None:
    late = np.where(np.arange(WIDE.points) > HALF, 3.0, 0.0)
    stuck: Series = {("ready", "i", "a"): 10.0 - late, ("waiting-for-identity", "i", "a"): late}
    data = from_memory(
        states=grid(WIDE, stuck, "endpoint_state instance node"),
        agents=grid(WIDE, {("i", "a"): 1.0}, "instance node"),
    )
    assert "3 of 10 endpoints on a are not ready" in only(data, "endpoint_not_ready").title


@pytest.mark.parametrize(("done", "severity"), [(50, Severity.WARNING), (9000, Severity.INFO)])
def test_few_failed_regenerations_among_many_are_no_warning(
    done: float, severity: Severity
) -> None:
    steps = np.arange(WIDE.points)
    late = steps > HALF
    counts: Series = {
        ("fail", "i", "a"): np.where(late, np.minimum(steps - HALF, 30), 0.0),
        ("success", "i", "a"): done * steps,
    }
    data = from_memory(
        regenerations=grid(WIDE, counts, "outcome instance node"),
        agents=grid(WIDE, {("i", "a"): 1.0}, "instance node"),
    )
    assert only(data, "regeneration_failures").severity is severity


def test_a_node_that_was_there_when_a_young_baseline_began_has_not_joined() -> None:
    starts = WINDOW.baseline().start.timestamp() - 60
    data = from_memory(
        agents=grid(WIDE, {("i", "a"): starts}, "instance node"),
        endpoints=grid(WIDE, {("i", "a"): 4.0}, "instance node"),
    )
    assert not [note for note in endpoints.notes(data) if "joined" in note]
