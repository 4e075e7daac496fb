"""Known defects of Cilium's metrics: which versions have them, and what the reports say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pandas as pd
import pytest

from cilium_analysis import connect
from cilium_analysis.metrics import defects, find, help_on
from cilium_analysis.topics import drops
from cilium_analysis.topics.caveats import hubble_notes, of_hubble
from cilium_analysis.window import Window
from cilium_simulator.scenario import load as scenario
from tests.servers.served import ClusterServer

RING, DENIES = "cilium#46584", "cilium#48282"
WINDOW = Window.parse("2026-03-21T08:00Z", "2026-03-21T10:00Z", step="30s")
LOST = "hubble_lost_events_total"


def issues(versions: list[str], *metrics: str) -> set[str]:
    return {defect.issue for defect in defects.applying(versions, metrics)}


@pytest.mark.parametrize("defect", defects.known(), ids=lambda d: f"{d.issue} {d.symptom[:30]}")
def test_every_defect_is_of_metrics_and_versions_that_exist(defect: defects.Defect) -> None:
    assert all(find(name) for name in defect.metrics)
    assert defect.symptom
    assert defect.instead
    for text in (defect.since, defect.until):
        assert not text or defects.release(text)
    since, until = defects.release(defect.since), defects.release(defect.until)
    assert since is None or until is None or since < until


@pytest.mark.parametrize(
    ("version", "has"),
    [
        ("1.18.13", False),
        ("1.19.3", False),
        ("1.19.4", True),
        ("v1.19.6", True),
        ("1.19.10", True),
        ("1.20.0-rc.1", True),
        ("1.20.0-dev", True),
        ("1.20.0", False),
        ("1.21.0-dev", False),
        ("", False),
        ("unknown", False),
    ],
)
def test_falsely_counted_losses_are_those_of_their_versions(version: str, has: bool) -> None:
    assert (RING in issues([version], LOST)) is has


@pytest.mark.parametrize(
    ("version", "has"), [("1.19.6", False), ("1.19.7", True), ("1.19.7-cee.1", True)]
)
def test_egress_denies_are_not_counted_from_a_version_on(version: str, has: bool) -> None:
    assert (DENIES in issues([version], "cilium_drop_count_total")) is has


def test_one_version_of_several_is_enough_and_is_the_one_named() -> None:
    (said,) = defects.notes(["1.18.2", "1.19.5", "1.19.10", "1.19.4"], [LOST])
    assert "Cilium 1.19.4, 1.19.5, 1.19.10 (cilium#46584)" in said
    assert "1.18" not in said
    assert "perf_event_ring_buffer" in said


def test_without_a_version_the_versions_concerned_are_said() -> None:
    for unknown in ([], [""], ["unknown"]):
        (said,) = defects.notes(unknown, [LOST])
        assert "not in the data" in said
        assert "(1.19.4 up to before 1.20.0, " in said
        assert RING in said
    (said,) = defects.notes([], ["cilium_drop_count_total"])
    assert "(1.19.7 and later, with policyDenyResponse=icmp, cilium#48282)" in said


def test_what_the_reports_account_for_is_no_note() -> None:
    falls = ["cilium_drop_count_total"]
    assert defects.applying(["1.14.5"], falls)
    assert defects.notes(["1.14.5"], falls) == []
    assert defects.notes(["1.20.0"], ["hubble_dns_responses_total"]) == []
    assert defects.notes([], ["cilium_endpoint"]) == []


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("1.13.4", "most frequent kind"),
        ("1.14.19", "most frequent kind"),
        ("1.15.0", "whichever comes last"),
        ("1.15.3", "whichever comes last"),
        ("1.15.4", ""),
        ("1.16.0", ""),
    ],
)
def test_forwarded_packets_are_low_in_old_versions(version: str, words: str) -> None:
    said = defects.notes([version], ["cilium_forward_count_total"])
    assert bool(said) is bool(words)
    assert words in " ".join(said)


def test_help_on_a_metric_names_its_defects() -> None:
    assert DENIES in repr(help_on("cilium_drop_count_total", there=[]))
    told = repr(help_on(LOST, there=[]))
    assert RING in told
    assert "counted before the ring is written" in told
    assert "undercount" not in told


@pytest.mark.slow
@pytest.mark.parametrize(("version", "has"), [((1, 18, 3), False), ((1, 19, 7), True)])
def test_a_report_names_the_defects_of_the_versions_that_run(
    version: tuple[int, int, int], has: bool, cluster_server: Callable[..., ClusterServer]
) -> None:
    told = scenario("quiet").with_(version=version)
    window = Window(told.end - timedelta(minutes=20), told.end, timedelta(seconds=30))
    data = drops.load(connect(cluster_server(told).url), window, window.baseline())
    assert data.versions == (".".join(map(str, version)),)
    assert any(DENIES in note for note in drops.notes(data)) is has


# Losses of Hubble


def losses(source: str, amount: float) -> pd.DataFrame:
    index = pd.date_range(WINDOW.start, WINDOW.end, freq="30s", name="time")[1:]
    columns = pd.MultiIndex.from_tuples([("worker-1", source)], names=["node", "source"])
    return pd.DataFrame(amount / len(index), index=index, columns=columns)


def seen() -> pd.DataFrame:
    index = pd.date_range(WINDOW.start, WINDOW.end, freq="30s", name="time")[1:]
    return pd.DataFrame({"worker-1": True}, index=index)


NO_RESTARTS = pd.DataFrame(
    {"time": pd.to_datetime([], utc=True), "node": pd.Series([], dtype=object)}
)


def doubted(lost: pd.DataFrame) -> list[str]:
    start, end = pd.Timestamp(WINDOW.start), pd.Timestamp(WINDOW.end)
    nodes = ["worker-1"]
    return of_hubble(seen(), NO_RESTARTS, lost, amount=10.0, nodes=nodes, start=start, end=end)


@pytest.mark.parametrize("source", ["perf_event_ring_buffer", "observer_events_queue"])
def test_events_lost_before_they_are_counted_lower_the_counts(source: str) -> None:
    (said,) = hubble_notes(seen(), NO_RESTARTS, losses(source, 32.0), WINDOW, versions=["1.19.5"])
    assert "32 events" in said
    assert "counts are low" in said
    assert len(doubted(losses(source, 32.0))) == 1


def test_events_lost_in_the_ring_lower_no_count() -> None:
    lost = losses("hubble_ring_buffer", 32.0)
    assert doubted(lost) == []
    (said,) = hubble_notes(seen(), NO_RESTARTS, lost, WINDOW, versions=["1.18.2"])
    assert "counts are low" not in said
    assert "32 events" in said
    _, named = hubble_notes(seen(), NO_RESTARTS, lost, WINDOW, versions=["1.19.5"])
    assert RING in named


def test_no_loss_is_no_note() -> None:
    assert hubble_notes(seen(), NO_RESTARTS, losses("hubble_ring_buffer", 0.0), WINDOW) == []
