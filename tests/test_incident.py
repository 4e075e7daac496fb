"""What happened: stories, timeline, trust, on the simulated cluster and on made findings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pandas as pd
import pytest

from cilium_analysis import connect, incident
from cilium_analysis.findings import Finding, Findings, Severity, merge
from cilium_analysis.incident import policy
from cilium_analysis.incident.caveats import caveats
from cilium_analysis.incident.links import DEPTH, LINKS
from cilium_analysis.incident.other_changes import MOST_SCORE, Stream, farthest, ranked
from cilium_analysis.incident.stories import stories
from cilium_analysis.window import Window
from tests.servers.served import ClusterServer

START = datetime(2026, 3, 21, 8, tzinfo=UTC)
STEP = timedelta(seconds=30)
WINDOW = Window(START, START + timedelta(hours=2), STEP)


def finding(
    kind: str,
    begin: float = 60,
    end: float = 90,
    *,
    severity: Severity = Severity.CRITICAL,
    title: str = "",
    **labels: str,
) -> Finding:
    """A finding from one minute of the window to another."""
    return Finding(
        kind=kind,
        severity=severity,
        title=title or f"{kind} {labels}",
        start=START + timedelta(minutes=begin),
        end=START + timedelta(minutes=end),
        labels=labels,
        value=1.0,
        baseline_value=0.0,
        unit="1",
        query="up",
        next_step="look",
    )


def told(*found: Finding) -> list[tuple[str, set[str]]]:
    return [(s.lead.kind, {e.kind for e in s.evidence}) for s in stories(found, step=STEP)]


def test_one_root_change_is_one_story_told_from_its_root() -> None:
    cut = finding("node_unreachable", node="worker-1")
    lost = finding("drop_spike", 60.5, reason="FIB lookup failed", node="worker-1")
    slow = finding("tcp_failures", 61)
    failed = finding("http_errors", 61, destination="default/web")
    expected = [("node_unreachable", {"drop_spike", "tcp_failures", "http_errors"})]
    for order in permutations([cut, lost, slow, failed]):
        assert told(*order) == expected


def test_what_happens_elsewhere_or_at_another_time_is_another_story() -> None:
    here = finding("node_unreachable", node="worker-1")
    there = finding("drop_spike", node="worker-2", reason="Policy denied")
    later = finding("drop_spike", 110, 115, node="worker-1", reason="FIB lookup failed")
    slow = finding("http_errors", 75)
    assert len(told(here, there)) == 2
    assert len(told(here, later)) == 2
    assert len(told(here, slow)) == 2


def test_a_policy_refuses_packets_wherever_nodes_are_reached() -> None:
    here = finding("node_unreachable", node="worker-1")
    refused = finding("drop_spike", reason="Policy denied", node="worker-1")
    full = finding("map_pressure", map_name="ct4_global")
    lost = finding("drop_spike", reason="CT: Map insertion failed")
    assert len(told(here, refused)) == 2
    assert len(told(full, refused)) == 2
    assert told(full, lost) == [("map_pressure", {"drop_spike"})]


def test_what_began_clearly_earlier_does_not_follow() -> None:
    cut = finding("node_unreachable", 66, node="worker-1")
    lost = finding("drop_spike", 60, node="worker-1", reason="Invalid identity")
    assert told(cut, lost)[0] == ("drop_spike", {"node_unreachable"})


def test_packets_dropped_for_the_wiring_are_why_a_node_is_not_reached() -> None:
    cut = finding("node_unreachable", node="worker-1")
    lost = finding("drop_spike", 60.5, node="worker-1", reason="Traffic is unencrypted")
    assert told(cut, lost) == [("drop_spike", {"node_unreachable"})]


def test_what_is_full_is_told_before_what_filled_it() -> None:
    grown = finding("endpoint_growth", 20, 90, node="worker-1")
    full = finding("endpoint_limit", 80, 90, node="worker-1")
    assert told(grown, full) == [("endpoint_limit", {"endpoint_growth"})]


@pytest.mark.parametrize("shift", [-60, -30, 30, 60])
def test_an_onset_that_is_off_by_a_minute_changes_nothing(shift: int) -> None:
    cut = finding("node_unreachable", 60 + shift / 60, node="worker-1")
    lost = finding("drop_spike", 60, node="worker-1", reason="FIB lookup failed")
    assert told(cut, lost) == [("node_unreachable", {"drop_spike"})]


def test_a_mere_note_leads_no_warning_but_is_part_of_its_story() -> None:
    note = finding("agent_restart", 59, 60, node="worker-1", severity=Severity.INFO)
    lost = finding("drop_spike", node="worker-1", reason="Policy denied")
    (story,) = stories([note, lost], step=STEP)
    assert story.lead is lost
    assert story.as_finding().evidence == (note,)
    assert story.as_finding().severity == Severity.CRITICAL


def test_every_kind_has_its_place() -> None:
    assert {kind for links in LINKS.values() for link in links for kind in link.shown_as} <= set(
        DEPTH
    )
    assert set(LINKS) <= set(DEPTH)


def test_a_run_says_nothing_twice() -> None:
    first, second = finding("drop_spike", reason="A"), finding("http_errors")
    alone = finding("map_pressure", 5, 6, map_name="ct4_global")
    empty = Findings("s", WINDOW, None)
    lead = replace(first, evidence=(second,))
    story = Findings("s", WINDOW, None, (lead,), ranked=True)
    single = [Findings("s", WINDOW, None, (each,)) for each in (first, second, alone)]
    merged = merge(empty, [story, *single], stories=[story]).as_json()
    assert [row["kind"] for row in merged["findings"]] == ["drop_spike", "map_pressure"]
    assert [row["rank"] for row in merged["findings"]] == [1, 2]
    assert [row["kind"] for row in merged["findings"][0]["evidence"]] == ["http_errors"]
    assert len(merge(empty, single)) == 3


def test_evidence_is_escaped() -> None:
    evil = finding("http_errors", title="<script>alert(1)</script>")
    lead = replace(finding("drop_spike", reason="A"), evidence=(evil,))
    page = Findings("s", WINDOW, None, (lead,)).to_html()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


# On the sample


@pytest.fixture(scope="module")
def sample() -> incident.Incident:
    bundle: Any = connect("sample")
    return incident.load(bundle, bundle.window, bundle.baseline)


@pytest.mark.slow
def test_the_sample_tells_its_story(sample: incident.Incident) -> None:
    found = incident.findings(sample)
    lead = found[0]
    assert (lead.kind, lead.labels["reason"]) == ("drop_spike", "Policy denied")
    assert {each.kind for each in lead.evidence} == {"http_denied", "policy_change"}
    applied, taken_back = (each for each in lead.evidence if each.kind == "policy_change")
    assert applied.start <= datetime(2026, 3, 21, 9, 0, 12, tzinfo=UTC) <= applied.end
    assert taken_back.start <= datetime(2026, 3, 21, 9, 41, 30, tzinfo=UTC) <= taken_back.end
    assert {each.kind for each in found} == {"drop_spike", "agent_restart"}


def test_the_timeline_is_in_order_and_whole(sample: incident.Incident) -> None:
    found = incident.findings(sample)
    table = incident.timeline(sample, found)
    assert table["time"].is_monotonic_increasing
    assert len(table[table["story"] == 1]) == 1 + len(found[0].evidence)
    # Both changes of policies belong to the story; an event of Kubernetes to none.
    assert not (table["kind"] == "policies").any()
    assert table.loc[table["kind"] == "event", "story"].isna().all()


def test_a_change_of_policies_that_ends_nothing_belongs_to_no_story(
    sample: incident.Incident,
) -> None:
    # It comes two minutes before the end of the story, or it is not over when the window ends.
    lead = incident.findings(sample)[0]
    changes = [policy.as_finding(change) for change in policy.changes(sample)]
    step, window = sample.resolution, sample.window
    ends = [policy.may_end(each, lead, step=step, window=window) for each in changes]
    assert ends == [False, True]
    later = replace(lead, end=lead.end + timedelta(minutes=5))
    assert not policy.may_end(changes[1], later, step=step, window=window)
    ongoing = replace(lead, end=window.end)
    assert not policy.may_end(changes[1], ongoing, step=step, window=window)


def test_what_changed_most_is_what_happened(sample: incident.Incident) -> None:
    table = incident.other_changes(sample)
    first = table.iloc[0]
    assert "Policy denied" in first["where"]
    truth = datetime(2026, 3, 21, 9, 0, 13, tzinfo=UTC)
    assert first["began_after"] <= truth <= first["began_before"]
    assert first["began_before"] - first["began_after"] <= 2 * sample.window.step
    assert table["score"].abs().is_monotonic_decreasing


def test_where_names_what_the_policy_hit_and_adds_up(sample: incident.Incident) -> None:
    table = incident.where(sample, incident.findings(sample))
    refused = table[table["of"] == "HTTP requests that failed or were denied"]
    assert list(refused["where"]) == [
        "destination default/web, method POST",
        "destination default/web",
    ]
    assert refused["share"].sum() == pytest.approx(1.0, abs=0.01)
    # All POSTs, and the GETs of other paths: 26,463 denied by the policy, and a few more errors.
    assert refused["change"].sum() == pytest.approx(26_463, rel=0.02)
    (dropped,) = table[table["of"] == "drops that Hubble saw"].to_dict("records")
    assert dropped["where"] == "destination default/web"
    assert dropped["share"] > 0.99


def test_what_cannot_be_seen_is_named(sample: incident.Incident) -> None:
    assert not any("HTTP metrics are not there" in note for note in incident.notes(sample))
    http = sample.topics["http_status"]
    blind = replace(
        http,
        now=replace(http.now, counts=http.now.counts.iloc[:, :0]),
        baseline=replace(http.baseline, counts=http.baseline.counts.iloc[:, :0]),
    )
    without = replace(sample, topics={**sample.topics, "http_status": blind})
    (note,) = (note for note in incident.notes(without) if "HTTP metrics are not there" in note)
    assert note.startswith("The proxies handled layer 7 requests")
    assert "http_status" in {each.topic for each in incident.unknown(without)}


@pytest.mark.slow
def test_findings_are_the_same_again(sample: incident.Incident) -> None:
    once, again = incident.findings(sample), incident.findings(sample)
    assert once.as_json() == again.as_json()


@pytest.mark.slow
def test_an_incident_at_the_edge_of_the_window_is_doubted() -> None:
    bundle: Any = connect("sample")
    begin = datetime(2026, 3, 21, 9, 10, tzinfo=UTC)
    inside = Window(begin, bundle.window.end, bundle.window.step)
    data = incident.load(bundle, inside, bundle.baseline)
    lead = incident.findings(data)[0]
    assert lead.kind == "drop_spike"
    assert any("had begun" in reason for reason in lead.trust_reasons)


def test_what_begins_in_the_second_step_had_not_begun_before(sample: incident.Incident) -> None:
    step = sample.window.step
    rise = finding("drop_spike", reason="A")
    begun = replace(rise, start=sample.window.start, end=sample.window.end)
    late = replace(begun, start=sample.window.start + step)
    assert any("had begun" in reason for reason in caveats(sample, begun))
    assert not any("had begun" in reason for reason in caveats(sample, late))


def test_scores_are_bounded_and_need_a_baseline(sample: incident.Incident) -> None:
    health = sample.topics["agent_health"]
    assert incident.other_changes(sample)["score"].abs().max() <= MOST_SCORE
    drops = sample.topics["drop_reasons"]
    before = replace(drops.baseline, counts=drops.baseline.counts * float("nan"))
    unknown = replace(drops, baseline=before)
    topics = {"drop_reasons": unknown, "agent_health": health}
    table = incident.other_changes(replace(sample, topics=topics))
    assert not table["what"].str.startswith("Drops").any()


@pytest.mark.parametrize(("unit", "most"), [("bytes/s", 5e9), ("packets/s", 5e9), ("s/s", 40.0)])
def test_what_was_0_is_not_astronomically_far(unit: str, most: float) -> None:
    index = pd.date_range(START, periods=100, freq="30s", tz="UTC")
    columns = pd.MultiIndex.from_tuples([("a",), ("b",)], names=["node"])
    usual = pd.DataFrame(0.0, index=index, columns=columns)
    now = usual.copy()
    now.iloc[50:, 0] = most
    rows = list(farthest(Stream("x", unit, now, usual, counts=True), most=5))
    assert [row[1] for row in rows] == ["node a"]
    table = ranked(rows, most=5)
    assert 3.0 <= table["score"].iloc[0] <= MOST_SCORE
    assert table["extreme"].iloc[0] == pytest.approx(most / 30)


# On real servers


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["prometheus-3", "victoria"])
def test_a_policy_change_is_shown_beside_what_it_denies(
    kind: str, cluster_server: Callable[..., ClusterServer]
) -> None:
    served = cluster_server("sample", kind)
    window = Window.parse("2026-03-21T08:00Z", "2026-03-21T10:00Z", step="30s")
    data = incident.load(connect(served.url), window, window.baseline())
    lead = incident.findings(data)[0]
    assert (lead.kind, lead.labels["reason"]) == ("drop_spike", "Policy denied")
    assert "policy_change" in {each.kind for each in lead.evidence}
    true = served.truth.dropped(lead.start, lead.end, ("reason", "direction"))
    assert lead.total == pytest.approx(true["Policy denied", "INGRESS"], rel=0.01)


def test_a_server_without_anything_is_said_to_be_without(
    cluster_server: Callable[..., ClusterServer],
) -> None:
    served = cluster_server("sample", "prometheus-3")
    window = Window.parse("2020-03-21T08:00Z", "2020-03-21T09:00Z", step="30s")
    data = incident.load(connect(served.url), window, window.baseline())
    found = incident.findings(data)
    assert {each.kind for each in found} == {"missing_metrics"}
    assert len(found) == 1
    assert found.is_unknown
    assert {each.topic for each in found.unknown} == {"incident", *data.topics}
    assert isinstance(incident.timeline(data, found), pd.DataFrame)
    assert incident.other_changes(data).empty
