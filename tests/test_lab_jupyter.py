"""The magics where they are used: in JupyterLab, in a browser."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.faults import Reply, Stub, matrix, success
from tests.jupyterlab import SCREENSHOTS, JupyterLab, Notebook, open_notebook
from tests.servers.served import ClusterServer

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

WINDOW = "--start 2026-03-13T08:00Z --end 2026-03-13T10:00Z"
DROPS = "sum by (reason, direction, node) (rate(cilium_drop_count_total[5m]))"
WRONG = "sum by (reason (rate(cilium_drop_count_total[5m])))"
HOSTILE = "<img src=x onerror=document.title='broken'>"


@pytest.fixture(scope="module")
def url(cluster_server: Callable[..., ClusterServer]) -> str:
    return cluster_server("restart_1_15").url


@pytest.fixture
def opened(jupyterlab: JupyterLab, lab_context: BrowserContext, url: str) -> Notebook:
    cells = ["%load_ext cilium_analysis", f"%promql --source {url} {WINDOW}", ""]
    jupyterlab.write("magics.ipynb", cells)
    notebook = open_notebook(lab_context, jupyterlab.lab_url("magics.ipynb"))
    notebook.run(0)
    notebook.run(1)
    assert notebook.errors == []
    return notebook


@pytest.mark.slow(group="lab_jupyter")
def test_names_are_completed_answers_sort_and_filter_and_mistakes_are_marked(
    opened: Notebook,
) -> None:
    offered = opened.complete(2, "%promql sum by (reason, direction, node) (rate(cilium_drop_")
    assert sorted(one.strip().split("\n")[0] for one in offered) == [
        "cilium_drop_bytes_total",
        "cilium_drop_count_total",
    ]
    opened.type_into(2, f"%promql {DROPS}")
    cell = opened.run(2)
    assert cell.error == ""
    assert "steps" in cell.text
    table = opened.output(2).locator("table")
    rows = table.locator("tbody tr:visible")
    whole = rows.count()
    assert whole > 5
    head = table.get_by_role("button", name="Max")
    head.click()
    largest = rows.first.inner_text()
    head.click()
    assert rows.first.inner_text() != largest
    opened.output(2).get_by_role("searchbox").fill("worker-1 ingress")
    assert 0 < rows.count() < whole
    assert all("worker-1" in text for text in rows.all_inner_texts())
    assert Axe().run(opened.page, context=".ca-lab").violations_count == 0
    opened.screenshot(SCREENSHOTS / "magics.png")
    opened.type_into(2, f"%promql {WRONG}")
    assert opened.run(2).error.startswith("QueryRejected")
    lines = opened.output(2).locator("pre").inner_text().splitlines()
    at = next(n for n, text in enumerate(lines) if text.strip() == "^")
    assert lines[at - 1][lines[at].index("^") :].startswith("(rate")


@pytest.mark.slow(group="lab_jupyter")
def test_stop_ends_a_query_the_next_one_is_answered_and_figures_zoom(opened: Notebook) -> None:
    gate, asked = threading.Event(), threading.Event()

    def stall(_: object) -> Reply:
        asked.set()
        return Reply(success([]).body, gate=gate)

    with Stub(stall) as stub:
        opened.type_into(2, f"%promql --source {stub.url} --start 2026-03-13 up")
        opened.start(2)
        opened.wait_running(2)
        assert asked.wait(20)
        opened.interrupt()
        opened.wait_done()
        assert "can be asked again" in opened.cells[2].error
        stub.play(matrix(({"a": HOSTILE}, {1773360000: "1"}), ({"a": "b"}, {1773360000: "1"})))
        gate.set()
        assert opened.run(2).error == ""
        assert HOSTILE in opened.output(2).locator("table").inner_text()
        assert opened.page.title() != "broken"
    opened.type_into(2, f"%promql --plot --as drops {DROPS};")
    cell = opened.run(2)
    assert cell.error == ""
    assert cell.shows("application/vnd.jupyter.widget-view+json")
    opened.output(2).locator("canvas").first.wait_for()
