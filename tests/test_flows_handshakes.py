"""Handshakes and echoes: verdicts of policies, ends that do not pair up, and what is unknown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import pandas as pd
import pytest

from cilium_analysis import connect
from cilium_analysis.findings import Finding, Severity
from cilium_analysis.topics import flows
from cilium_analysis.topics.flows.exchanges import ENDS, NAMESPACES, NOTHING, Raw, exchanges
from cilium_analysis.topics.flows.findings import NO_ANSWER
from cilium_analysis.window import Window
from cilium_simulator import scenario as scenarios
from cilium_simulator.events import (
    Connections,
    Drops,
    Event,
    Load,
    LostEvents,
    Selected,
    TcpFlags,
    Unanswered,
)
from cilium_simulator.scenario import Scenario
from cilium_simulator.simulation import Cluster
from tests.servers.served import ClusterServer
from tests.sources import grid

Serve = Callable[..., ClusterServer]
Make = Callable[[Scenario], Cluster]

MINUTE = timedelta(minutes=1)
WEB, DB = "default/web", "data/db"
FIRST, LAST, SECONDS = 4500, 5700, 7200
RATE = 3.0
NODES = 4
USUAL = Connections(0, SECONDS, source=WEB, destination=DB, rate=RATE)
#: A policy that allows everything begins to select the server, or has selected it all along.
BEGINS = Selected(FIRST, SECONDS, destination=DB)
ALWAYS = Selected(0, SECONDS, destination=DB)


def outage(share: float, *nodes: str) -> Event:
    return Unanswered(FIRST, LAST, nodes, destination=DB, share=share)


def cluster_of(*events: Event, **changes: object) -> Scenario:
    return scenarios.load("quiet").with_(seconds=SECONDS, events=(USUAL, *events), **changes)


class Without:
    """A source that lacks some metrics."""

    def __init__(self, url: str, *metrics: str) -> None:
        self.source, self.metrics = connect(url), metrics
        self.name, self.server = self.source.name, self.source.server
        self.journal, self.instant = self.source.journal, self.source.instant
        self.exemplars = self.source.exemplars

    def range(self, promql: str, window: Window) -> pd.DataFrame:
        frame = self.source.range(promql, window)
        return frame.iloc[:, :0] if any(name in promql for name in self.metrics) else frame


FLOWS = "hubble_flows_processed_total"


def load(served: ClusterServer, *lacking: str) -> flows.Flows:
    begin = served.scenario.start + 60 * MINUTE
    window = Window.parse(begin.isoformat(), served.scenario.end.isoformat(), step="30s")
    return flows.load(Without(served.url, *lacking), window, window.baseline("previous"))


def failed(data: flows.Flows) -> list[Finding]:
    return [f for f in flows.findings(data) if f.kind == "tcp_failures"]


def pair(data: flows.Flows, source: str = WEB, destination: str = DB) -> pd.Series:
    table = flows.handshakes(data)
    (row,) = table.index[(table["source"] == source) & (table["destination"] == destination)]
    found: pd.Series = table.loc[row]
    return found


def at(served: ClusterServer, second: int) -> datetime:
    return served.scenario.start + timedelta(seconds=second)


def test_a_policy_that_allows_everything_is_no_failure(cluster_server: Serve) -> None:
    data = load(cluster_server(cluster_of(BEGINS)))
    assert not failed(data)
    row = pair(data)
    assert row["missing"] == 0
    assert row["verdicts"] == pytest.approx(RATE * NODES * (SECONDS - FIRST), rel=0.03)
    assert row["syn"] == row["syn-ack"] + row["verdicts"]


def test_nor_where_verdicts_are_not_known(cluster_server: Serve) -> None:
    data = load(cluster_server(cluster_of(BEGINS)), FLOWS)
    assert not list(flows.findings(data))
    row = pair(data)
    assert pd.isna(row["missing"])
    assert pd.isna(row["share"])
    assert any("not known" in note for note in flows.notes(data))


@pytest.mark.slow
@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("selected", [(), (ALWAYS,), (BEGINS,)])
def test_an_outage_is_counted_whatever_policies_do(
    share: float, selected: tuple[Event, ...], cluster_server: Serve
) -> None:
    served = cluster_server(cluster_of(outage(share), *selected))
    (found,) = failed(load(served))
    assert found.labels == {
        "protocol": "TCP",
        "flag": NO_ANSWER,
        "source": WEB,
        "destination": DB,
    }
    assert found.total == pytest.approx(share * RATE * NODES * (LAST - FIRST), rel=0.05)
    assert f"of {RATE * NODES * (LAST - FIRST):,.0f}"[:5] in found.title
    assert abs(found.start - at(served, FIRST)) <= MINUTE
    assert abs(found.end - at(served, LAST)) <= MINUTE
    assert found.severity is Severity.WARNING
    assert found.trust == "good"


@pytest.mark.parametrize("selected", [(), (ALWAYS,)])
def test_an_outage_is_seen_without_verdicts_and_called_an_estimate(
    selected: tuple[Event, ...], cluster_server: Serve
) -> None:
    served = cluster_server(cluster_of(outage(1.0), *selected))
    (found,) = failed(load(served, FLOWS))
    assert (found.labels["source"], found.labels["destination"]) == (WEB, DB)
    assert found.total == pytest.approx(RATE * NODES * (LAST - FIRST), rel=0.1)
    assert abs(found.start - at(served, FIRST)) <= 2 * MINUTE
    assert found.trust == "doubtful"


def test_more_traffic_alone_is_no_failure(cluster_server: Serve) -> None:
    double = Load(FIRST, LAST, factor=2.0)
    resets = TcpFlags(0, SECONDS, source=WEB, destination=DB, rate=0.5, flag="RST")
    more = TcpFlags(FIRST, LAST, source=WEB, destination=DB, rate=0.5, flag="RST")
    data = load(cluster_server(cluster_of(ALWAYS, double, resets, more)))
    assert not [f for f in flows.findings(data) if f.severity is not Severity.INFO]


def test_few_resets_among_many_connections_are_no_warning(cluster_server: Serve) -> None:
    many = Connections(0, SECONDS, source=WEB, destination=DB, rate=60.0)
    few = TcpFlags(FIRST, LAST, source=WEB, destination=DB, rate=0.4, flag="RST")
    (found,) = failed(load(cluster_server(cluster_of(many, few))))
    assert found.labels["flag"] == "RST"
    assert found.value > 1.0
    assert found.severity is Severity.INFO
    assert "0.6" in found.title
    assert "connections" in found.title


@pytest.mark.slow
@pytest.mark.parametrize(("context", "paired"), [("pod-workload", True), ("source-app", False)])
def test_ends_with_other_labels_are_not_counted_as_failures(
    context: str, paired: bool, cluster_server: Serve
) -> None:
    data = load(cluster_server(cluster_of(ALWAYS, context=context)))
    assert not failed(data)
    assert flows.handshakes(data)["missing"].sum() <= 0.01 * flows.handshakes(data)["syn"].sum()
    # A Deployment's pods go by its name.
    notes = [note for note in flows.notes(data) if "the source by" in note]
    assert bool(notes) != paired


@pytest.mark.slow
@pytest.mark.parametrize(("context", "named"), [("pod-workload", {WEB, DB}), ("source-app", {""})])
def test_an_outage_between_them_is_found_all_the_same(
    context: str, named: set[str], cluster_server: Serve
) -> None:
    (found,) = failed(load(cluster_server(cluster_of(outage(1.0), context=context))))
    assert found.total == pytest.approx(RATE * NODES * (LAST - FIRST), rel=0.1)
    assert {found.labels.get(side, "") for side in ("source", "destination")} == named


def test_clients_that_are_denied_try_again(cluster: Make, cluster_server: Serve) -> None:
    denied = Drops(FIRST, LAST, ("worker-1",), source=WEB, destination=DB, rate=7.0)
    scenario = cluster_of(denied, retries=7)
    data = load(cluster_server(scenario))
    found = next(f for f in failed(data) if f.labels["flag"] == NO_ANSWER)
    dropped = cluster(scenario).truth.incident("drops").total
    tried = dropped / 7
    assert found.total == pytest.approx(2 * tried, rel=0.05)
    assert found.labels["destination"] == DB
    (row,) = (
        row
        for row in flows.denied(data).to_dict("records")
        if (row["source"], row["destination"]) == (WEB, DB)
    )
    assert row["verdicts"] == pytest.approx(0.95 * dropped, rel=0.03)
    assert (row["direction"], row["match"], row["expected"]) == ("ingress", "none", 0)


@pytest.mark.slow
def test_echoes_without_verdicts_are_all_answered(cluster_server: Serve) -> None:
    served = cluster_server(cluster_of())
    share = flows.echoes(load(served))["share"]
    assert share["window"] < 0.01
    table = flows.echoes(load(served, FLOWS))
    assert table["missing"].isna().all()
    assert table["share"].isna().all()


@pytest.mark.slow
def test_what_is_lost_before_it_is_counted_is_doubtful(cluster_server: Serve) -> None:
    ring = LostEvents(FIRST, LAST, ("worker-1",), rate=40.0, buffer="hubble_ring_buffer")
    perf = replace(ring, buffer="perf_event_ring_buffer", share=0.5)
    whole, same, less = (
        flows.by_node(load(cluster_server(cluster_of(*events))))["flows"]
        for events in ((), (ring,), (perf,))
    )
    assert same["worker-1"] == whole["worker-1"]
    assert less["worker-1"] < 0.95 * whole["worker-1"]
    assert less["worker-2"] == whole["worker-2"]


def test_flows_to_the_world_are_shown(cluster_server: Serve) -> None:
    table = flows.world(load(cluster_server(cluster_of())))
    assert table["flows"].sum() == pytest.approx(2.0 * NODES * 3600, rel=0.05)
    lacking = load(cluster_server(cluster_of()), "hubble_flows_to_world_total")
    assert not len(flows.world(lacking))
    assert any("flows-to-world" in note for note in flows.notes(lacking))


# Ends that pair up, by their labels


WINDOW = Window.parse("2026-03-21T08:00Z", "2026-03-21T08:10Z", step="60s")


def raw(
    asked: Mapping[str, float],
    answered: Mapping[str, float],
    told: Mapping[str, float] | None,
    labels: str,
) -> Raw:
    """Events per step by labels that are written with blanks between them; `-` is none."""
    known = None if told is None else counted(told, labels)
    return Raw(counted(asked, labels), counted(answered, labels), known)


def counted(events: Mapping[str, float], labels: str) -> pd.DataFrame:
    rows = {tuple(x.strip("-") for x in key.split()): n for key, n in events.items()}
    blank = tuple("" for _ in labels.split())
    frame = grid(WINDOW, rows or {blank: 0.0}, labels)
    return frame if rows else frame.iloc[:, :0]


LABELLED = "node source_namespace source_workload destination_namespace destination_workload"


def test_ends_pair_up_by_the_labels_that_both_have() -> None:
    labels = LABELLED.replace("source_workload", "source_workload source_pod")
    (one,) = exchanges(
        [
            raw(
                {"n default web web-0 data db": 3.0},
                {"n data db db-0 default web": 3.0},
                {},
                labels,
            )
        ]
    )
    assert one.naming == ENDS
    assert list(one.asked.columns) == [("data/db", "n", "default/web")]
    assert one.missing.to_numpy().sum() == 0


def test_a_pod_and_a_workload_pair_up_by_namespace() -> None:
    (one,) = exchanges(
        [
            raw(
                {"n default/web data/db-0": 9.0},
                {"n data/db default/web-5d9c7b6f5-x2k4v": 9.0},
                {},
                "node source destination",
            )
        ]
    )
    assert one.naming == NAMESPACES
    assert "context" in one.reason
    assert list(one.asked.columns) == [("data/*", "n", "default/*")]
    assert one.missing.to_numpy().sum() == 0


@pytest.mark.parametrize(
    ("labels", "asked", "answered"),
    [
        ("node source_app", "n web", "n db"),
        ("node source_ip destination_pod", "n 10.0.0.7 db-0", "n 10.0.0.9 web-0"),
        ("node source destination", "n cidr:10.0.0.0/8 db", "n db-0 world"),
    ],
)
def test_where_nothing_pairs_up_a_node_is_judged_as_a_whole(
    labels: str, asked: str, answered: str
) -> None:
    (one,) = exchanges([raw({asked: 8.0}, {answered: 7.0}, {asked: 1.0}, labels)])
    assert one.naming == NOTHING
    assert one.reason
    assert one.missing.to_numpy().sum() == 0


def test_no_labels_at_all_are_no_mismatch() -> None:
    (one,) = exchanges([raw({"n": 8.0}, {"n": 8.0}, {}, "node")])
    assert (one.naming, one.reason) == (ENDS, "")


def test_a_silent_server_does_not_hide_the_names_of_others() -> None:
    asked = {"n default web data db": 9.0, "n default web default api": 9.0}
    (one,) = exchanges([raw(asked, {"n default api default web": 9.0}, {}, LABELLED)])
    assert one.naming == ENDS
    missing = one.missing.sum()
    assert missing["data/db", "n", "default/web"] == 9.0 * WINDOW.points
    assert missing["default/api", "n", "default/web"] == 0


def test_verdicts_with_other_names_are_not_taken_off() -> None:
    """The options of flow and of tcp may name the ends each in its own way."""
    asked, answered = {"n default web data db": 9.0}, {"n data db default web": 3.0}
    (one,) = exchanges([raw(asked, answered, {"n - - - -": 6.0}, LABELLED)])
    assert one.naming == ENDS
    assert one.told is None
    (other,) = exchanges([raw(asked, answered, {"n default web data db": 6.0}, LABELLED)])
    assert other.missing.to_numpy().sum() == 0


def test_a_denial_on_the_clients_own_node_leaves_only_its_verdict() -> None:
    """The SYN is dropped before it is reported at the server; what leaves the client is."""
    key = "n default web data db egress"
    (one,) = exchanges([raw({key: 5.0}, {}, {key: 5.0}, f"{LABELLED} traffic_direction")])
    assert one.missing.to_numpy().sum() == 5.0 * WINDOW.points


def test_an_empty_baseline_leaves_the_verdicts_known() -> None:
    asked, answered = {"n default web data db": 9.0}, {"n data db default web": 3.0}
    now = raw(asked, answered, {"n default web data db": 6.0}, LABELLED)
    first, second = exchanges([now, raw({}, {}, {}, LABELLED)])
    assert first.told is not None
    assert second.asked.shape[1] == 0
