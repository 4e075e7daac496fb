"""Pages in a real browser: they open without a server, filter, sort, enlarge; for everyone."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from cilium_analysis.fleet import read_fleet, run_fleet
from cilium_analysis.question import ask
from cilium_analysis.report import report
from cilium_analysis.report.html import runs_page
from cilium_analysis.storage.directory import Directory
from cilium_analysis.storage.runs import write_json
from tests.test_fleet import Told, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, BrowserContext, Page

HOSTILE = "<img src=x onerror=alert(1)>\"'"
#: source, day of March, critical, warning, status, topics
RUNS = (
    ("prod-eu", 20, 2, 1, "complete", ("drop_reasons", "dns")),
    ("prod-eu", 21, 0, 3, "complete", ("drop_reasons",)),
    ("prod-us", 21, 0, 0, "complete", ("incident",)),
    ("prod-us", 22, 0, 0, "failed", ("incident",)),
    (HOSTILE, 23, 1, 0, "complete", ("dns",)),
)
TOPICS = ("drop_reasons", "setup_check")
ROWS = "table[data-filtered] tbody tr"


@dataclass(frozen=True)
class Site:
    """A directory of runs: one real, the others with made summaries only."""

    directory: Path
    run: str

    def url(self, page: str = "index.html") -> str:
        return (self.directory / page).as_uri()

    def notebook(self, topic: str = "drop_reasons") -> str:
        return self.url(f"{self.run}/{topic}.html")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    directory = tmp_path_factory.mktemp("site")
    run = report(ask(source="sample", baseline=""), topics=TOPICS, directory=directory, jobs=2)
    for number, row in enumerate(RUNS):
        made = directory / f"made-{number}"
        made.mkdir()
        write_json(made / "run.json", made_summary(run.summary, *row))
    Directory(directory).write_index(runs_page)
    return Site(directory, run.directory.name)


def made_summary(
    real: dict[str, Any],
    source: str,
    day: int,
    critical: int,
    warning: int,
    status: str,
    topics: tuple[str, ...],
) -> dict[str, Any]:
    summary = copy.deepcopy(real)
    summary |= {"source": source, "status": status, "first": f"About {source}"}
    summary["window"] |= {
        "start": f"2026-03-{day}T08:00:00Z",
        "end": f"2026-03-{day}T10:00:00Z",
    }
    summary["began"] = f"2026-03-{day}T10:05:00Z"
    summary["findings"] = {"critical": critical, "warning": warning, "info": 0}
    summary["topics"] = [
        {**real["topics"][0], "topic": name, "html": f"{name}.html", "notebook": f"{name}.ipynb"}
        for name in topics
    ]
    return summary


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    made = chromium.new_context(viewport={"width": 1200, "height": 900})
    yield made
    made.close()


@pytest.fixture
def open_page(context: BrowserContext) -> Iterator[Callable[[str], Page]]:
    """Open pages that must not complain, ask for anything elsewhere, or pop up."""
    complaints: list[str] = []

    def open_(url: str) -> Page:
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(("file:", "data:"))
                else complaints.append(request.url)
            ),
        )
        page.goto(url)
        return page

    yield open_
    assert complaints == []


def shown(page: Page) -> list[str]:
    """Give the clusters of the rows that can be seen."""
    return [
        row.locator("td").nth(1).inner_text()
        for row in page.locator(ROWS).all()
        if row.is_visible()
    ]


@pytest.mark.slow
def test_the_list_of_runs_filters(site: Site, open_page: Callable[[str], Page]) -> None:
    page = open_page(site.url())
    told = page.locator("form.ca-filter output")
    assert told.inner_text() == "6 of 6 runs"
    page.locator("select[name=source]").select_option("prod-eu")
    assert shown(page) == ["prod-eu"] * 2
    assert told.inner_text() == "2 of 6 runs"
    page.locator("select[name=severity]").select_option("critical")
    assert shown(page) == ["prod-eu"]
    page.get_by_role("button", name="Show all").click()
    expect(told).to_have_text("6 of 6 runs")
    page.locator("select[name=severity]").select_option("critical")
    assert sorted(shown(page)) == sorted(
        ["prod-eu", "prod-us", HOSTILE, "sample (a simulated cluster, Cilium 1.15.2)"]
    )
    page.get_by_role("button", name="Show all").click()
    page.locator("select[name=topic]").select_option("incident")
    assert shown(page) == ["prod-us"] * 2
    page.get_by_role("button", name="Show all").click()
    page.locator("input[name=from]").fill("2026-03-22")
    assert shown(page) == [HOSTILE, "prod-us"]
    page.locator("input[name=to]").fill("2026-03-22")
    assert shown(page) == ["prod-us"]
    page.get_by_role("button", name="Show all").click()
    page.get_by_label("Search", exact=True).fill("about PROD-EU")
    assert shown(page) == ["prod-eu"] * 2


def test_what_was_filtered_for_is_in_the_address(
    site: Site, open_page: Callable[[str], Page]
) -> None:
    page = open_page(site.url())
    page.locator("select[name=source]").select_option(HOSTILE)
    assert shown(page) == [HOSTILE]
    again = open_page(page.url)
    assert shown(again) == [HOSTILE]
    # What is not there any more is not asked for.
    assert len(shown(open_page(site.url() + "#source=gone&nonsense=1"))) == len(RUNS) + 1


def test_the_list_of_runs_sorts(site: Site, open_page: Callable[[str], Page]) -> None:
    page = open_page(site.url())
    head = page.get_by_role("columnheader", name="Findings")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    # The failed one, then by the number of critical ones, then of warnings.
    assert shown(page)[:2] == ["prod-us", "prod-eu"]
    assert shown(page)[-1] == "prod-us"
    page.get_by_role("columnheader", name="Cluster").get_by_role("button").click()
    assert head.get_attribute("aria-sort") is None
    assert shown(page)[0] == HOSTILE


def test_the_trend_has_a_bar_for_each_run_and_follows_the_filter(
    site: Site, open_page: Callable[[str], Page]
) -> None:
    page = open_page(site.url())
    bars = page.locator(".ca-trend [data-run]")
    assert bars.count() == len(RUNS) + 1
    labels = [bar.get_attribute("aria-label") or "" for bar in bars.all()]
    assert any(
        "prod-eu, to 2026-03-20 10:00:00 UTC: 2 critical, 1 warning" in text for text in labels
    )
    heights = page.locator('[data-run="made-0"] rect:not(.ca-bar-back)').evaluate_all(
        "parts => parts.map(part => Number(part.getAttribute('height')))"
    )
    assert heights == [40, 20]
    page.locator("select[name=source]").select_option("prod-eu")
    assert sum(bar.is_visible() for bar in bars.all()) == 2


def test_tables_of_a_report_sort_by_value(site: Site, open_page: Callable[[str], Page]) -> None:
    page = open_page(site.notebook())
    table = page.locator(
        "table.ca-table", has=page.get_by_role("columnheader", name="Packets")
    ).first
    button = table.get_by_role("columnheader", name="Packets").get_by_role("button")
    column = [h.inner_text() for h in table.locator("th").all()].index("Packets")

    def values() -> list[float]:
        cells = table.locator(f"tbody tr td:nth-child({column + 1})").all()
        return [float(cell.get_attribute("data-value") or "nan") for cell in cells]

    button.click()
    assert values() == sorted(values())
    assert len(set(values())) > 1
    button.click()
    assert values() == sorted(values(), reverse=True)


def test_a_long_table_can_be_searched(site: Site, open_page: Callable[[str], Page]) -> None:
    page = open_page(site.notebook("setup_check"))
    field = page.get_by_label("Search this table").first
    rows = page.locator(".ca-search + table").first.locator("tbody tr")
    field.fill("Hubble  DNS")
    seen = [row.inner_text().lower() for row in rows.all() if row.is_visible()]
    assert 0 < len(seen) < rows.count()
    assert all("hubble" in text and "dns" in text for text in seen)
    assert (
        page.locator(".ca-search output").first.inner_text()
        == f"{len(seen)} of {rows.count()} rows"
    )
    field.fill("")
    assert all(row.is_visible() for row in rows.all())


def test_figures_enlarge_by_keyboard_and_close_again(
    site: Site, open_page: Callable[[str], Page]
) -> None:
    page = open_page(site.notebook())
    figure = page.get_by_role("button", name="Enlarge").first
    figure.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    assert dialog.is_visible()
    box, small = dialog.locator("img").bounding_box(), figure.locator("img").bounding_box()
    assert box
    assert small
    assert box["width"] > small["width"]
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    expect(figure).to_be_focused()


def test_the_contents_lead_to_the_sections(site: Site, open_page: Callable[[str], Page]) -> None:
    page = open_page(site.notebook())
    links = page.get_by_role("navigation", name="Contents").get_by_role("link")
    assert links.count() >= 3
    for link in links.all():
        target = page.locator((link.get_attribute("href") or "#").replace("#", "#", 1))
        assert target.inner_text() == link.inner_text()
    links.last.click()
    expect(page.locator("h2").last).to_be_in_viewport()


def test_without_scripts_everything_can_be_read(chromium: Browser, site: Site) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(site.url())
    assert len(shown(page)) == len(RUNS) + 1
    assert not page.locator("form.ca-filter").is_visible()
    page.goto(site.notebook())
    assert page.locator("table.ca-table tbody tr").first.is_visible()
    context.close()


def test_print_leaves_out_what_paper_cannot_do(
    site: Site, open_page: Callable[[str], Page]
) -> None:
    page = open_page(site.url())
    assert page.locator("form.ca-filter").is_visible()
    page.emulate_media(media="print")
    assert not page.locator("form.ca-filter").is_visible()
    assert page.locator("h1").is_visible()


@pytest.fixture(scope="module")
def fleet_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Three clusters in two windows, one of them down, and so without a report."""
    directory = tmp_path_factory.mktemp("fleet")
    file = directory / "production.yaml"
    clusters = "".join(f"  - {{name: {name}, source: sample}}\n" for name in ("a", "b", "c"))
    window = "{start: 2026-03-21T08:00Z, end: 2026-03-21T10:00Z, every: 1h}"
    file.write_text(f"window: {window}\nclusters:\n{clusters}")
    told = Told({"a": answer(critical=2, first=HOSTILE), "b": answer(first="")}, down={"c": "gone"})
    result = run_fleet(read_fleet(file), told, directory=directory)
    return Site(directory, result.failures[0].task.run)


