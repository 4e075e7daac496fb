"""A real JupyterLab on loopback, driven in a real browser as a person would.

Waits are for what JupyterLab itself says of its notebook, kernel and cells; none is for a time.
The fixtures ``chromium``, ``jupyterlab`` and ``lab_context`` are in ``tests/conftest.py``.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

import nbformat

from tests.servers.process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from playwright.sync_api import BrowserContext, Locator, Page

#: where pictures are kept for people to look at
SCREENSHOTS = Path(__file__).parent.parent / ".cache" / "screenshots"
#: the longest that anything here may take [ms]
PATIENCE = 120_000
#: what a person's own setup would say; here: no network, every cell is in the page, and the first
#: completion of a kernel, which may take longer than a second, is not thrown away
_SERVER = {
    "ServerApp": {"terminals_enabled": False, "open_browser": False},
    "LabApp": {
        "expose_app_in_browser": True,
        "extension_manager": "readonly",
        "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        "news_url": None,
    },
}
_PAGE = {
    "disabledExtensions": {
        "@jupyterlab/apputils-extension:announcements": True,
        "@jupyterlab/extensionmanager-extension": True,
    }
}
_SETTINGS: dict[str, Any] = {
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    "@jupyterlab/completer-extension:manager": {"providerTimeout": PATIENCE},
}
_DARK = {"@jupyterlab/apputils-extension:themes": {"theme": "JupyterLab Dark"}}
#: the notebook that was opened, for all expressions below; JupyterLab opens others again beside it
_PANEL = """
    const app = window.jupyterapp;
    const panel = [...(app?.shell.widgets('main') ?? [])]
        .find(widget => widget.context?.path === window.testNotebook);
"""
_IDLE = (
    _PANEL
    + """
    const kernel = panel?.sessionContext?.session?.kernel;
    return Boolean(panel?.context?.isReady && panel.sessionContext.isReady
        && kernel?.status === 'idle' && kernel.connectionStatus === 'connected');
"""
)
_CELLS = (
    _PANEL
    + """
    return panel.content.widgets.map(cell => ({
        kind: cell.model.type,
        source: cell.model.sharedModel.getSource(),
        count: cell.model.executionCount ?? null,
        outputs: cell.model.outputs?.toJSON() ?? [],
    }));
"""
)


def environment(home: Path, *, dark: bool = False) -> dict[str, str]:
    """Give an environment in which Jupyter and IPython know of no user, and use no network.

    Parameters
    ----------
    home
        Empty directory for all that they keep.
    dark
        Whether JupyterLab shows its dark theme.
    """
    config = home / "config"
    settings = _SETTINGS | (_DARK if dark else {})
    files = {
        config / "jupyter_server_config.json": _SERVER,
        config / "labconfig" / "page_config.json": _PAGE,
        config / "labconfig" / "default_setting_overrides.json": settings,
    }
    for file, content in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("JUPYTER", "IPYTHON", "CILIUM_ANALYSIS_", "MPLBACKEND"))
    }
    return kept | {
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_CONFIG_DIR": str(config),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
    }


class JupyterLab(ServerProcess):
    """JupyterLab in an empty directory, `place`; it stops when left."""

    patience = PATIENCE / 1000

    def __init__(self, *, dark: bool = False, variables: Mapping[str, str] | None = None) -> None:
        """Start; `variables` are added to the environment of the server and its kernels."""
        self._dark = dark
        self._variables = dict(variables or {})
        self.token = secrets.token_hex(16)
        super().__init__()

    def prepare(self) -> None:
        """Make the directory of notebooks, and a home of its own."""
        self.place = self.folder / "place"
        self.place.mkdir()
        home = self.folder / "home"
        self._environment = environment(home, dark=self._dark) | self._variables
        self._environment["JUPYTER_TOKEN"] = self.token

    def environment(self) -> dict[str, str]:
        """Give the environment of the server."""
        return self._environment

    def command(self, port: int) -> list[str]:
        """Build the command line."""
        options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
        exact = "--ServerApp.port_retries=0"
        return [sys.executable, "-m", "jupyterlab", *options, exact, f"--notebook-dir={self.place}"]

    def ready_path(self) -> str:
        """Name the path that answers anybody."""
        return "/api"

    def lab_url(self, notebook: str) -> str:
        """Give the address of JupyterLab with a notebook open."""
        return f"{self.url}/lab/tree/{quote(notebook)}?token={self.token}"

    def write(self, name: str, cells: Sequence[str]) -> Path:
        """Make a notebook of these code cells."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        file = self.place / name
        nbformat.write(notebook, file)
        return file


class LabCommand(JupyterLab):
    """What ``cilium-analysis lab`` starts, in a directory that is not there before."""

    def prepare(self) -> None:
        """Leave it to the command to make the directory."""
        super().prepare()
        self.place.rmdir()

    def command(self, port: int) -> list[str]:
        """Build the command line."""
        program = "import sys; from cilium_analysis.cli import main; sys.exit(main())"
        words = ["lab", str(self.place), "--no-browser", "--allow-root", f"--port={port}"]
        return [sys.executable, "-c", program, *words]


@dataclass(frozen=True)
class Cell:
    """What JupyterLab knows of a cell now."""

    kind: str
    source: str
    count: int | None
    outputs: list[dict[str, Any]]

    @property
    def error(self) -> str:
        """The exception that it ended with; empty if there is none."""
        wrong = [out for out in self.outputs if out["output_type"] == "error"]
        return f"{wrong[0]['ename']}: {wrong[0]['evalue']}" if wrong else ""

    @property
    def text(self) -> str:
        """All that it wrote or showed as plain text."""
        return "".join(
            str(out.get("text", "")) + str(out.get("data", {}).get("text/plain", ""))
            for out in self.outputs
        )

    def shows(self, mime: str) -> bool:
        """Tell whether an output has this form."""
        return any(mime in out.get("data", {}) for out in self.outputs)


