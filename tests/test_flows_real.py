"""Handshakes as three real agents counted them, against what their clients really saw."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cilium_analysis import frames
from cilium_analysis.findings import Finding, Severity
from cilium_analysis.topics import flows
from cilium_analysis.window import Window
from tests.timeline import Timeline, timeline

FILE = Path(__file__).parent / "data" / "real-handshakes" / "agents.csv"
DAY = "2026-11-29T"
QUIET = f"{DAY}11:57:00Z/{DAY}12:13:00Z"
DENIED, CUT, ALLOWED = ("12:13:00", "12:21:00"), ("12:25:30", "12:33:00"), ("12:36:00", "12:41:00")
STEP = pd.Timedelta("30s")
FRONTEND, WEB, DB = "default/frontend", "default/web", "data/db"


@pytest.fixture(scope="module")
def counters() -> dict[str, pd.DataFrame]:
    with FILE.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    values = [
        [np.nan if text == "-" else float(text) for text in row.pop("values").split()]
        for row in rows
    ]
    first = pd.Timestamp(f"{DAY}11:52:00Z").value // 10**6
    times = first + 30_000 * np.arange(len(values[0]), dtype=np.int64)
    made = {}
    for name, metric in (
        ("flags", "hubble_tcp_flags_total"),
        ("flows", "hubble_flows_processed_total"),
    ):
        mine = [number for number, row in enumerate(rows) if row["metric"] == metric]
        series = [
            {k: v for k, v in rows[n].items() if k != "metric"} | {"instance": rows[n]["node"]}
            for n in mine
        ]
        made[name] = frames.build(times, np.array([values[n] for n in mine]).T, series)
    nodes = frames.group(made["flags"], ["instance", "node"])
    made["servers"] = made["agents"] = nodes.notna().astype(float).where(nodes.notna())
    return made


def source(counters: dict[str, pd.DataFrame], *lacking: str) -> Timeline:
    return timeline(**{name: frame for name, frame in counters.items() if name not in lacking})


def told(
    of: Timeline, hours: tuple[str, str], *, usual: str = QUIET
) -> tuple[flows.Flows, list[Finding]]:
    window = Window.parse(f"{DAY}{hours[0]}Z", f"{DAY}{hours[1]}Z", step="30s")
    data = flows.load(of, window, window.baseline(usual))
    return data, [f for f in flows.findings(data) if f.kind == "tcp_failures"]


def missing(data: flows.Flows, source: str, destination: str) -> int:
    table = flows.handshakes(data)
    mine = (table["source"] == source) & (table["destination"] == destination)
    return int(table.loc[mine, "missing"].sum())


def timed(finding: Finding, first: str, last: str) -> None:
    assert abs(pd.Timestamp(finding.start) - pd.Timestamp(f"{DAY}{first}Z")) <= STEP
    assert abs(pd.Timestamp(finding.end) - pd.Timestamp(f"{DAY}{last}Z")) <= STEP


def test_a_denial_fails_as_many_connections_as_the_clients_say(
    counters: dict[str, pd.DataFrame],
) -> None:
    _, (found,) = told(source(counters), DENIED)
    assert (found.labels["source"], found.labels["destination"]) == (FRONTEND, WEB)
    said = re.search(r"([\d,]+) of [\d,]+ connections failed", found.title)
    assert said
    assert float(said[1].replace(",", "")) == pytest.approx(1396, rel=0.01)
    assert found.severity is Severity.WARNING
    assert found.trust == "good"
    timed(found, "12:15:00", "12:19:01")


def test_a_node_cut_off_fails_connections_of_both_its_clients(
    counters: dict[str, pd.DataFrame],
) -> None:
    data, (found,) = told(source(counters), CUT)
    assert f"{FRONTEND} to {WEB}" in found.title
    assert f"{WEB} to {DB}" in found.title
    timed(found, "12:27:30", "12:31:30")
    # A SYN that is sent again is reported again after five seconds at the earliest.
    for pair, attempts in (((FRONTEND, WEB), 667), ((WEB, DB), 225)):
        assert attempts <= missing(data, *pair) <= 2 * attempts


@pytest.mark.parametrize("lacking", [(), ("flows",)])
def test_a_policy_that_allows_everything_fails_nothing(
    lacking: tuple[str, ...], counters: dict[str, pd.DataFrame]
) -> None:
    data, found = told(source(counters, *lacking), ALLOWED)
    assert not found
    if lacking:
        assert flows.handshakes(data)["missing"].isna().all()
    else:
        assert missing(data, WEB, DB) == missing(data, FRONTEND, WEB) == 0


def test_outages_are_seen_without_verdicts(counters: dict[str, pd.DataFrame]) -> None:
    _, (denied,) = told(source(counters, "flows"), DENIED)
    timed(denied, "12:15:00", "12:19:01")
    assert denied.trust == "doubtful"
    _, (cut,) = told(source(counters, "flows"), CUT)
    timed(cut, "12:27:30", "12:31:30")


def test_of_a_healthy_cluster_each_syn_that_is_no_verdict_is_answered(
    counters: dict[str, pd.DataFrame],
) -> None:
    usual = f"{DAY}11:57:00Z/{DAY}12:04:00Z"
    data, found = told(source(counters), ("12:04:00", "12:14:30"), usual=usual)
    assert not found
    named = flows.handshakes(data).query("source != '' and destination != ''")
    assert len(named) == 2
    assert (named["syn"] - named["verdicts"] - named["syn-ack"]).abs().max() <= 2
    assert named["syn"].sum() > 1.5 * named["syn-ack"].sum()
