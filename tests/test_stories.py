"""Which findings are one story, and which of them it is told from: findings made by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from cilium_analysis.findings import Finding, Severity
from cilium_analysis.incident import policy
from cilium_analysis.incident.policy import Change
from cilium_analysis.incident.stories import stories

START = datetime(2026, 11, 29, 12, tzinfo=UTC)
STEP = timedelta(seconds=15)
INFO, WARNING, CRITICAL = Severity.INFO, Severity.WARNING, Severity.CRITICAL


def at(clock: str) -> datetime:
    """A moment after 12:00, as ``15:30`` for 12:15:30."""
    minutes, _, seconds = clock.partition(":")
    return START + timedelta(minutes=int(minutes), seconds=int(seconds or 0))


def finding(
    kind: str,
    begin: str = "20",
    end: str = "30",
    severity: Severity = CRITICAL,
    *,
    before: float = 0.0,
    **labels: Any,
) -> Finding:
    return Finding(
        kind=kind,
        severity=severity,
        title=f"{kind} {labels}",
        start=at(begin),
        end=at(end),
        labels=labels,
        value=1.0,
        baseline_value=before,
        unit="1",
        query="up",
        next_step="look",
    )


def told(*found: Finding, step: timedelta = STEP) -> list[list[str]]:
    """The kinds of each story, its lead first; the same whatever the order of the findings."""
    orders = list(permutations(found)) if len(found) <= 4 else [found, found[::-1]]
    made = [
        [[each.kind for each in story.members] for story in stories(order, step=step)]
        for order in orders
    ]
    assert all(one == made[0] for one in made)
    return made[0]


# Whose story

CRAWLER = (
    {"source": "batch/crawler"},
    {"source_namespace": "batch", "source_workload": "crawler"},
    {"namespace": "batch", "workload": "crawler", "direction": "EGRESS"},
)
ERRORS = (
    {"source": "default/web", "destination": "data/db"},
    {"source_namespace": "default", "source_workload": "web", "destination_workload": "db"},
    {"destination_namespace": "data", "destination_workload": "db"},
    {"namespace": "data", "workload": "db"},
)


@pytest.mark.parametrize("mine", CRAWLER)
@pytest.mark.parametrize("others", ERRORS)
@pytest.mark.parametrize(
    ("root", "symptom"),
    [
        ("dns_failures", "http_errors"),
        ("dns_failures", "tcp_failures"),
        ("drop_spike", "http_errors"),
        ("http_denied", "tcp_failures"),
        ("tcp_failures", "http_latency"),
        ("http_errors", "http_errors"),
        ("dns_failures", "dns_failures"),
    ],
)
def test_other_parties_are_another_story(
    mine: dict[str, Any], others: dict[str, Any], root: str, symptom: str
) -> None:
    one, other = finding(root, **mine), finding(symptom, "21", **others)
    assert len(told(one, other)) == 2
    unnamed = replace(one, labels={})
    assert len(told(unnamed, other)) == 1, "who is not known may be anybody"


@pytest.mark.parametrize(
    ("kind", "begin", "labels", "stories_told"),
    [
        ("dns_failures", "30", {"destination": "kube-system/coredns"}, 1),
        ("dns_failures", "31:45", {"destination": "kube-system/coredns"}, 1),
        ("dns_failures", "28:30", {"destination": "kube-system/coredns"}, 1),
        # Later, elsewhere, or of another kind, it is another event.
        ("dns_failures", "33", {"destination": "kube-system/coredns"}, 2),
        ("dns_failures", "30", {"destination": "8.8.8.8"}, 2),
        ("dns_failures", "30", {}, 2),
        ("endpoint_not_ready", "30", {"namespace": "kube-system", "workload": "coredns"}, 2),
    ],
)
def test_servers_that_fail_in_another_way_go_on_failing(
    kind: str, begin: str, labels: dict[str, str], stories_told: int
) -> None:
    first = finding("dns_failures", rcode="no response", destination="kube-system/coredns")
    given: dict[str, Any] = {"rcode": "Server Failure", **labels}
    then = finding(kind, begin, "40", **given)
    assert len(told(first, then)) == stories_told


@pytest.mark.parametrize("others", ERRORS)
@pytest.mark.parametrize("spelled", ["data/db", "db", "data/db-0"])
def test_the_same_party_under_another_label_is_the_same_story(
    others: dict[str, Any], spelled: str
) -> None:
    dropped = finding("drop_spike", reason="Invalid identity", destination=spelled)
    assert told(dropped, finding("http_errors", "20:15", **others)) == [
        ["drop_spike", "http_errors"]
    ]


@pytest.mark.parametrize("kind", ["scrape_gap", "drop_spike", "agent_errors", "node_latency"])
def test_other_nodes_are_another_story(kind: str) -> None:
    cut = finding("node_unreachable", node="n1")
    assert len(told(cut, finding(kind, "20:15", node="n2"))) == 2
    assert len(told(cut, finding(kind, "20:15", node="n1"))) == 1
    assert len(told(cut, finding(kind, "20:15", source="a/b"))) == 1


def test_a_server_that_cannot_reach_its_backend_fails_its_clients() -> None:
    dropped = finding(
        "drop_spike", reason="Policy denied", source="default/api", destination="data/db"
    )
    failed = finding("http_errors", source_workload="web", destination_workload="api")
    fed = finding("http_errors", source="data/db", destination="default/other")
    assert told(dropped, failed) == [["drop_spike", "http_errors"]]
    assert len(told(dropped, fed)) == 2, "who is asked less fails nobody"


def test_failing_lookups_are_felt_by_who_asks_not_at_the_server() -> None:
    failed = finding("http_errors", "20:15", source="default/web", destination="data/db")
    server: dict[str, Any] = {"destination": "kube-system/coredns", "rcode": "Server Failure"}
    everyone = finding("dns_failures", **server)
    assert told(everyone, failed) == [["dns_failures", "http_errors"]]
    assert told(finding("dns_failures", source="web", **server), failed) == [
        ["dns_failures", "http_errors"]
    ]
    assert len(told(finding("dns_failures", source="batch/crawler", **server), failed)) == 2
    dropped = finding("drop_spike", reason="Invalid identity", destination="kube-system/coredns")
    silent = finding("dns_failures", "20:15", rcode="no response", destination="coredns")
    assert told(dropped, silent, failed) == [["drop_spike", "dns_failures", "http_errors"]]


def test_what_two_events_may_have_brought_about_does_not_join_them() -> None:
    denied = finding(
        "drop_spike", "20", "40", reason="Policy denied", destination="default/web", node="n2"
    )
    cut = finding("node_unreachable", "22", "40", node="n1")
    failed = finding("tcp_failures", "22:30", "40", destination="default/web")
    shown = told(denied, cut, failed)
    assert ["drop_spike", "tcp_failures"] in shown
    assert ["node_unreachable"] in shown


def test_two_events_with_quiet_minutes_between_are_two() -> None:
    """A DNS outage of one workload, and five minutes later drops between others."""
    dns = finding("dns_failures", "20", "25", WARNING, source="batch/crawler", rcode="no response")
    drops = finding("drop_spike", "30", "40", reason="Policy denied", destination="data/db")
    errors = finding("http_errors", "30", "40", source="default/web", destination="data/db")
    assert told(dns, drops, errors) == [["drop_spike", "http_errors"], ["dns_failures"]]
    assert sorted(told(replace(dns, labels={}), drops, errors)) == [
        ["dns_failures"],
        ["drop_spike", "http_errors"],
    ]


def test_a_policy_that_denies_the_database_and_one_that_denies_requests_are_two() -> None:
    """As in the recording of Hubble's handlers, whose truth is known."""
    shown = told(
        finding(
            "drop_spike",
            "48:30",
            "58:45",
            reason="Policy denied",
            direction="INGRESS",
            source="default/api",
            destination="data/db",
        ),
        finding(
            "http_errors",
            "48:30",
            "58:45",
            source_namespace="default",
            source_workload="web",
            destination_namespace="default",
            destination_workload="api",
        ),
        finding("http_latency", "48:30", "58:45", destination_workload="api"),
        finding(
            "dns_failures",
            "50:30",
            "55:45",
            WARNING,
            rcode="Server Failure",
            source="batch/crawler",
        ),
        finding("dns_failures", "50:45", "55:45", WARNING, rcode="no response", source="crawler"),
        finding(
            "http_denied", "53:30", "57:45", source_workload="frontend", destination_workload="web"
        ),
        finding(
            "drop_spike",
            "53:30",
            "57:45",
            WARNING,
            reason="Unknown",
            protocol="HTTP",
            source="default/frontend",
            destination="default/web",
        ),
    )
    assert shown == [
        ["drop_spike", "http_errors", "http_latency"],
        ["http_denied", "drop_spike"],
        ["dns_failures", "dns_failures"],
    ]


