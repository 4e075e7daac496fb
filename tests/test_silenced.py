"""Label matchers that leave whole metrics out: that is said, and not taken for a missing export."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cilium_analysis import connect
from cilium_analysis.cli import main
from cilium_analysis.errors import QueryRejected
from cilium_analysis.prometheus.client import Prometheus
from cilium_analysis.queries import Matcher, parse_matchers
from cilium_analysis.question import ask_source
from cilium_analysis.topics import TOPICS, setup
from cilium_analysis.window import Window
from tests.field.asking import available
from tests.field.make import (
    END,
    START,
    Metrics,
    agent,
    burst,
    constant,
    counter,
    drops,
    hubble,
    iso,
    scrapes,
    steady,
    vitals,
)

AGENTS = {"cilium_drop_count_total", "cilium_process_start_time_seconds"}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Serve two nodes of a cluster, where the job of Hubble alone adds a label ``team``."""
    metrics = Metrics()
    for number in (1, 2):
        target, seen = agent(number, cluster="eu"), hubble(number, cluster="eu", team="net")
        vitals(metrics, target, seen, at=scrapes())
        drops(metrics, target, burst(20.0, 60, 70, beside=0.1), at=scrapes())
        state = target | {"endpoint_state": "ready"}
        constant(metrics, "cilium_endpoint_state", state, 9, scrapes())
        ends = {"source_namespace": "shop", "source_workload": "cart"}
        flow = seen | ends | {"protocol": "TCP", "verdict": "FORWARDED", "type": "Trace"}
        counter(metrics, "hubble_flows_processed_total", flow, steady(5.0), at=scrapes())
        lost = seen | ends | {"protocol": "TCP", "reason": "POLICY_DENIED"}
        counter(metrics, "hubble_drop_total", lost, burst(40.0, 60, 70, beside=0.1), at=scrapes())
    with available(metrics) as address:
        yield address


def load(topic: str, source: str, match: str) -> Any:
    asked = ask_source(connect(source), start=iso(START), end=iso(END), match=match)
    return TOPICS[topic].load(asked.source, asked.window, asked.baseline, match=asked.match)


@pytest.fixture(scope="module")
def two_clusters() -> Iterator[str]:
    """Serve two clusters: the agents of one alone have a label ``team``."""
    metrics = Metrics()
    for cluster in ("eu", "us"):
        target = agent(1, cluster=cluster) | ({"team": "net"} if cluster == "us" else {})
        vitals(metrics, target, hubble(1, cluster=cluster, team="net"), at=scrapes())
        drops(metrics, target, burst(20.0, 60, 70, beside=0.1), at=scrapes())
    with available(metrics) as address:
        yield address


@pytest.mark.parametrize(
    ("match", "left_out"),
    [
        ('cluster="eu",team="net"', True),
        ('team=~"net|web",cluster=~"e.*"', True),
        ('cluster="us",team="net"', False),
        ('cluster!="us",team="net"', True),
    ],
)
def test_each_matcher_is_judged_among_what_the_others_leave(
    two_clusters: str, match: str, left_out: bool
) -> None:
    data = load("setup_check", two_clusters, match)
    names = {name for left in data.remarks.silenced.metrics.values() for name in left}
    assert (names >= AGENTS) is left_out
    assert "missing_metrics" not in [each.kind for each in setup.findings(data)]


