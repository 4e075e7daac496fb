"""A baseline that was itself an incident: what was unusual in it is no measure for the window."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from cilium_analysis import connect, incident
from cilium_analysis.incident.findings import every
from cilium_analysis.topics import TOPICS
from cilium_analysis.topics.model import ENOUGH
from cilium_analysis.window import Window
from cilium_simulator.events import Load
from cilium_simulator.scenario import load
from tests.field import asking
from tests.field.make import (
    START,
    Metrics,
    agent,
    burst,
    counter,
    drops,
    scrapes,
    steady,
    vitals,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.served import ClusterServer

MINUTE = 60
SHIFT = 80 * MINUTE
SWEEP = load("sweep")
KINDS = ("drops", "http", "dns", "tcp_flags")
EVENTS = tuple(event for event in SWEEP.events if event.kind in KINDS)
BEFORE = tuple(replace(e, start=e.start - SHIFT, end=e.end - SHIFT) for e in EVENTS)
ONCE = SWEEP.with_(events=EVENTS, name="once")
TWICE = SWEEP.with_(events=(*BEFORE, *EVENTS), name="twice")
FOUND = {
    "drop_reasons": "drop_spike",
    "http_status": "http_errors",
    "dns": "dns_failures",
    "flows": "tcp_failures",
}


def windows() -> tuple[Window, Window]:
    start = pd.Timestamp(SWEEP.start)
    times = [start + pd.Timedelta(minutes=minutes) for minutes in (10, 90, 170)]
    baseline, window = (
        Window.parse(first.isoformat(), last.isoformat(), step="30s")
        for first, last in itertools.pairwise(times)
    )
    return window, baseline


@pytest.mark.slow
@pytest.mark.parametrize("topic", FOUND)
def test_the_same_incident_in_the_baseline_hides_none_in_the_window(
    cluster_server: Callable[..., ClusterServer], topic: str
) -> None:
    known, (window, baseline) = TOPICS[topic], windows()
    once, twice = (
        known.load(connect(cluster_server(each).url), window, baseline) for each in (ONCE, TWICE)
    )
    assert once.incidents == ()
    assert twice.incidents
    for text in twice.incidents:
        assert text.endswith(", which is left out")
    own, (found, *_) = (
        [f for f in known.findings(d) if f.kind == FOUND[topic]] for d in (once, twice)
    )
    (expected, *_) = own
    assert found.total == pytest.approx(expected.total, rel=0.1)
    assert found.baseline_value == pytest.approx(expected.baseline_value, abs=0.2)
    assert set(twice.incidents) <= set(found.trust_reasons)
    assert any("The baseline was itself an incident" in note for note in known.notes(twice))
    assert baseline.length > twice.baseline.length >= ENOUGH * baseline.length


def test_the_page_of_a_topic_and_the_incident_say_the_same(
    cluster_server: Callable[..., ClusterServer],
) -> None:
    source = connect(cluster_server(TWICE).url)
    data = incident.load(source, *windows())
    whole = {(f.kind, f.start, f.end): (f.value, f.baseline_value, f.total) for f in every(data)}
    for topic in FOUND:
        for f in TOPICS[topic].findings(data.topics[topic]):
            assert same(whole[f.kind, f.start, f.end], (f.value, f.baseline_value, f.total))


def same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return pd.Series(one, dtype=object).equals(pd.Series(other, dtype=object))


def test_a_baseline_that_was_an_incident_all_along_is_used_and_said(
    cluster_server: Callable[..., ClusterServer],
) -> None:
    drops = next(event for event in EVENTS if event.kind == "drops")
    long = replace(drops, start=12 * MINUTE, end=88 * MINUTE)
    source = connect(cluster_server(SWEEP.with_(events=(long, drops), name="long")).url)
    window, baseline = windows()
    data = TOPICS["drop_reasons"].load(source, window, baseline)
    assert data.baseline.length == baseline.length
    assert [text.rpartition(", ")[2] for text in data.incidents] == [
        "too much of it to leave it out"
    ]


def test_an_incident_that_began_in_the_baseline_is_found_from_the_start_of_the_window(
    cluster_server: Callable[..., ClusterServer],
) -> None:
    drops = next(event for event in EVENTS if event.kind == "drops")
    ongoing = replace(drops, start=60 * MINUTE, end=110 * MINUTE)
    source = connect(cluster_server(SWEEP.with_(events=(ongoing,), name="ongoing")).url)
    window, baseline = windows()
    data = TOPICS["drop_reasons"].load(source, window, baseline)
    (found,) = TOPICS["drop_reasons"].findings(data)
    assert found.start == window.start
    assert abs(found.end - window.start - pd.Timedelta(minutes=20)) <= window.step
    assert found.baseline_value < 0.1 * found.value
    assert "from 2026-03-24 09:00 to 09:30 UTC (drop spike)" in data.incidents[0]


def test_what_comes_again_and_again_is_a_habit(
    cluster_server: Callable[..., ClusterServer],
) -> None:
    drops = next(event for event in EVENTS if event.kind == "drops")
    often = tuple(
        replace(drops, start=minute * MINUTE, end=(minute + 3) * MINUTE)
        for minute in range(12, 170, 16)
    )
    source = connect(cluster_server(SWEEP.with_(events=often, name="often")).url)
    data = TOPICS["drop_reasons"].load(source, *windows())
    assert data.incidents == ()
    assert list(TOPICS["drop_reasons"].findings(data)) == []


@pytest.mark.slow
@pytest.mark.parametrize("times", [3.0, 20.0])
def test_the_busy_hours_of_a_day_are_no_incident(
    cluster_server: Callable[..., ClusterServer], times: float
) -> None:
    hour = 60 * MINUTE
    busy = tuple(Load((d + 8) * hour, (d + 19) * hour, factor=times) for d in (0, 24))
    few = SWEEP.nodes[:3]
    rare = tuple(
        replace(each, rate=0.5, nodes=tuple(node for node in each.nodes if node in few))
        for each in SWEEP.services
    )
    scenario = SWEEP.with_(
        events=busy,
        services=rare,
        nodes=few,
        interval=60,
        seconds=48 * hour,
        records=((0, 48 * hour),),
        name="days",
    )
    source, start = connect(cluster_server(scenario).url), pd.Timestamp(scenario.start)
    baseline, window = (
        Window.parse(first.isoformat(), (first + pd.Timedelta(hours=23)).isoformat(), step="2m")
        for first in (start, start + pd.Timedelta(hours=23))
    )
    for topic in FOUND:
        data = TOPICS[topic].load(source, window, baseline)
        assert data.incidents == ()
        assert list(TOPICS[topic].findings(data)) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "zone", "day"),
    [
        ("2026-03-24T08:00Z", "UTC", 24),
        ("2026-03-28T08:00Z", "Europe/Berlin", 23),  # clocks go forward in the night
    ],
)
def test_what_comes_at_the_same_time_of_each_day_is_a_habit(
    cluster_server: Callable[..., ClusterServer], start: str, zone: str, day: int
) -> None:
    hour = 60 * MINUTE
    drops = next(event for event in EVENTS if event.kind == "drops")
    often = tuple(replace(drops, start=h * hour, end=h * hour + 900) for h in (1, day + 1))
    scenario = SWEEP.with_(
        events=often,
        seconds=(day + 3) * hour,
        records=((0, 3 * hour), (day * hour, (day + 3) * hour)),
        start=pd.Timestamp(start).to_pydatetime(),
        name="daily",
    )
    source, first = connect(cluster_server(scenario).url), pd.Timestamp(start)
    begin, end = (first + pd.Timedelta(hours=hours) for hours in (day + 0.5, day + 2.5))
    window = Window.parse(begin.isoformat(), end.isoformat(), step="30s", timezone=zone)
    topic = TOPICS["drop_reasons"]
    daily = topic.load(source, window, window.baseline("1d"))
    assert daily.incidents == ()
    assert list(topic.findings(daily)) == []
    (found,) = topic.findings(topic.load(source, window, window.baseline("previous")))
    assert found.kind == "drop_spike"


# Hardly any baseline


@pytest.mark.parametrize("before", [5, 9])
def test_a_baseline_of_which_hardly_anything_was_scraped_is_none(before: int) -> None:
    """The server keeps ten minutes of it, and the incident had begun then."""
    metrics = Metrics()
    at = [time for time in scrapes() if time >= START - 600]
    for number in (1, 2):
        rate = burst(10.0, -before, 20) if number == 1 else steady(0.01)
        vitals(metrics, agent(number), at=at)
        drops(metrics, agent(number), rate, at=at)
    with asking.available(metrics) as url:
        told = asking.topic(url, "drop_reasons")
    found = told.one("drop_spike", node="worker-1")
    assert found["baseline_value"] is None
    assert found["total"] == pytest.approx(12_000, rel=0.03)
    said = "only 8.3% of the baseline was scraped, too little to compare with"
    assert said in found["trust_reasons"]
    assert f"O{said[1:]}." in told.notes["drop_reasons"]


def test_one_incident_of_a_baseline_is_told_once() -> None:
    metrics = Metrics()
    for number in (1, 2):
        vitals(metrics, agent(number))
        rate = burst(10.0, -60, 20, beside=0.01) if number == 1 else steady(0.01)
        drops(metrics, agent(number), rate)
        counter(
            metrics,
            "cilium_forward_count_total",
            agent(number) | {"direction": "INGRESS"},
            steady(1000.0),
        )
    with asking.available(metrics) as url:
        told = asking.topic(url, "drop_reasons")
    (said,) = (each for each in told.one("drop_spike")["trust_reasons"] if "itself" in each)
    assert said.startswith("the baseline was itself an incident from 2026-11-20 09:00 to 10:00 UTC")
