"""What cannot be judged is unknown: by no scrape, no metric, no baseline; never quiet, never 0."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cilium_analysis import incident
from cilium_analysis.absence import absent
from cilium_analysis.bundle import Bundle, Recorder
from cilium_analysis.capture import capture as record
from cilium_analysis.cli import main
from cilium_analysis.cli.reports import verdict as exit_code
from cilium_analysis.explorer.asking import Loaded
from cilium_analysis.explorer.panels import panel
from cilium_analysis.explorer.pictures import picture
from cilium_analysis.explorer.state import State
from cilium_analysis.findings import Findings, Severity, merge
from cilium_analysis.question import Question, ask
from cilium_analysis.report import Run
from cilium_analysis.report.html import runs_page
from cilium_analysis.report.messages import about_run
from cilium_analysis.report.verdict import QUIET, UNKNOWN, first, verdict
from cilium_analysis.texts import percent, spoken, unknown_lines
from cilium_analysis.topics import TOPICS, setup
from cilium_analysis.topics.verdict import gaps, scraped
from cilium_analysis.window import Window
from tests.field.asking import available
from tests.field.make import START, Metrics, agent, counter, hubble, scrapes, steady, vitals

AGENTS = ("drop_reasons", "node_connectivity", "endpoint_growth", "agent_health")
HUBBLE = ("http_status", "dns", "flows")
TIMES = {"start": "2026-11-20T10:00Z", "end": "2026-11-20T12:00Z", "step": "30s"}


def _fill(metrics: Metrics) -> None:
    """Several clusters in one server, told apart by a label, each of which lacks something."""
    for number in (1, 2):
        up = scrapes()
        for target in (agent(number, cluster="up"), hubble(number, cluster="up")):
            metrics.add("up", target, [(at, 0.0) for at in up])
        _hubble(metrics, hubble(number, cluster="hubble"))
        _agent(metrics, agent(number, cluster="agents"))
        _agent(metrics, agent(number, cluster="new"), first=START)
    # One metric, which shows no target, for a few minutes of the baseline.
    pressure = {"cluster": "rare", "map_name": "cilium_lb4_services_v2"}
    rare = [(START - 3600 + 30 * number, 0.5) for number in range(20)]
    metrics.add("cilium_bpf_map_pressure", pressure, rare)
    _agent(metrics, agent(1, cluster="half"))
    metrics.add("up", agent(2, cluster="half"), [(at, 0.0) for at in scrapes()])


def _hubble(metrics: Metrics, target: dict[str, str]) -> None:
    metrics.add("up", target, [(at, 1.0) for at in scrapes()])
    party = {"source": "default/web", "destination": "default/db"}
    labels = target | party
    flow = {"protocol": "TCP", "type": "Trace", "subtype": "to-endpoint", "verdict": "FORWARDED"}
    counter(metrics, "hubble_flows_processed_total", labels | flow, steady(5.0))
    counter(metrics, "hubble_dns_queries_total", labels | {"qtypes": "A"}, steady(1.0))
    answer = {"qtypes": "A", "rcode": "No Error"}
    counter(metrics, "hubble_dns_responses_total", labels | answer, steady(1.0))
    request = {"method": "GET", "protocol": "HTTP/1.1", "reporter": "server", "status": "200"}
    counter(metrics, "hubble_http_requests_total", labels | request, steady(1.0))


def _agent(metrics: Metrics, target: dict[str, str], *, first: int | None = None) -> None:
    at = scrapes() if first is None else scrapes(first=first)
    vitals(metrics, target, at=at)
    metrics.add("cilium_endpoint", target, [(time, 20.0) for time in at])
    metrics.add("cilium_unreachable_nodes", target, [(time, 0.0) for time in at])
    for other in ("worker-1", "worker-2"):
        ends = {"source_node_name": target["node"], "target_node_name": other}
        near = "local_node" if other == target["node"] else "remote_intra_cluster"
        labels = target | ends | {"type": "node", "target_node_type": near}
        metrics.add("cilium_node_connectivity_status", labels, [(time, 1.0) for time in at])
    reason = {"direction": "INGRESS", "reason": "Stale or unroutable IP"}
    rate = steady(0.05) if first is None else steady(2.0)
    counter(metrics, "cilium_drop_count_total", target | reason, rate, base=100.0, at=at)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    metrics = Metrics()
    _fill(metrics)
    with available(metrics) as url:
        yield url


@pytest.fixture(scope="module")
def asked(url: str) -> Callable[[str], tuple[Question, incident.Incident]]:
    """Give what is known of one of the clusters; ``none`` is one that is not there."""
    known: dict[str, tuple[Question, incident.Incident]] = {}

    def load(cluster: str) -> tuple[Question, incident.Incident]:
        if cluster not in known:
            question = ask(source=url, match=f'cluster="{cluster}"', **TIMES)
            data = incident.load(
                question.source, question.window, question.baseline, match=question.match
            )
            known[cluster] = question, data
        return known[cluster]

    return load


Asked = Callable[[str], tuple[Question, incident.Incident]]


@pytest.mark.slow
@pytest.mark.parametrize("cluster", ["none", "up"])
@pytest.mark.parametrize("topic", [*AGENTS, *HUBBLE])
def test_without_metrics_every_topic_is_unknown_and_says_so_first(
    asked: Asked, cluster: str, topic: str
) -> None:
    _, data = asked(cluster)
    found = TOPICS[topic].findings(data.topics[topic])
    assert found.is_unknown
    assert repr(found).startswith("Unknown: ")
    assert found.to_html().startswith('<p class="ca-unknown">Unknown: ')
    assert "Nothing unusual" not in repr(found) + found.to_html()
    (row,) = found.as_json()["unknown"]
    assert row["topic"] == topic
    assert row["reasons"]
    assert {each.kind for each in found} <= {"missing_metrics"}


def test_the_incident_is_unknown_as_all_its_topics_are(asked: Asked) -> None:
    _, data = asked("none")
    found = incident.findings(data)
    assert found.is_unknown
    assert {each.topic for each in found.unknown} == {"incident", *TOPICS}
    assert repr(found).startswith("Unknown: ")
    # That metrics are missing is said by what is unknown, and once by the check of the setup.
    told = [finding for each in found for finding in (each, *each.evidence)]
    titles = [finding.title for finding in told]
    assert all(title.startswith("No metrics of ") for title in titles)
    assert sum("agent" in title for title in titles) == 1
    assert incident.other_changes(data).empty


def test_scrapes_that_fail_are_known_to_the_check(asked: Asked) -> None:
    _, data = asked("up")
    assert setup.unknown(data.topics["setup_check"]) == ()
    assert setup.unknown(asked("none")[1].topics["setup_check"])
    assert incident.findings(data).is_unknown


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cluster", "missing"),
    [("hubble", AGENTS), ("agents", HUBBLE)],
)
def test_what_can_be_judged_is_told_apart_from_what_cannot(
    asked: Asked, cluster: str, missing: tuple[str, ...]
) -> None:
    _, data = asked(cluster)
    found = incident.findings(data)
    assert {each.topic for each in found.unknown} == set(missing)
    assert not found.is_unknown
    assert repr(found).startswith("Unknown: ")
    quiet = replace(found, items=())
    assert "Nothing unusual in what can be judged." in repr(quiet)
    for topic in set(TOPICS) - set(missing) - {"setup_check"}:
        alone = TOPICS[topic].findings(data.topics[topic])
        assert not alone.unknown
        assert repr(alone) == "Nothing unusual."


def test_without_a_baseline_nothing_is_scored_and_what_is_usual_is_unknown(asked: Asked) -> None:
    _, data = asked("new")
    (why,) = TOPICS["drop_reasons"].unknown(data.topics["drop_reasons"])
    assert "baseline" in why
    table = incident.other_changes(data)
    assert not len(table[table["what"].str.startswith("Drops")])
    for topic in ("node_connectivity", "endpoint_growth"):
        assert TOPICS[topic].unknown(data.topics[topic]) == ()


def test_a_counter_that_is_not_exported_is_no_zero(asked: Asked) -> None:
    data = asked("agents")[1].topics["drop_reasons"]
    none = {name: getattr(data.now, name).iloc[:, :0] for name in ("counts", "volumes")}
    bare = replace(data, now=replace(data.now, **none))
    (why,) = TOPICS["drop_reasons"].unknown(bare)
    assert "cilium_drop_count_total" in why
    assert "not known" in why


def test_most_of_a_window_without_scrapes_is_unknown(asked: Asked) -> None:
    data = asked("agents")[1].topics["drop_reasons"]
    scraped = data.now.scraped
    late = np.arange(len(scraped)) >= 0.8 * len(scraped)
    rare = replace(data, now=replace(data.now, scraped=scraped & late[:, None]))
    (why,) = TOPICS["drop_reasons"].unknown(rare)
    assert re.fullmatch(r"agents were scraped in only (19|20)\.\d% of the window", why)


# The run


def test_the_verdict_of_a_run() -> None:
    topics = ["incident", "drop_reasons", "http_status", "setup_check"]
    nothing: dict[str, Any] = {"findings": [], "unknown": []}
    some = nothing | {"unknown": [{"topic": "http_status", "reasons": ["not visible"]}]}
    every = nothing | {"unknown": [{"topic": t, "reasons": ["gone"]} for t in topics[:3]]}
    bad = some | {"findings": [{"severity": "critical", "title": "x", "kind": "drop_spike"}]}
    assert verdict(nothing, topics=topics) == QUIET
    assert verdict(some, topics=topics) == QUIET
    assert verdict(every, topics=topics) == UNKNOWN
    assert verdict(bad, topics=topics) == "critical"
    # Who asks for a topic by name wants to know of it.
    asked = ["drop_reasons", "http_status"]
    assert verdict(some, topics=asked, asked=asked) == UNKNOWN
    assert verdict(some, topics=["drop_reasons"], asked=["drop_reasons"]) == QUIET
    assert first(bad, unknown=True) == "x"
    assert first(every, unknown=True) == "Unknown: drop reasons, HTTP status (gone)"


def test_unknown_is_a_level_of_its_own() -> None:
    worst = Severity.WARNING
    assert exit_code(None, "unknown", unknown=True) == 30
    assert exit_code(worst, "unknown", unknown=True) == 30
    assert exit_code(worst, "warning,unknown", unknown=True) == 10
    assert exit_code(worst, "critical,unknown", unknown=True) == 30
    assert exit_code(Severity.CRITICAL, "warning,unknown", unknown=True) == 20
    assert exit_code(None, "unknown", unknown=False) == 0
    assert exit_code(None, "warning", unknown=True) == 0
    assert exit_code(None, None, unknown=True) == 0


def test_a_run_lists_what_is_unknown_once(asked: Asked) -> None:
    _, data = asked("hubble")
    told = incident.findings(data)
    alone = [TOPICS[name].findings(loaded) for name, loaded in data.topics.items()]
    empty = Findings("s", data.window, data.baseline)
    merged = merge(empty, [told, *alone], stories=[told]).as_json()
    assert [row["topic"] for row in merged["unknown"]] == list(AGENTS)
    lines = unknown_lines(merged["unknown"])
    assert lines[0] == (
        "drop reasons, endpoint growth, agent health (no metrics of Cilium agents in this window)"
    )
    json.dumps(merged, allow_nan=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("topic", "levels", "code"),
    [
        ("http_status", ["unknown"], 30),
        ("http_status", ["warning"], 0),
        ("drop_reasons", ["warning", "unknown"], 10),
    ],
)
def test_the_command_tells_and_exits(
    url: str,
    topic: str,
    levels: list[str],
    code: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    how = ["--source", url, "--match", 'cluster="none"', "--output", str(tmp_path)]
    how += [f"--{name}={value}" for name, value in TIMES.items()]
    how += [part for level in levels for part in ("--fail-on", level)]
    assert main(["report", topic, *how]) == code
    first, said = capsys.readouterr().out.split("\n", 1)
    assert first.startswith('No Cilium metrics match {cluster="none"} from 2026-11-20 10:00 to')
    assert said.startswith(f"Unknown: {spoken(topic)} (")
    assert "Nothing unusual" not in said
    (run,) = tmp_path.glob("*/run.json")
    assert json.loads(run.read_text())["verdict"] == "unknown"
    for page in (run.parent / "index.html", tmp_path / "index.html", run.parent / f"{topic}.html"):
        assert "othing unusual" not in page.read_text()
        assert "nknown" in page.read_text()


def test_the_check_says_so_first(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    how = ["--source", url, "--match", 'cluster="none"']
    how += [f"--{name}={value}" for name, value in TIMES.items()]
    assert main(["check", *how]) == 0
    first, second = capsys.readouterr().out.splitlines()[:2]
    assert first == (
        'No Cilium metrics match {cluster="none"} from 2026-11-20 10:00 to 12:00 UTC;'
        " without these matchers there are some."
    )
    assert second.startswith("Verdict: unknown: no metric and no scrape target of Cilium")


SENTENCES = {
    "up": "All scrapes of Cilium's targets fail: agents (2) and Hubble (2).",
    "hubble": "Hubble is scraped; there are no metrics of agents or operators; Hubble's drop, TCP,"
    " ICMP, port distribution and policy metrics are missing, or nothing happened that they count.",
    "agents": "2 agents are scraped; there are no metrics of operators or Hubble; metrics of map"
    " pressure and layer 7 policies are missing, or nothing happened that they count.",
    "half": "Agents are scraped on 1 of 2 nodes (not on worker-2); there are no metrics of"
    " operators or Hubble; metrics of map pressure and layer 7 policies are missing, or nothing"
    " happened that they count.",
    "new": "2 agents are scraped; there are no metrics of operators or Hubble; metrics of map"
    " pressure and layer 7 policies are missing, or nothing happened that they count.",
}


@pytest.mark.parametrize(("cluster", "sentence"), SENTENCES.items())
def test_the_check_begins_with_a_sentence(
    url: str, cluster: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    how = [f"--{name}={value}" for name, value in TIMES.items()]
    assert main(["check", "--source", url, "--match", f'cluster="{cluster}"', *how]) == 0
    assert capsys.readouterr().out.splitlines()[0] == sentence


def test_the_check_says_since_when_nothing_is_scraped(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    times = ["--start", "2026-11-20T11:00Z", "--end", "2026-11-20T13:00Z"]
    assert main(["check", "--source", url, "--match", 'cluster="agents"', *times]) == 0
    said = capsys.readouterr().out.splitlines()[0]
    assert said.startswith("2 agents were scraped; there are no metrics of operators or Hubble;")
    assert said.endswith("; nothing of agents was scraped after 12:00.")


OTHER_TIMES = {
    "long after": (
        ["--start", "2026-11-28T10:00Z", "--end", "2026-11-28T12:00Z"],
        "No Cilium metrics from 2026-11-28 10:00 to 12:00 UTC; the newest that were found are of"
        " 2026-11-20 11:59 UTC.",
    ),
    "shortly after": (
        ["--start", "2026-11-20T12:30Z", "--end", "2026-11-20T13:00Z"],
        "No Cilium metrics from 2026-11-20 12:30 to 13:00 UTC; the newest are of 2026-11-20 11:59"
        " UTC.",
    ),
    "before": (
        ["--start", "2026-11-10T10:00", "--end", "2026-11-10T12:00", "--timezone", "Asia/Tokyo"],
        "No Cilium metrics from 2026-11-10 10:00 to 12:00 Asia/Tokyo, nor before; there are some"
        " later, at 2026-11-20 16:59 Asia/Tokyo.",
    ),
    "of nobody": (
        ["--start", "2026-11-28T10:00Z", "--end", "2026-11-28T12:00Z", "--match", 'cluster="x"'],
        'No Cilium metrics from 2026-11-28 10:00 to 12:00 UTC, with or without {cluster="x"}; the'
        " newest that were found are of 2026-11-20 11:59 UTC.",
    ),
}


@pytest.mark.parametrize(("how", "sentence"), OTHER_TIMES.values(), ids=OTHER_TIMES)
def test_the_check_says_when_there_are_metrics(
    url: str, how: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--source", url, *how]) == 0
    assert capsys.readouterr().out.splitlines()[0] == sentence


@pytest.mark.parametrize("cluster", ["up", "hubble", "agents", "new", "rare"])
def test_what_has_anything_is_asked_for_all(url: str, cluster: str) -> None:
    question = ask(source=url, match=f'cluster="{cluster}"', **TIMES)
    assert not absent(question.source, question.window, question.baseline, match=question.match)


def test_what_is_not_there_is_asked_a_handful_of_queries(url: str, tmp_path: Path) -> None:
    found = {}
    for name in ("spared", "asked"):
        question = ask(source=url, match='cluster="none"', **TIMES)
        source, window, baseline = question.source, question.window, question.baseline
        if name == "spared":
            known = absent(source, window, baseline, match=question.match)
            assert {"cilium_drop_count_total", "hubble_http_requests_total"} <= known
            record(
                source,
                window,
                baseline,
                topics=(),
                match=question.match,
                directory=tmp_path / name,
            )
        else:
            place = tmp_path / name
            with Recorder(
                source, place, window=window, baseline=baseline, match=question.match
            ) as recorder:
                incident.load(recorder, window, baseline, match=question.match)
        sent = sum(each.bytes > 0 for each in source.journal)
        assert (sent < 30) == (name == "spared")
        bundle = Bundle(tmp_path / name)
        data = incident.load(bundle, window, baseline, match=question.match)
        found[name] = incident.findings(data).as_json()
    assert found["spared"] == found["asked"]


def test_a_run_that_cannot_be_judged_is_told_to_whom_wants_to_know() -> None:
    start, end = TIMES["start"], TIMES["end"]
    summary = {
        "topics": [],
        "findings": {"critical": 0, "warning": 0, "info": 0},
        "verdict": "unknown",
        "parameters": {"timezone": "UTC", "match": ""},
        "window": {"start": start, "end": end},
        "source": "s",
        "cluster": "",
    }
    rows = [{"topic": "dns", "reasons": ["no DNS is visible in this window"]}]
    run = Run(Path("r"), summary, {"findings": [], "unknown": rows})
    assert about_run(run, at=Severity.INFO, page="p") is None
    message = about_run(run, at=None, unknown=True, page="p")
    assert message is not None
    assert message.title.startswith("[unknown] s, 2026-11-20 10:00")
    assert "Unknown: DNS (no DNS is visible in this window)" in message.body


@pytest.mark.parametrize("platform", ["cron", "systemd", "kubernetes"])
def test_a_schedule_passes_the_levels_on(platform: str, capsys: pytest.CaptureFixture[str]) -> None:
    how = ["--source", "http://prometheus:9090", "--fail-on", "warning", "--fail-on", "unknown"]
    assert main(["schedule", platform, *how]) == 0
    assert "--fail-on=warning,unknown" in capsys.readouterr().out


def test_an_index_shows_unknown_runs() -> None:
    run: dict[str, Any] = {
        "name": "r",
        "began": "2026-11-20T12:00:00Z",
        "status": "complete",
        "source": "s",
        "cluster": "",
        "window": {"start": "2026-11-20T10:00:00Z", "end": "2026-11-20T12:00:00Z"},
        "parameters": {"timezone": "UTC", "match": ""},
        "topics": [],
        "findings": {"critical": 0, "warning": 0, "info": 0},
        "first": "Unknown: dns: gone",
    }
    unknown = run | {"verdict": "unknown", "unknown": [{"topic": "dns", "reasons": ["gone"]}]}
    partly = unknown | {"verdict": "nothing unusual"}
    page = runs_page([unknown, unknown])
    assert "? unknown" in page
    assert "othing unusual" not in page
    assert page.count('class="ca-bar-unknown"') == 2
    assert "? 1 unknown" in runs_page([partly])
    assert "✓ nothing unusual" in runs_page([run])  # of an earlier version


# The explorer


@pytest.mark.parametrize("topic", [*AGENTS[:3], "http_status"])
def test_a_card_says_unknown(asked: Asked, topic: str) -> None:
    question, data = asked("none")
    loaded = data.topics[topic]
    shown = Loaded(topic, loaded, TOPICS[topic].findings(loaded), None, True, (0.0, 0.0))  # type: ignore[arg-type]
    seen = panel(shown, State(question.window))
    assert seen.headline == "Unknown"
    assert "no " in seen.beside
    drawn = picture(seen, timezone="UTC", title=topic)
    assert "Unknown" in drawn
    assert "0 packets" not in drawn + seen.beside


# Numbers


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (1.0, "100%"),
        (0.9996, "99.9%"),
        (0.996, "99.6%"),
        (0.5, "50.0%"),
        (0.0001, "0.01%"),
        (1e-7, "< 0.001%"),
        (0, "0%"),
    ],
)
def test_what_is_not_whole_is_not_written_as_whole(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize("every", [1, 2, 10])
def test_a_target_that_is_scraped_rarely_is_scraped_all_the_time(every: int) -> None:
    index = pd.date_range("2026-03-21 08:00:30", periods=240, freq="30s", tz="UTC")
    window = Window.parse("2026-03-21 08:00", "2026-03-21 10:00", step="30s")
    seen = pd.DataFrame({"worker-1": np.arange(240) % every == every - 1}, index=index)
    assert scraped(seen)["worker-1"] == 1.0
    assert gaps(seen, window) == []
    there = (np.arange(240) < 100) | (np.arange(240) >= 160)
    gone = seen & there[:, None]
    (said,) = gaps(gone, window)
    assert re.fullmatch(
        r"worker-1 was not scraped for (2\d|30) of the window's 120 minutes\.", said
    )
