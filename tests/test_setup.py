"""The setup check: what a cluster exports, on real servers, and what to do about the rest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pandas as pd
import pytest

from cilium_analysis import connect
from cilium_analysis.cli import main
from cilium_analysis.errors import QueryRejected
from cilium_analysis.findings import Severity
from cilium_analysis.metrics.known import VERSIONS, find
from cilium_analysis.topics import setup
from cilium_analysis.topics.setup.checks import CHECKS
from cilium_analysis.window import Window
from cilium_simulator.scenario import Scenario
from cilium_simulator.scenario import load as scenario
from tests.servers.served import ClusterServer
from tests.sources import MemorySource

Serve = Callable[..., ClusterServer]

WINDOW = Window.parse("2026-03-21T08:00Z", "2026-03-21T10:00Z", step="30s")


def whole(served: ClusterServer, step: str = "30s") -> Window:
    told = served.scenario
    return Window.parse(told.start.isoformat(), told.end.isoformat(), step=step)


def load(served: ClusterServer, step: str = "30s") -> setup.Setup:
    window = whole(served, step)
    return setup.load(connect(served.url), window, window.baseline())


def states(data: setup.Setup) -> dict[str, str]:
    table = setup.checks(data)
    return dict(zip(table["what"], table["state"], strict=True))


def test_what_there_is_is_found(cluster_server: Serve, server_kind: str) -> None:
    served = cluster_server("http_errors", server_kind)
    data = load(served)
    found = states(data)
    assert {name for name, state in found.items() if state != "there"} == {"Hubble dns"}
    targets = setup.targets(data)
    assert targets["targets"].to_dict() == {"Hubble": 4, "agent": 4, "operator": 1}
    assert targets["interval"].to_numpy() == pytest.approx(served.scenario.interval, rel=0.02)
    assert setup.versions(data)["agents"].to_dict() == {"1.16.5": 4}
    assert "hubble_http_requests_total" in data.now.labelled
    assert list(setup.findings(data)) == []
    assert setup.configurations(data).empty
    assert setup.judge(data) == "ok"


@pytest.mark.parametrize("style", ["annotations", "servicemonitor", "kube-prometheus-stack"])
def test_targets_are_named_by_their_nodes_in_every_style(style: str, cluster_server: Serve) -> None:
    served = cluster_server(scenario("http_errors").with_(style=style))
    data = load(served)
    agents = data.now.targets[data.now.targets["component"] == "agent"]
    assert set(agents["node"]) == set(served.scenario.nodes)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1.13.4", "1.17.3", "1.20.0"])
def test_connectivity_is_found_in_every_version(version: str, cluster_server: Serve) -> None:
    major, minor, patch = map(int, version.split("."))
    served = cluster_server(scenario("http_errors").with_(version=(major, minor, patch)))
    data = load(served)
    assert states(data)["node connectivity"] == "there"
    assert list(setup.versions(data).index) == [version]


@pytest.mark.slow
def test_labels_that_are_not_configured_are_said(cluster_server: Serve) -> None:
    plain = scenario("http_errors").with_(context="none")
    assert any("do not name workloads" in note for note in setup.notes(load(cluster_server(plain))))
    by_context = scenario("http_errors").with_(context="pod")
    data = load(cluster_server(by_context))
    assert not data.now.labelled
    assert data.now.contextual
    assert not any("do not name workloads" in note for note in setup.notes(data))


def test_a_young_recording_has_the_interval_of_its_scrapes(cluster_server: Serve) -> None:
    served = cluster_server("http_errors")
    start = served.scenario.start
    # Most of the window is from before the recording.
    window = Window(
        start - timedelta(hours=3), start + timedelta(minutes=30), timedelta(seconds=30)
    )
    data = setup.load(connect(served.url), window, window.baseline())
    intervals = setup.targets(data).loc[["agent", "Hubble"], "interval"]
    assert intervals.to_numpy() == pytest.approx(served.scenario.interval)
    assert states(data)["agent"] == "there"
    assert not any("less often" in note for note in setup.notes(data))
    assert list(setup.configurations(data)["configuration"]) == ["metrics switched on lately"]


def test_rare_scrapes_and_missing_node_labels_are_told(cluster_server: Serve) -> None:
    told = scenario("http_errors").with_(interval=60, style="annotations")
    data = load(cluster_server(told))
    found = setup.configurations(data).set_index("configuration")["here"]
    assert set(found.index) == {"no label node", "rare or mixed scrapes"}
    assert "every 60 s" in found["rare or mixed scrapes"]
    assert found["no label node"].startswith("4 of 4 targets of agents and 4 of 4")
    assert setup.judge(data).startswith("ok, but")


def test_gaps_and_long_intervals_are_said(cluster_server: Serve) -> None:
    told: Scenario = scenario("scrape_gap")
    data = load(cluster_server(told), step="10s")
    gaps = setup.gaps(data)
    assert {(row["component"], row["node"]) for row in gaps.to_dict("records")} >= {
        ("agent", "worker-2"),
        ("Hubble", "worker-2"),
    }
    assert any("less often than the step of 10 s" in note for note in setup.notes(data))


def test_a_target_that_was_never_scraped_is_found(cluster_server: Serve) -> None:
    served = cluster_server("quiet")
    source = connect(served.url)

    class Down(MemorySource):
        def instant(self, promql: str, moment: object) -> pd.DataFrame:
            frame = source.instant(promql, moment)  # type: ignore[arg-type]
            if "avg_over_time(up" in promql:
                first = frame.columns.get_level_values("node") == "worker-1"
                frame.loc[:, first] = 0.0
            self.journal.append(source.journal[-1])
            return frame

        def range(self, promql: str, window: Window) -> pd.DataFrame:
            frame = source.range(promql, window)
            self.journal.append(source.journal[-1])
            return frame

    window = whole(served)
    found = setup.findings(setup.load(Down(), window, window.baseline()))
    assert {(f.kind, f.labels["node"], f.severity) for f in found} == {
        ("scrape_gap", "worker-1", Severity.WARNING)
    }
    assert "was never scraped" in found[0].title


def test_nothing_at_all_is_a_plain_statement() -> None:
    data = setup.load(MemorySource(), WINDOW, WINDOW.baseline())
    told = states(data)
    assert told["agent"] == told["operator"] == "missing"
    # What an agent would export is not known where none is scraped.
    assert told["layer 7 policies"] == "unknown: agent is not scraped"
    assert told["Hubble dns"] == "unknown: Hubble is not scraped"
    assert [f.labels["metric"] for f in setup.findings(data)] == [
        "cilium_process_start_time_seconds",
        "hubble_lost_events_total",
    ]
    assert setup.judge(data).startswith("unknown")
    for table in (setup.targets, setup.gaps, setup.versions, setup.configurations):
        assert len(table(data)) == 0


def test_a_server_without_exemplars_is_no_failure() -> None:
    class Older(MemorySource):
        def exemplars(self, promql: str, window: Window) -> pd.DataFrame:
            raise QueryRejected("404 page not found")

    assert setup.load(Older(), WINDOW, WINDOW.baseline()).now.exemplars == 0


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_every_check_can_be_met_in_every_version(check: object, version: tuple[int, int]) -> None:
    metrics = [find(name) for name in check.metrics]  # type: ignore[attr-defined]
    assert all(metrics)
    assert any(metric.exists(version) for metric in metrics if metric)


def test_the_command_prints_what_to_switch_on(
    cluster_server: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    served = cluster_server("http_errors")
    window = whole(served)
    times = ["--start", window.start.isoformat(), "--end", window.end.isoformat()]
    assert main(["check", "--source", served.url, *times]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "4 agents, 1 operator and Hubble are scraped; Hubble's DNS metrics are missing, or nothing"
        " happened that they count."
    )
    assert lines[1].startswith("Verdict: ok")
    assert "agent: there" in lines
    assert any(
        line.startswith("Hubble dns: missing, or nothing happened – Helm: hubble.metrics.enabled")
        for line in lines
    )
