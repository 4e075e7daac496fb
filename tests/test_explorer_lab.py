"""The explorer as a person sees it: in JupyterLab, in a browser, on the sample and on a server."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from cilium_analysis.report.notebooks import notebook_directory
from tests.faults import Reply, Stub, forward
from tests.jupyterlab import PATIENCE, SCREENSHOTS, JupyterLab, Notebook, open_notebook

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import BrowserContext, Locator, Page

    from tests.faults import Request
    from tests.servers.served import ClusterServer

Serve = Callable[..., "ClusterServer"]
EXPLORER = ".ca-explorer"
_ASK = """\
from cilium_analysis.explorer import Explorer
from cilium_analysis.question import ask
explorer = Explorer(ask(source={source!r}, {times}))
explorer"""


def card(page: Page, topic: str) -> Locator:
    return page.locator(f"{EXPLORER} .ca-card-{topic}")


def total(page: Page, topic: str = "drop_reasons") -> str:
    return card(page, topic).locator(".ca-total").inner_text()


def wait_whole(page: Page) -> None:
    """Wait until every topic is there as it was chosen."""
    page.wait_for_function(
        """() => document.querySelectorAll('.ca-explorer .ca-picture svg').length === 4
            && !document.querySelector('.ca-explorer .ca-old')""",
        timeout=PATIENCE,
    )


def wait_drops(page: Page) -> None:
    """Wait until the topic in focus is there as it was chosen."""
    drawn = page.locator(f"{EXPLORER} .ca-card-drop_reasons:not(.ca-old) .ca-picture svg")
    expect(drawn).to_be_visible(timeout=2 * PATIENCE)


def amount(text: str) -> int:
    return int(re.sub(r"\D", "", text.split(" packets")[0]))


def shown(jupyterlab: JupyterLab, context: BrowserContext, name: str, cell: str) -> Notebook:
    jupyterlab.write(name, [cell, "explorer.session.state.window.start.isoformat()"])
    context.set_default_timeout(PATIENCE)
    notebook = open_notebook(context, jupyterlab.lab_url(name))
    notebook.page.set_viewport_size({"width": 1280, "height": 2200})
    notebook.run(0)
    assert notebook.errors == []
    return notebook


@pytest.mark.slow
def test_the_sample_is_explored_and_becomes_a_report(
    jupyterlab: JupyterLab, lab_context: BrowserContext, tmp_path: Path
) -> None:
    shutil.copy(notebook_directory() / "explore.ipynb", jupyterlab.place)
    lab_context.set_default_timeout(PATIENCE)
    notebook = open_notebook(lab_context, jupyterlab.lab_url("explore.ipynb"))
    page = notebook.page
    page.set_viewport_size({"width": 1280, "height": 2200})
    notebook.run_all()
    assert notebook.errors == []
    wait_whole(page)
    whole = total(page)
    assert amount(whole) > 80_000
    first = page.get_by_label("From", exact=True).input_value()
    drag(page, 0.3, 0.6)
    page.wait_for_function(
        "start => document.querySelector('.ca-times input').value !== start", arg=first
    )
    wait_whole(page)
    part = total(page)
    assert 0 < amount(part) < amount(whole)
    # The fields and what is drawn are of what was dragged.
    start, end = (page.get_by_label(name, exact=True).input_value()[11:] for name in ("From", "To"))
    assert "08:34:00" < start < "08:38:00"
    assert "09:10:00" < end < "09:14:00"
    page.get_by_label("Drops by").select_option("node")
    expect(card(page, "drop_reasons").locator(".ca-legend")).to_contain_text("worker-2")
    assert total(page) == part
    page.get_by_label("values that count").select_option(["worker-2", "worker-3"])
    expect(page.locator(".ca-only")).to_contain_text("worker-2, worker-3")
    expect(card(page, "drop_reasons").locator(".ca-total")).not_to_have_text(part)
    both = amount(total(page))
    page.get_by_label("values that count").select_option(["worker-2"])
    expect(page.locator(".ca-only")).not_to_contain_text("worker-3")
    expect(card(page, "drop_reasons").locator(".ca-total")).not_to_have_text(
        f"{both:,} packets dropped"
    )
    assert 0 < amount(total(page)) < both
    page.get_by_role("button", name="Clear filters").click()
    expect(card(page, "drop_reasons").locator(".ca-total")).to_have_text(part)
    assert Axe().run(page, context=EXPLORER).violations_count == 0
    report(page, jupyterlab)
    notebook.screenshot(SCREENSHOTS / "explorer.png")


def report(page: Page, jupyterlab: JupyterLab) -> None:
    """Make a report of what is on the screen, and compare their findings."""
    titles = []
    for topic in ("endpoint_growth", "http_status", "drop_reasons"):
        page.get_by_label("Details of").select_option(label=_TITLES[topic])
        expect(page.locator(f"{EXPLORER} .ca-card-{topic}.ca-focus")).to_be_visible()
        page.wait_for_function("() => !document.querySelector('.ca-explorer .ca-old')")
        expect(page.locator(".ca-details h2").first).to_be_visible()
        titles += page.locator(".ca-details .ca-findings td:nth-child(3)").all_inner_texts()
    page.get_by_role("button", name="Make this a report").click()
    link = page.locator(".ca-report a")
    expect(link).to_be_visible(timeout=2 * PATIENCE)
    (found,) = jupyterlab.place.glob("reports/*/findings.json")
    rows = json.loads(found.read_text())["findings"]
    assert rows
    assert sorted(row["title"] for row in rows) == sorted(title.split("\n")[0] for title in titles)


_TITLES = {"drop_reasons": "Drops", "endpoint_growth": "Endpoints", "http_status": "HTTP"}


def drag(page: Page, first: float, last: float) -> None:
    """Drag over the overview, from and to these shares of its plot, faster than it is told."""
    canvas = page.locator(f"{EXPLORER} .ca-overview canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    left, width = box["x"] + 0.03 * box["width"], 0.94 * box["width"]
    middle = box["y"] + 0.4 * box["height"]
    page.mouse.move(left + first * width, middle)
    page.mouse.down()
    page.mouse.move(left + (first + last) / 2 * width, middle, steps=3)
    page.mouse.move(left + last * width, middle, steps=3)
    page.mouse.up()


@pytest.mark.slow
def test_a_slow_server_holds_nothing_up(
    jupyterlab: JupyterLab, lab_context: BrowserContext, cluster_server: Serve
) -> None:
    """Widgets answer, and the kernel is free, while a query runs; it is stopped, then overtaken."""
    real, gate = forward(cluster_server("sample").url), threading.Event()
    slow, arrived = threading.Event(), threading.Event()

    def answer(request: Request) -> Reply:
        if slow.is_set() and "query" in request.params:
            arrived.set()
            return Reply(gate=gate)
        return real(request)

    with Stub(answer) as stub:
        try:
            times = "start='2026-03-21 08:50', end='2026-03-21 09:30', step='30s'"
            cell = _ASK.format(source=stub.url, times=times)
            notebook = shown(jupyterlab, lab_context, "slow.ipynb", cell)
            page = notebook.page
            wait_drops(page)
            before = total(page)
            slow.set()
            field = page.get_by_label("From", exact=True)
            field.fill("08:20")
            field.press("Enter")
            # What is there is of an earlier choice, and says so.
            expect(card(page, "drop_reasons")).to_contain_text("old: 2026-03-21 08:50:00")
            assert arrived.wait(20)
            details = page.locator(f"{EXPLORER} .ca-details")
            expect(details).to_contain_text("old: 2026-03-21 08:50:00")
            # Nothing of one topic is shown under the name of another.
            expect(details).to_contain_text("By reason")
            page.get_by_label("Details of").select_option(label=_TITLES["http_status"])
            expect(details).to_contain_text("not there yet")
            expect(details).not_to_contain_text("By reason")
            page.get_by_label("Details of").select_option(label=_TITLES["drop_reasons"])
            assert "08:20:00" in notebook.run(1).text  # the kernel is free
            page.get_by_label("Drops by").select_option("node")
            expect(page.get_by_label("Drops by")).to_have_value("node")
            page.get_by_role("button", name="Stop", exact=True).click()
            expect(page.locator(f"{EXPLORER} .ca-status").first).to_contain_text("Stopped")
            assert total(page) == before
            arrived.clear()
            field.fill("08:30")
            field.press("Enter")
            assert arrived.wait(20)
            # The kernel writes it out in full: what is typed before that would be lost.
            expect(field).to_have_value("2026-03-21 08:30:00")
            slow.clear()
            field.fill("09:00")
            field.press("Enter")
            wait_drops(page)
            gate.set()  # what was asked first could be answered now
            assert "09:00:00" in notebook.run(1).text
            expect(card(page, "drop_reasons")).not_to_contain_text("old:")
            assert amount(total(page)) != amount(before)
        finally:
            gate.set()
        open_by_hand(page, "sample", enter=True)
        expect(field).to_have_value("2026-03-21 08:00:00")
        wait_whole(page)
        recorded = total(page)
        assert amount(recorded) > 80_000
        open_by_hand(page, cluster_server("sample").url)
        expect(page.get_by_label("Step", exact=True)).to_be_enabled()
        wait_whole(page)
        assert total(page) == recorded
        open_by_hand(page, "http://127.0.0.1:9")
        problem = page.locator(f"{EXPLORER} .ca-wide .ca-problem")
        expect(problem).to_contain_text("cannot reach http://127.0.0.1:9", timeout=PATIENCE)
        assert total(page) == recorded


@pytest.mark.slow
def test_what_is_typed_stays_until_it_is_right(
    jupyterlab: JupyterLab, lab_context: BrowserContext, cluster_server: Serve
) -> None:
    """On a recording, then on a server that has nothing in its window, then on no server."""
    cell = _ASK.format(source="sample", times="")
    notebook = shown(jupyterlab, lab_context, "typed.ipynb", cell)
    page = notebook.page
    wait_whole(page)
    expect(page.locator("pre.ca-command")).to_contain_text("--source sample --start")
    start, end = (page.get_by_label(name, exact=True) for name in ("From", "To"))
    type_into(start, "2026-03-21 09:00")
    expect(start).to_have_value("2026-03-21 09:00:00")
    type_into(end, "08:45")
    expect(why(end)).to_contain_text("not later than From")
    expect(end).to_have_value("08:45")
    notebook.screenshot(SCREENSHOTS / "explorer-rejected.png")
    assert Axe().run(page, context=EXPLORER).violations_count == 0
    type_into(start, "08:30")
    expect(end).to_have_value("2026-03-21 08:45:00")
    expect(why(end)).to_be_hidden()
    wait_whole(page)
    type_into(start, "half past eight")
    expect(why(start)).to_contain_text("is not a time")
    expect(start).to_have_value("half past eight")
    # Another window by the mouse takes its place.
    page.get_by_role("button", name="All", exact=True).click()
    expect(start).to_have_value("2026-03-21 08:00:00")
    expect(why(start)).to_be_hidden()

    open_by_hand(page, cluster_server("quiet").url)
    match = page.get_by_label("Only series with", exact=True)
    expect(match).to_be_enabled(timeout=PATIENCE)
    wait_whole(page)
    expect(start).not_to_have_value("2026-03-21 08:00:00")  # it has another day
    assert "no " not in card(page, "endpoint_growth").inner_text()
    asked = total(page, "endpoint_growth")
    for text, said in (("cluster=prod", 'write it as label="value"'), ('node=~"("', "pattern")):
        type_into(match, text)
        expect(why(match)).to_contain_text(said)
        expect(match).to_have_value(text)
    baseline = page.get_by_label("Compared with", exact=True)
    type_into(baseline, "yesterday")
    expect(why(baseline)).to_contain_text("is not a duration")
    assert total(page, "endpoint_growth") == asked
    type_into(match, 'node="nowhere"')
    expect(why(match)).to_be_hidden()
    headline = page.locator(f"{EXPLORER} .ca-total").first
    expect(headline).to_have_text("Unknown", timeout=PATIENCE)
    expect(baseline).to_have_value("yesterday")
    wait_whole(page)
    notebook.screenshot(SCREENSHOTS / "explorer-no-data.png")

    source = page.get_by_label("Source", exact=True)
    open_by_hand(page, "nowhere")
    expect(why(source)).to_contain_text("no source 'nowhere'")
    type_into(match, 'node=~".*"')
    wait_whole(page)
    expect(source).to_have_value("nowhere")
    open_by_hand(page, "sample-real")
    expect(match).to_be_disabled(timeout=PATIENCE)
    expect(match).to_have_value("")
    expect(why(source)).to_be_hidden()
    wait_whole(page)
    assert amount(total(page)) > 0


def type_into(field: Locator, text: str) -> None:
    field.fill(text)
    field.press("Enter")


def why(field: Locator) -> Locator:
    """Find why the text in a field was rejected, which stands below it."""
    return field.locator("xpath=ancestor::*[contains(@class, 'ca-field')][1]").locator(
        ".ca-problem"
    )


def open_by_hand(page: Page, address: str, *, enter: bool = False) -> None:
    field = page.get_by_label("Source", exact=True)
    field.fill(address)
    if enter:
        field.press("Enter")
    else:
        page.get_by_role("button", name="Open", exact=True).click()
