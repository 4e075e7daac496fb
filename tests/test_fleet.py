"""Fleets: the file and its mistakes, the plan, real schedulers, workers that die, the result."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from cilium_analysis.cli import main
from cilium_analysis.errors import FleetUnavailable
from cilium_analysis.findings import Severity
from cilium_analysis.fleet import (
    Fleet,
    How,
    Result,
    Span,
    engine,
    read_fleet,
    run_fleet,
    work,
)
from cilium_analysis.fleet.engine import Dask, Engine, connected, local
from cilium_analysis.fleet.plan import cut, tasks
from cilium_analysis.fleet.result import about_fleet
from cilium_analysis.report.notify import NOTIFY_VARIABLE
from cilium_simulator.scenario import load
from tests.conftest import installed_or_skip
from tests.runs import notebook
from tests.servers.process import free_port
from tests.servers.prometheus import NotInstalled, PrometheusServer
from tests.servers.served import ClusterServer, ClusterServers, feed
from tests.test_cli import PROGRAM
from tests.test_notify import Endpoint, endpoint
from tests.test_report import HOSTILE, Elements, runs_only_ours
from tests.waiting import until

__all__ = ["endpoint"]  # a fixture

ROOT = Path(__file__).parent.parent
NOW = datetime(2026, 3, 30, 12, 34, 56, tzinfo=UTC)
SECRET = "planted-s3cr3t"
#: bcrypt of SECRET
HASH_OF_SECRET = "$2b$05$x.3AX3k5y11vJoGjvmoRkuB/erQpKD08BrZt/dKFPY9F42uV0DhNi"
SAMPLE = "{start: 2026-03-21T08:00Z, end: 2026-03-21T10:00Z}"
BASELINE = "2026-03-21T06:00Z/2026-03-21T08:00Z"
FOUND = """
from cilium_analysis.findings import Finding, Findings, Severity
from cilium_analysis.window import Window
window = Window.parse(start, end, step=step)
Findings("a source", window, None, (
    Finding(
        kind="drop_spike", severity=Severity.WARNING, title="Drops rose",
        start=window.start, end=window.end, value=3.0, baseline_value=0.0, unit="packets/s",
        query="up", next_step="look at it", labels={},
    ),
))
"""


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(NOTIFY_VARIABLE, raising=False)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def written(text: str, name: str = "fleet.yaml") -> Path:
    path = Path(name)
    path.write_text(text)
    return path


def fleet_of(*clusters: str, window: str = SAMPLE) -> Fleet:
    """A fleet of clusters that are all the sample, or the sources given as ``name=source``."""
    rows = [
        f"  - {{name: {name}, source: '{source or 'sample'}'}}"
        for name, _, source in (text.partition("=") for text in clusters)
    ]
    text = (
        f"defaults: {{topics: [drop_reasons], baseline: '{BASELINE}'}}\n"
        f"window: {window}\nclusters:\n" + "\n".join(rows)
    )
    return read_fleet(written(text))


# The file


FULL = """\
defaults: {topics: [incident, dns], baseline: 1d, timezone: Europe/Berlin}
window: {last: 1h}
clusters:
  - name: prod-eu
    source: https://prometheus.eu.example
    match: 'cluster="eu"'
    credentials: {bearer_token_file: /etc/ca/eu-token, tenant: eu}
  - name: prod-us
    source: http://prometheus.us.example:9090/prefix
    topics: drop_reasons
    workloads: shop/cart to shop/db
    timezone: America/New_York
    credentials: {username: ann, password_env: CILIUM_ANALYSIS_US_PASSWORD}
"""


FLEET_OF_WORKLOADS = f"""\
defaults: {{topics: [drop_reasons], baseline: '{BASELINE}'}}
window: {SAMPLE}
clusters:
  - {{name: all, source: sample}}
  - {{name: dns, source: sample, workloads: kube-system/coredns}}
