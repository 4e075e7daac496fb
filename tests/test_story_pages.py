"""Stories in a real browser: the first screen, commands, the way to a topic's page and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from cilium_analysis.cli import main
from cilium_analysis.question import ask
from cilium_analysis.report import report
from cilium_analysis.report.run import Run

TOPICS = ("incident", "drop_reasons", "http_status", "agent_health")
TOLD = "2026-03-21 09:00–09:42 UTC (42 min, over): 86,444 packets from batch/report"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run[Path]:
    directory = tmp_path_factory.mktemp("stories")
    return report(ask(source="sample", baseline=""), topics=TOPICS, directory=directory, jobs=2)


@pytest.fixture(params=[400, 1200])
def context(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[BrowserContext]:
    made = chromium.new_context(viewport={"width": request.param, "height": 800})
    made.grant_permissions(["clipboard-read", "clipboard-write"])
    yield made
    made.close()


@pytest.fixture
def open_page(context: BrowserContext, run: Run[Path]) -> Callable[[str], Page]:
    def opened(name: str) -> Page:
        page = context.new_page()
        page.goto((run.directory / name).as_uri())
        return page

    return opened


@pytest.mark.slow(group="stories")
@pytest.mark.parametrize("name", ["index.html", "incident.html"])
def test_what_happened_is_on_the_first_screen(open_page: Callable[[str], Page], name: str) -> None:
    page = open_page(name)
    told = page.locator(".ca-account p").first
    assert told.inner_text().startswith(TOLD)
    box = told.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 800
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


@pytest.mark.slow(group="stories")
def test_a_story_leads_to_the_page_of_its_topic_and_back(
    open_page: Callable[[str], Page],
) -> None:
    page = open_page("incident.html")
    story = page.locator("#story-1")
    story.get_by_role("link", name="drop reasons").click()
    assert "/drop_reasons.html#finding-" in page.url
    row = page.locator(f"[id='{page.url.partition('#')[2]}']")
    assert "Policy denied" in row.inner_text()
    row.get_by_role("link", name="what else happened then").click()
    assert "/incident.html#finding-" in page.url
    lead = page.locator(f"[id='{page.url.partition('#')[2]}']")
    assert "Policy denied" in lead.inner_text()


@pytest.mark.slow(group="stories")
def test_a_command_is_copied_as_it_is(open_page: Callable[[str], Page]) -> None:
    page = open_page("index.html")
    command = page.locator("#story-1 .ca-command").first
    assert command.inner_text().startswith("kubectl -n kube-system exec ")
    page.locator("#story-1 .ca-copy").first.click()
    page.get_by_role("button", name="Copy kubectl").first.wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == command.inner_text()


@pytest.mark.slow(group="stories")
def test_a_signal_is_drawn_and_described(open_page: Callable[[str], Page]) -> None:
    page = open_page("incident.html")
    drawing = page.locator("#story-1 .ca-signal svg")
    box = drawing.bounding_box()
    assert box is not None
    assert box["width"] > 250
    label = drawing.get_attribute("aria-label") or ""
    assert "packets/s; shaded: 09:00 to 09:42; dashed: the baseline, 0.00306" in label


@pytest.mark.slow(group="stories")
@pytest.mark.parametrize("notation", ["markdown", "slack", "jira"])
def test_the_same_is_printed_for_a_ticket(
    run: Run[Path], notation: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("report", "drop_reasons", "--source", "sample", "--output", str(tmp_path))
    assert main([*asked, "--format", notation, "--fail-on", "critical"]) == 20
    said = capsys.readouterr().out
    assert "86,444 packets" in said
    assert "kubectl -n kube-system exec" in said.replace("\\", "")
    assert "index.html" in said
    whole = (run.directory / "report.md").read_text()
    found = json.loads((run.directory / "findings.json").read_text())
    assert TOLD in whole
    assert all(f"| {row['rank']} | {row['severity']} |" in whole for row in found["findings"])
