"""Scenario files: each kind of event does something, and a mistake is one line that helps."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from cilium_simulator.events import KINDS
from cilium_simulator.fields import ScenarioError, about
from cilium_simulator.scenario import Scenario, Service, load, names, parse
from cilium_simulator.simulation import Cluster, simulate

#: a small cluster in which every kind can do something
BASE = """
[cluster]
nodes = 3
duration = "40m"
scrape_interval = "15s"
version = "1.17.3"
dns = 1.0
[[service]]
source = "default/frontend"
destination = "default/web"
rate = 5.0
[[event]]
kind = "connections"
source = "default/web"
destination = "default/db"
rate = 2.0
start = 0
"""
#: what each kind needs, beside when it begins and ends
NEEDS = {
    "drops": "packets = 500",
    "policy": 'name = "default/narrow"\ndestination = "default/web"\nrefused = 0.5',
    "http": 'status = "503"\nshare = 0.5',
    "dns": 'rcode = "Server Failure"\nshare = 0.5',
    "tcp_flags": 'flag = "RST"\nrate = 5.0',
    "flows": "rate = 5.0",
    "connections": 'source = "default/a"\ndestination = "default/b"\nrate = 5.0',
    "unanswered": 'destination = "default/db"\nshare = 0.5',
    "selected": 'destination = "default/db"',
    "lost_events": 'buffer = "perf_event_ring_buffer"\nrate = 5.0',
    "node_joins": 'node = "#0"',
    "node_leaves": 'node = "#0"',
    "unreachable": 'node = "#0"',
    "latency": 'node = "#0"\nadded = 0.2',
    "endpoints": "count = 20",
    "not_ready": "count = 2",
    "rollout": 'destination = "default/web"',
    "map_pressure": 'map_name = "ct4_global"\nfill = 0.9',
    "agent_errors": "rate = 0.5",
    "regeneration_failures": "rate = 0.5",
    "operator_errors": "rate = 0.5",
    "load": "factor = 3.0",
}
CONTEXT = {"rollout": "labels-pod"}


def read(text: str) -> Scenario:
    return parse(tomllib.loads(text), "mine")


def event(kind: str, more: str) -> str:
    ends = "" if KINDS[kind].is_moment else 'duration = "10m"\n'
    return f'[[event]]\nkind = "{kind}"\nstart = "20m"\n{ends}{more}\n'


def stored(made: Cluster) -> dict[tuple[tuple[str, str], ...], bytes]:
    return {
        (("__name__", s.name), *sorted(s.labels.items())): np.concatenate(
            [s.times, s.values, s.stale]
        ).tobytes()
        for s in made.series
    }


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_changes_what_is_stored_from_its_start_on(kind: str) -> None:
    context = CONTEXT.get(kind, "labels")
    quiet = read(BASE).with_(context=context)
    happens = read(BASE + event(kind, NEEDS.get(kind, ""))).with_(context=context)
    assert happens.events[-1].kind == kind
    made = simulate(happens)
    assert stored(made) != stored(simulate(quiet))
    (incident,) = [i for i in made.truth.incidents[1:] if i.kind == kind]
    assert incident.start == datetime(2026, 3, 2, 8, 20, tzinfo=UTC)
    assert incident.onset >= incident.start
    assert incident.labels == happens.events[-1].labels


@pytest.mark.parametrize("kind", [Scenario, Service, *KINDS.values()], ids=lambda k: k.__name__)
def test_every_field_says_what_it_means(kind: type) -> None:
    assert re.fullmatch(r"[A-Z][^\n]*\.", kind.__doc__ or ""), "one sentence"
    told = [f for f in fields(kind) if f.metadata]
    assert told
    assert all(about(f).meaning for f in told)
    undescribed = {f.name for f in fields(kind) if not f.metadata}
    assert undescribed <= {"name", "services", "events", "truth", "description"}


def test_every_scenario_says_what_happens_in_one_line() -> None:
    said = {name: load(name).description for name in names()}
    assert all(re.fullmatch(r"[A-Z][^\n]{20,90}\.", text) for text in said.values()), said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (event("drops", "packet = 5"), "event 2 of 2 (drops): unknown field packet; there are: st"),
        (event("drops", 'flag = "RST"'), "unknown field flag"),
        (event("drops", 'rate = "5"'), 'rate = "5" is not a number'),
        (event("drops", "packets = 5.5"), "packets = 5.5 is not a whole number"),
        (event("drops", "packets = true"), "packets = True is not a whole number"),
        (event("drops", "rate = inf"), "rate = inf is not a number"),
        (event("drops", "rate = -1.0"), "rate = -1.0 is less than 0"),
        (event("drops", ""), "give one of rate and packets, above 0"),
        (event("drops", "rate = 1.0\npackets = 5"), "give one of rate and packets"),
        (event("drops", 'rate = 1.0\nreason = "Bad luck"'), 'reason = "Bad luck" is none of Inval'),
        (event("drops", 'rate = 1.0\nsource = "web"'), 'is not a workload as "namespace/name"'),
        (event("drops", 'rate = 1.0\nnode = "worker-9"'), "unknown node worker-9; there are: cont"),
        (event("drops", 'rate = 1.0\nnodes = ["#7"]'), '"#7" is no node: write a name, #0'),
        (event("drops", 'rate = 1.0\nnode = "#0"\nnodes = ["#1"]'), "give one of node and nodes"),
        (event("drops", 'rate = 1.0\nend = "30m"'), "give one of end and duration"),
        (event("drops", 'rate = 1.0\nreason = ""'), 'reason = "" is none of Invalid source mac'),
        (event("drops", 'rate = 1.0\nnodes = ["inf%"]'), '"inf%" is no node: write a name'),
        (event("unanswered", 'share = 0.5\ndestination = ""'), 'destination = "" is not a workl'),
        (event("unreachable", 'node = "#0"\nobserver = "100%"'), "unknown node worker-1, worker-2"),
        (event("dns", "share = 0.5"), "event 2 of 2 (dns): rcode is missing"),
        (event("http", 'status = "503"\nshare = 1.5'), "share = 1.5 is more than 1"),
        (event("http", "status = 503\nshare = 0.5"), "status = 503 is not text in quotes"),
        (event("http", "share = 0.5"), "it changes nothing: give status or latency"),
        (
            event("http", 'status = "503"\nshare = 0.5\ndestination = "default/api"'),
            "nothing goes from any to default/api; there are: default/frontend to default/web",
        ),
        (event("load", 'factor = 2.0\nsource = "a/b"'), "nothing goes from a/b to any"),
        (
            event("dns", 'rcode = "Server Failure"\nshare = 0.5\nsource = "a/b"'),
            "a/b looks up nothing; there are: default/frontend",
        ),
        (event("unanswered", 'share = 0.5\ndestination = "a/b"'), "no event `connections` goes to"),
        (event("policy", 'name = "narrow"\ndestination = "default/web"'), '"namespace/name"'),
        (event("unreachable", ""), "it needs node or nodes; there are: control-plane, worker-1"),
        (event("unreachable", 'node = "#0"\nobserver = "worker-9"'), "unknown node worker-9"),
        (event("operator_down", 'node = "#0"'), "unknown field node"),
        (event("rollout", 'destination = "default/web"\nend = "30m"'), "unknown field end"),
        (event("map_pressure", 'map_name = "ct"\nfill = 1.0'), '"ct" is none of ct4_global, lb4_'),
        (
            '[[event]]\nkind = "explosion"\nstart = 5',
            'event 2 of 2 (explosion): kind = "explosion" is',
        ),
        ("[[event]]\nstart = 5", 'kind = "" is none of drops, policy'),
        ('[[event]]\nkind = "drops"\nrate = 1.0', "start is missing"),
        (
            '[[event]]\nkind = "drops"\nrate = 1.0\nstart = "soon"',
            '"soon" is not a time: write "1h',
        ),
        (
            '[[event]]\nkind = "drops"\nrate = 1.0\nstart = "50m"',
            "is not within the simulation, 0 s",
        ),
        ('[[service]]\nsource = "a/b"\nrate = 1.0', "service 2 of 2: destination is missing"),
        (
            '[[service]]\nsource = "a/b"\ndestination = "a/c"\nrate = 1\nstatuses = {"200" = "x"}',
            "statuses = {'200': 'x'} is not a table of numbers",
        ),
        ("[weather]\nrain = 1", "mine: unknown field weather; there are: description, cluster"),
    ],
)
def test_a_mistake_is_one_line_that_says_where_and_what_is_allowed(text: str, says: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        read(BASE + text)
    told = str(caught.value)
    assert told.startswith("mine: ")
    assert says in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("cluster", "says"),
    [
        ("nodes = 1", "cluster: nodes = 1 is less than 2"),
        ("nodes = 5000", "nodes = 5000 is more than 500"),
        ('nodes = ["a", "a"]', "two nodes have the same name"),
        ("nodes = [1, 2]", "nodes = (1, 2) is not a list of texts"),
        ('version = "new"', 'version = "new" is not a version, such as "1.17.3"'),
        ('version = "1.9.0"', "version 1.9.0 is older than 1.13"),
        ("version = 1.17", "version = 1.17 is not a version"),
        ('scrape_style = "push"', 'scrape_style = "push" is none of annotations, servicemonitor'),
        ("start = 2026-03-01", "start = 2026-03-01 is not a time: 2026-03-02T08:00:00Z"),
        ("start = 1965-03-01T00:00:00Z", "it does not lie in the years 2000 to 2099"),
        ('duration = "a while"', '"a while" is not a time'),
        ('duration = "60d"', "duration = 5184000 is more than 604800"),
        ("weather = 1", "unknown field weather; there are: nodes, version, scrape_style"),
        ('records = ["1h"]', "records is not a list of pairs of times"),
        ('context = "workload"\nversion = "1.14.5"', "context workload came with Cilium 1.15"),
    ],
)
def test_a_mistake_in_the_cluster_too(cluster: str, says: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        read(f"[cluster]\n{cluster}")
    assert says in str(caught.value)
    assert str(caught.value).startswith("mine: cluster: ")


def test_what_is_no_scenario_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    for content in (b"[cluster", b"\xff"):
        file.write_bytes(content)
        with pytest.raises(ScenarioError, match="is not TOML"):
            load(file)
    with pytest.raises(ScenarioError, match=r"cluster is not a table: write .cluster. above"):
        read("cluster = 5")
    with pytest.raises(ScenarioError, match=r"event is not a table: write ..event.. above"):
        read("[event]\nstart = 5")
    with pytest.raises(ScenarioError, match="truth: 'window' is missing"):
        read("[truth]\nfinding = []")


def test_a_file_may_leave_out_nearly_everything() -> None:
    scenario = read("")
    assert scenario.nodes == ("control-plane", "worker-1", "worker-2", "worker-3")
    assert scenario.seconds == 4 * 3600


def test_a_scenario_that_is_moved_stays_the_same(tmp_path: Path) -> None:
    scenario = read(BASE + event("drops", "packets = 500"))
    end = datetime(2027, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
    moved = scenario.ending(end)
    assert moved.end == end.replace(microsecond=0)
    by = moved.epoch - scenario.epoch
    before, after = simulate(scenario).series, simulate(moved).series
    assert all((a.times + 1000 * by == b.times).all() for a, b in zip(before, after, strict=True))
    named = [
        (a, b)
        for a, b in zip(before, after, strict=True)
        if not a.name.endswith("start_time_seconds")
    ]
    assert all(a.values == pytest.approx(b.values) for a, b in named)
