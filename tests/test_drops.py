"""Drops on the simulated cluster, through real servers, against what was really dropped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from cilium_analysis import connect, counters, frames
from cilium_analysis.errors import BudgetExceeded, ParameterError
from cilium_analysis.findings import Severity
from cilium_analysis.frames import totals
from cilium_analysis.queries import parse_matchers
from cilium_analysis.topics import drops
from cilium_analysis.topics.drops.data import QUERIES
from cilium_analysis.window import Window
from cilium_simulator.truth import Truth
from tests.servers.process import ServerProcess
from tests.servers.served import ClusterServer, whole
from tests.sources import MemorySource, grid

Serve = Callable[..., ClusterServer]

SCENARIOS = (
    "annotations_style",
    "burst_between_scrapes",
    "node_reboot",
    "quiet",
    "restart_1_14",
    "restart_1_15",
    "scrape_gap",
    "series_end",
)
KEYS = ("reason", "direction")


def second_half(served: ClusterServer) -> Window:
    scenario = served.scenario
    middle = scenario.start + (scenario.end - scenario.start) / 2
    return Window.parse(middle.isoformat(), scenario.end.isoformat(), step="30s")


def load(served: ClusterServer, window: Window, baseline: str = "previous") -> drops.Drops:
    return drops.load(connect(served.url), window, window.baseline(baseline))


def true(truth: Truth, window: Window, by: tuple[str, ...] = KEYS) -> pd.Series:
    return truth.dropped(window.start, window.end, by=by)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_total_is_within_one_percent(
    scenario: str, server_kind: str, cluster_server: Serve
) -> None:
    served = cluster_server(scenario, server_kind)
    window = whole(served)
    really = float(true(served.truth, window).sum())
    assert really > 0
    counted = float(totals(load(served, window).now.counts, KEYS).sum())
    assert counted == pytest.approx(really, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_part_is_right_but_for_one_scrape_at_each_edge(
    scenario: str, cluster_server: Serve
) -> None:
    served = cluster_server(scenario)
    window = whole(served)
    by = ("reason", "direction", "node") if scenario != "annotations_style" else KEYS
    really = true(served.truth, window, by)
    counted = totals(load(served, window).now.counts, by)
    both = pd.DataFrame({"true": really, "counted": counted}).fillna(0.0)
    lost = np.array([_at_risk(served, window, key) for key in both.index])
    assert ((both["counted"] - both["true"]).abs() <= 0.01 * both["true"] + lost).all()


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["node_reboot", "quiet", "restart_1_14", "series_end"])
def test_bytes_are_packets_times_their_size(
    scenario: str, server_kind: str, cluster_server: Serve
) -> None:
    served = cluster_server(scenario, server_kind)
    window = whole(served)
    data = load(served, window)
    really = served.truth.bytes_dropped(window.start, window.end, by=KEYS)
    assert float(totals(data.now.volumes, KEYS).sum()) == pytest.approx(really.sum(), rel=0.01)
    table = drops.volumes(data).set_index(list(KEYS))
    sizes = really / true(served.truth, window)
    many = table.index[table["packets"] > 100]
    assert len(many)
    for key in many:
        # Streams of several sizes share a series; an edge may hold more of one.
        assert table.loc[key, "bytes/packet"] == pytest.approx(sizes[key], rel=0.02)
    rates = drops.volume_rates(data).sum().sum() * window.step.total_seconds()
    assert rates == pytest.approx(table["bytes"].sum())


def _at_risk(served: ClusterServer, window: Window, key: tuple[str, ...]) -> float:
    """Count what falls between the last scrape and an edge, or a reboot: no server has it."""
    names = ("reason", "direction", "node")[: len(key)]
    interval = timedelta(seconds=served.scenario.interval)
    edges = [window.start, window.end]
    reboots = [r["start"] for r in served.truth.restarts if r["why"] == "reboot"]
    edges += [datetime.fromtimestamp(start, UTC) for start in reboots]
    spans = [served.truth.dropped(e - interval, e, by=names) for e in edges]
    return float(sum(span.get(key if len(key) > 1 else key[0], 0) for span in spans)) + 2.0


def test_a_burst_between_two_scrapes_is_found_whole(
    server_kind: str, cluster_server: Serve
) -> None:
    served = cluster_server("burst_between_scrapes", server_kind)
    found = drops.findings(load(served, whole(served)))
    assert len(found) == len(served.truth.incidents)
    for incident in served.truth.incidents:
        (finding,) = [f for f in found if f.labels["reason"] == incident.labels["reason"]]
        assert finding.total == incident.total
        assert finding.labels["direction"] == incident.labels["direction"]
        assert [finding.labels["node"]] == list(incident.nodes)
        assert finding.start <= incident.start
        assert finding.end - incident.end <= timedelta(minutes=1)


@pytest.mark.slow
def test_a_quiet_cluster_gives_no_finding(server_kind: str, cluster_server: Serve) -> None:
    served = cluster_server("quiet", server_kind)
    data = load(served, second_half(served))
    assert list(drops.findings(data)) == []
    assert totals(data.now.counts, KEYS).sum() > 100


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["restart_1_14", "restart_1_15"])
def test_a_restart_is_no_spike_but_is_told(scenario: str, cluster_server: Serve) -> None:
    served = cluster_server(scenario)
    data = load(served, whole(served))
    assert list(drops.findings(data)) == []
    restarted = {r["node"] for r in served.truth.restarts if r["why"] != "first"}
    assert set(data.now.restarts["node"]) == restarted
    for node in restarted:
        assert any(node in note for note in drops.notes(data))


def test_what_a_gap_hides_makes_a_finding_doubtful(cluster_server: Serve) -> None:
    served = cluster_server("scrape_gap")
    (finding,) = drops.findings(load(served, whole(served)))
    (incident,) = [i for i in served.truth.incidents if i.kind == "drops"]
    assert finding.total == pytest.approx(incident.total, rel=0.01)
    assert finding.trust == "doubtful"
    assert any("scraped" in reason for reason in finding.trust_reasons)


def test_the_sample_tells_its_story() -> None:
    source = connect("sample")
    window = Window.parse("2026-03-21T08:00Z", "2026-03-21T10:00Z", step="30s")
    for baseline in ("previous", "1d"):
        data = drops.load(source, window, window.baseline(baseline))
        (finding,) = drops.findings(data)
        assert finding.severity is Severity.CRITICAL
        assert finding.labels == {
            "reason": "Policy denied",
            "direction": "INGRESS",
            "protocol": "TCP",
            "source": "batch/report",
            "destination": "default/web",
            "namespace": "default",
            "workload": "web",
        }
        assert finding.start == window.start + timedelta(hours=1)
        assert finding.trust == "good"


def test_the_samples_numbers_are_the_true_ones(cluster: Callable[..., object]) -> None:
    truth: Truth = cluster("sample").truth  # type: ignore[attr-defined]
    window = Window.parse("2026-03-21T08:00Z", "2026-03-21T10:00Z", step="30s")
    data = drops.load(connect("sample"), window, window.baseline())
    really = truth.dropped(window.start, window.end, by=("reason",))
    counted = drops.by_reason(data)["packets"]
    pd.testing.assert_series_equal(
        counted.sort_index(), really.sort_index().astype(float), rtol=0.01, check_names=False
    )
    before = truth.dropped(data.baseline.window.start, data.baseline.window.end, by=("reason",))
    expected = drops.by_reason(data)["expected"]
    pd.testing.assert_series_equal(
        expected.sort_index(), before.sort_index().astype(float), rtol=0.05, check_names=False
    )
    shares = drops.who(data, most=100)
    of_web = (shares["reason"] == "Policy denied") & (shares["destination"] == "default/web")
    denied = shares[of_web]
    by = ("reason", "source", "destination")
    parts = truth.dropped(window.start, window.end, by=by)["Policy denied"]
    for _, row in denied.iterrows():
        part = parts[row["source"], row["destination"]]
        assert row["packets"] == pytest.approx(part, rel=0.05, abs=20)


def test_an_empty_server_is_said_to_be_blind(prometheus2: ServerProcess) -> None:
    window = Window.parse("2026-03-21T08:00Z", "2026-03-21T10:00Z", step="30s")
    data = drops.load(connect(prometheus2.url), window, window.baseline())
    (finding,) = drops.findings(data)
    assert finding.kind == "missing_metrics"
    assert data.state == "not scraped"
    assert any("Nothing can be said" in note for note in drops.notes(data))
    assert drops.silence(data).startswith("Unknown")
    tables = (drops.by_reason, drops.by_node, drops.changes, drops.who, drops.matrix, drops.volumes)
    for table in tables:
        assert len(table(data)) == 0
    assert drops.rates(data).shape[1] == 0


def test_matchers_narrow_every_query(cluster_server: Serve) -> None:
    served = cluster_server("quiet")
    window = second_half(served)
    source = connect(served.url)
    node = served.scenario.nodes[1]
    data = drops.load(source, window, window.baseline(), match=f'node="{node}"')
    assert set(data.now.counts.columns.get_level_values("node")) == {node}
    assert list(data.now.scraped.columns) == [node]
    with pytest.raises(ParameterError):
        drops.load(source, window, window.baseline(), match="node")


WINDOW = Window.parse("2026-03-21T08:00Z", "2026-03-21T09:00Z", step="30s")
WIDE = WINDOW.extended(before=timedelta(minutes=5))


def answers(**values: pd.DataFrame) -> MemorySource:
    """A source that knows some of the queries, in the window and in its baseline."""
    rendered = {QUERIES[name].render(step=WINDOW.step): frame for name, frame in values.items()}
    return MemorySource(rendered)


def scraped() -> drops.Drops:
    """Agents that were scraped and show nothing."""
    data = drops.load(answers(), WINDOW, WINDOW.baseline())
    return replace(
        data, now=replace(data.now, scraped=pd.DataFrame({"a": True}, index=data.now.counts.index))
    )


def test_agents_without_any_drop_are_quiet_not_blind() -> None:
    data = scraped()
    forwarded = grid(WINDOW, {("INGRESS", "a"): 1e5}, "direction node")
    data = replace(data, now=replace(data.now, forwarded=forwarded))
    found = drops.findings(data)
    assert data.state == "zero"
    assert list(found) == []
    assert not found.unknown
    assert any("No packet was dropped" in note for note in drops.notes(data))
    assert drops.by_node(data)["packets"].to_dict() == {"a": 0.0}


def test_agents_without_the_counter_are_unknown_not_quiet() -> None:
    data = scraped()
    found = drops.findings(data)
    assert data.state == "not exported"
    assert found.unknown
    assert any("cilium_drop_count_total" in reason for reason in drops.unknown(data))
    said = [*drops.notes(data), drops.silence(data), repr(found)]
    assert not any("No packet was dropped" in text for text in said)
    assert any("Unknown" in text for text in said)
    assert drops.by_node(data)["packets"].isna().all()


def test_hubble_over_budget_is_left_out_and_said() -> None:
    class Refusing(MemorySource):
        def range(self, promql: str, window: Window) -> pd.DataFrame:
            if "hubble" in promql:
                raise BudgetExceeded("too many")
            return super().range(promql, window)

    data = drops.load(Refusing(), WINDOW, WINDOW.baseline())
    assert any("refused to tell of drop events seen by Hubble" in n for n in drops.notes(data))
    assert "Sources and destinations of dropped packets are unknown." in drops.notes(data)


def test_packets_that_nobody_misses_are_not_alarming() -> None:
    counts = np.where(np.arange(WIDE.points) > 60, 100.0 * np.arange(WIDE.points), 0.0)
    labels = ("IGMP handled", "INGRESS", "a", "i")
    source = answers(drops=grid(WIDE, {labels: counts}, "reason direction node instance"))
    (finding,) = drops.findings(drops.load(source, WINDOW, WINDOW.baseline()))
    assert finding.severity is Severity.INFO


def test_hostile_labels_stay_text() -> None:
    bad = 'x"} or vector(1) or y{z="<script>'
    counts = 50.0 * np.maximum(np.arange(WIDE.points) - 60, 0)
    source = answers(
        drops=grid(WIDE, {(bad, bad, bad, "i"): counts}, "reason direction node instance")
    )
    found = drops.findings(drops.load(source, WINDOW, WINDOW.baseline()))
    (finding,) = found
    inside = finding.query.split("{", 1)[1].rsplit("}", 1)[0]
    assert {m.value for m in parse_matchers(inside)} == {bad}
    assert "<script>" not in found.to_html()


def test_a_series_with_two_names_for_one_node_is_counted_once() -> None:
    values = 10.0 * np.arange(WIDE.points)
    twice: dict[tuple[str, ...], object] = {
        ("r", "INGRESS", "a", "i:1"): values,
        ("r", "INGRESS", "a", "i:2"): values,
    }
    source = answers(drops=grid(WIDE, twice, "reason direction node instance"))
    data = drops.load(source, WINDOW, WINDOW.baseline())
    assert totals(data.now.counts, KEYS).sum() == 10.0 * (WINDOW.points - 1)


def test_the_same_total_by_the_raw_counter(cluster_server: Serve) -> None:
    """A second way: the last value minus the first, where nothing was reset or born."""
    served = cluster_server("quiet")
    window = second_half(served)
    frame = connect(served.url).range("cilium_drop_count_total", window)
    stable = frame.loc[:, frame.notna().all()]
    direct = float((stable.iloc[-1] - stable.iloc[0]).sum())
    assert direct > 0
    assert float(counters.increase(stable).sum().sum()) == pytest.approx(direct)
    assert frames.tidy(stable)["value"].count() == stable.size