# In which order


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("drop_spike", "dns_failures"),
        ("http_errors", "tcp_failures"),
        ("http_errors", "http_latency"),
        ("tcp_failures", "http_latency"),
        ("http_latency", "http_errors"),
    ],
)
@pytest.mark.parametrize(("step", "apart"), [(15, 30), (30, 60), (60, 120)])
def test_onsets_two_steps_apart_have_an_order(
    earlier: str, later: str, step: int, apart: int
) -> None:
    one = finding(earlier)
    then = replace(finding(later), start=one.start + timedelta(seconds=apart))
    assert told(one, then, step=timedelta(seconds=step)) == [[earlier, later]]


def test_what_began_two_steps_before_does_not_follow() -> None:
    """Lookups fail half a minute after requests did: they are not why."""
    failed = finding("http_errors", "20:00", source="a/b")
    lookups = finding("dns_failures", "20:30", source="a/b")
    assert len(told(failed, lookups)) == 2
    assert told(failed, replace(lookups, start=at("20:15"))) == [["dns_failures", "http_errors"]]
    assert told(failed, lookups, step=timedelta(minutes=1)) == [["dns_failures", "http_errors"]]


@pytest.mark.parametrize("late", ["20:45", "22:00"])
def test_an_outage_is_known_no_sharper_than_by_its_probes(late: str) -> None:
    cut = finding("node_unreachable", late, node="n1")
    assert told(cut, finding("scrape_gap", "20", severity=INFO, node="n1")) == [
        ["node_unreachable", "scrape_gap"]
    ]