def test_what_the_server_refuses_to_tell_is_not_left_out(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Prometheus.range

    def refusing(self: Prometheus, promql: str, window: Window) -> pd.DataFrame:
        if 'source_namespace!=""' in promql:
            raise QueryRejected("too many samples")
        return ask(self, promql, window)

    monkeypatch.setattr(Prometheus, "range", refusing)
    data = load("flows", url, 'source_namespace="web"')
    assert not data.remarks.silenced.metrics
    assert any("refused to tell of which metrics" in note for note in TOPICS["flows"].notes(data))


@pytest.mark.parametrize(
    ("match", "mild"),
    [
        ('a="x.y"', 'a=~"x\\\\.y|"'),
        ('a=~"x|y"', 'a=~"(?:x|y)|"'),
        ('a!="x"', 'a!="x"'),
        ('a=""', 'a=""'),
        ('a!=""', "None"),
        ('a!~"x|"', "None"),
    ],
)
def test_a_matcher_can_be_made_to_take_what_lacks_its_label(match: str, mild: str) -> None:
    (matcher,) = parse_matchers(match)
    assert str(matcher.or_without()) == mild


@pytest.mark.parametrize(
    ("match", "silenced"),
    [
        ("", False),
        ('cluster="eu"', False),
        ('cluster=~"e.*",node!="worker-2"', False),
        ('source_namespace="shop"', True),
        ('source_namespace!=""', True),
        ('cluster="eu",team=~"net|web"', True),
        # What has no label matches, too.
        ('source_namespace!="web"', False),
        ('source_namespace=~"shop|"', False),
        ('team!~"web.*"', False),
        # The label is there, but not the value: nothing is left out for want of the label,
        ('node="worker-9"', False),
        # and nobody has this one, so that nothing matches.
        ('rack="7"', True),
    ],
)
def test_metrics_without_a_label_that_matchers_need_are_named(
    url: str, match: str, silenced: bool
) -> None:
    data = load("drop_reasons", url, match)
    left_out = {name for names in data.remarks.silenced.metrics.values() for name in names}
    assert (left_out >= AGENTS) == silenced
    assert bool(left_out) == silenced
    notes = " ".join(TOPICS["drop_reasons"].notes(data))
    assert ("leaves out what has no label" in notes) == silenced
    assert all(name in notes for name in left_out)


def test_what_matchers_leave_out_is_not_missing(url: str) -> None:
    data = load("setup_check", url, 'team="net"')
    states = setup.checks(data).set_index("what")["state"]
    assert states["Hubble"] == states["Hubble flow"] == "there"
    assert states["agent"] == states["drop counters"] == "unknown: nothing matches"
    # Nobody exports these, whatever the matchers.
    assert states["Hubble dns"] == "missing, or nothing happened"
    assert states["operator"] == "missing"
    assert not [each for each in setup.findings(data) if each.kind == "missing_metrics"]
    assert setup.judge(data).startswith('ok, but: without operator, the matcher team="net" leaves')
    assert 'the matcher team="net" leaves out' in setup.sentence(data)
    assert not len(setup.configurations(data))


def test_without_the_matchers_it_is_missing(url: str) -> None:
    """The same is a finding where matchers have nothing to do with it."""
    states = setup.checks(load("setup_check", url, 'cluster="eu"')).set_index("what")["state"]
    assert states["agent"] == states["Hubble"] == "there"
    assert states["operator"] == "missing"


def test_where_nothing_matches_nothing_is_said_to_be_missing(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    about = ["--source", url, "--start", iso(START), "--end", iso(END)]
    assert main(["check", *about, "--match", 'cluster="eo"']) == 0
    said = capsys.readouterr().out
    assert 'No Cilium metrics match {cluster="eo"}' in said
    assert "without these matchers there are some" in said
    assert "Hubble: unknown: nothing matches" in said
    # That it is gone may be what is wrong; how to switch metrics on is not.
    assert 'No metrics of agent match cluster="eo": nothing can be said about' in said
    assert "missing" not in said
    assert "Helm" not in said


def test_a_report_says_why_a_topic_is_unknown_and_its_bundle_says_the_same(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    about = ["--start", iso(START), "--end", iso(END), "--match", 'source_workload="cart"']
    told = []
    for number, source in enumerate((url, "bundle")):
        if source == "bundle":
            source = str(next((tmp_path / "0").glob("2*")) / "bundle")
        output = tmp_path / str(number)
        topics = ["drop_reasons", "agent_health"]
        assert main(["report", *topics, "--source", source, *about, "--output", str(output)]) == 0
        (run,) = output.glob("2*")
        told.append(json.loads((run / "findings.json").read_text()))
        page = (run / "drop_reasons.html").read_text()
        assert "leaves out what has no label source_workload" in page
        assert "cilium_drop_count_total" in page
    assert told[0]["unknown"] == told[1]["unknown"]
    (unknown,) = told[0]["unknown"]
    assert unknown["topic"] == "agent_health"
    assert "without the label source_workload" in unknown["reasons"][-1]
    assert not [row for row in told[0]["findings"] if row["kind"] == "missing_metrics"]
    assert "source_workload" in capsys.readouterr().out
    # Of another window it was not asked, so that nothing is said.
    half = ask_source(connect(source), start=iso(START), end=iso((START + END) // 2), baseline="")
    data = TOPICS["drop_reasons"].load(half.source, half.window, half.baseline, match=half.match)
    assert not data.remarks.silenced.metrics


@pytest.mark.parametrize(
    ("matcher", "needs"),
    [
        ('a="x"', True),
        ('a=""', False),
        ('a!="x"', False),
        ('a!=""', True),
        ('a=~"x|y"', True),
        ('a=~".*"', False),
        ('a=~".+"', True),
        ('a!~"x"', False),
        ('a!~".*"', True),
        (r'a=~"\\pN("', True),
    ],
)
def test_which_matchers_need_their_label(matcher: str, needs: bool) -> None:
    (only,) = parse_matchers(matcher)
    assert isinstance(only, Matcher)
    assert only.needs_label == needs