def test_a_fleet_is_compared(fleet_site: Site, open_page: Callable[[str], Page]) -> None:
    page = open_page(fleet_site.url())
    page.get_by_role("link", name="fleet production").click()
    clusters = page.get_by_role("region", name="Clusters").locator("tbody tr")
    assert clusters.count() == 3
    page.get_by_role("columnheader", name="Findings").get_by_role("button").click()
    assert [row.locator("td").first.inner_text()[0] for row in clusters.all()] == ["b", "a", "c"]
    windows = page.get_by_role("region", name="Windows").locator("tbody tr")
    assert windows.first.locator("td").first.inner_text() == "2026-03-21 09:00:00"
    windows.first.get_by_role("link", name="failed").click()
    assert page.get_by_role("alert").inner_text().endswith("gone")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", ["index", "run", "notebook", "fleet", "failed"])
def test_pages_are_for_everyone(
    scheme: Any, which: str, site: Site, fleet_site: Site, open_page: Callable[[str], Page]
) -> None:
    url = {
        "index": site.url(),
        "run": site.url(f"{site.run}/index.html"),
        "notebook": site.notebook(),
        "fleet": fleet_site.url("fleet-production.html"),
        "failed": fleet_site.url(f"{fleet_site.run}/index.html"),
    }
    page = open_page(url[which])
    page.emulate_media(color_scheme=scheme)
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (back == "rgb(255, 255, 255)") == (scheme == "light")
    found = Axe().run(page).response["violations"]
    assert [
        (v["id"], v["nodes"][0]["html"][:200], v["nodes"][0]["failureSummary"]) for v in found
    ] == []
