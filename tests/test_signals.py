"""What is drawn beside a story is what its numbers were made of."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest

from cilium_analysis import connect, incident
from cilium_analysis.cards import Signal
from cilium_analysis.findings import Finding
from cilium_analysis.incident.signals import signals
from cilium_analysis.question import ask
from cilium_analysis.window import Window
from tests.incidents import variant
from tests.servers.served import ClusterServer

Serve = Callable[..., ClusterServer]


def first_of(served: ClusterServer) -> tuple[Finding, Signal]:
    """The first story of an incident, and its signal."""
    expected = served.scenario.truth
    assert expected is not None
    start, end = (served.scenario.start + timedelta(seconds=each) for each in expected.window)
    window = Window.parse(start.isoformat(), end.isoformat(), step="30s")
    data = incident.load(connect(served.url), window, window.baseline())
    found = incident.findings(data)
    return found[0], signals(data, found)[1]


def inside(signal: Signal, lead: Finding) -> np.ndarray:
    each = zip(signal.times, signal.values, strict=True)
    return np.array([value for time, value in each if lead.start < time <= lead.end])


def test_the_mean_of_what_is_shaded_is_what_the_finding_says() -> None:
    question = ask(source="sample", baseline="")
    data = incident.load(question.source, question.window, question.baseline)
    found = incident.findings(data)
    drawn = signals(data, found)
    # The finding is of three nodes; what trickles on the others is drawn, too.
    assert inside(drawn[1], found[0]).mean() == pytest.approx(found[0].value, rel=1e-3)
    assert (drawn[1].level, drawn[1].unit) == (found[0].baseline_value, "packets/s")
    # One restart is a moment.
    assert found[1].kind == "agent_restart"
    assert set(drawn) == {1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"), [("surge", "traffic_shift"), ("bad_deploy", "http_errors")]
)
def test_rates(name: str, kind: str, cluster_server: Serve) -> None:
    lead, signal = first_of(cluster_server(variant(name, 0)))
    assert lead.kind == kind
    assert inside(signal, lead).mean() == pytest.approx(lead.value, rel=1e-6)
    outside = np.array(
        [v for t, v in zip(signal.times, signal.values, strict=True) if t < lead.start]
    )
    assert outside.mean() == pytest.approx(signal.level, rel=0.1, abs=0.05)


@pytest.mark.slow
def test_durations_are_quantiles_of_the_same_buckets(cluster_server: Serve) -> None:
    lead, signal = first_of(cluster_server(variant("slow_backend", 0)))
    assert (lead.kind, signal.unit) == ("http_latency", "s (p95)")
    assert np.median(inside(signal, lead)) == pytest.approx(lead.value, rel=0.05)
    assert signal.level == pytest.approx(lead.baseline_value, rel=1e-6)


@pytest.mark.slow
def test_counts_are_drawn_per_minute(cluster_server: Serve) -> None:
    lead, signal = first_of(cluster_server(variant("operator_fails", 0)))
    assert (lead.kind, signal.unit) == ("operator_errors", "per minute")
    minutes = (lead.end - lead.start).total_seconds() / 60
    assert inside(signal, lead).mean() * minutes == pytest.approx(lead.value, rel=0.01)


@pytest.mark.slow
def test_scrapes_and_starts_are_counted(cluster_server: Serve) -> None:
    lead, signal = first_of(cluster_server(variant("scrape_outage", 0)))
    assert (lead.kind, signal.unit) == ("scrape_gap", "agents scraped")
    assert np.median(inside(signal, lead)) == signal.level - 1
    assert max(signal.values) == signal.level
    lead, signal = first_of(cluster_server(variant("agent_crash_loop", 0)))
    assert (lead.kind, signal.unit) == ("agent_restart", "starts so far")
    assert signal.values[-1] == lead.value
