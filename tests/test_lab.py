"""Where notebooks are worked on: JupyterLab, for real."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import nbformat
import pytest

from cilium_analysis.bundle import Bundle
from cilium_analysis.cli import main
from cilium_analysis.config import FILE, Config, read_config
from cilium_analysis.connection import sample_directory
from cilium_analysis.lab import START, environment
from cilium_analysis.report.notebooks import notebook_directory
from tests.jupyterlab import SCREENSHOTS, LabCommand, open_notebook
from tests.servers.process import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from IPython.core.interactiveshell import InteractiveShell
    from playwright.sync_api import BrowserContext

    from tests.servers.served import ClusterServer


@pytest.fixture(scope="module")
def started() -> Iterator[LabCommand]:
    """JupyterLab as the command starts it, where nothing was before."""
    with LabCommand() as running:
        yield running


@pytest.mark.slow
def test_from_the_command_to_an_answer(started: LabCommand, lab_context: BrowserContext) -> None:
    """What a newcomer does: the command, the page, Run All; and edited is what stays edited."""
    notebook = open_notebook(lab_context, f"{started.url}/?token={started.token}")
    assert notebook.page.url.endswith("/lab/tree/START_HERE.ipynb")
    notebook.run_all()
    assert notebook.errors == []
    cells = notebook.cells
    assert all(cell.count for cell in cells if cell.kind == "code")
    assert not any(out["output_type"] == "stream" for cell in cells for out in cell.outputs)
    figures = [number for number, cell in enumerate(cells) if cell.shows("image/png")]
    assert notebook.output(figures[0]).locator("img").is_visible()
    tables = [number for number, cell in enumerate(cells) if cell.shows("text/html")]
    assert notebook.output(tables[1]).locator("table tbody tr").count() == 5  # a tail
    assert sum("Policy denied" in cell.text for cell in cells) >= 3
    notebook.select(figures[0])
    notebook.screenshot(SCREENSHOTS / "start-here.png")
    rates = next(n for n, cell in enumerate(cells) if "rate(" in cell.source)
    notebook.type_into(rates, "prometheus.range('cilium_endpoint', window).shape")
    assert notebook.run(rates).text == "(241, 6)"
    notebook.save()
    start = started.place / START
    mine = start.read_bytes()
    assert b"cilium_endpoint', window).shape" in mine
    assert main(["lab", str(started.place), "--no-start"]) == 0
    assert start.read_bytes() == mine
    assert not list(started.place.glob("START_HERE-*"))


def test_start_here_asks_a_server_too(
    shell: InteractiveShell, cluster_server: Callable[..., ClusterServer]
) -> None:
    """Its cells one after the other, with other parameters, as papermill would have it."""
    served = cluster_server("sample")
    given = {"source": served.url, "start": "2026-03-21T08:00Z", "end": "2026-03-21T10:00Z"}
    names = shell.user_ns
    for cell in nbformat.read(notebook_directory() / START, as_version=4).cells:
        if cell.cell_type == "code":
            shell.run_cell(cell.source, store_history=True).raise_error()
            names |= given if "parameters" in cell.metadata.get("tags", ()) else {}
    assert names["prometheus"].name == served.url
    recorded = Bundle(sample_directory())
    window, journal = names["window"], names["prometheus"].journal
    rates = next(row.promql for row in journal if row.window == window)  # after those of targets
    assert names["rates"].equals(recorded.range(rates, window))
    assert [finding.kind for finding in names["drops"].findings(names["data"])] == ["drop_spike"]
    plt.close("all")


@pytest.mark.slow
def test_a_notebook_runs_completes_stops_and_restarts(
    started: LabCommand, lab_context: BrowserContext
) -> None:
    """What the other tests drive JupyterLab with does what it says."""
    cells = ["some_number = 6 * 7\nsome_number", "1 / 0", "import time\ntime.sleep(600)", ""]
    started.write("tried.ipynb", cells)
    notebook = open_notebook(lab_context, started.lab_url("tried.ipynb"))
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


@pytest.mark.slow
def test_the_command_says_in_one_line_what_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = str(taken.getsockname()[1])
    place = str(tmp_path / "place")
    cases = {
        "cannot write to .*file: it is no directory": [str(file), "--no-start"],
        "no source 'nowhere'": [place, "--no-start", "--source", "nowhere"],
        "holds no credentials": [place, "--no-start", "--source", "http://me:hunter2@there"],
        f"cannot listen on port {port} of 127.0.0.1": [
            *(place, "--allow-root", "--ip", "127.0.0.1", "--port", port)
        ],
        "is not a port": [place, "--port", "70000"],
    }
    for said, words in cases.items():
        assert main(["lab", *words]) == 2
        error = capsys.readouterr().err
        assert re.search(said, error), error
        assert error.count("\n") == 1
        assert "hunter2" not in error
    taken.close()
    monkeypatch.setitem(sys.modules, "jupyterlab", None)
    assert main(["lab", place]) == 2
    assert "pip install 'cilium-analysis[lab]'" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root is refused")
def test_root_has_to_say_that_it_is_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lab", str(tmp_path / "place")]) == 2
    assert "--allow-root" in capsys.readouterr().err
    assert not (tmp_path / "place").exists()


def test_a_server_that_is_down_is_named_and_holds_nothing_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert main(["lab", str(tmp_path), "--no-start", "--source", url]) == 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert url in last
    assert "all the same" in last
    assert read_config(tmp_path) == Config(source=url)
    assert (tmp_path / START).exists()


def test_what_is_asked_stays_until_another_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(sample_directory(), tmp_path / "mine")
    words = ["lab", "place", "--no-start"]
    assert main([*words, "--source", "mine"]) == 0
    held = Config(source=str(tmp_path / "mine"))
    assert read_config(Path("place")) == held
    with Path("place", FILE).open("a") as file:
        file.write("# a note of mine\n")
    assert main(words) == 0
    assert read_config(Path("place")) == held
    assert Path("place", FILE).read_text().endswith("# a note of mine\n")
    monkeypatch.setenv("CILIUM_ANALYSIS_SOURCE", "sample")
    assert main(words) == 0
    assert read_config(Path("place")) == Config()
    capsys.readouterr()


def test_the_file_rules_in_jupyterlab_and_credentials_stay_in_its_environment() -> None:
    found = {
        "CILIUM_ANALYSIS_SOURCE": "http://a",
        "CILIUM_ANALYSIS_KUBERNETES": "current",
        "CILIUM_ANALYSIS_BEARER_TOKEN_FILE": "/token",
        "JUPYTER_PREFER_ENV_PATH": "0",
    }
    given = environment(found)
    kept = ("CILIUM_ANALYSIS_BEARER_TOKEN_FILE", "JUPYTER_PREFER_ENV_PATH")
    assert given == {name: found[name] for name in kept}
