"""Flows from frames in memory: gaps, births, hostile labels, and shifts of levels."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cilium_analysis.frames import totals
from cilium_analysis.queries import parse_matchers
from cilium_analysis.topics import flows
from cilium_analysis.topics.flows.traffic import Shift, Shifts
from cilium_analysis.window import Window
from tests.sources import grid
from tests.timeline import timeline

MINUTE = timedelta(minutes=1)
WINDOW = Window.parse("2026-03-21T08:00Z", "2026-03-21T09:00Z", step="30s")
BASELINE = WINDOW.baseline()
BOTH = BASELINE.extended(before=5 * MINUTE)
LABELS = "protocol type subtype verdict source destination node instance"


def over(counts: Mapping[Any, object], labels: str) -> pd.DataFrame:
    """Values from before the baseline to the end of the window."""
    wide = Window.parse(BOTH.start.isoformat(), WINDOW.end.isoformat(), step="30s")
    return grid(wide, counts, labels)


def since(minutes: int) -> np.ndarray:
    """Count the steps since some time of the window."""
    points = len(over({("n",): 0.0}, "node"))
    return np.maximum(np.arange(points) - (points - 1 - 120) - 2 * minutes, 0).astype(float)


UP = {("n", "n"): 1.0}


def forwarded(values: object, source: str = "a/x", destination: str = "a/y") -> pd.DataFrame:
    key = ("TCP", "Trace", "to-endpoint", "FORWARDED", source, destination, "n", "n")
    return over({key: values}, LABELS)


#: Flows of a cluster without policies: none of its SYNs is a verdict.
NO_VERDICTS = forwarded(10.0 * since(-65))


def test_all_traffic_stops_while_hubble_is_scraped() -> None:
    steps = since(-65)
    values = 100.0 * np.minimum(steps, 190.0)
    servers = over(UP, "node instance")
    data = flows.load(
        timeline(flows=forwarded(values, "", ""), servers=servers, agents=servers),
        WINDOW,
        BASELINE,
    )
    (finding,) = flows.findings(data)
    assert finding.labels == {"verdict": "FORWARDED", "protocol": "TCP"}
    assert "stopped" in finding.title
    assert finding.total == 0.0


def test_a_hubble_out_of_sight_is_no_stop_of_traffic() -> None:
    steps = since(-65)
    gone = steps > 190.0
    values = np.where(gone, np.nan, 100.0 * steps)
    servers = over({("n", "n"): np.where(gone, 0.0, 1.0)}, "node instance")
    agents = over(UP, "node instance")
    source = timeline(flows=forwarded(values), servers=servers, agents=agents)
    data = flows.load(source, WINDOW, BASELINE)
    assert list(flows.findings(data)) == []
    assert any("was not scraped" in note for note in flows.notes(data))


def test_a_hubble_that_comes_into_sight_has_an_unknown_past() -> None:
    late = since(10) > 0
    values = np.where(late, 1e6 + since(10), np.nan)
    rst = over(
        {("RST", "IPv4", "", "", "n", "n"): values}, "flag family source destination node instance"
    )
    steady = over({("n", "n"): np.where(late, 1.0, np.nan), ("m", "m"): 1.0}, "node instance")
    agents = over({("n", "n"): 1.0, ("m", "m"): 1.0}, "node instance")
    data = flows.load(timeline(flags=rst, servers=steady, agents=agents), WINDOW, BASELINE)
    assert totals(data.now.flags, ["flag"])["RST"] == since(10)[-1] - 1
    assert list(flows.findings(data)) == []


def test_only_traffic_rises_when_resets_rise_with_it() -> None:
    labels = "flag family source destination node instance"
    syn, rst = (ratio * (since(-65) + 9.0 * (since(20) - since(40))) for ratio in (300.0, 30.0))
    keys = (("SYN", "a", "b"), ("SYN-ACK", "b", "a"), ("RST", "a", "b"))
    columns = {
        (flag, "IPv4", source, destination, "n", "n"): values
        for (flag, source, destination), values in zip(keys, (syn, syn, rst), strict=True)
    }
    up = over(UP, "node instance")
    data = flows.load(
        timeline(flags=over(columns, labels), flows=NO_VERDICTS, servers=up, agents=up),
        WINDOW,
        BASELINE,
    )
    assert totals(data.now.flags, ["flag"])["RST"] > 8_000
    assert list(flows.findings(data)) == []
    (row,) = flows.handshakes(data).to_dict("records")
    assert (row["source"], row["destination"], row["missing"]) == ("a", "b", 0)


def test_echo_replies_of_ipv6_have_the_wrong_family_before_1_19() -> None:
    columns = {
        ("EchoRequest", "IPv4", "a", "b", "n", "n"): 3.0 * since(-65),
        ("EchoRequest", "IPv6", "a", "b", "n", "n"): 2.0 * since(-65),
        ("EchoReply", "IPv4", "b", "a", "n", "n"): 4.0 * since(-65),
    }
    icmp = over(columns, "type family source destination node instance")
    data = flows.load(timeline(icmp=icmp, flows=NO_VERDICTS), WINDOW, BASELINE)
    row = flows.echoes(data).loc["window"]
    assert (row["requests"], row["replies"], row["missing"]) == (600, 480, 120)
    assert list(flows.icmp(data).index) == ["EchoRequest", "EchoReply"]
    assert set(data.now.icmp.columns.get_level_values("source")) == {"a"}


def test_hostile_labels_stay_text() -> None:
    bad = 'x"} or vector(1) or y{z="<script>$'
    values = 100.0 * np.minimum(since(-65), 190.0)
    frame = over({(bad, "Trace", bad, "FORWARDED", bad, bad, bad, "n"): values}, LABELS)
    up = over({(bad, "n"): 1.0}, "node instance")
    data = flows.load(timeline(flows=frame, servers=up, agents=up), WINDOW, BASELINE)
    found = flows.findings(data)
    (finding,) = found
    inside = finding.query.split("{", 1)[1].rsplit("}", 1)[0]
    assert {m.value for m in parse_matchers(inside)} == {bad, "FORWARDED"}
    assert "<script>" not in found.to_html()
    assert list(flows.talkers(data)["source"]) == [bad]


def test_pods_of_a_deployment_are_one() -> None:
    rate = 50.0 * since(-65)
    columns: dict[tuple[str, ...], object] = {
        (f"a/web-5d9c7b6f5-{end}", "a/db-0", "n", "n"): rate for end in ("x2k4v", "7bcdf")
    }
    labels = "source destination node instance"
    data = flows.load(timeline(flows=over(columns, labels)), WINDOW, BASELINE)
    assert flows.talkers(data)[["source", "destination"]].to_numpy().tolist() == [
        ["a/web", "a/db-0"]
    ]


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        (np.full(60, 10.0), []),
        (np.r_[np.full(20, 10.0), np.full(20, 50.0), np.full(20, 10.0)], [Shift(20, 40, True)]),
        (np.r_[np.full(20, 10.0), np.full(20, 1.0), np.full(20, 10.0)], [Shift(20, 40, False)]),
        (np.r_[np.full(20, 10.0), np.full(20, np.nan), np.full(20, 10.0)], []),
        (np.r_[np.full(20, 10.0), np.full(3, 50.0), np.full(37, 10.0)], []),
        (np.r_[np.full(20, 10.0), np.full(40, 0.0)], [Shift(20, 60, False)]),
    ],
)
def test_shifts_are_found_at_their_edges(counts: np.ndarray, found: list[Shift]) -> None:
    assert Shifts(width=10, least=1.0).find(counts, np.full(60, 10.0)) == found


def test_a_baseline_that_swings_allows_for_as_much() -> None:
    swing = np.repeat([5.0, 40.0], 30)
    assert Shifts(width=10, least=1.0).find(np.roll(swing, 30), swing) == []
    assert Shifts(width=10, least=1.0).find(swing, np.empty(0)) == []
