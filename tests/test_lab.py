"""Where notebooks are worked on: JupyterLab, for real."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.jupyterlab import open_notebook

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

    from tests.jupyterlab import JupyterLab


def test_a_notebook_runs_completes_stops_and_restarts(
    jupyterlab: JupyterLab, lab_context: BrowserContext
) -> None:
    """What the other tests drive JupyterLab with does what it says."""
    cells = ["some_number = 6 * 7\nsome_number", "1 / 0", "import time\ntime.sleep(600)", ""]
    jupyterlab.write("tried.ipynb", cells)
    notebook = open_notebook(lab_context, jupyterlab.lab_url("tried.ipynb"))
    notebook.run_all()
    assert notebook.cells[0].text == "42"
    assert notebook.output(0).inner_text().split() == ["[1]:", "42"]
    assert notebook.errors == ["ZeroDivisionError: division by zero"]
    assert [cell.count for cell in notebook.cells] == [1, 2, None, None]
    assert "some_number" in notebook.complete(3, "some_")[0]
    first = notebook.kernel_id
    notebook.start(2)
    notebook.wait_running(2)
    notebook.interrupt()
    notebook.wait_done()
    assert notebook.cells[2].error.startswith("KeyboardInterrupt")
    notebook.restart()
    notebook.type_into(3, "some_number")
    assert notebook.run(3).error.startswith("NameError")
    assert notebook.kernel_id == first  # the same kernel, begun anew