# What is no evidence


@pytest.mark.parametrize("before", [0.0, float("nan")])
@pytest.mark.parametrize("kind", ["scrape_gap", "node_unreachable", "agent_restart"])
def test_metrics_that_were_missing_before_are_no_evidence(kind: str, before: float) -> None:
    missing = finding("missing_metrics", "20", "60", INFO, before=before, metric="operator")
    gap = finding(kind, node="n3")
    assert len(told(missing, gap)) == 2
    assert len(told(missing, replace(missing, labels={"metric": "other"}))) == 1


def test_metrics_that_were_there_before_may_be() -> None:
    missing = finding("missing_metrics", "20", "60", INFO, before=3.0, metric="operator")
    assert len(told(missing, finding("scrape_gap", "20", "60"))) == 1


@pytest.mark.parametrize("rcode", ["Query Refused", "Non-Existent Domain"])
def test_an_answer_is_not_what_lost_packets_show_as(rcode: str) -> None:
    answered = finding("dns_failures", "20:15", rcode=rcode, node="n1")
    for kind in ("node_unreachable", "agent_restart", "map_pressure"):
        assert len(told(finding(kind, node="n1"), answered)) == 2
        lost = replace(answered, labels={"rcode": "no response", "node": "n1"})
        assert len(told(finding(kind, node="n1"), lost)) == 1


# An agent's restart


def restart(severity: Severity = INFO) -> Finding:
    return finding("agent_restart", "33:30", "33:30", severity, node="n2")


CONSEQUENCES = (
    finding("drop_spike", "33:45", "34:45", WARNING, reason="Stale or unroutable IP", node="n2"),
    finding("agent_errors", "33:30", "41", WARNING, subsystem="controllers", node="n2"),
    finding("node_unreachable", "33:30", "36", CRITICAL, node="n2", type="endpoint"),
    finding("regeneration_failures", "33:45", "35", WARNING, node="n2"),
    finding("dns_failures", "33:30", "33:45", WARNING, rcode="no response", node="n2"),
    finding("scrape_gap", "33:30", "34:30", WARNING, node="n2"),
)


@pytest.mark.parametrize("severity", [INFO, WARNING])
@pytest.mark.parametrize("place", range(len(CONSEQUENCES)))
def test_what_follows_from_a_restart_heads_nothing(place: int, severity: Severity) -> None:
    follows = CONSEQUENCES[place]
    assert told(restart(severity), follows) == [["agent_restart", follows.kind]]


def test_all_that_follows_from_a_restart_is_one_story() -> None:
    (story,) = stories([restart(), *CONSEQUENCES], step=STEP)
    assert story.lead.kind == "agent_restart"
    assert len(story.evidence) == len(CONSEQUENCES)
    assert story.as_finding().severity == CRITICAL


def test_what_outlasts_a_restart_or_is_elsewhere_is_no_part_of_it() -> None:
    lasting = finding("drop_spike", "33:45", "59", reason="Stale or unroutable IP", node="n2")
    assert told(restart(), lasting)[0][0] == "drop_spike"
    assert len(told(restart(), replace(lasting, labels={**lasting.labels, "node": "n1"}))) == 2
    denied = finding("drop_spike", "33:45", "36", reason="Policy denied", node="n2")
    assert told(restart(), denied)[0][0] == "drop_spike", "an agent refuses by its policies"
    unplaced = finding("drop_spike", "33:45", "36", reason="Stale or unroutable IP")
    assert told(restart(), unplaced)[0][0] == "drop_spike", "of all nodes, not of this one"