@dataclass(frozen=True)
class Notebook:
    """The notebook that is open in a page of JupyterLab. Cells are counted from 0, of any kind."""

    page: Page

    @property
    def cells(self) -> list[Cell]:
        """All cells as they are now."""
        return [Cell(**cell) for cell in self._ask(_CELLS)]

    @property
    def errors(self) -> list[str]:
        """Every exception that a cell shows."""
        return [cell.error for cell in self.cells if cell.error]

    @property
    def kernel_id(self) -> str:
        """Which kernel runs it."""
        return str(self._ask(_PANEL + "return panel.sessionContext.session.kernel.id"))

    def cell(self, number: int) -> Locator:
        """Find a cell in the page."""
        return self.page.locator(".jp-NotebookPanel:visible .jp-Notebook .jp-Cell").nth(number)

    def output(self, number: int) -> Locator:
        """Find what a cell shows in the page."""
        return self.cell(number).locator(".jp-Cell-outputArea")

    def wait_idle(self) -> None:
        """Wait until the kernel is there and has nothing to do."""
        self.page.wait_for_function(f"() => {{ {_IDLE} }}", timeout=PATIENCE)

    def run_all(self) -> None:
        """Run all cells, and wait until they are done, or one has failed."""
        self.start_all()
        self.wait_done()

    def start_all(self) -> None:
        """Begin to run all cells."""
        self._start("notebook:run-all-cells")

    def run(self, number: int) -> Cell:
        """Run a cell, wait until it is done, and give it."""
        self.start(number)
        self.wait_done()
        return self.cells[number]

    def start(self, number: int) -> None:
        """Begin to run a cell."""
        self.select(number)
        self._start("notebook:run-cell")

    def wait_done(self) -> None:
        """Wait until what was begun has ended."""
        self.page.wait_for_function("() => window.testRuns === 0", timeout=PATIENCE)
        self.wait_idle()

    def wait_running(self, number: int) -> None:
        """Wait until the kernel works on a cell."""
        self.page.wait_for_function(
            f"""number => {{ {_PANEL}
                return panel.content.widgets[number].model.executionState === 'running'
                    && panel.sessionContext.session.kernel.status === 'busy'; }}""",
            arg=number,
            timeout=PATIENCE,
        )

    def select(self, number: int) -> None:
        """Make a cell the one that commands are about."""
        self._ask(_PANEL + f"panel.content.activeCellIndex = {number}; panel.content.activate()")

    def type_into(self, number: int, text: str) -> None:
        """Replace what is in a cell by what is typed, key by key."""
        self.cell(number).locator(".cm-content").click()
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.press("Delete")
        self.page.keyboard.type(text)

    def complete(self, number: int, text: str) -> list[str]:
        """Type into a cell, press Tab, and give what is offered.

        A single completion is put in at once, as JupyterLab does it: then that is the whole list.
        """
        self.type_into(number, text)
        self.page.keyboard.press("Tab")
        self.page.wait_for_function(
            f"""([number, text]) => {{ {_PANEL}
                const source = panel.content.widgets[number].model.sharedModel.getSource();
                const offered = document.querySelector('.jp-Completer:not(.lm-mod-hidden) code');
                return Boolean(offered) || source !== text; }}""",
            arg=[number, text],
            timeout=PATIENCE,
        )
        offered = self.page.locator(".jp-Completer:not(.lm-mod-hidden) .jp-Completer-match")
        return offered.all_inner_texts() or [self.cells[number].source]

    def accept(self) -> None:
        """Take the completion that is chosen."""
        self.page.keyboard.press("Enter")
        self.page.locator(".jp-Completer:not(.lm-mod-hidden)").wait_for(state="detached")

    def interrupt(self) -> None:
        """Interrupt the kernel, as the Stop button does."""
        self._ask("return window.jupyterapp.commands.execute('notebook:interrupt-kernel')")

    def restart(self) -> None:
        """Restart the kernel, and wait until it is there again."""
        self._ask(_PANEL + "return panel.sessionContext.restartKernel()")
        self.wait_idle()

    def save(self) -> None:
        """Save the notebook to its file."""
        self._ask(_PANEL + "return panel.context.save()")

    def screenshot(self, file: Path) -> None:
        """Keep how the page looks."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=file)

    def _start(self, command: str) -> None:
        self.page.evaluate(
            """command => {
                window.testRuns = (window.testRuns ?? 0) + 1;
                const ended = () => { window.testRuns -= 1; };
                window.jupyterapp.commands.execute(command).then(ended, ended);
            }""",
            command,
        )

    def _ask(self, body: str) -> Any:
        return self.page.evaluate(f"async () => {{ {body} }}")


def open_notebook(context: BrowserContext, url: str) -> Notebook:
    """Open a notebook in a page of its own, and wait until its kernel is idle.

    Parameters
    ----------
    context
        Of a browser; see the fixture ``lab_context``.
    url
        Address of JupyterLab with the notebook and the token in it.
    """
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    answer = page.goto(url)
    assert answer is not None
    name = unquote(urlsplit(answer.url).path.partition("/lab/tree/")[2])
    page.add_init_script(f"window.testNotebook = {json.dumps(name)}")
    page.evaluate("name => { window.testNotebook = name; }", name)
    front = "return panel !== undefined && panel === app.shell.currentWidget"
    page.wait_for_function(f"() => {{ {_PANEL} {front} }}")
    notebook = Notebook(page)
    notebook.wait_idle()
    return notebook
