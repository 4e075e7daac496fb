"""Agents and operators of the simulated cluster, through real servers, against what happened."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from unittest import mock

import numpy as np
import pandas as pd
import pytest

from cilium_analysis import connect, frames
from cilium_analysis.errors import BudgetExceeded
from cilium_analysis.findings import Finding, Severity
from cilium_analysis.queries import Query
from cilium_analysis.targets import Targets, asking
from cilium_analysis.targets.model import COLUMNS
from cilium_analysis.topics import health
from cilium_analysis.topics.health import data as health_data
from cilium_analysis.topics.health.catalogue import SECTIONS
from cilium_analysis.topics.health.gaps import gaps
from cilium_analysis.topics.health.restarts import together
from cilium_analysis.topics.loading import STARTS
from cilium_analysis.window import Window
from cilium_simulator import vitals, watching
from cilium_simulator.events import KINDS, Event, OperatorDown, ScrapeGap
from cilium_simulator.scenario import Scenario
from cilium_simulator.scenario import load as scenario
from tests import incidents
from tests.field import asking as field
from tests.servers.served import ClusterServer
from tests.sources import MemorySource, grid

Serve = Callable[..., ClusterServer]
Loaded = Callable[..., tuple[ClusterServer, health.Health]]

QUIET = scenario("quiet")
HALF = QUIET.seconds // 2
WINDOW = Window.parse("2026-03-21T08:00Z", "2026-03-21T10:00Z", step="30s")
WIDE = Window.parse("2026-03-21T07:55Z", "2026-03-21T10:00Z", step="30s")
BEFORE = Window.parse("2026-03-21T05:55Z", "2026-03-21T08:00Z", step="30s")


def second_half(served: ClusterServer, step: str = "30s") -> Window:
    told = served.scenario
    middle = told.start + (told.end - told.start) / 2
    return Window.parse(middle.isoformat(), told.end.isoformat(), step=step)


def load(served: ClusterServer, window: Window | None = None) -> health.Health:
    window = window or second_half(served)
    return health.load(connect(served.url), window, window.baseline())


@pytest.fixture(scope="module")
def loaded(cluster_server: Serve) -> Loaded:
    """Give what was loaded of a scenario by its name, once for each kind of server and step."""

    @cache
    def give(
        name: str, kind: str = "prometheus-2", step: str = "30s"
    ) -> tuple[ClusterServer, health.Health]:
        served = cluster_server(name, kind)
        return served, load(served, second_half(served, step))

    return give


def event(kind: str, at: int, seconds: int, *nodes: str, **more: object) -> Event:
    return KINDS[kind](HALF + at, HALF + at + seconds, nodes=nodes, **more)


def told(*events: Event, **changes: object) -> Scenario:
    return QUIET.with_(services=(), events=events, **changes)


def kinds(found: health.Health) -> list[tuple[str, dict[str, str]]]:
    return [(f.kind, dict(f.labels)) for f in health.findings(found)]


def only(data: health.Health) -> Finding:
    (found,) = health.findings(data)
    return found


def assert_near(finding: Finding, incident: object, seconds: float = 61) -> None:
    assert abs(finding.start - incident.start) <= timedelta(seconds=seconds)  # type: ignore[attr-defined]
    assert abs(finding.end - incident.end) <= timedelta(seconds=seconds)  # type: ignore[attr-defined]


# Restarts


@pytest.mark.slow
@pytest.mark.parametrize("name", ["restart_1_14", "restart_1_15"])
def test_a_restart_and_a_replaced_pod_are_told_apart(
    name: str, loaded: Loaded, server_kind: str
) -> None:
    served, data = loaded(name, server_kind)
    found = {f.labels["node"]: f for f in health.findings(data)}
    assert {(f.kind, f.severity, f.value) for f in found.values()} == {
        ("agent_restart", Severity.INFO, 1.0)
    }
    true = {run["node"]: run for run in served.truth.restarts if run["why"] != "first"}
    assert set(found) == set(true)
    for node, run in true.items():
        assert abs(found[node].end.timestamp() - run["start"]) <= 1.0
        assert found[node].start < found[node].end
    assert "in place" in found["worker-1"].title
    assert "new pod" in found["worker-2"].title
    assert list(health.restarts(data)["how"]) == ["in place", "replaced"]


@pytest.mark.slow
def test_a_reboot_is_told_and_explains_its_gap(cluster_server: Serve, server_kind: str) -> None:
    data = load(served := cluster_server("node_reboot", server_kind))
    found = only(data)
    assert (found.kind, dict(found.labels)) == ("agent_restart", {"node": "worker-2"})
    assert "rebooted" in found.title
    assert_near(found, served.truth.incident("node_reboot"))


@pytest.mark.slow
def test_an_old_agent_that_only_restarts_is_no_reboot(cluster_server: Serve) -> None:
    events = (
        event("node_reboot", 1800, 150, "worker-1"),
        event("agent_restart", 4000, 20, "worker-2"),
    )
    data = load(cluster_server(told(*events, version=(1, 13, 4))))
    assert dict(zip(*(health.restarts(data)[c] for c in ("node", "how")), strict=True)) == {
        "worker-1": "reboot",
        "worker-2": "in place",
    }


@pytest.mark.slow
@pytest.mark.parametrize("interval", [15, 60])
def test_a_crash_loop_is_one_warning(interval: int, cluster_server: Serve) -> None:
    moments = (0, 60, 150, 300, 500, 900)
    events = (event("agent_restart", 1200 + at, 20, "worker-1") for at in moments)
    served = cluster_server(told(*events, interval=interval))
    found = only(load(served))
    assert (found.kind, found.severity) == ("agent_restart", Severity.WARNING)
    assert found.labels == {"node": "worker-1"}
    assert found.value == len(moments)
    last = max(run["start"] for run in served.truth.restarts if run["node"] == "worker-1")
    assert abs(found.end.timestamp() - last) <= 1.0
    coarse = only(load(served, second_half(served, "5m")))
    assert 2 <= coarse.value <= len(moments)
    assert coarse.trust == "doubtful"


@pytest.mark.slow
def test_agents_that_all_restart_at_once_are_one_warning(cluster_server: Serve) -> None:
    events = (event("agent_restart", 1800 + 10 * i, 20, n) for i, n in enumerate(QUIET.nodes))
    found = only(load(cluster_server(told(*events))))
    assert (found.severity, found.labels, found.value) == (Severity.WARNING, {}, 4.0)
    assert "4 of 4 nodes" in found.title


@pytest.mark.slow
def test_a_rollout_is_one_piece_of_news(cluster_server: Serve) -> None:
    events = (event("agent_replaced", 1800 + 90 * i, 40, n) for i, n in enumerate(QUIET.nodes))
    found = only(load(cluster_server(told(*events))))
    assert (found.severity, found.labels, found.value) == (Severity.INFO, {}, 4.0)
    assert "Rollout" in found.title


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["node_joins", "node_leaves"])
def test_a_node_that_comes_or_goes_is_no_finding(kind: str, cluster_server: Serve) -> None:
    data = load(cluster_server(told(event(kind, 1800, 100, "worker-3"))))
    assert kinds(data) == []
    assert any("worker-3" in note for note in health.notes(data))


# Errors and maps


@pytest.mark.slow
def test_errors_and_a_full_map_are_two_findings(loaded: Loaded, server_kind: str) -> None:
    served, data = loaded("endpoints", server_kind)
    found = {f.kind: f for f in health.findings(data)}
    assert set(found) == {"agent_errors", "map_pressure"}
    errors, pressure = found["agent_errors"], found["map_pressure"]
    assert errors.labels == {"node": "worker-2", "subsystem": "endpoint"}
    assert_near(errors, served.truth.incident("agent_errors"))
    # 0.2 per second for 40 minutes, drawn from a Poisson distribution.
    assert errors.value == pytest.approx(480, abs=4 * np.sqrt(480))
    assert errors.value == health.errors(data)["count"].max()
    assert errors.trust == "good"
    assert pressure.labels == {"node": "worker-2", "map_name": "ct4_global"}
    assert pressure.value == pytest.approx(0.97)
    assert pressure.severity is Severity.WARNING
    row = health.pressure(data).iloc[0]
    assert (row["map"], row["node"], row["peak fill"]) == ("ct4_global", "worker-2", pressure.value)


@pytest.mark.slow
def test_errors_are_counted_as_the_server_counts_them(
    loaded: Loaded, cluster_server: Serve
) -> None:
    data = loaded("endpoints")[1]
    promql = 'sum(cilium_errors_warnings_total{subsystem="endpoint"})'
    source = connect(cluster_server("endpoints").url)
    assert only_errors(data).total == source.instant(promql, data.window.end).to_numpy().item()


def only_errors(data: health.Health) -> Finding:
    (found,) = (f for f in health.findings(data) if f.kind.endswith("_errors"))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("controllers", "failed runs of controllers"),
        ("k8s-client", "failed calls to the Kubernetes API"),
        ("kvstore", "failed operations on the key-value store"),
    ],
)
def test_one_cause_seen_twice_is_one_finding(name: str, words: str, cluster_server: Serve) -> None:
    events = [event("agent_errors", 1800, 1200, "worker-1", subsystem=name, rate=0.2)]
    served = cluster_server(told(*events))
    found = only(load(served))
    assert (found.kind, found.labels) == ("agent_errors", {"node": "worker-1", "subsystem": name})
    assert words in found.title
    assert_near(found, served.truth.incident("agent_errors"))
    assert found.value == pytest.approx(240, abs=4 * np.sqrt(240))


@pytest.mark.slow
def test_errors_on_all_nodes_are_one_finding(cluster_server: Serve) -> None:
    served = cluster_server(told(event("agent_errors", 1800, 1200, subsystem="ipcache", rate=0.1)))
    found = only(load(served))
    assert found.labels == {"subsystem": "ipcache"}
    assert "4 of 4 nodes" in found.title
    assert found.value == pytest.approx(480, abs=4 * np.sqrt(480))


@pytest.mark.slow
def test_errors_go_on_over_a_restart(cluster_server: Serve) -> None:
    events = (
        event("agent_errors", 1500, 1200, "worker-1", subsystem="endpoint", rate=0.2),
        event("agent_restart", 2000, 20, "worker-1"),
    )
    served = cluster_server(told(*events))
    found = {f.kind: f for f in health.findings(load(served))}
    assert set(found) == {"agent_errors", "agent_restart"}
    assert_near(found["agent_errors"], served.truth.incident("agent_errors"))
    assert any("started at" in reason for reason in found["agent_errors"].trust_reasons)


@pytest.mark.slow
def test_errors_of_the_operator(cluster_server: Serve, server_kind: str) -> None:
    served = cluster_server(told(event("operator_errors", 1800, 1200, rate=0.1)), server_kind)
    found = only(load(served))
    assert (found.kind, found.labels) == ("operator_errors", {"subsystem": "controller"})
    assert_near(found, served.truth.incident("operator_errors"))
    assert found.value == pytest.approx(120, abs=4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "style"),
    [
        ((1, 13, 4), "annotations"),
        ((1, 15, 2), "servicemonitor"),
        ((1, 18, 2), "kube-prometheus-stack"),
        ((1, 20, 0), "annotations"),
        ((1, 20, 0), "servicemonitor"),
    ],
)
def test_every_version_and_style_finds_the_same(
    version: tuple[int, int, int], style: str, cluster_server: Serve
) -> None:
    events = (
        event("map_pressure", 1800, 1200, "worker-1", map_name="lb4_services_v2", fill=0.99),
        event("map_pressure", 1800, 1200, "worker-2", map_name="cilium_policy_*", fill=0.93),
        event("agent_errors", 1800, 1200, "worker-3", subsystem="ipam", rate=0.2),
        event("agent_restart", 5000, 20, "worker-1"),
    )
    served = cluster_server(told(*events, version=version, style=style))
    found = health.findings(load(served))
    addresses = style == "annotations" and version >= (1, 19, 0)
    names = dict(zip(("worker-1", "worker-2", "worker-3"), (11, 12, 13), strict=True))
    assert {(f.kind, f.labels["node"], f.severity) for f in found} == {
        (kind, f"10.10.0.{names[node]}" if addresses else node, severity)
        for kind, node, severity in (
            ("map_pressure", "worker-1", Severity.CRITICAL),
            ("map_pressure", "worker-2", Severity.WARNING),
            ("agent_errors", "worker-3", Severity.WARNING),
            ("agent_restart", "worker-1", Severity.INFO),
        )
    }


# Scrapes


@pytest.mark.slow
def test_gaps_are_found_and_told_apart(cluster_server: Serve, server_kind: str) -> None:
    served = cluster_server("scrape_gap", server_kind)
    start = served.scenario.start
    window = Window.parse(
        (start + timedelta(minutes=30)).isoformat(), served.scenario.end.isoformat(), step="30s"
    )
    data = health.load(connect(served.url), window, window.baseline())
    whole, one = sorted(health.findings(data), key=lambda f: f.start)
    assert (whole.kind, whole.labels) == ("scrape_gap", {})
    assert (one.kind, one.labels) == ("scrape_gap", {"node": "worker-2"})
    for finding, incident in zip((whole, one), (0, 2), strict=True):
        assert_near(finding, served.truth.incidents[incident])
    assert whole.value == pytest.approx(720, abs=31)
    assert one.value == pytest.approx(480, abs=31)
    assert "not scraped at all" in whole.title
    assert "did not answer" in one.title


@pytest.mark.slow
def test_an_agent_that_does_not_come_back_is_told(cluster_server: Serve) -> None:
    gone = ScrapeGap(2 * HALF - 1200, 2 * HALF, nodes=("worker-2",), component="agent")
    found = only(load(cluster_server(told(gone))))
    assert (found.kind, found.labels) == ("scrape_gap", {"node": "worker-2"})
    assert found.value == pytest.approx(1200, abs=31)
    assert "had not come back" in found.title


@pytest.mark.slow
def test_an_agent_that_was_down_all_along_is_told(cluster_server: Serve) -> None:
    gone = ScrapeGap(HALF - 1800, 2 * HALF, nodes=("worker-2",), component="agent")
    found = only(load(cluster_server(told(gone))))
    assert (found.kind, found.labels) == ("scrape_gap", {"node": "worker-2"})
    assert found.value == pytest.approx(HALF + 1800, abs=31)
    assert found.start == second_half_start()


def second_half_start() -> datetime:
    return QUIET.start + timedelta(seconds=HALF)


# Numbers


@pytest.mark.slow
@pytest.mark.parametrize("step", ["30s", "5m"])
def test_resources_and_durations_are_those_of_the_processes(
    step: str, loaded: Loaded, cluster_server: Serve, server_kind: str
) -> None:
    served, data = loaded("quiet", server_kind, step)
    table = health.resources(data)
    assert set(table.index) == set(served.scenario.nodes)
    for column in ("CPU", "peak CPU", "usual CPU"):
        assert table[column].to_numpy() == pytest.approx(0.04, rel=0.02)
    assert table["scraped"].min() > 0.99
    assert (table["memory"] <= table["peak memory"]).all()
    promql = "max by (node) (cilium_process_resident_memory_bytes)"
    source = connect(cluster_server("quiet", server_kind).url)
    theirs = source.instant(promql, data.window.end)
    for node, value in zip(frames.labels(theirs)["node"], theirs.to_numpy()[0], strict=True):
        # The highest of the last step; it wanders by a fifth of a MiB in a minute.
        assert table.loc[node, "memory"] == pytest.approx(value / 2**20, rel=1e-2)
    means = health.latency(data).set_index("what")
    for what, seconds in (
        ("Kubernetes API", vitals.KUBERNETES_SECONDS),
        ("controllers", vitals.CONTROLLER_SECONDS),
        ("policy until it is in the datapath", vitals.POLICY_SECONDS),
    ):
        assert means.loc[what, "mean time"] == pytest.approx(seconds)
        assert means.loc[what, "usual mean time"] == pytest.approx(seconds)
    (runs,) = means["calls"][(means.index == "controllers") & (means["kind"] == "success")]
    assert runs == pytest.approx(0.5 * 4 * data.window.length.total_seconds(), rel=0.05)
    assert 0.1 <= means["p99"].max() <= 0.5
    operator = health.operator(data).set_index("what")["window"]
    assert operator["CPU, mean of all operators together"] == pytest.approx(0.01, rel=0.01)
    assert operator["identity garbage collections: success"] in (7.0, 8.0, 9.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quiet", "annotations_style"])
def test_ordinary_life_is_no_finding(name: str, loaded: Loaded, server_kind: str) -> None:
    assert kinds(loaded(name, server_kind)[1]) == []


# From memory: what the simulated cluster does not do


def asked(name: str, window: Window = WINDOW) -> str:
    return health.QUERIES[name].render(step=window.step)


class Now(MemorySource):
    """Answers differently for the window and its baseline."""

    def __init__(self, now: Mapping[str, pd.DataFrame], usual: Mapping[str, pd.DataFrame]) -> None:
        super().__init__()
        self.now, self.usual = (
            {asked(name): frame for name, frame in part.items()} for part in (now, usual)
        )

    def range(self, promql: str, window: Window) -> pd.DataFrame:
        late = window.end > WINDOW.start
        self.answers = self.now if late else self.usual
        return super().range(promql, window)


def agents(window: Window, start: object, node: str = "a", pod: str = "p") -> pd.DataFrame:
    return grid(window, {(node, "10.0.0.1:9962", pod): start}, "node instance pod")


LONG_AGO = datetime(2026, 3, 1, tzinfo=UTC).timestamp()


PRESENCE = Query("up_of_agents", "bool", "whether each agent was scraped")


def known_targets(node: str, interval: float) -> Targets:
    """One agent and no other target, as a run would find it."""
    first, last = pd.Timestamp(BEFORE.start), pd.Timestamp(WIDE.end)
    names = ("agent", "cilium-agent", "10.0.0.1:9962", "p", node, "")
    row = dict(zip(COLUMNS, (*names, interval, first, last, -1), strict=True))
    return Targets(pd.DataFrame([row]), presence={"agent": PRESENCE})


#: What is read when the starts of agents are looked for.
OF_STARTS = ("starts", "first_starts", "cpu", "forwarded", "versions")


def from_memory(
    now: Mapping[str, pd.DataFrame],
    usual: Mapping[str, pd.DataFrame] | None = None,
    *,
    node: str = "a",
    interval: float = 30.0,
) -> health.Health:
    """Load some answers; of all other queries there is nothing, which is loaded once."""
    given = {*now, *(usual or {})}
    nothing = _nothing()
    asked = {name: query for name, query in health.QUERIES.items() if name in {*OF_STARTS, *given}}
    with mock.patch.object(health_data, "QUERIES", asked):
        loaded = _from_memory(now, usual, node=node, interval=interval)
        # Frames are read when they are first looked at: here.
        own = [{name: span[name] for name in asked} for span in (loaded.now, loaded.baseline)]
    return replace(
        loaded,
        now=replace(loaded.now, frames=ChainMap(own[0], dict(nothing.now.frames))),
        baseline=replace(loaded.baseline, frames=ChainMap(own[1], dict(nothing.baseline.frames))),
    )


@cache
def _nothing() -> health.Health:
    return _from_memory({}, {}, node="a", interval=30.0)


def _from_memory(
    now: Mapping[str, pd.DataFrame],
    usual: Mapping[str, pd.DataFrame] | None,
    *,
    node: str,
    interval: float,
) -> health.Health:
    both = []
    for window, given in ((WIDE, now), (BEFORE, usual or {})):
        start = agents(window, LONG_AGO, node)
        answers = {"starts": start, "first_starts": start} | dict(given)
        both.append(answers)
    source = Now(*both)
    for answers, answered in zip(both, (source.now, source.usual), strict=True):
        starts = frames.group(answers["starts"], ["instance", "node"], how="max")
        answered[STARTS["agent"].render(step=WINDOW.step)] = starts
        answered[PRESENCE.promql] = starts.where(starts.isna(), 1.0)
    whole = Window(BEFORE.start, WIDE.end, WINDOW.step)
    asking._TARGETS(source, ((whole,), ""), lambda: known_targets(node, interval))
    return health.load(source, WINDOW, WINDOW.baseline())


def test_a_clock_that_is_set_is_no_restart() -> None:
    booted = WINDOW.start.timestamp() + 600
    times = np.array([WIDE.start.timestamp() + 30 * i for i in range(WIDE.points)])
    shown = np.where(times < booted + 300, booted, booted + 40)
    shown = np.where(times < booted, LONG_AGO, shown)
    shown = np.where(times > booted + 900, booted + 41, shown)
    frame = agents(WIDE, shown)
    found = only(from_memory({"starts": frame, "first_starts": frame}))
    assert found.value == 1.0
    assert found.end.timestamp() == booted


def test_two_starts_in_one_step_are_two() -> None:
    times = np.array([WIDE.start.timestamp() + 30 * i for i in range(WIDE.points)])
    first, second = WINDOW.start.timestamp() + 605, WINDOW.start.timestamp() + 625
    latest = np.where(times < second, LONG_AGO, second)
    earliest = np.where(times < second, LONG_AGO, np.where(times < second + 30, first, second))
    data = from_memory({"starts": agents(WIDE, latest), "first_starts": agents(WIDE, earliest)})
    assert only(data).value == 2.0


def test_controllers_that_fail_for_long_are_found_by_their_gauge_alone() -> None:
    places = np.arange(WIDE.points)
    failing = grid(
        WIDE, {("a", "10.0.0.1:9962"): 2.0 * ((places > 60) & (places < 120))}, "node instance"
    )
    brief = grid(
        WIDE, {("a", "10.0.0.1:9962"): 1.0 * ((places > 60) & (places < 64))}, "node instance"
    )
    found = only(from_memory({"controllers_failing": failing}))
    assert (found.labels["subsystem"], found.value) == ("controllers", 2.0)
    assert kinds(from_memory({"controllers_failing": brief})) == []


KEYS = "node instance"
AGENT = ("a", "10.0.0.1:9962")
PLACES = np.arange(WIDE.points)


def rising(every: float, since: int = 100) -> dict[tuple[str, ...], object]:
    """A counter that begins to rise in a step, so much per step."""
    return {AGENT: every * np.maximum(PLACES - since, 0)}


@pytest.mark.slow
@pytest.mark.parametrize("level", ["warning", "WARN", "warn", "Warning"])
@pytest.mark.parametrize("label", ["subsystem", "subsys", "module"])
def test_warnings_are_no_errors_however_they_are_spelled(level: str, label: str) -> None:
    names = f"{KEYS} {label} level"
    lines: dict[tuple[str, ...], object] = {
        (*AGENT, "daemon", level): 4.0 * np.maximum(PLACES - 100, 0),
        (*AGENT, "daemon", "ERROR"): 1.0 * np.maximum(PLACES - 100, 0),
    }
    data = from_memory({"errors": grid(WIDE, lines, names)})
    found = only(data)
    assert found.labels["subsystem"] == "daemon"
    assert "150 errors and 600 warnings in the log" in found.title
    alone = {key: value for key, value in lines.items() if key[-1] == level}
    few = only(from_memory({"errors": grid(WIDE, alone, names)}))
    assert "600 warnings in the log" in few.title
    assert "error" not in few.title
    assert dict(zip(*(health.errors(data)[c] for c in ("level", "count")), strict=True)) == {
        "warning": 600.0,
        "error": 150.0,
    }


@pytest.mark.parametrize(
    ("tried", "severity", "share"),
    [(5.0, Severity.WARNING, "20.0%"), (1000.0, Severity.INFO, "0.1%")],
)
def test_failures_are_told_as_a_share_of_what_was_tried(
    tried: float, severity: Severity, share: str
) -> None:
    names = f"{KEYS} status"
    failures = grid(WIDE, {(*AGENT, "failure"): 1.0 * np.maximum(PLACES - 100, 0)}, names)
    runs = grid(WIDE, {(*AGENT, "success"): tried * PLACES}, names)
    found = only(from_memory({"controller_failures": failures, "controller_runs": runs}))
    assert (found.severity, found.total) == (severity, 150.0)
    assert f"({share} of all)" in found.title


def test_failures_that_grow_with_what_is_tried_are_no_finding() -> None:
    names = f"{KEYS} status"
    both = []
    for window, factor in ((WIDE, 10.0), (BEFORE, 1.0)):
        failed = grid(window, {(*AGENT, "failure"): factor * PLACES}, names)
        tried = grid(window, {(*AGENT, "success"): factor * 10 * PLACES}, names)
        both.append({"controller_failures": failed, "controller_runs": tried})
    assert kinds(from_memory(*both)) == []
    more = grid(WIDE, {(*AGENT, "success"): 10 * PLACES}, names)
    assert kinds(from_memory(both[0] | {"controller_runs": more}, both[1])) != []


def restarted(at: int) -> dict[str, pd.DataFrame]:
    moment = WIDE.start.timestamp() + 30 * at
    shown = agents(WIDE, np.where(at > PLACES, LONG_AGO, moment))
    return {"starts": shown, "first_starts": shown}


@pytest.mark.parametrize(
    ("first", "last", "severity", "after"),
    [
        (100, 116, Severity.INFO, True),
        (104, 124, Severity.INFO, True),
        (100, 200, Severity.WARNING, True),
        (60, 116, Severity.WARNING, False),
        (130, 160, Severity.WARNING, False),
    ],
)
def test_what_follows_a_restart_stands_below_it(
    first: int, last: int, severity: Severity, after: bool
) -> None:
    failing = np.where((first <= PLACES) & (last > PLACES), 2.0, 0.0)
    frame = grid(WIDE, {AGENT: failing}, KEYS)
    # More of them than restarts: the restart comes first all the same.
    runs = grid(WIDE, {(*AGENT, "failure"): np.cumsum(failing)}, f"{KEYS} status")
    failures = {"controllers_failing": frame, "controller_failures": runs}
    data = from_memory(restarted(100) | failures)
    found = {f.kind: f for f in health.findings(data)}
    assert set(found) == {"agent_restart", "agent_errors"}
    assert found["agent_errors"].severity is severity
    assert ("after the restart" in found["agent_errors"].title) is after
    if severity is Severity.INFO:
        assert [f.kind for f in health.findings(data)] == ["agent_restart", "agent_errors"]


def test_modules_policies_and_limits_are_findings() -> None:
    degraded = grid(WIDE, {AGENT: np.where(PLACES > 100, 3.0, 0.0)}, KEYS)
    found = only(from_memory({"modules_degraded": degraded}))
    assert (found.labels["subsystem"], found.severity) == ("modules", Severity.WARNING)
    assert "3 modules degraded at once" in found.title
    for name, subsystem, words in (
        ("policy_failures", "policy", "changes of policies that could not be taken over"),
        ("requests_rejected", "rate-limiter", "rejected by the rate limits"),
        ("job_failures", "modules", "failed runs of modules' jobs"),
    ):
        found = only(from_memory({name: grid(WIDE, rising(1.0), KEYS)}))
        assert (found.labels["subsystem"], found.total) == (subsystem, 150.0), name
        (row,) = health.failed(from_memory({name: grid(WIDE, rising(1.0), KEYS)})).to_dict(
            "records"
        )
        assert words in row["what"]
        assert (row["failures"], row["expected"], row["change"]) == (150.0, 0.0, 150.0)
        assert words in found.title


def test_a_gap_is_measured_against_the_scrape_interval() -> None:
    def scraped_every(steps: int, missing: Sequence[int]) -> dict[str, pd.DataFrame]:
        there = (PLACES % steps == 0) & ~np.isin(PLACES // steps, missing)
        shown = agents(WIDE, np.where(there, LONG_AGO, np.nan))
        return {"starts": shown, "first_starts": shown}

    for steps in (2, 4, 10):
        interval = 30.0 * steps
        assert kinds(from_memory(scraped_every(steps, []), interval=interval)) == []
        away = range(120 // steps, 180 // steps)
        found = only(from_memory(scraped_every(steps, away), interval=interval))
        assert (found.kind, found.baseline_value) == ("scrape_gap", interval)
        assert found.value == pytest.approx(1800, abs=interval)
    assert kinds(from_memory(scraped_every(10, [15]), interval=300.0)) == []


@pytest.mark.slow
@pytest.mark.parametrize("seconds", ["60", "120", "300"])
def test_scrapes_that_are_rare_are_not_missing(seconds: str) -> None:
    with field.served(f"c08_slow_scrape.{seconds}") as (url, truth):
        told = field.topic(url, "agent_health")
    (found,) = told.findings
    restarted = truth["numbers"]["restarted"]
    assert (found["kind"], found["labels"]) == ("agent_restart", {"node": restarted["node"]})
    assert field.when(found["end"]) == field.when(restarted["at"])
    assert field.when(found["end"]) - field.when(found["start"]) <= float(seconds)
    assert "not scraped" not in found["title"]
    assert not any("not scraped" in note for note in told.notes["agent_health"])


def test_failed_updates_make_a_full_map_critical() -> None:
    places = np.arange(WIDE.points)
    keys = "node instance map_name"
    name = ("a", "10.0.0.1:9962", "cilium_policy_*")
    pressure = grid(WIDE, {name: np.where(places > 100, 0.95, 0.2)}, keys)
    failures = grid(WIDE, {(*name[:2], "policy"): np.maximum(places - 100, 0)}, keys)
    found = only(from_memory({"pressure": pressure, "map_failures": failures}))
    assert (found.kind, found.severity) == ("map_pressure", Severity.CRITICAL)
    assert "150 updates failed" in found.title
    alone = only(from_memory({"map_failures": failures}))
    assert (alone.kind, alone.labels["map_name"], alone.value) == ("agent_errors", "policy", 150.0)


def test_ordinary_answers_of_the_kubernetes_api_are_no_errors() -> None:
    rising = np.maximum(np.arange(WIDE.points) - 100, 0)
    for code, bad in (
        ("409", False),
        ("404", False),
        ("429", True),
        ("500", True),
        ("<error>", True),
    ):
        frame = grid(WIDE, {("a", "10.0.0.1:9962", code): rising}, "node instance return_code")
        assert bool(kinds(from_memory({"kubernetes_failures": frame}))) is bad, code


def test_address_management_and_cloud_are_shown() -> None:
    labels = "instance type"
    levels: dict[tuple[str, ...], object] = {
        ("10.0.0.1:9963", "available"): 5.0,
        ("10.0.0.1:9963", "used"): 90.0,
    }
    calls = grid(WIDE, {("10.0.0.1:9963", "OK"): np.arange(WIDE.points)}, "instance response_code")
    data = from_memory({"addresses": grid(WIDE, levels, labels), "ec2_count": calls})
    table = health.operator(data).set_index("what")["window"]
    assert table["addresses: used"] == 90.0
    assert table["calls to the EC2 API: OK"] == WINDOW.points - 1


def test_an_agent_that_knows_fewer_nodes_is_named() -> None:
    keys: dict[tuple[str, ...], object] = {
        ("a", "10.0.0.1:9962"): 5.0,
        ("b", "10.0.0.2:9962"): 6.0,
        ("c", "10.0.0.3:9962"): 6.0,
    }
    data = from_memory({"nodes_known": grid(WIDE, keys, "node instance")})
    said = [note for note in health.notes(data) if "knew" in note]
    assert said == ["The agent on a knew 5 nodes at the end, others of its cluster 6."]


def test_agents_of_other_clusters_or_that_are_gone_know_other_nodes() -> None:
    gone = [3.0] * 20 + [None] * (WIDE.points - 20)
    keys: dict[tuple[str, ...], object] = {
        ("big/a", "10.0.0.1:9962"): 3.0,
        ("big/b", "10.0.0.2:9962"): 3.0,
        ("small/a", "10.0.1.1:9962"): 2.0,
        ("small/b", "10.0.1.2:9962"): 2.0,
        ("small/c", "10.0.1.3:9962"): np.array(gone, dtype=float),
    }
    data = from_memory({"nodes_known": grid(WIDE, keys, "node instance")})
    assert not [note for note in health.notes(data) if "knew" in note]


def test_forwarded_packets_have_their_size(loaded: Loaded, server_kind: str) -> None:
    data = loaded("quiet", server_kind)[1]
    table = health.forwarded(data)
    assert len(table) == 2 * len(QUIET.nodes)
    assert (table["MB"] * 1e6 / table["packets"]).to_numpy() == pytest.approx(640, rel=0.01)
    seconds = data.window.length.total_seconds()
    assert (table["packets/s"] * seconds).sum() == pytest.approx(table["packets"].sum())
    over_time = health.forwarded_over_time(data).sum().sum() * data.window.step.total_seconds()
    assert over_time == pytest.approx(table["MB"].sum())


@pytest.mark.slow
@pytest.mark.parametrize(("version", "there"), [((1, 17, 2), False), ((1, 18, 1), True)])
def test_identity_updates_are_timed_where_the_version_does(
    version: tuple[int, int, int], there: bool, cluster_server: Serve
) -> None:
    data = load(cluster_server(told(version=version)))
    table = health.latency(data).set_index("what")
    what = "new identity until it is in all policies"
    assert (what in table.index) is there
    if there:
        assert table["mean time"][what] == pytest.approx(watching.IDENTITY_SECONDS)
        assert 0.01 <= table["p99"][what] <= 0.025
    assert table["mean time"]["Kubernetes API"] == pytest.approx(vitals.KUBERNETES_SECONDS)


def test_a_remote_cluster_that_is_lost_is_found() -> None:
    places = np.arange(WIDE.points)
    key = ("a", "10.0.0.1:9962", "west")
    names = "node instance target_cluster"
    ready = grid(WIDE, {key: np.where((places > 60) & (places <= 80), 0.0, 1.0)}, names)
    found = only(from_memory({"mesh_ready": ready}))
    assert found.labels == {"subsystem": "clustermesh", "node": "a"}
    assert "west" in found.title
    assert found.end - found.start == timedelta(minutes=10)
    never = {"mesh_ready": grid(BEFORE, {key: 0.0}, names)}
    assert kinds(from_memory({"mesh_ready": ready}, never)) == []
    (row,) = health.clustermesh(from_memory({"mesh_ready": ready})).to_dict("records")
    assert row["ready"] == pytest.approx(1 - 20 / (WINDOW.points - 1))


def test_nodes_without_addresses_are_found() -> None:
    short = np.where(np.arange(WIDE.points) > 100, 3.0, 0.0)
    frame = grid(WIDE, {("10.0.0.1:9963", "in-deficit"): short}, "instance category")
    found = only(from_memory({"ipam_nodes": frame}))
    assert (found.kind, found.labels, found.value) == (
        "operator_errors",
        {"subsystem": "ipam"},
        3.0,
    )


# Nothing, little, hostile


def test_nothing_is_said_plainly() -> None:
    data = health.load(MemorySource(), WINDOW, WINDOW.baseline())
    (found,) = health.findings(data)
    assert found.kind == "missing_metrics"
    assert any("nothing can be said" in note for note in health.notes(data))
    for table in (
        health.resources,
        health.errors,
        health.restarts,
        health.pressure,
        health.latency,
        health.failed,
        health.operator,
        health.clustermesh,
        health.forwarded,
    ):
        assert len(table(data)) == 0
    for plot in (
        health.cpu,
        health.memory,
        health.errors_over_time,
        health.pressure_over_time,
    ):
        assert plot(data).shape[1] == 0


@pytest.mark.slow
def test_what_is_not_exported_is_said_by_section(loaded: Loaded) -> None:
    said = "\n".join(health.notes(loaded("quiet")[1]))
    for section in ("kvstore", "ipam", "cloud", "clustermesh"):
        assert SECTIONS[section] in said
    for section in ("agent", "errors", "maps", "operator", "controllers"):
        assert SECTIONS[section] not in said


def test_more_series_than_allowed_are_left_out_and_said() -> None:
    class Refusing(MemorySource):
        def range(self, promql: str, window: Window) -> pd.DataFrame:
            if "latency" in promql:
                raise BudgetExceeded("too many")
            return super().range(promql, window)

    data = health.load(Refusing(), WINDOW, WINDOW.baseline())
    assert any("refused to tell of calls to the Kubernetes API" in n for n in health.notes(data))
    assert any("calls to the Kubernetes API" in reason for reason in health.unknown(data))


HOSTILE = '<script>"\'}{x="$'


def test_names_that_mean_harm_stay_names() -> None:
    rising = np.maximum(np.arange(WIDE.points) - 100, 0)
    frame = grid(
        WIDE,
        {(HOSTILE, "10.0.0.1:9962", HOSTILE, "error"): rising},
        "node instance subsystem level",
    )
    data = from_memory({"errors": frame}, node=HOSTILE)
    found = only_errors(data)
    assert found.labels == {"node": HOSTILE, "subsystem": HOSTILE}
    assert '\\"' in found.query
    assert list(health.errors(data)["subsystem"]) == [HOSTILE]


def test_gaps_need_a_sample_before_and_scrapes_that_fail_after() -> None:
    index = pd.date_range("2026-03-21", periods=40, freq="30s", tz="UTC")
    agents = pd.DataFrame({"a": 1.0, "b": 1.0, "c": 1.0}, index=index)
    agents.loc[index[:20], "a"] = np.nan
    agents.loc[index[10:20], "b"] = np.nan
    agents.loc[index[30:], "c"] = np.nan
    up = pd.DataFrame({"c": 1.0}, index=index)
    found = gaps(agents, up, least=timedelta(minutes=2))
    assert [(g.node, g.failed, g.over, g.length) for g in found] == [
        ("b", False, True, timedelta(minutes=5))
    ]
    up.loc[index[30:], "c"] = 0.0
    assert [g.node for g in gaps(agents, up, least=timedelta(minutes=2))] == ["b", "c"]
    # Of a target that is scraped every five minutes, ten steps are a single scrape.
    rare = pd.Series({"b": 300.0})
    found = gaps(agents, up, least=timedelta(minutes=2), intervals=rare)
    assert [g.node for g in found] == ["c"]


def test_neighbours_are_put_together() -> None:
    base = pd.Timestamp("2026-03-21", tz="UTC")
    moments = [base + timedelta(minutes=m) for m in (0, 4, 20, 23, 27)]
    groups = together(moments, when=lambda moment: moment, within=timedelta(minutes=5))
    assert [len(group) for group in groups] == [2, 3]


# Operators that are away

HALF_MINUTE = timedelta(seconds=30)


@pytest.mark.slow
def test_an_operator_that_is_away_is_told_and_one_that_stays_is_not(
    cluster_server: Callable[..., ClusterServer],
) -> None:
    told = incidents.variant("operator_down", 0)
    served = cluster_server(told)
    (event,) = told.of(OperatorDown)
    start, end = (told.start + timedelta(seconds=second) for second in (event.start, event.end))
    window = Window(start - timedelta(minutes=30), end + timedelta(minutes=15), HALF_MINUTE)
    source = connect(served.url)
    found = health.findings(health.load(source, window, window.baseline()))
    (away,) = [each for each in found if each.kind == "scrape_gap"]
    late = max(HALF_MINUTE, timedelta(seconds=told.interval)) * 2
    assert abs(away.start - start) <= late
    assert abs(away.end - end) <= late
    assert away.value == pytest.approx((end - start).total_seconds(), abs=late.total_seconds())
    before = Window(start - timedelta(minutes=45), start - timedelta(minutes=5), HALF_MINUTE)
    calm = health.findings(health.load(source, before, before.baseline()))
    assert not [each for each in calm if each.kind == "scrape_gap"]
