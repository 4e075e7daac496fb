"""How often probes and scrapes are, and how well the times of an outage are known then."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pytest

from cilium_analysis import connect
from cilium_analysis.topics import connectivity
from cilium_analysis.window import Window
from cilium_simulator.connectivity import probe_seconds
from cilium_simulator.scenario import load
from cilium_simulator.scrape import Series
from tests.conftest import started
from tests.servers.process import ServerProcess
from tests.test_connectivity import (
    BASE,
    BOTH,
    COUNTED,
    MINUTES,
    NAMED,
    NEWEST,
    START,
    Serve,
    at,
    changed,
    event,
    fill,
    half,
    near,
    over_the_end,
    paths,
    read,
)


@pytest.fixture
def own_server() -> Iterator[ServerProcess]:
    """An empty server of this test's own."""
    yield from started("prometheus-2")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "changes"),
    [
        (NAMED, {}),
        (BOTH, {}),
        (COUNTED, {"probe_ratio": 0.0}),
        (NEWEST, {}),
        (NEWEST, {"secondary": 1}),
        (NEWEST, {"probe_ratio": 1.0, "interval": 120}),
    ],
)
def test_the_time_between_probes_is_measured(
    version: tuple[int, int, int], changes: dict[str, float], cluster_server: Serve
) -> None:
    served = cluster_server(BASE.with_(version=version, **changes))
    data = read(served)
    assert data.now.pace.probe.total_seconds() == pytest.approx(
        probe_seconds(served.scenario), rel=0.1
    )
    assert data.now.pace.scrape.total_seconds() == pytest.approx(served.scenario.interval, rel=0.1)
    assert data.now.pace.known == ("fixed" if version == NAMED else "measured")


def test_it_is_measured_where_the_recording_is_young_and_agents_restart(
    cluster_server: Serve,
) -> None:
    served = cluster_server(load("restart_1_15").with_(version=NEWEST))
    begin = served.scenario.start - timedelta(hours=3)
    window = Window.parse(begin.isoformat(), served.scenario.end.isoformat(), step="1m")
    probe = read(served, window).now.pace.probe.total_seconds()
    assert probe == pytest.approx(probe_seconds(served.scenario), rel=0.1)


def test_without_samples_the_number_of_addresses_is_a_bound(own_server: ServerProcess) -> None:
    fill(own_server, list(paths(20, 3)))
    window = over_the_end()
    data = connectivity.load(connect(own_server.url), window, window.baseline("1d"))
    assert data.now.pace.known == "at most"
    assert data.now.pace.probe.total_seconds() == pytest.approx(60 * np.log1p(40), abs=1)
    (finding,) = connectivity.findings(data)
    assert "to within one probe and one scrape (at most " in finding.title
    assert any(
        "at most: it depends on the number of addresses" in n for n in connectivity.notes(data)
    )


@pytest.mark.slow
@pytest.mark.parametrize("version", [NAMED, COUNTED, NEWEST])
@pytest.mark.parametrize("length", [4, 15])
def test_title_table_and_finding_agree_and_hold_the_truth(
    version: tuple[int, int, int], length: int, cluster_server: Serve
) -> None:
    out = event("unreachable", "worker-5", 70, 70 + length)
    data = read(cluster_server(changed("bounds", out, version=version, interval=15)))
    (finding,) = connectivity.findings(data)
    (row,) = connectivity.outages(data).to_dict("records")
    assert (row["start"], row["end"]) == (finding.start, finding.end)
    assert row["minutes"] == (finding.end - finding.start) / timedelta(minutes=1)
    said = f"{row['minutes']:.3g} min" if row["minutes"] >= 2 else f"{60 * row['minutes']:.0f} s"
    assert f"for {said}, to within one probe" in finding.title
    assert row["at least"] <= length <= row["at most"]
    assert near(finding, 70, 70 + length, version)


@pytest.mark.slow
@pytest.mark.parametrize("version", [NAMED, NEWEST])
@pytest.mark.parametrize("step", ["30s", "5m"])
@pytest.mark.parametrize("interval", [15, 60, 120, 300])
def test_rare_scrapes_are_no_gaps(
    version: tuple[int, int, int], step: str, interval: int, cluster_server: Serve
) -> None:
    served = cluster_server(BASE.with_(version=version, interval=interval))
    data = read(served, half(served, step=step))
    (finding,) = connectivity.findings(data)
    assert finding.labels == {"node": "worker-5", "type": "node"}
    assert "all 7 other nodes" in finding.title
    assert "not scraped" not in finding.title
    off = timedelta(seconds=interval + probe_seconds(served.scenario))
    assert abs(finding.start - at(70)) <= off
    assert abs(finding.end - at(85)) <= off
    assert not [note for note in connectivity.notes(data) if "itself saw" in note]
    assert not [reason for reason in finding.trust_reasons if "scraped" in reason]
    missed = connectivity.missed(data).set_index(["node", "type"])["minutes"]
    assert missed["worker-5", "node"] == pytest.approx(15, abs=5 + off / timedelta(minutes=1))


def test_agents_without_connectivity_metrics_are_unknown_and_said_why(
    own_server: ServerProcess,
) -> None:
    times = START + 60_000 * MINUTES
    for place in range(3):
        own = {"instance": f"10.0.0.{place}:9962", "node": f"n{place}"}
        zero = Series("cilium_unreachable_nodes", "gauge", own, times, np.zeros(len(times)))
        fill(own_server, [zero])
    window = over_the_end()
    data = connectivity.load(connect(own_server.url), window, window.baseline("1d"))
    (finding,) = connectivity.findings(data)
    assert finding.kind == "missing_metrics"
    assert any("3 agents do say" in reason for reason in finding.trust_reasons)
    assert connectivity.empty(data, "outages").startswith("Unknown")
    assert connectivity.empty(data, "missed") == "No agent missed another."


def test_without_a_baseline_nothing_is_compared(cluster_server: Serve) -> None:
    slow = event("latency", "worker-3", 75, 95, added=0.05)
    served = cluster_server(changed("slow", slow))
    window = half(served)
    data = connectivity.load(connect(served.url), window, window.baseline("1w"))
    (finding,) = connectivity.findings(data)
    assert np.isnan(finding.baseline_value)
    assert any("no baseline" in reason for reason in finding.trust_reasons)
    assert any(note.startswith("No baseline") for note in connectivity.notes(data))
