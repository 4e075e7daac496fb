"""Endpoints where agents restart, are scraped rarely or say little: what is no gap, no growth."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pytest

from cilium_analysis import connect
from cilium_analysis.findings import Severity
from cilium_analysis.topics import endpoints
from cilium_analysis.window import Window
from cilium_simulator.events import Endpoints, NotReady
from cilium_simulator.scenario import load
from cilium_simulator.scrape import Series
from tests.conftest import started
from tests.servers.process import ServerProcess
from tests.test_connectivity import fill
from tests.test_endpoints import Serve, ask, kinds, only, quiet

WINDOW = Window.parse("2026-03-21T08:00Z", "2026-03-21T09:00Z", step="30s")
BASELINE = WINDOW.baseline()
#: scrapes every 30 s of baseline and window
TIMES = 1000 * np.arange(BASELINE.start.timestamp(), WINDOW.end.timestamp() + 1, 30).astype("int64")
#: since when something is different: half an hour into the window
SINCE = 1000 * (WINDOW.start.timestamp() + 1800)
LATE = TIMES > SINCE
PREFIX = "cilium_endpoint_restoration_"


@pytest.fixture
def own_server() -> Iterator[ServerProcess]:
    """An empty server of this test's own."""
    yield from started("prometheus-2")


def level(name: str, node: str, values: object, **labels: str) -> Series:
    """A metric of the agent on a node, in the baseline and in the window."""
    own = {"instance": f"{node}:9962", "job": "cilium", "node": node, **labels}
    shown = np.broadcast_to(np.asarray(values, dtype="float64"), len(TIMES))
    return Series(name, "gauge", own, TIMES, shown)


def starts(node: str, *, restarts: bool = False) -> Series:
    old = BASELINE.start.timestamp() - 1e6
    began = np.where(LATE, SINCE / 1000, old) if restarts else old
    return level("cilium_process_start_time_seconds", node, began)


def restored(
    node: str, total: float, successful: float, failed: float, *, skipped: float = 0.0
) -> list[Series]:
    """An agent that starts in the window and has restored these endpoints."""
    counts = [
        ("restoration", "total", total),
        ("regeneration", "total", total - skipped),
        ("regeneration", "successful", successful),
        ("regeneration", "failed", failed),
    ]
    shown = [
        level(f"{PREFIX}endpoints", node, np.where(LATE, n, 0.0), phase=phase, outcome=outcome)
        for phase, outcome, n in counts
    ]
    took = np.where(LATE, 12.5, 0.0)
    seconds = level(f"{PREFIX}duration_seconds", node, took, phase="regeneration")
    return [starts(node, restarts=True), seconds, *shown]


def load_from(server: ServerProcess, *series: Series) -> endpoints.Endpoints:
    fill(server, list(series))
    return endpoints.load(connect(server.url), WINDOW, BASELINE)


def test_what_a_restarted_agent_restored_is_told(cluster_server: Serve) -> None:
    served = cluster_server(load("restart_1_15").with_(version=(1, 20, 0)))
    data = ask(served, 0.5, 2)
    table = endpoints.restorations(data)
    restarted = {r["node"] for r in served.truth.restarts if r["why"] != "first"}
    assert set(table["node"]) == restarted
    assert (table["total"] > 0).all()
    assert (table["restored"] == table["total"]).all()
    assert (table["open"] == 0).all()
    assert any("endpoints in 45 s." in note for note in endpoints.notes(data))
    assert kinds(data) == []


def test_endpoints_that_were_not_restored_are_a_finding(own_server: ServerProcess) -> None:
    data = load_from(own_server, *restored("a", 30, 28, 2), *restored("b", 20, 20, 0))
    finding = only(data, "endpoint_not_ready")
    assert finding.labels == {"node": "a"}
    assert finding.severity is Severity.WARNING
    assert "2 of 30 endpoints on a were not restored" in finding.title
    assert "(regeneration failed)" in finding.title
    assert (finding.value, finding.share) == (2.0, pytest.approx(2 / 30))
    assert any("28 of 30 endpoints in 12.5 s, failed with 2." in n for n in endpoints.notes(data))


