"""Drops that Hubble counts and no agent does, and whom Hubble names."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from cilium_analysis import counters, frames
from cilium_analysis.topics import drops
from cilium_analysis.topics.drops.data import Counts
from cilium_analysis.window import Window
from tests.sources import grid

WINDOW = Window.parse("2026-03-21T08:00Z", "2026-03-21T09:00Z", step="30s")
#: the baseline, the window, and what is asked before them
LONG = WINDOW.extended(before=timedelta(minutes=70))
HUBBLE = "node instance reason protocol source destination traffic_direction"
ENDS = ("shop/cart", "shop/db")
SCRAPED = grid(LONG, {("a",): 1.0}, "node")
NOTHING = SCRAPED.iloc[:, :0]


def counter(rate: float, *, first: float = 20, last: float = 40, beside: float = 0.0) -> np.ndarray:
    """A counter at a rate [1/s] between two minutes of the window, and at another one beside."""
    minutes = (np.arange(LONG.points) - (LONG.points - WINDOW.points)) * 0.5
    inside = (minutes > first) & (minutes <= last)
    return 10.0 + np.cumsum(np.where(inside, rate, beside) * 30.0)


def load(
    *,
    drops_: pd.DataFrame = NOTHING,
    hubble: pd.DataFrame = NOTHING,
    verdicts: pd.DataFrame = NOTHING,
    agents: bool = False,
) -> drops.Drops:
    """Give what is loaded from counters over the baseline and the window."""
    before = WINDOW.baseline()
    none = frames.empty(["direction", "node", "reason"])
    counts, of_hubble, denied = (counters.increase(each) for each in (drops_, hubble, verdicts))
    seen = pd.DataFrame({"a": True}, index=SCRAPED.index)

    def inside(frame: pd.DataFrame, window: Window) -> pd.DataFrame:
        return frames.between(frame, window.start, window.end)

    def counted(window: Window) -> Counts:
        return Counts(
            window=window,
            counts=inside(counts, window) if agents else none,
            volumes=none,
            forwarded=frames.empty(["direction", "node"]),
            scraped=inside(seen, window) if agents else pd.DataFrame(),
            events=pd.DataFrame({"time": [], "event": [], "amount": [], "node": []}),
            restarts=pd.DataFrame({"time": pd.to_datetime([], utc=True), "node": []}),
            hubble=inside(of_hubble, window),
            verdicts=inside(denied, window),
            hubble_scraped=inside(seen, window),
        )

    return drops.Drops(source="memory", now=counted(WINDOW), baseline=counted(before))


def without_baseline(data: drops.Drops) -> drops.Drops:
    nothing = frames.empty(["direction", "node", "reason"])
    before = replace(data.baseline, counts=nothing, scraped=pd.DataFrame())
    return replace(data, baseline=before)


def events(
    values: np.ndarray, *, reason: str = "POLICY_DENIED", ends: tuple[str, str] = ENDS
) -> pd.DataFrame:
    return grid(LONG, {("a", "a:9965", reason, "TCP", *ends, "ingress"): values}, HUBBLE)


def verdicts(values: np.ndarray, *, match: str = "none") -> pd.DataFrame:
    names = "node instance direction match source destination"
    return grid(LONG, {("a", "a:9965", "ingress", match, *ENDS): values}, names)


def packets(values: np.ndarray, *, reason: str = "Policy denied", node: str = "a") -> pd.DataFrame:
    labels = (reason, "INGRESS", node, "a:9962")
    return grid(LONG, {labels: values}, "reason direction node instance")


def test_events_are_told_as_events_and_never_as_packets() -> None:
    data = load(hubble=events(counter(20.0)))
    (finding,) = drops.findings(data)
    assert (finding.kind, finding.unit, finding.total) == ("drop_spike", "events/s", 24_000.0)
    assert finding.trust == "doubtful"
    assert "packets" not in finding.title
    assert "from shop/cart to shop/db" in finding.title
    assert "hubble_drop_total" in finding.query
    assert finding.start == WINDOW.start + timedelta(minutes=20)
    assert finding.labels["direction"] == "INGRESS"
    assert drops.silence(data).startswith("Unknown")
    assert drops.who(data)["packets"].isna().all()


@pytest.mark.parametrize(
    ("match", "name", "reason"),
    [
        ("none", "POLICY_DENIED", "Policy denied"),
        ("l3-l4", "POLICY_DENY", "Policy denied by denylist"),
    ],
)
def test_verdicts_that_agree_with_events_tell_the_packets(
    match: str, name: str, reason: str
) -> None:
    data = load(
        hubble=events(counter(20.0), reason=name),
        verdicts=verdicts(counter(10.0), match=match),
    )
    (finding,) = drops.findings(data)
    assert (finding.labels["reason"], finding.unit) == (reason, "packets/s")
    assert finding.total == 12_000.0
    assert finding.trust == "doubtful"
    who = drops.who(data)
    assert who[["events", "packets"]].to_numpy().tolist() == [[24_000.0, 12_000.0]]


def test_verdicts_that_disagree_with_events_tell_nothing() -> None:
    data = load(hubble=events(counter(20.0)), verdicts=verdicts(counter(5.0)))
    (finding,) = drops.findings(data)
    assert (finding.unit, finding.total) == ("events/s", 24_000.0)


def test_hubble_alone_is_quiet_where_nothing_rises() -> None:
    steady = events(counter(0.1, beside=0.1))
    data = load(hubble=steady)
    assert list(drops.findings(data)) == []
    assert any("Unknown" in note for note in drops.notes(data))


def test_what_the_proxy_denied_is_no_drop() -> None:
    data = load(hubble=events(counter(20.0), reason="DROP_REASON_UNKNOWN"))
    assert list(drops.findings(data)) == []


def test_what_agents_count_leads_and_is_told_once() -> None:
    data = load(drops_=packets(counter(10.0)), hubble=events(counter(20.0)), agents=True)
    (finding,) = drops.findings(data)
    assert (finding.unit, finding.total) == ("packets/s", 12_000.0)
    who = drops.who(data)
    assert who["packets"].sum() == drops.by_reason(data)["packets"].sum() == 12_000.0


def test_a_reason_that_only_hubble_has_is_found_beside_what_agents_count() -> None:
    data = load(
        drops_=packets(counter(0.1, beside=0.1), reason="Invalid source ip"),
        hubble=events(counter(20.0)),
        agents=True,
    )
    (finding,) = drops.findings(data)
    assert (finding.labels["reason"], finding.unit) == ("Policy denied", "events/s")


def test_without_reasons_of_agents_hubbles_events_are_no_drops_beside_theirs() -> None:
    """A relabelling that drops the label ``reason``."""
    data = load(drops_=packets(counter(10.0), reason=""), hubble=events(counter(20.0)), agents=True)
    (finding,) = drops.findings(data)
    assert finding.title.startswith("Drops for an unknown reason (")
    assert finding.unit == "packets/s"
    assert "dropped for an unknown reason" in finding.brief


@pytest.mark.parametrize(
    ("ends", "workload"),
    [
        (("203.0.113.7/32", "shop/db"), {"namespace": "shop", "workload": "db"}),
        (("cidr:203.0.113.7/32,reserved:world", "203.0.113.9"), {}),
        (("shop/db", "2001:db8::/32"), {}),
        (("world", "frontend"), {"workload": "frontend"}),
        (("world", "host"), {}),
        (("shop/db", "remote-node"), {}),
    ],
)
def test_only_a_namespace_is_told_as_one(ends: tuple[str, str], workload: dict[str, str]) -> None:
    data = load(drops_=packets(counter(10.0)), hubble=events(counter(20.0), ends=ends), agents=True)
    (finding,) = drops.findings(data)
    named = {n: t for n, t in finding.labels.items() if n in ("namespace", "workload")}
    assert named == workload
    assert finding.labels["destination"]
    assert f"to {finding.labels['destination']} on a" in finding.title


def test_a_node_that_no_label_names_is_said_to_be_unknown() -> None:
    data = load(drops_=packets(counter(10.0)), agents=True)
    frame = frames.relabel(data.now.counts, "node", [""])
    now, before = (
        replace(part, counts=each)
        for part, each in ((data.now, frame), (data.baseline, frame.iloc[:0]))
    )
    (finding,) = drops.findings(replace(data, now=now, baseline=before))
    assert "on an unknown node:" in finding.title
    assert "node" not in finding.labels


def test_without_a_baseline_nothing_is_compared_with_it() -> None:
    alone = without_baseline(load(drops_=packets(counter(10.0)), agents=True))
    (finding,) = drops.findings(alone)
    assert "(no baseline)" in finding.title
    assert "instead of" not in finding.title
    row = drops.findings(alone).as_json()["findings"][0]
    assert row["baseline_value"] is None
    assert drops.by_reason(alone)[["expected", "change"]].isna().to_numpy().all()
    assert any("No baseline" in note for note in drops.notes(alone))


def test_drops_all_along_a_window_without_baseline_are_told() -> None:
    data = load(drops_=packets(counter(10.0, first=-100, last=100)), agents=True)
    (finding,) = drops.findings(without_baseline(data))
    assert "(no baseline)" in finding.title
    assert finding.total == drops.by_reason(data)["packets"].sum()


@pytest.mark.parametrize("event", ["unknown_start", "renamed"])
def test_how_a_counter_was_read_is_a_caveat(event: str) -> None:
    data = load(drops_=packets(counter(10.0)), agents=True)
    read = pd.DataFrame(
        {"time": [WINDOW.start], "event": [event], "amount": [500.0], "node": ["a"]}
    )
    data = replace(data, now=replace(data.now, events=read))
    (finding,) = drops.findings(data)
    assert finding.trust == "doubtful"
    assert any(note.startswith("a: ") for note in drops.notes(data))
