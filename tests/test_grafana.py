"""From a run to Grafana: links to Explore, and annotations, on a stand-in for its HTTP API.

That answers as Grafana's documentation says, "Annotations HTTP API".
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from cilium_analysis import cards
from cilium_analysis.cli import main
from cilium_analysis.errors import ParameterError
from cilium_analysis.findings import Finding, Severity
from cilium_analysis.report import grafana
from cilium_analysis.report.grafana import TOKEN, TOKEN_FILE, Annotations, Explore, annotate
from cilium_analysis.source import window_as_json
from cilium_analysis.window import Window
from tests.faults import Reply, Request, Stub, page
from tests.pages import article
from tests.servers.process import free_port
from tests.test_openmetrics import document, finding, run
from tests.test_report import WINDOW

SECRET = "glsa_open-sesame"
SAMPLE = ["--source", "sample", "--start", "2026-03-21 08:00", "--end", "2026-03-21 10:00"]


class Grafana:
    """Keeps annotations, and asks for a token."""

    def __init__(self) -> None:
        self.kept: dict[int, dict[str, Any]] = {}
        self.asked: list[tuple[str, str]] = []
        self.fails = 0

    def answer(self, request: Request) -> Reply:
        self.asked.append((request.method, request.path))
        if request.headers.get("authorization") != f"Bearer {SECRET}":
            return Reply(json.dumps({"message": "Unauthorized"}).encode(), 401)
        if self.fails:
            said = {"message": f"failed for {request.headers['authorization']}"}
            return Reply(json.dumps(said).encode(), self.fails)
        path = urlsplit(request.path).path
        if request.method == "GET" and path == "/api/annotations":
            return Reply(json.dumps(self.found(request)).encode())
        body = json.loads(request.body)
        assert set(body) == {"time", "timeEnd", "tags", "text"}
        number = len(self.kept) + 1
        if request.method == "PUT":
            number = int(path.rpartition("/")[2])
            assert number in self.kept
        elif (request.method, path) != ("POST", "/api/annotations"):
            return page(404, "Grafana")
        self.kept[number] = {"id": number, **body}
        return Reply(json.dumps({"message": "Annotation", "id": number}).encode())

    def found(self, request: Request) -> list[dict[str, Any]]:
        given = parse_qsl(request.query)
        tags = {value for name, value in given if name == "tags"}
        first, last = (int(dict(given)[name]) for name in ("from", "to"))
        return [
            one
            for one in self.kept.values()
            if tags <= set(one["tags"]) and one["time"] <= last and one["timeEnd"] >= first
        ]


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Grafana, str]]:
    monkeypatch.setenv(TOKEN, SECRET)
    made = Grafana()
    with Stub(made.answer) as stub:
        yield made, f"grafana:{stub.url}"


def put(
    url: str, *items: Finding, at: Severity | None = Severity.WARNING, window: Window = WINDOW
) -> tuple[int, list[str]]:
    said: list[str] = []
    found = document(*items) | {"window": window_as_json(window)}
    made = annotate(Annotations.parse(url), run(window), found, at=at, page="", tell=said.append)
    return made, said


# Annotations


def test_a_finding_becomes_a_region_with_tags(there: tuple[Grafana, str]) -> None:
    made, url = there
    note = finding(severity=Severity.INFO, labels={"node": "other"})
    assert put(url, finding(), note) == (1, [])
    (one,) = made.kept.values()
    assert one["time"] == WINDOW.start.timestamp() * 1000
    assert one["timeEnd"] == WINDOW.end.timestamp() * 1000
    assert one["tags"] == [
        "cilium-analysis",
        f"finding:{finding().key()}",
        "cluster:prod-eu",
        "severity:critical",
        "kind:drop_spike",
    ]
    assert one["text"] == "Drops “Policy denied”"
    assert put(url, finding(), note, at=None) == (0, [])


def test_a_run_that_is_repeated_updates_what_is_there(there: tuple[Grafana, str]) -> None:
    made, url = there
    put(url, finding())
    other = finding(labels={"node": "worker-9"})
    later = finding(title="Drops, and more", start=WINDOW.start + timedelta(minutes=5))
    assert put(url, later, other) == (2, [])
    assert [one["text"] for one in made.kept.values()] == ["Drops, and more", other.title]
    assert made.kept[1]["time"] == later.start.timestamp() * 1000


def test_the_next_window_prolongs_it_and_another_day_is_another(there: tuple[Grafana, str]) -> None:
    made, url = there
    put(url, finding(start=WINDOW.start + timedelta(minutes=5)))
    length = WINDOW.length
    following = replace(WINDOW, start=WINDOW.end, end=WINDOW.end + length)
    put(url, finding(start=following.start, end=following.end), window=following)
    (one,) = made.kept.values()
    assert one["time"] == (WINDOW.start + timedelta(minutes=5)).timestamp() * 1000
    assert one["timeEnd"] == following.end.timestamp() * 1000
    day = timedelta(days=1)
    again = replace(WINDOW, start=WINDOW.start + day, end=WINDOW.end + day)
    put(url, finding(start=again.start, end=again.end), window=again)
    assert len(made.kept) == 2


def test_an_older_window_that_is_repeated_does_not_shorten_what_a_newer_one_prolonged(
    there: tuple[Grafana, str],
) -> None:
    made, url = there
    minutes = timedelta(minutes=1)
    first = finding(start=WINDOW.start + 100 * minutes)
    following = replace(WINDOW, start=WINDOW.end, end=WINDOW.end + WINDOW.length)
    put(url, first)
    put(url, finding(start=following.start, end=WINDOW.end + 30 * minutes), window=following)
    put(url, first)
    assert spans(made) == [(100, 150)]
    put(url, replace(first, end=WINDOW.start + 110 * minutes))  # known better: it was over
    assert spans(made) == [(100, 110)]


def test_a_later_burst_in_the_next_window_does_not_replace_one(there: tuple[Grafana, str]) -> None:
    made, url = there
    minutes = timedelta(minutes=1)
    put(url, finding(start=WINDOW.start + 10 * minutes))
    following = replace(WINDOW, start=WINDOW.end, end=WINDOW.end + WINDOW.length)
    start = following.start + 40 * minutes
    put(url, finding(start=start, end=start + 10 * minutes), window=following)
    assert spans(made) == [(10, 120), (160, 170)]


def test_bursts_of_one_place_keep_their_annotations_when_the_window_moves(
    there: tuple[Grafana, str],
) -> None:
    made, url = there
    first, second, third = (burst(5, 10), burst(40, 45), burst(45, 50))
    put(url, first, second, third)
    put(url, third, second, first)  # ids are numbered by rank, and now in another order
    assert spans(made) == [(5, 10), (40, 45), (45, 50)]
    moved = replace(WINDOW, start=WINDOW.start + timedelta(minutes=30))
    put(url, replace(third, title="The last"), second, window=moved)
    assert spans(made) == [(5, 10), (40, 45), (45, 50)]
    assert made.kept[3]["text"] == "The last"
    assert {one["tags"][1] for one in made.kept.values()} == {f"finding:{first.key()}"}


def burst(first: int, last: int) -> Finding:
    start, minute = WINDOW.start, timedelta(minutes=1)
    return finding(start=start + first * minute, end=start + last * minute)


def spans(made: Grafana) -> list[tuple[float, float]]:
    """From when until when the annotations last, in minutes of the window."""
    start = WINDOW.start.timestamp()
    return [
        ((one["time"] / 1000 - start) / 60, (one["timeEnd"] / 1000 - start) / 60)
        for one in made.kept.values()
    ]


@pytest.mark.parametrize(
    ("status", "said"),
    [(403, "annotations:create"), (500, "did not answer like Grafana (500)"), (302, "(302)")],
)
def test_what_fails_is_told_without_a_token(
    status: int, said: str, there: tuple[Grafana, str]
) -> None:
    made, url = there
    made.fails = status
    count, (told,) = put(url, finding())
    assert count == 0
    assert said in told
    assert "has 0 of 1 annotation: " in told
    assert SECRET not in told


def test_a_grafana_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, SECRET)
    count, (told,) = put(f"grafana:http://127.0.0.1:{free_port()}", finding())
    assert count == 0
    assert "cannot reach" in told


def test_no_more_than_so_many_are_written(there: tuple[Grafana, str]) -> None:
    made, url = there
    many = [finding(labels={"node": f"worker-{n}"}) for n in range(grafana.MOST + 5)]
    count, (told,) = put(url, *many)
    assert count == grafana.MOST == len(made.kept)
    assert f"{grafana.MOST} of {len(many)}" in told


def test_texts_of_the_cluster_stay_text(there: tuple[Grafana, str]) -> None:
    made, url = there
    hostile = '<img src=x onerror="alert(1)">\x00\n' + "y" * 9000
    put(url, finding(title=hostile, labels={"node": hostile}))
    (one,) = made.kept.values()
    assert "<" not in one["text"]
    assert len(one["text"]) < 2000
    assert all(len(tag) < 100 and tag.isprintable() for tag in one["tags"])


def test_the_token_is_read_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text(SECRET)
    monkeypatch.setenv(TOKEN_FILE, str(tmp_path / "token"))
    made = Grafana()
    with Stub(made.answer) as stub:
        assert put(f"grafana:{stub.url}", finding()) == (1, [])


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("https://grafana.example.org", "takes a Grafana"),
        ("grafana:https://user:s3cr3t@grafana.example.org", "not the address of a Grafana"),
        ("grafana:https://grafana.example.org?datasource=a", "no data source"),
    ],
)
def test_a_place_that_is_none_is_told_first(
    where: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(TOKEN, SECRET)
    assert main(["report", *SAMPLE, "--annotate", where]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "s3cr3t" not in told


def test_without_a_token_nothing_begins(capsys: pytest.CaptureFixture[str]) -> None:
    assert TOKEN not in os.environ
    assert main(["report", *SAMPLE, "--annotate", "grafana:https://g.example"]) == 2
    assert TOKEN_FILE in capsys.readouterr().err


# Links


def opened(link: str) -> tuple[str, dict[str, Any]]:
    """What Explore makes of a link."""
    parts = urlsplit(link)
    given = parse_qs(parts.query, strict_parsing=True)
    assert set(given) == {"schemaVersion", "panes"}  # Grafana shows the user's own organization
    assert given["schemaVersion"] == ["1"]
    (pane,) = json.loads(given["panes"][0]).values()
    return f"{parts.scheme}://{parts.netloc}{parts.path}", pane


@pytest.mark.parametrize(
    "query", ['rate(a{b="c&d#e%f+ \\"g\\""}[5m])', "a--b", 'x{y="-->é<script>"}', "sum(a)\n / b"]
)
def test_a_link_opens_the_query_in_its_window(query: str) -> None:
    link = Explore("https://g.example/g", "P1809").link(query, window_as_json(WINDOW))
    where, pane = opened(link)
    assert where == "https://g.example/g/explore"
    assert pane["datasource"] == "P1809"
    (asked,) = pane["queries"]
    assert asked["expr"] == query
    assert asked["datasource"] == {"type": "prometheus", "uid": "P1809"}
    assert pane["range"] == {
        "from": str(int(WINDOW.start.timestamp() * 1000)),
        "to": str(int(WINDOW.end.timestamp() * 1000)),
    }
    found = cards.stories(document_findings(query), "UTC")
    output = new_output("display_data", data={"text/html": found})
    notebook = new_notebook(cells=[new_code_cell("1", outputs=[output])])
    about = {"topics": [], "window": window_as_json(WINDOW)}
    linked = article(notebook, **about, grafana={"url": "https://g.example"})
    (shown,) = re.findall(r'href="([^"]*)"', linked)
    assert opened(unescape(shown))[1]["queries"][0]["expr"] == query
    assert "explore" not in article(notebook, **about)


def document_findings(query: str) -> Any:
    from cilium_analysis.findings import Findings

    return Findings("s", WINDOW, None, (finding(query=query),))


def test_the_data_source_is_that_of_the_address_or_of_the_source() -> None:
    base = "https://g.example"
    behind = f"grafana:{base}?datasource=P1"
    assert Explore.parse(f"{base}/?datasource=My+Prom") == Explore(base, "My Prom")
    assert Explore.parse(base, source=behind) == Explore(base, "P1")
    assert Explore.parse(f"grafana:{base}?datasource=x", source=behind) == Explore(base, "x")
    assert Explore.parse("https://other.example", source=behind).datasource == ""
    assert Explore.parse(base, source="http://prometheus:9090").datasource == ""
    assert "datasource" not in opened(Explore(base).link("up", window_as_json(WINDOW)))[1]
    with pytest.raises(ParameterError, match="not the address"):
        Explore.parse("javascript:alert(1)")


@pytest.mark.slow
def test_a_report_has_the_links_and_writes_the_annotations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: tuple[Grafana, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    made, url = there
    address = url.removeprefix("grafana:")
    given = ["--grafana", f"{address}?datasource=prom", "--annotate", url]
    more = ["--notify-on", "warning", "--link", "https://reports.example.org"]
    assert main(["report", "drop_reasons", *SAMPLE, *given, *more]) == 0
    (directory,) = Path("reports").glob("2026*")
    found = json.loads((directory / "findings.json").read_text())["findings"]
    serious = [row for row in found if row["severity"] != "info"]
    ids = [row["id"].partition("-")[0] for row in serious]
    assert [one["tags"][1] for one in made.kept.values()] == [f"finding:{each}" for each in ids]
    assert f"https://reports.example.org/{directory.name}/index.html" in made.kept[1]["text"]
    links = re.findall(r'href="([^"]*explore[^"]*)"', (directory / "index.html").read_text())
    queries = [opened(unescape(link))[1]["queries"][0]["expr"] for link in links]
    assert queries == [row["query"] for row in found]
    for file in directory.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes()