def test_many_that_were_not_restored_are_critical(own_server: ServerProcess) -> None:
    data = load_from(own_server, *restored("a", 30, 21, 9), *restored("b", 9, 3, 6))
    finding = only(data, "endpoint_not_ready")
    assert finding.severity is Severity.CRITICAL
    assert finding.labels == {}
    assert "15 of 39 endpoints on a, b" in finding.title


def test_an_agent_that_still_restores_or_skipped_some_is_no_finding(
    own_server: ServerProcess,
) -> None:
    slow, other = restored("a", 30, 10, 0), restored("b", 4, 3, 0, skipped=1)
    data = load_from(own_server, *slow, *other)
    assert kinds(data) == []
    notes = endpoints.notes(data)
    assert any("agent on a" in note and "has 20 yet to restore" in note for note in notes)
    assert any("agent on b" in note and "skipped 1." in note for note in notes)


@pytest.mark.slow
@pytest.mark.parametrize("interval", [15, 60, 120, 300])
def test_rare_scrapes_are_no_gaps(interval: int, cluster_server: Serve) -> None:
    grows = Endpoints(9000, 10800, ("worker-1",), count=40, shape="ramp")
    data = ask(cluster_server(quiet(grows, interval=interval)), 2, 4)
    grown = only(data, "endpoint_growth")
    assert grown.labels == {"node": "worker-1"}
    assert grown.trust == "good"
    assert grown.value - grown.baseline_value == pytest.approx(40, abs=6)
    assert not [note for note in endpoints.notes(data) if "not scraped" in note]
    assert not [note for note in endpoints.notes(data) if "joined" in note or "seen" in note]
    assert (endpoints.by_node(data)["scraped"] == 1.0).all()


def test_what_is_not_ready_at_one_rare_scrape_is_not_stuck(cluster_server: Serve) -> None:
    brief = NotReady(9000, 9240, ("worker-1",), count=2)
    long = NotReady(11000, 12600, ("worker-1",), count=2)
    data = ask(cluster_server(quiet(brief, long, interval=300)), 2, 4)
    stuck = only(data, "endpoint_not_ready")
    assert abs((stuck.end - stuck.start) - timedelta(seconds=1600)) <= timedelta(minutes=6)


def test_endpoints_count_in_states_where_nothing_else_counts_them(
    own_server: ServerProcess,
) -> None:
    stuck, name = np.where(LATE, 3.0, 0.0), "cilium_endpoint_state"
    data = load_from(
        own_server,
        starts("a"),
        level(name, "a", 10.0 - stuck, endpoint_state="ready"),
        level(name, "a", stuck, endpoint_state="waiting-for-identity"),
    )
    assert "3 of 10 endpoints on a are not ready" in only(data, "endpoint_not_ready").title


def test_few_failed_regenerations_among_many_are_no_warning(own_server: ServerProcess) -> None:
    steps, name = np.arange(len(TIMES)), "cilium_endpoint_regenerations_total"
    since = np.maximum(steps - int(np.argmax(LATE)), 0)
    data = load_from(
        own_server,
        starts("a"),
        level(name, "a", np.minimum(since, 30), outcome="fail"),
        level(name, "a", 9000 * steps, outcome="success"),
    )
    finding = only(data, "regeneration_failures")
    assert finding.severity is Severity.INFO
    assert finding.share is not None
    assert finding.share < 0.01


def test_agents_that_hide_their_endpoints_are_said_to(own_server: ServerProcess) -> None:
    data = load_from(own_server, starts("a"))
    assert kinds(data) == []
    assert any("growth cannot be told" in note for note in endpoints.notes(data))
    assert any("ready is unknown" in note for note in endpoints.notes(data))
    assert endpoints.ready(data).startswith("Unknown")


def test_a_node_that_was_there_when_a_young_baseline_began_has_not_joined(
    own_server: ServerProcess,
) -> None:
    young = BASELINE.start.timestamp() - 60
    data = load_from(
        own_server,
        level("cilium_process_start_time_seconds", "a", young),
        level("cilium_endpoint", "a", 4.0),
    )
    assert not [note for note in endpoints.notes(data) if "joined" in note]