def test_requests_to_a_node_that_reboots_fail_without_naming_it() -> None:
    """Found by whoever asked, on the other nodes."""
    away = finding("node_unreachable", "33:30", "36", CRITICAL, node="n2", type="node")
    failed = finding("http_errors", "33:30", "37", CRITICAL, source="a/client", destination="a/web")
    assert told(restart(), failed)[0][0] == "http_errors", "its node was there"
    assert told(restart(), away, failed)[0][0] == "agent_restart"
    elsewhere = replace(away, labels={**away.labels, "node": "n1"})
    assert told(restart(), elsewhere, failed)[0][0] == "node_unreachable"
    lasting = replace(failed, end=failed.end + timedelta(minutes=20))
    assert told(restart(), away, lasting)[0][0] == "http_errors", "it outlasts the reboot"


def test_a_restart_beside_a_failure_of_its_own_is_led_by_that() -> None:
    lasting = finding("node_unreachable", "33:30", "59", node="n2")
    dropped = CONSEQUENCES[0]
    assert told(restart(), lasting, dropped)[0][0] == "node_unreachable"


# Five events, as recorded from three agents


def test_five_events_are_five_stories() -> None:
    found = [
        finding("missing_metrics", "10", "41", INFO, before=float("nan"), metric="operator"),
        finding(
            "drop_spike",
            "15",
            "19:15",
            reason="Policy denied",
            direction="INGRESS",
            namespace="default",
            workload="web",
        ),
        finding(
            "tcp_failures",
            "15",
            "19:15",
            WARNING,
            flag="no SYN-ACK",
            source="default/frontend",
            destination="default/web",
        ),
        finding(
            "dns_failures",
            "22",
            "25:15",
            WARNING,
            rcode="Query Refused",
            source="default/frontend",
            destination="kube-system/coredns",
        ),
        finding("scrape_gap", "27:30", "31:45", INFO, node="n3"),
        finding("node_unreachable", "28", "34", node="n3", type="node"),
        finding(
            "tcp_failures",
            "27:30",
            "31:30",
            WARNING,
            flag="no SYN-ACK",
            source="default/web",
            destination="data/db",
        ),
        restart(),
        *CONSEQUENCES[:2],
    ]
    assert told(*found) == [
        ["node_unreachable", "tcp_failures", "scrape_gap"],
        ["drop_spike", "tcp_failures"],
        ["agent_restart", "agent_errors", "drop_spike"],
        ["dns_failures"],
        ["missing_metrics"],
    ]


# Changes of policies


def change(begin: str = "19:00", end: str = "19:15", namespace: str = "") -> Finding:
    names = ((namespace, "rules"),) if namespace else ()
    return policy.as_finding(Change(at(begin), at(end), ("n1", "n2"), names))


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("drop_spike", {"reason": "Policy denied"}),
        ("http_denied", {"status": "403"}),
        ("dns_failures", {"rcode": "Policy denied"}),
        ("dns_failures", {"rcode": "Query Refused"}),
        ("dns_failures", {"rcode": "no response"}),
        ("tcp_failures", {"flag": "no SYN-ACK"}),
        ("regeneration_failures", {"node": "n1"}),
    ],
)
def test_a_policy_is_shown_beside_what_it_may_cause_and_near_it_only(
    kind: str, labels: dict[str, Any]
) -> None:
    for begin, near in (("18:15", False), ("19:00", True), ("19:30", True), ("22:00", False)):
        follows = finding(kind, begin, "40", **labels)
        assert policy.may_bring(change(), follows, step=STEP) is near, begin


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("drop_spike", {"reason": "CT: Map insertion failed"}),
        ("dns_failures", {"rcode": "Server Failure"}),
        ("dns_failures", {"rcode": "Non-Existent Domain"}),
        ("node_unreachable", {"node": "n1"}),
        ("agent_restart", {"node": "n1"}),
        ("scrape_gap", {"node": "n1"}),
    ],
)
def test_no_policy_is_shown_beside_what_it_cannot_cause(kind: str, labels: dict[str, Any]) -> None:
    assert not policy.may_bring(change(), finding(kind, "19:00", "40", **labels), step=STEP)


def test_a_policy_selects_workloads_of_its_namespace() -> None:
    denied = finding("drop_spike", "19", "40", reason="Policy denied", destination="data/db")
    silent = finding("tcp_failures", "19", "40", source="default/web", destination="data/db")
    for follows in (denied, silent):
        assert policy.may_bring(change(), follows, step=STEP)
        assert policy.may_bring(change(namespace="data"), follows, step=STEP)
        assert not policy.may_bring(change(namespace="batch"), follows, step=STEP)
    note = replace(silent, severity=INFO)
    assert not policy.may_bring(change(), note, step=STEP)
