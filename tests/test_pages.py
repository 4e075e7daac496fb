"""All pages of a report of the sample, on a phone, a screen and paper, in light and dark."""

from __future__ import annotations

import io
import re
import unicodedata
from typing import TYPE_CHECKING, Any

import pypdfium2
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image, ImageStat
from playwright.sync_api import expect
from pypdf import PdfReader

from cilium_analysis.fleet import read_fleet, run_fleet
from cilium_analysis.question import ask
from cilium_analysis.report import report
from cilium_analysis.report.html import runs_page
from cilium_analysis.report.pdf import drawn
from cilium_analysis.storage.directory import Directory
from cilium_analysis.topics import INCIDENT
from cilium_analysis.topics import TOPICS as OTHERS
from tests.test_fleet import Told, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    Open = Callable[..., Page]

pytestmark = pytest.mark.slow(group="pages")

TOPICS = (INCIDENT, *OTHERS)
PAGES = ("index", "run", "fleet", *TOPICS)
WIDTHS = (400, 1000, 1400)
#: The smallest letters of a figure that can be read [CSS px].
LEGIBLE = 9.0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every page that a report makes, by name."""
    directory = tmp_path_factory.mktemp("pages")
    run = report(ask(source="sample", baseline=""), topics=(), directory=directory, jobs=2)
    Directory(directory).write_index(runs_page)
    fleet = tmp_path_factory.mktemp("fleet")
    file = fleet / "production.yaml"
    names = ("a", "b", "a-cluster-with-a-long-name-in-eu-central-1")
    clusters = "".join(f"  - {{name: {name}, source: sample}}\n" for name in names)
    window = "{start: 2026-03-21T08:00Z, end: 2026-03-21T12:00Z, every: 1h}"
    file.write_text(f"window: {window}\nclusters:\n{clusters}")
    told = Told({"a": answer(critical=2, first="Drops " * 20), "b": answer(first="")}, down={})
    run_fleet(read_fleet(file), told, directory=fleet)
    found = {path.stem: path for path in run.directory.glob("*.html")}
    return found | {
        "run": found["index"],
        "index": directory / "index.html",
        "fleet": fleet / "fleet-production.html",
    }


@pytest.fixture
def open_page(chromium: Browser, made: dict[str, Path]) -> Iterator[Open]:
    """Open a page by its name, in a window of a width."""
    contexts = []

    def open_(name: str, *, width: int = 1000, scheme: Any = "light") -> Page:
        size: Any = {"width": width, "height": 800}
        contexts.append(chromium.new_context(viewport=size, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.goto(made[name].as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()


def unfold(page: Page) -> None:
    page.evaluate(
        """() => {
          for (const part of document.querySelectorAll("details")) part.open = true;
          for (const button of document.querySelectorAll(".ca-all")) button.click();
        }"""
    )


#: Elements of which a part is outside the page, or behind the edge of what holds them.
CUT_OFF = """() => {
  const width = document.documentElement.clientWidth;
  const cut = [];
  for (const element of document.querySelectorAll("main *, header *, footer *")) {
    const box = element.getBoundingClientRect();
    if (!box.width || !box.height) continue;
    const hidden = element.scrollWidth > element.clientWidth + 1
      && getComputedStyle(element).display !== "inline" && element.clientWidth;
    if (box.right > width + 1 || box.left < -1 || hidden)
      cut.push(`${element.tagName}.${element.className}: ${element.textContent.slice(0, 60)}`);
  }
  return cut;
}"""


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_wider_than_the_page(name: str, width: int, open_page: Open) -> None:
    page = open_page(name, width=width)
    for _ in range(2):
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(CUT_OFF) == []
        unfold(page)


@pytest.mark.parametrize("name", TOPICS)
def test_a_phone_shows_the_verdict_first(name: str, open_page: Open) -> None:
    page = open_page(name, width=400)
    answer = page.locator(".ca-notebook section .output_html").first
    if name == INCIDENT:
        answer = page.locator(".ca-account").first
    shown = answer.bounding_box()
    assert shown
    assert shown["y"] < 500
    # Then what is not folded, and no endless list.
    assert page.evaluate("document.documentElement.scrollHeight") < 4500


@pytest.mark.parametrize("width", WIDTHS)
# In the sample every probe succeeded, and a figure of nothing is a sentence.
@pytest.mark.parametrize(
    "name", [n for n in TOPICS if n not in ("setup_check", "node_connectivity")]
)
def test_figures_can_be_read(name: str, width: int, open_page: Open) -> None:
    page = open_page(name, width=width)
    unfold(page)
    sizes = page.locator("img.ca-drawn").evaluate_all(
        """images => images.map(image => {
          const svg = decodeURIComponent(image.currentSrc.split(",").slice(1).join(","));
          const letters = [...svg.matchAll(/font(?:-size)?: ([\\d.]+)px/g)].map(m => Number(m[1]));
          const [, across] = svg.match(/viewBox="0 0 ([\\d.]+)/);
          return Math.min(...letters) * image.clientWidth / Number(across);
        })"""
    )
    assert sizes
    assert min(sizes) >= LEGIBLE


@pytest.mark.parametrize("width", [400, 1000])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_figures_are_dark_in_the_dark(scheme: str, width: int, open_page: Open) -> None:
    page = open_page("drop_reasons", width=width, scheme=scheme)
    unfold(page)
    for figure in page.locator("img.ca-drawn").all():
        picture = Image.open(io.BytesIO(figure.screenshot())).convert("L")
        corner = picture.crop((0, picture.height - 6, 12, picture.height))
        ground = ImageStat.Stat(corner).mean[0]
        assert (ground > 240) == (scheme == "light")
        assert (ground < 40) == (scheme == "dark")
        darkest, lightest = picture.getextrema()
        assert isinstance(darkest, int)
        assert isinstance(lightest, int)
        assert lightest - darkest > 180  # its letters can be told from the ground


@pytest.mark.parametrize("name", PAGES)
def test_on_a_phone_each_value_has_its_heading(name: str, open_page: Open, made: Any) -> None:
    page = open_page(name, width=400)
    unfold(page)
    cells = page.locator("table.ca-table:not(.ca-unprinted *) td").evaluate_all(
        """cells => cells.map(cell => [
          cell.closest("table").tHead.rows[0].cells[cell.cellIndex].textContent,
          getComputedStyle(cell, "::before").content,
        ])"""
    )
    # A day in a heading does not break, nor does it beside a value.
    assert all(f'"{heading}"' == label.replace("\u2011", "-") for heading, label in cells)
    assert cells or name in ("run", "index")


def test_long_tables_show_their_first_rows_until_asked(open_page: Open) -> None:
    for width, rows in ((400, 3), (1000, 10)):
        page = open_page("drop_reasons", width=width)
        page.evaluate("location.hash = '#section-6'")
        table = page.locator("table.ca-long").first
        shown = table.locator("tbody tr:visible")
        assert shown.count() == rows
        button = page.locator(".ca-long + .ca-all").first
        every = table.locator("tbody tr").count()
        assert button.inner_text() == f"Show all {every} rows"
        button.press("Enter")
        expect(shown).to_have_count(every)


def test_a_folded_section_opens_where_a_link_leads(open_page: Open) -> None:
    page = open_page("drop_reasons", width=400)
    section = page.locator("details.ca-section", has=page.locator("#section-5"))
    assert section.get_attribute("open") is None
    assert "1 figure" in section.locator("summary").inner_text()
    page.get_by_text("Contents", exact=True).click()
    page.get_by_role("link", name="Packets and bytes").click()
    assert section.get_attribute("open") == ""
    again = open_page("drop_reasons", width=400)
    again.goto(again.url + "#section-5")
    again.reload()
    assert again.locator("#section-5").evaluate("e => e.closest('details').open")


def test_details_start_folded_on_a_wide_page_too(open_page: Open) -> None:
    page = open_page("agent_health", width=1400)
    section = page.locator("details.ca-detail", has=page.get_by_role("heading", name="BPF maps"))
    assert section.get_attribute("open") is None
    summary = section.locator("summary").first.inner_text()
    # What is in it, and the foremost of it, tell whether opening is worthwhile.
    assert "1 figure, 20 rows; first: cilium_policy_*, worker-2, fill 33.6%" in summary
    page.get_by_role("navigation", name="Contents").get_by_text("BPF maps").click()
    assert section.get_attribute("open") == ""
    expect(section.locator("table")).to_be_visible()


@pytest.mark.parametrize("name", ["agent_health", "dns", "http_status", "endpoint_growth"])
def test_the_answer_takes_no_more_than_a_few_screens(name: str, open_page: Open) -> None:
    page = open_page(name, width=1000)
    assert page.evaluate("document.documentElement.scrollHeight") < 3000


def test_a_section_without_content_is_a_sentence(open_page: Open) -> None:
    page = open_page("http_status")
    assert page.get_by_role("heading", name="Traces").count() == 0
    # Traces are there where exemplars are stored.
    assert page.get_by_text("Traces", exact=True).count() == 0
    page = open_page("endpoint_growth")
    assert page.get_by_role("heading", name="How fast").count() == 0
    expect(page.get_by_text("How fast: No node has a trend.")).to_be_visible()
    # A figure and a table that are both empty say it once.
    page = open_page("node_connectivity")
    assert page.get_by_text("No pair of nodes is known to have failed.").count() == 1
    assert page.locator(".ca-notebook img").count() == 0


def test_cards_are_sorted_by_what_is_chosen(open_page: Open) -> None:
    page = open_page("endpoint_growth", width=400)
    table = page.locator("table.ca-table").first
    choice = page.locator(".ca-sort-by select").first
    expect(choice).to_be_visible()
    choice.select_option(label="Change")
    changes = table.locator('td[data-label="Change"]').evaluate_all(
        "cells => cells.map(cell => Number(cell.dataset.value))"
    )
    assert changes == sorted(changes, reverse=True)
    choice.select_option(label="Node")
    names = table.locator('td[data-label="Node"]').all_inner_texts()
    assert names == sorted(names)
    assert open_page("endpoint_growth", width=1000).locator(".ca-sort-by:visible").count() == 0


def test_a_day_does_not_break(open_page: Open) -> None:
    for width in (400, 1000):
        page = open_page(INCIDENT, width=width)
        unfold(page)
        heights = page.locator(".ca-time:visible").evaluate_all(
            "days => days.map(day => day.getClientRects().length)"
        )
        assert set(heights) <= {1}
    assert heights


def printed(page: Page) -> PdfReader:
    return PdfReader(io.BytesIO(page.pdf(format="A4")))


def solid(text: str) -> str:
    """Without spaces, as words break in narrow columns, and with two letters for a ligature."""
    return "".join(unicodedata.normalize("NFKC", text).split())


def kept(page: Page) -> list[str]:
    """What must be on paper: the headings of sections and columns, cells, and sentences."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll("main :is(h1, h2, h3, th, td, p, li, dd, summary)")]
          .filter(part => !part.closest(".ca-contents, .ca-search, .ca-filter"))
          .filter(part => part.tagName !== "SUMMARY" || part.closest(".ca-unprinted"))
          .filter(part => !part.closest(".ca-unprinted") || part.tagName === "SUMMARY")
          .filter(part => !part.querySelector("p, li, td, details"))
          .map(part => {
            const copy = part.cloneNode(true);
            for (const button of copy.querySelectorAll("button:not(.ca-sort)")) button.remove();
            return copy.textContent;
          })"""
    )
    return [text for text in map(solid, found) if text]


@pytest.mark.parametrize(("name", "width"), [*((name, 1000) for name in PAGES), ("dns", 400)])
def test_paper_loses_nothing(name: str, width: int, open_page: Open) -> None:
    page = open_page(name, width=width)
    wanted = kept(page)
    text = solid(" ".join(sheet.extract_text() for sheet in printed(page).pages))
    assert [part for part in wanted if part not in text] == []
    if name in TOPICS:
        assert "(listedonthepageonly)" in text


@pytest.mark.parametrize("name", TOPICS)
def test_headings_stay_with_what_they_head(name: str, open_page: Open) -> None:
    page = open_page(name)
    headings = {solid(text) for text in page.locator("main :is(h1, h2, h3)").all_inner_texts()}
    for sheet in printed(page).pages[:-1]:
        last = sheet.extract_text().strip().splitlines()[-1]
        assert solid(last) not in headings
    if name == "drop_reasons":
        figures = {"When": "packets/s", "Where": "worker-1", "Compared with the baseline": "20k"}
        texts = [sheet.extract_text() for sheet in printed(page).pages]
        for heading, unit in figures.items():
            (there,) = [text for text in texts if re.search(rf"^{heading}\s*$", text, re.M)]
            assert unit in there.split(heading)[-1]


def test_what_is_dark_on_the_screen_is_light_on_paper(open_page: Open) -> None:
    sheets = []
    for scheme in ("light", "dark"):
        content = open_page("drop_reasons", width=400, scheme=scheme).pdf(format="A4")
        with pypdfium2.PdfDocument(content) as document:
            sheets.append([sheet.render(scale=0.5).to_pil().convert("L") for sheet in document])
    assert [s.tobytes() for s in sheets[0]] == [s.tobytes() for s in sheets[1]]
    assert all(ImageStat.Stat(sheet).mean[0] > 200 for sheet in sheets[0])


def test_a_pdf_loses_nothing(open_page: Open, made: dict[str, Path]) -> None:
    names = ("index", *TOPICS)
    pages = {name: made["run" if name == "index" else name].read_text() for name in names}
    reader = PdfReader(io.BytesIO(drawn(pages, title="All")))
    text = solid(" ".join(sheet.extract_text() for sheet in reader.pages))
    for name in TOPICS:
        page = open_page(name)
        heads = map(
            solid, page.locator("main :is(h1, h2, th):not(.ca-unprinted *)").all_text_contents()
        )
        assert [head for head in heads if head not in text] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index", "run", "fleet", INCIDENT, "drop_reasons"])
def test_a_phone_is_for_everyone(name: str, scheme: str, open_page: Open) -> None:
    page = open_page(name, width=400, scheme=scheme)
    unfold(page)
    found = Axe().run(page).response["violations"]
    assert [
        (v["id"], v["nodes"][0]["html"][:200], v["nodes"][0]["failureSummary"]) for v in found
    ] == []


def test_enlarged_a_figure_is_larger_on_a_phone(open_page: Open) -> None:
    page = open_page("drop_reasons", width=400)
    figure = page.get_by_role("button", name="Enlarge").first
    figure.click()
    shown = page.get_by_role("dialog").locator("img")
    box, small = shown.bounding_box(), figure.locator("img").bounding_box()
    assert box
    assert small
    assert box["width"] > 2 * small["width"]