"""


def test_a_fleet_file_says_what_each_cluster_is_asked() -> None:
    fleet = read_fleet(written(FULL, "all-of-them.yaml"))
    eu, us = fleet.clusters
    assert fleet.name == "all-of-them"
    assert fleet.span == Span(place="all-of-them.yaml:2", last="1h", timezone="Europe/Berlin")
    assert (eu.topics, eu.baseline, eu.timezone) == (("incident", "dns"), "1d", "Europe/Berlin")
    assert (eu.match, eu.credentials.bearer_token_file) == ('cluster="eu"', "/etc/ca/eu-token")
    assert (us.topics, us.timezone) == (("drop_reasons",), "America/New_York")
    assert (eu.workloads, us.workloads) == ("", "shop/cart to shop/db")
    assert us.credentials.password_env == "CILIUM_ANALYSIS_US_PASSWORD"


ONE = "window: {last: 1h}\nclusters:\n  - name: a\n    source: http://a:9090\n"
BAD = {
    "empty": ("", "fleet.yaml is empty"),
    "no yaml": ("window: {last: 1h\nclusters: [", "fleet.yaml:2: this is not YAML"),
    "a list": ("- a\n", "fleet.yaml:1: the fleet file has to be a mapping"),
    "no clusters": ("window: {last: 1h}\n", "fleet.yaml:1: the fleet file has no `clusters`"),
    "no cluster": ("window: {last: 1h}\nclusters: []\n", "fleet.yaml:2: clusters has to be a list"),
    "no window": ("clusters:\n  - {name: a, source: sample}\n", ":1: the fleet file has no `win"),
    "no source": (ONE + "  - name: b\n", "fleet.yaml:5: the cluster has no `source`"),
    "no name": (ONE + "  - source: sample\n", "fleet.yaml:5: the cluster has no `name`"),
    "name twice": (ONE + "  - {name: a, source: sample}\n", ":5: the name 'a' is taken, by fleet"),
    "bad name": (ONE + "  - {name: a/b, source: sample}\n", "fleet.yaml:5: 'a/b' is no name"),
    "unknown key": (ONE + "    topic: dns\n", ":5: unknown key 'topic' in a cluster: did you mean"),
    "key twice": (ONE + "    name: c\n", "fleet.yaml:5: the key 'name' occurs twice"),
    "unknown topic": (ONE + "    topics: [dsn]\n", ":5: unknown topic 'dsn': did you mean dns?"),
    "no duration": (ONE.replace("1h", "an hour"), "fleet.yaml:1: 'an hour' is not a duration"),
    "zero": (ONE.replace("1h", "0h"), "fleet.yaml:1: last is zero"),
    "two windows": (ONE.replace("1h", "1h, start: -2h"), "fleet.yaml:1: a window has `last`"),
    "longer pieces": (ONE.replace("1h", "1h, every: 1d"), "fleet.yaml:1: every 1d is longer"),
    "too many": (ONE.replace("1h", "1y, every: 1s"), "fleet.yaml:1: this makes more than 10,000"),
    "the future": (ONE.replace("last: 1h", "start: 2999-01-01"), "fleet.yaml:1: the window starts"),
    "bad zone": (ONE + "    timezone: Mars\n", "fleet.yaml:5: unknown time zone 'Mars'"),
    "bad matcher": (ONE + "    match: cluster=a\n", ":5: cannot read the label matchers"),
    "bad workloads": (ONE + "    workloads: a to b to c\n", ":5: 'a to b to c' names"),
    "no pair": (ONE + "    topics: [path]\n", ":3: this question is about two workloads"),
    "one": (ONE + "    topics: [path]\n    workloads: a/b\n", ":6: this question is about two"),
    "bad step": (ONE + "    step: often\n", "fleet.yaml:5: 'often' is not a duration"),
    "bad baseline": (ONE + "    baseline: 10m\n", "fleet.yaml:3: the baseline '10m' overlaps"),
    "no text": (ONE + "    match: [a]\n", "fleet.yaml:5: match has to be a text"),
    "nothing": (ONE + "    match:\n", "fleet.yaml:5: match has to be a text"),
    "no server": (ONE.replace("http://a:9090", "ftp://a"), ":4: the source is not the URL"),
    "no directory": (ONE.replace("http://a:9090", "nowhere"), ":4: the source is no URL"),
    "token in the query part": (
        ONE.replace("http://a:9090", f"http://a:9090?namespace=x&token={SECRET}"),
        "fleet.yaml:4: the query part of the source has a credential in it",
    ),
    "kubernetes": (
        ONE.replace("http://a:9090", "sample") + "    kubernetes: current\n",
        "fleet.yaml:5: a bundle brings its own Kubernetes objects",
    ),
    "kubeconfig": (ONE + "    kubeconfig: /k\n", "fleet.yaml:5: a kubeconfig needs a context"),
    "password": (
        ONE.replace("//a", f"//ann:{SECRET}@a"),
        "fleet.yaml:4: the source has credentials in it",
    ),
    "token": (
        ONE + f"    credentials:\n      bearer_token: {SECRET}\n",
        "fleet.yaml:6: a fleet file holds no credentials: write bearer_token_file or",
    ),
    "value for a name": (
        ONE + f"    credentials: {{bearer_token_env: {SECRET}}}\n",
        "fleet.yaml:5: bearer_token_env takes the name of a variable",
    ),
    "value for a file": (
        ONE + f"    credentials: {{bearer_token_file: {SECRET}}}\n",
        "fleet.yaml:5: bearer_token_file takes the path of a file",
    ),
    "both": (
        ONE + "    credentials: {bearer_token_file: /a, username: b, password_file: /c}\n",
        "fleet.yaml:5: there is a bearer token and a user",
    ),
    "two ways": (
        ONE + "    credentials: {http_config: /h, ca_file: /c}\n",
        "fleet.yaml:5: http_config says how to sign in",
    ),
    "a relative file": (
        ONE + "    credentials: {http_config: h.yaml}\n",
        "fleet.yaml:5: http_config takes the path of a file",
    ),
    "a command and a file": (
        ONE + "    credentials: {bearer_token_command: oc whoami -t, bearer_token_file: /t}\n",
        "fleet.yaml:5: a credential comes from one place",
    ),
    "no password": (
        ONE + "    credentials: {username: b}\n",
        "fleet.yaml:5: username needs password_file",
    ),
    "a bomb": ("a: &a [x]\n" + "b: *a\n", "fleet.yaml:1: unknown key 'a'"),
    "an object": (
        "window: !!python/object/apply:os.getcwd []\n",
        "fleet.yaml:1: the fleet file has",
    ),
    "control": (ONE + '    match: "\\e[2J"\n', "fleet.yaml:5: match holds line ends or control"),
}


def test_a_query_part_goes_along() -> None:
    """The proxy of OpenShift asks for the namespace so."""
    fleet = read_fleet(written(ONE.replace("http://a:9090", "https://a/api?namespace=shop")))
    assert fleet.clusters[0].source == "https://a/api?namespace=shop"


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_a_mistake_is_named_with_its_line_before_anything_runs(
    text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    written(text)
    assert main(["fleet", "fleet.yaml", "--debug"]) == 2
    out, err = capsys.readouterr()
    assert message in err.splitlines()[-1]
    assert out == ""
    assert SECRET not in err
    assert sorted(path.name for path in Path().iterdir()) == ["fleet.yaml"]


BAD_OPTIONS = {
    "no file": (["nowhere.yaml"], "cannot read nowhere.yaml: No such file"),
    "no page": (["a b.yaml"], "'a b' is not a name for a page"),
    "no workers": (["fleet.yaml", "--workers", "0"], "'0' is not a number of workers"),
    "no memory": (["fleet.yaml", "--memory-limit", "2"], "--memory-limit '2' is no amount of"),
    "no scheduler": (["fleet.yaml", "--scheduler", "host:8786"], "is no address of a scheduler"),
    "both": (["fleet.yaml", "--scheduler", "tcp://a:1", "--workers", "2"], "are for workers on"),
    "nobody": (["fleet.yaml", "--notify-on", "info"], "need a service to notify"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_OPTIONS.values(), ids=BAD_OPTIONS)
def test_a_bad_option_gets_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    written(ONE)
    assert main(["fleet", *arguments]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_without_dask_one_line_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    written(ONE)
    assert main(["fleet", "fleet.yaml"]) == 2
    assert "pip install 'cilium-analysis[fleet]'" in capsys.readouterr().err


def test_a_scheduler_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine, "PATIENCE", 1.0)
    address = f"tcp://127.0.0.1:{free_port()}"
    written(ONE)
    assert main(["fleet", "fleet.yaml", "--scheduler", address]) == 1
    assert f"no Dask scheduler answers at {address}" in capsys.readouterr().err.splitlines()[-1]


# The plan


def pieces(zone: str = "UTC", **window: str) -> list[tuple[str, str]]:
    span = Span(place="fleet.yaml:1", timezone=zone, **window)
    return [(f"{a:%d %H:%M}", f"{b:%d %H:%M}") for a, b in cut(span, now=NOW)]


def test_a_backfill_goes_by_the_days_of_the_calendar() -> None:
    days = pieces("Europe/Berlin", last="3d", every="1d")
    assert days == [("26 23:00", "27 23:00"), ("27 23:00", "28 23:00"), ("28 23:00", "29 22:00")]


def test_windows_that_are_cut() -> None:
    assert pieces(last="1h") == [("30 11:34", "30 12:34")]
    assert pieces(last="12h", every="6h") == [("30 00:00", "30 06:00"), ("30 06:00", "30 12:00")]
    explicit = pieces(start="2026-03-29T00:00", end="2026-03-30T06:00", every="1d")
    assert explicit == [("29 00:00", "30 00:00"), ("30 00:00", "30 06:00")]
    assert pieces(start="-90m", every="1h") == [("30 11:04", "30 12:04"), ("30 12:04", "30 12:34")]


def test_a_plan_begins_with_the_newest_window_of_all_clusters() -> None:
    fleet = fleet_of("a", "b", window="{last: 2d, every: 1d}")
    text = Path("fleet.yaml").read_text().replace(BASELINE, "previous")
    plan = tasks(read_fleet(written(text)), now=NOW)
    assert [(task.cluster.name, task.column) for task in plan] == [
        ("a", 1),
        ("b", 1),
        ("a", 0),
        ("b", 0),
    ]
    assert len({task.run for task in plan}) == len(plan)
    assert fleet.name == "fleet"


def test_what_travels_are_references(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(SECRET)
    monkeypatch.setenv("CILIUM_ANALYSIS_TOKEN", SECRET)
    monkeypatch.setenv("CILIUM_ANALYSIS_BEARER_TOKEN", SECRET)
    references = ("bearer_token_env: CILIUM_ANALYSIS_TOKEN", f"bearer_token_file: {tmp_path}/token")
    for reference in references:
        written(ONE + f"    credentials: {{{reference}}}\n")
        (task,) = tasks(read_fleet(Path("fleet.yaml")), now=NOW)
        travels = json.dumps(task.plain(output="/out", how=How()))  # nothing but plain values
        assert SECRET not in travels
        assert reference.split(": ")[1] in travels


# The course, with an engine that only tells


@dataclass
class Told:
    """An engine that answers what it was told to, by the cluster's name; or really works, here."""

    answers: Mapping[str, dict[str, Any] | str] = field(default_factory=dict)
    down: Mapping[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    _waiting: list[tuple[int, str, engine.Work, Mapping[str, Any]]] = field(default_factory=list)

    def submit(
        self, work: engine.Work, task: Mapping[str, Any], *, key: str, priority: int
    ) -> None:
        self._waiting.append((priority, key, work, task))

    def completed(self) -> Iterator[tuple[str, dict[str, Any] | str]]:
        while self._waiting:
            self._waiting.sort(key=lambda row: -row[0])
            _, key, function, task = self._waiting.pop(0)
            name = task["question"]["called"]
            if function is work.ask:
                yield key, {"error": self.down.get(name, "")}
            else:
                self.asked.append(name)
                yield key, self.answers[name] if name in self.answers else function(task)

    def __call__(self, reports: int) -> AbstractContextManager[Engine]:
        assert reports > 0
        return nullcontext(self)


def answer(*, error: str = "", first: str = "Drops rose", **findings: int) -> dict[str, Any]:
    counts = {"critical": 0, "warning": 0, "info": 0, **findings}
    return {
        "run": "",
        "written": False,
        "error": error,
        "findings": counts,
        "first": first,
        "seconds": 1.0,
    }


def made(fleet: Fleet, told: Told, *, notebooks: Path | str = "", **options: Any) -> Result:
    how = How(notebooks=str(notebooks))
    return run_fleet(fleet, told, directory=Path("reports"), how=how, **options)


def summaries(directory: Path = Path("reports")) -> dict[str, dict[str, Any]]:
    """The run.json of every run, by the cluster that it names."""
    found = [json.loads(path.read_text()) for path in directory.glob("*/run.json")]
    return {run["cluster"]: run for run in found}


def test_a_cluster_that_is_down_is_named_and_asked_once() -> None:
    said: list[str] = []
    window = "{start: 2026-03-21T08:00Z, end: 2026-03-21T10:00Z, every: 1h}"
    told = Told({"a": answer(warning=1)}, down={"b": "cannot reach http://b:9090"})
    result = made(fleet_of("a", "b=http://b:9090", window=window), told, tell=said.append)
    assert told.asked == ["a", "a"]
    assert result.down == {"b": "cannot reach http://b:9090"}
    assert [(o.task.cluster.name, o.task.column) for o in result.outcomes] == [
        ("a", 0),
        ("a", 1),
        ("b", 0),
        ("b", 1),
    ]
    assert said.count("b is down: cannot reach http://b:9090") == 1
    index = Path("reports/index.html").read_text()
    assert index.count("<br>cannot reach http://b:9090</td>") == 2
    assert "fleet.html" in index
    failed = summaries()["b"]
    assert (failed["status"], failed["error"]) == ("failed", "cannot reach http://b:9090")
    page = Path("reports") / failed["name"] / "index.html"
    assert "This report could not be made" in page.read_text()


def test_a_report_that_failed_is_in_the_index_as_failed() -> None:
    result = made(fleet_of("a", "b"), Told({"a": answer(), "b": "its workers died"}))
    assert [o.error for o in result.failures] == ["its workers died"]
    assert summaries()["b"]["error"] == "its workers died"
    assert "its workers died" in Path("reports/index.html").read_text()


def test_the_page_compares_clusters_and_runs_nothing() -> None:
    window = "{start: 2026-03-21T08:00Z, end: 2026-03-21T10:00Z, every: 1h}"
    told = Told(
        {"a": answer(critical=2, first=HOSTILE), "b": answer(first="")}, down={"c": HOSTILE}
    )
    result = made(fleet_of("a", "b", "c", window=window), told)
    assert isinstance(result.page, Path)
    page = result.page.read_text()
    assert HOSTILE not in page
    assert runs_only_ours(page)
    assert "▲ 4 critical" in page
    assert "✓ nothing unusual" in page
    assert "c: down: there is no report" in page
    links = {a["href"] for a in Elements(page).named("a")}
    assert {f"{o.task.run}/index.html" for o in result.outcomes} <= links
    document = json.loads(result.page.with_suffix(".json").read_text())
    assert document["schema"] == "cilium-analysis/fleet/1"
    assert [row["status"] for row in document["reports"]] == ["complete"] * 4 + ["failed"] * 2


@pytest.mark.slow
def test_reports_that_are_there_are_left_out_when_asked(tmp_path: Path) -> None:
    mine = notebook(tmp_path / "mine", FOUND)
    first = made(fleet_of("a"), Told(), notebooks=mine)
    assert not first.failures
    told = Told({"b": answer()})
    result = made(fleet_of("a", "b"), told, missing=True)
    assert told.asked == ["b"]
    assert [o.task.cluster.name for o in result.outcomes] == ["b"]
    assert not made(fleet_of("a"), told, missing=True).outcomes
    there = first.outcomes[0].task.run
    assert f'href="{there}/index.html"' in Path("reports/fleet.html").read_text()
    text = Path("fleet.yaml").read_text().replace("[drop_reasons]", "[drop_reasons, dns]")
    made(read_fleet(written(text)), Told({"a": answer()}), missing=True)
    assert there not in Path("reports/fleet.html").read_text()


def test_old_runs_go_when_asked(tmp_path: Path) -> None:
    made(fleet_of("old"), Told(down={"old": "gone"}))
    old = summaries()["old"]
    path = Path("reports") / old["name"] / "run.json"
    path.write_text(json.dumps(old | {"began": "2026-01-01T00:00:00Z"}))
    made(fleet_of("new"), Told(down={"new": "gone"}), keep=timedelta(days=1))
    assert set(summaries()) == {"new"}


@pytest.mark.slow
def test_a_report_names_its_cluster(tmp_path: Path) -> None:
    mine = notebook(tmp_path / "mine", FOUND)
    result = made(fleet_of("prod-eu"), Told(), notebooks=mine)
    (outcome,) = result.outcomes
    assert (outcome.worst, outcome.first) == (Severity.WARNING, "Drops rose")
    run = summaries()["prod-eu"]
    assert (run["name"], run["source"][:7]) == (outcome.task.run, "sample ")
    assert 'data-source="prod-eu"' in Path("reports/index.html").read_text()
    assert "<h1>prod-eu</h1>" in (Path("reports") / run["name"] / "index.html").read_text()


@pytest.mark.slow
def test_a_report_is_about_the_workloads_of_its_cluster() -> None:
    text = Path(written(FLEET_OF_WORKLOADS)).read_text()
    made(read_fleet(Path("fleet.yaml")), Told())
    runs = summaries()
    assert runs["all"]["parameters"]["workloads"] == ""
    assert runs["dns"]["parameters"]["workloads"] == "kube-system/coredns"
    # Nobody dropped packets of this one: the incident of the sample is not its own.
    assert sum(runs["all"]["findings"].values())
    assert not sum(runs["dns"]["findings"].values())
    # A report on other workloads is another report.
    other = read_fleet(written(text.replace("kube-system/coredns", "kube-system")))
    (again,) = made(other, Told({"dns": answer()}), missing=True).outcomes
    assert again.task.cluster.name == "dns"


@pytest.mark.slow
def test_a_report_that_is_begun_twice_is_there_once(tmp_path: Path) -> None:
    mine = notebook(tmp_path / "mine", FOUND)
    (task,) = tasks(fleet_of("a"), now=NOW)
    plain = task.plain(output=str(tmp_path / "reports"), how=How(notebooks=str(mine)))
    left = tmp_path / "reports" / f".{task.run}.20260321T100000Z"
    left.mkdir(parents=True)  # by a try that was killed
    first = work.make(plain)
    assert not left.exists()
    began = time.monotonic()
    assert work.make(plain) | {"seconds": 0} == first | {"seconds": 0}
    assert time.monotonic() - began < 0.5
    assert [path.name for path in (tmp_path / "reports").iterdir()] == [task.run]


@pytest.mark.slow
def test_a_worker_takes_nothing_from_its_own_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A token that is meant for one cluster is not sent to another."""
    heard: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def listen() -> None:
            with listener.accept()[0] as asked:
                heard.append(asked.recv(65536).decode())
                asked.sendall(b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        thread = threading.Thread(target=listen)
        thread.start()
        monkeypatch.setenv("CILIUM_ANALYSIS_BEARER_TOKEN", SECRET)
        monkeypatch.setenv("CILIUM_ANALYSIS_KUBERNETES", "current")
        (task,) = tasks(fleet_of(f"a={address}"), now=NOW)
        assert work.ask(task.plain(output="", how=How()))["error"]
        thread.join()
    assert heard
    assert SECRET not in heard[0]


def test_a_server_that_keeps_silent_is_waited_for_as_long_as_a_report_may_take(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (task,) = tasks(fleet_of(f"a=http://127.0.0.1:{silent.getsockname()[1]}"), now=NOW)
        how = How(timeout=60.0, deadline=2.0)
        began = time.monotonic()
        said = work.make(task.plain(output=str(tmp_path / "reports"), how=how))
    assert "deadline" in said["error"]
    assert 2.0 <= time.monotonic() - began < 10.0
    assert not said["written"]


def test_how_long_reports_may_take_is_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[How] = []

    def run(*_: Any, how: How, **__: Any) -> Result:
        asked.append(how)
        raise FleetUnavailable("enough")

    monkeypatch.setattr("cilium_analysis.fleet.run_fleet", run)
    written(ONE)
    assert main(["fleet", "fleet.yaml", "--timeout", "20s", "--deadline", "1h"]) == 1
    assert main(["fleet", "fleet.yaml"]) == 1
    assert [(how.timeout, how.deadline) for how in asked] == [(20, 3600), (120, 1800)]


# What is told


def test_one_message_tells_of_all_clusters() -> None:
    told = Told(
        {
            "eu": answer(warning=2, first="Drops rose"),
            "us": answer(critical=1, first="No @everyone"),
            "quiet": answer(info=1),
            "broken": "its workers died",
        },
        down={"gone": "cannot reach http://gone:9090"},
    )
    result = made(fleet_of("eu", "us", "quiet", "broken", "gone=http://gone:9090"), told)
    message = about_fleet(result, at=Severity.WARNING, page="https://reports/fleet.html")
    assert message is not None
    assert message.title == "[failed, critical] fleet fleet, 5 clusters"
    assert message.severity is None
    assert message.body.splitlines() == [
        "gone is down: cannot reach http://gone:9090",
        "broken: 1 report failed, its workers died",
        "us: 1 critical",
        "   No @\u200beveryone",
        "   2026-03-21 08:00:00 to 10:00:00 UTC",
        "eu: 2 warning",
        "   Drops rose",
        "   2026-03-21 08:00:00 to 10:00:00 UTC",
        "Report: https://reports/fleet.html",
    ]


def test_a_fleet_without_findings_is_told_to_nobody() -> None:
    result = made(fleet_of("a"), Told({"a": answer(info=1)}))
    assert about_fleet(result, at=Severity.WARNING, page="") is None
    assert about_fleet(result, at=Severity.INFO, page="") is not None


# Real schedulers, real workers


@dataclass
class Scheduler:
    """A Dask scheduler, and workers that were started as people start them."""

    folder: Path
    address: str = ""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        port = free_port()
        self.address = f"tcp://127.0.0.1:{port}"
        self._run("dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")

    def work(self, *options: str) -> None:
        place = ["--host", "127.0.0.1", "--local-directory", str(self.folder)]
        self._run(
            "dask_worker", self.address, "--nthreads", "1", "--no-dashboard", *place, *options
        )

    def _run(self, program: str, *options: str) -> None:
        with (self.folder / f"{program}.log").open("ab") as log:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", f"distributed.cli.{program}", *options],
                    stdout=log,
                    stderr=log,
                    env=os.environ | {"PYTHONPATH": str(ROOT)},
                )
            )

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[Scheduler]:
    running = Scheduler(tmp_path)
    running.start()
    yield running
    running.stop()


def marking(tmp_path: Path, code: str = "") -> Path:
    """A notebook that leaves a file named as its kernel, with the worker's pid in it."""
    marks = tmp_path / "marks"
    marks.mkdir()
    mark = (
        "import os, pathlib, psutil, time\n"
        "above = psutil.Process().parents()\n"
        "parents = [p for p in above if 'forkserver' not in str(p.cmdline())]\n"
        f"mark = pathlib.Path({str(marks)!r}) / str(os.getpid())\n"
        "mark.write_text(str(parents[0].pid))\n"
    )
    return notebook(tmp_path / "mine", mark + code, FOUND)


def first_mark(tmp_path: Path) -> tuple[int, int]:
    """Wait for the first notebook; its kernel's pid, and its worker's."""

    def written() -> list[tuple[int, int]]:
        texts = [(mark.name, mark.read_text()) for mark in (tmp_path / "marks").iterdir()]
        return [(int(name), int(text)) for name, text in texts if text]

    return until(written)[0]


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_loses_nothing(scheduler: Scheduler, tmp_path: Path) -> None:
    go = tmp_path / "go"
    mine = marking(tmp_path, f"while not os.path.exists({str(go)!r}): time.sleep(0.02)\n")
    for _ in range(2):
        scheduler.work("--no-nanny")
    killed: list[tuple[int, int]] = []

    def kill() -> None:
        killed.append(first_mark(tmp_path))
        os.kill(killed[0][1], signal.SIGKILL)
        go.touch()

    thread = threading.Thread(target=kill)
    thread.start()
    result = run_fleet(
        fleet_of("a", "b", "c"),
        lambda _: connected(scheduler.address),
        directory=tmp_path / "reports",
        how=How(notebooks=str(mine)),
    )
    thread.join()
    assert [o.error for o in result.outcomes] == ["", "", ""]
    assert all(o.worst is Severity.WARNING for o in result.outcomes)
    kernels = {int(path.name): int(path.read_text()) for path in (tmp_path / "marks").iterdir()}
    assert len(kernels) == 4  # one of the three reports was begun twice
    assert list(kernels.values()).count(killed[0][1]) == 1
    assert not [pid for pid in kernels if psutil.pid_exists(pid)]  # not even the orphan
    runs = {path.name for path in (tmp_path / "reports").iterdir() if path.is_dir()}
    assert runs == {o.task.run for o in result.outcomes}  # and nothing unfinished


@pytest.mark.slow
def test_workers_that_are_all_gone_are_not_waited_for_for_ever(
    scheduler: Scheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import Client

    mine = marking(tmp_path, "time.sleep(60)\n")
    scheduler.work("--no-nanny")
    monkeypatch.setattr(engine, "PAUSE", 0.2)

    @contextmanager
    def impatient(reports: int) -> Iterator[Engine]:
        with Client(scheduler.address, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=60)
            yield Dask(client, patience=2.0)

    def kill() -> None:
        os.kill(first_mark(tmp_path)[1], signal.SIGKILL)

    threading.Thread(target=kill).start()
    result = run_fleet(
        fleet_of("a", "b"), impatient, directory=tmp_path / "reports", how=How(notebooks=str(mine))
    )
    assert [o.error for o in result.outcomes] == ["the engine has had no worker for 2 s"] * 2
    assert set(summaries(tmp_path / "reports")) == {"a", "b"}


@pytest.mark.slow
def test_a_scheduler_that_goes_is_not_waited_for_for_ever(
    scheduler: Scheduler, tmp_path: Path
) -> None:
    mine = marking(tmp_path, "time.sleep(60)\n")
    scheduler.work("--no-nanny")

    def kill() -> None:
        first_mark(tmp_path)
        scheduler.processes[0].kill()

    threading.Thread(target=kill).start()
    result = run_fleet(
        fleet_of("a", "b"),
        lambda _: connected(scheduler.address),
        directory=tmp_path / "reports",
        how=How(notebooks=str(mine)),
    )
    assert len(result.failures) == 2
    assert "scheduler" in result.failures[0].error


@pytest.mark.slow
def test_a_scheduler_without_workers(scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PATIENCE", 8.0)
    with pytest.raises(FleetUnavailable, match="has no worker after 8 s"):
        with connected(scheduler.address):
            pass


@pytest.mark.slow
def test_a_notebook_that_needs_too_much_memory_is_stopped(tmp_path: Path) -> None:
    greedy = (
        "import numpy\n"
        "kept = []\n"
        "for each in range(32 if timezone == 'Asia/Tokyo' else 1):\n"
        "    kept.append(numpy.ones(2**23))\n"  # 64 MiB
        "    with mark.open('a') as file:\n"
        "        written = file.write('.')\n"
    )
    mine = marking(tmp_path, greedy)
    text = (
        f"defaults: {{topics: [drop_reasons], baseline: '{BASELINE}'}}\nwindow: {SAMPLE}\n"
        "clusters:\n"
        "  - {name: greedy, source: sample, timezone: Asia/Tokyo}\n"
        "  - {name: modest, source: sample}\n"
    )
    result = run_fleet(
        read_fleet(written(text)),
        lambda _: local(workers=1, memory_limit="1GiB"),
        directory=tmp_path / "reports",
        how=How(notebooks=str(mine)),
    )
    greedy_outcome, modest = result.outcomes
    assert greedy_outcome.error.startswith(
        "a notebook was stopped at the worker's memory limit of 1,024 MiB; drop_reasons stopped"
    )
    assert modest.error == ""
    assert summaries(tmp_path / "reports")["greedy"]["status"] == "failed"
    held = [path.read_text().count(".") for path in (tmp_path / "marks").iterdir()]
    assert sorted(held)[0] == 1
    assert sorted(held)[1] <= 16  # of 64 MiB each


def hog(_: Mapping[str, Any]) -> dict[str, Any]:
    kept = bytearray(b"x") * 2**30
    time.sleep(60)
    return {"held": len(kept)}


@pytest.mark.slow
def test_a_worker_that_needs_too_much_memory_itself_is_given_up() -> None:
    with local(workers=1, memory_limit="512MiB") as dask:
        dask.submit(hog, {}, key="hog", priority=0)
        ((key, told),) = dask.completed()
    assert key == "hog"
    assert told == "the workers that made this report died one after the other: see their logs"


#: In a process of its own: those who test have other children, such as servers.
_LIMITED = """
import subprocess, sys
from cilium_analysis.fleet import memory
from cilium_analysis.fleet.memory import limited
hold = "import time; kept = bytearray({} * 2**20); print(flush=True); time.sleep(60)"
with (
    subprocess.Popen([sys.executable, "-c", hold.format(1)]) as small,
    subprocess.Popen([sys.executable, "-c", hold.format(600)], stdout=subprocess.PIPE) as large,
):
    large.stdout.readline()
    with limited(500 * 2**20, seconds=60.0) as limit:
        print("large", large.wait(10), limit.exceeded)
    print("small", small.poll())
    memory.LATER = 0.0
    with limited(0, seconds=0.5) as limit:
        print("small", small.wait(10), limit.reason)
"""


def test_the_limits_take_the_largest_child_and_then_all() -> None:
    command = [sys.executable, "-c", _LIMITED]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[-4:-1] == [
        f"large {-signal.SIGKILL} True",
        "small None",
        f"small {-signal.SIGKILL} notebooks were stopped, as the deadline of 500ms has passed",
    ]


# All of it, as a schedule runs it


def guarded(clusters: ClusterServers) -> PrometheusServer:
    """A Prometheus that asks for a password, with a burst of drops in it."""
    server = PrometheusServer(
        web_config=f"basic_auth_users:\n  ann: {HASH_OF_SECRET}\n",
        auth=f"ann:{SECRET}",
        remote_write=True,
    )
    feed(server, clusters.files(load("burst_between_scrapes"), float_le=False))
    return server


@contextmanager
def three_clusters(
    serve: Callable[..., ClusterServer], clusters: ClusterServers
) -> Iterator[tuple[str, str, str]]:
    """Give the addresses of a cluster with drops, of a quiet one, and of one that is stopped."""
    start = datetime(2026, 3, 10, 8, tzinfo=UTC)
    quiet = replace(load("quiet"), start=start, seconds=3600, records=((0, 3600),))
    calm = serve(quiet)
    try:
        with guarded(clusters) as burst, PrometheusServer() as stopped:
            stopped.halt()
            yield burst.url, calm.url, stopped.url
    except NotInstalled as error:
        installed_or_skip(error)


def command_lines() -> str:
    """Everything that any process of this machine was started with."""
    found: list[str] = []
    for process in psutil.process_iter(["cmdline"]):
        found += process.info["cmdline"] or []
    return "\n".join(found)


@pytest.mark.slow
def test_a_scheduled_fleet_of_three_clusters_one_of_them_stopped(
    cluster_server: Callable[..., ClusterServer],
    cluster_servers: ClusterServers,
    endpoint: Endpoint,
    tmp_path: Path,
) -> None:
    (tmp_path / "addresses").write_text(endpoint.address)
    with three_clusters(cluster_server, cluster_servers) as (burst, calm, stopped):
        written(
            "defaults: {topics: [drop_reasons]}\n"
            "window: {start: 2026-03-10T08:10Z, end: 2026-03-10T09:00Z}\n"
            "clusters:\n"
            f"  - name: prod-eu\n    source: {burst}\n    step: 30s\n"
            "    baseline: 2026-03-10T08:00Z/2026-03-10T08:10Z\n"
            "    credentials: {username: ann, password_env: CILIUM_ANALYSIS_EU}\n"
            f"  - name: prod-us\n    source: {calm}\n    step: 30s\n"
            "    baseline: 2026-03-10T08:00Z/2026-03-10T08:10Z\n"
            f"  - {{name: staging, source: '{stopped}'}}\n"
        )
        command = [*PROGRAM, "fleet", "fleet.yaml", "--workers", "2", "--fail-on", "warning"]
        told = ["--notify", "file:addresses", "--link", "https://reports.example.org", "--pdf"]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "CILIUM_ANALYSIS_EU": SECRET}
        process = subprocess.Popen(
            [*command, *told],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        seen = ""
        while process.poll() is None:
            seen += command_lines()
            time.sleep(1)
        out, err = process.communicate()
    assert process.returncode == 1, err  # a failure wins over findings
    assert out.splitlines()[0].startswith("prod-eu: ")
    assert out.splitlines()[1:] == [
        "prod-us: nothing unusual",
        "staging: 1 of 1 reports failed",
        "Fleet: reports/fleet.html",
    ]
    assert f"staging is down: cannot reach {stopped}" in err
    assert "Traceback" not in err
    runs = summaries()
    assert {name: run["status"] for name, run in runs.items()} == {
        "prod-eu": "complete",
        "prod-us": "complete",
        "staging": "failed",
    }
    assert "CT: Map insertion failed" in runs["prod-eu"]["first"]
    drawn = {path.parent.name for path in Path("reports").glob("*/report.pdf")}
    assert drawn == {run["name"] for run in runs.values() if run["status"] == "complete"}
    for page in ("index.html", "fleet.html"):
        links = [a["href"] for a in Elements(Path(f"reports/{page}").read_text()).named("a")]
        assert all((Path("reports") / link).exists() for link in links if not link.startswith("#"))
    (message,) = endpoint.received
    assert message["title"].startswith("[failed, ")
    assert message["message"].startswith(f"staging is down: cannot reach {stopped}")
    assert message["message"].endswith("Report: https://reports.example.org/fleet.html")
    everything = [path.read_bytes() for path in Path("reports").rglob("*") if path.is_file()]
    assert len(everything) > 20
    assert not [text for text in everything if SECRET.encode() in text]
    assert SECRET not in out + err + seen + message["message"] + message["title"]
    assert not list(Path("reports").glob(".*"))


@pytest.mark.slow
def test_a_fleet_that_is_interrupted_leaves_nothing_unfinished(tmp_path: Path) -> None:
    written(
        f"defaults: {{topics: [drop_reasons], baseline: '{BASELINE}'}}\n"
        f"window: {SAMPLE}\nclusters:\n  - {{name: a, source: sample}}\n"
    )
    process = subprocess.Popen(
        [*PROGRAM, "fleet", "fleet.yaml"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    until(lambda: list(Path("reports").glob(".2026*/bundle")))
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive
    assert [path.name for path in Path("reports").iterdir()] == ["index.html"]


def test_findings_decide_the_exit_code_when_nothing_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet_of("a")
    told = Told({"a": answer(warning=1)})
    monkeypatch.setattr("cilium_analysis.cli.reports._engine", lambda _: told)
    assert main(["fleet", "fleet.yaml"]) == 0
    assert main(["fleet", "fleet.yaml", "--fail-on", "critical"]) == 0
    assert main(["fleet", "fleet.yaml", "--fail-on", "warning"]) == 10
    assert capsys.readouterr().out.splitlines()[:2] == ["a: 1 warning", "Fleet: reports/fleet.html"]
    told.answers = {"a": answer(critical=1, warning=1)}
    assert main(["fleet", "fleet.yaml", "--fail-on", "warning"]) == 20
    told.answers = {"a": answer(critical=1, error="drop_reasons stopped")}
    assert main(["fleet", "fleet.yaml", "--fail-on", "warning"]) == 1
