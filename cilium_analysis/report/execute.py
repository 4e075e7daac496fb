"""Run one notebook with papermill, and keep what it wrote whether it succeeds or not."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import nbformat
import papermill
from jupyter_core.utils import ensure_event_loop
from papermill.engines import NBClientEngine, papermill_engines

from cilium_analysis.findings import MIME
from cilium_analysis.scratch import scratch
from cilium_analysis.show import NOTES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cilium_analysis.report.kernel import Kernels

#: A notebook is saved at most so often while it runs [s]: to write it takes longer than most cells.
_BETWEEN_SAVES = 1.0


class _Engine(NBClientEngine):  # type: ignore[misc]
    """Papermill's own, but that it does not save a notebook before and after each cell."""

    name = "cilium-analysis"

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> None:
        """Run the cells; papermill saves the notebook when they are done, however they end."""
        save, saved = nb_man.save, time.monotonic()

        def rarely(**given: Any) -> None:
            nonlocal saved
            if time.monotonic() - saved >= _BETWEEN_SAVES:
                save(**given)
                saved = time.monotonic()

        nb_man.save = rarely
        try:
            super().execute_managed_notebook(nb_man, kernel_name, **options)
        finally:
            nb_man.save = save
            save()


papermill_engines.register(_Engine.name, _Engine)
#: Why a notebook is not whole when somebody stopped the run.
STOPPED = "stopped before it was done"
#: A cell that takes longer than this is taken for hung [s].
CELL_TIMEOUT = 1800


@dataclass(frozen=True)
class Executed:
    """What became of a notebook.

    Parameters
    ----------
    topic
        Its name without the suffix.
    notebook
        The executed notebook, as far as it got.
    seconds
        It took [s].
    error
        Why it stopped; empty if it ran to its end.
    trusted
        Whether this run executed it; else what it shows may be anybody's.
    """

    topic: str
    notebook: nbformat.NotebookNode
    seconds: float
    error: str = ""
    trusted: bool = True

    @property
    def title(self) -> str:
        """The first heading of the notebook."""
        for cell in self.notebook.cells:
            if cell.cell_type == "markdown" and cell.source.startswith("# "):
                return str(cell.source.splitlines()[0].removeprefix("# "))
        return self.topic

    @property
    def findings(self) -> list[dict[str, Any]]:
        """Every findings document that the notebook showed."""
        return self._shown(MIME)

    @property
    def caveats(self) -> list[str]:
        """What the notebook said against its numbers: its last notes."""
        return [text for notes in self._shown(NOTES)[-1:] for text in notes]

    def _shown(self, mime: str) -> list[Any]:
        return [
            output.data[mime]
            for cell in self.notebook.cells
            for output in cell.get("outputs", ())
            if mime in output.get("data", {})
        ]


def execute(
    notebook: Path,
    parameters: Mapping[str, str],
    directory: Path,
    *,
    kernels: Kernels,
    progress: bool,
) -> Executed:
    """Run a notebook in a directory, and save it there.

    Parameters
    ----------
    notebook
        File of the notebook; its name without the suffix is the topic.
    parameters
        Checked already.
    directory
        Where it runs and is saved.
    kernels
        Keeps the kernel, for whoever wants to stop the run.
    progress
        Whether to show a progress bar.
    """
    target = directory / notebook.name
    began = time.monotonic()
    error = ""
    home = scratch()
    try:
        papermill.execute_notebook(
            notebook,
            target,
            parameters=dict(parameters),
            engine_name=_Engine.name,
            kernel_manager_class=kernels.manager_class(home),
            resources={"metadata": {"path": str(directory)}},
            execution_timeout=CELL_TIMEOUT,
            shutdown_kernel="immediate",
            progress_bar={"desc": notebook.stem} if progress else False,
        )
    except Exception as problem:  # whatever stopped it, the notebook is kept
        error = reason(problem)
    finally:
        shutil.rmtree(home, ignore_errors=True)
        # The Jupyter client opens an event loop for each thread, and leaves it open.
        ensure_event_loop().close()
    ran = _as_far_as_it_got(target, notebook)
    _forget_paths(ran, notebook.name)
    nbformat.write(ran, target)
    return Executed(notebook.stem, ran, time.monotonic() - began, error)


def unfinished(notebook: Path, directory: Path) -> Executed:
    """Give a notebook that was stopped, as far as it got, and save it.

    Parameters
    ----------
    notebook
        File of it, as it is before it runs.
    directory
        Where it runs and is saved.
    """
    target = directory / notebook.name
    ran = _as_far_as_it_got(target, notebook)
    nbformat.write(ran, target)
    return Executed(notebook.stem, ran, 0.0, STOPPED)


def _as_far_as_it_got(target: Path, notebook: Path) -> nbformat.NotebookNode:
    """Read what was saved of a notebook; itself where that is not whole, as on a full disk."""
    try:
        found: nbformat.NotebookNode = nbformat.read(target, as_version=4)
    except (OSError, ValueError):
        found = nbformat.read(notebook, as_version=4)
    return found


def reason(problem: Exception) -> str:
    """Say in one line why a notebook stopped."""
    if isinstance(problem, papermill.PapermillExecutionError):
        if problem.ename == "MemoryError":
            return "there was not enough memory"
        return f"{problem.ename}: {problem.evalue}".removesuffix(": ")
    text = " ".join(str(problem).split())
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__


def _forget_paths(notebook: nbformat.NotebookNode, name: str) -> None:
    """Keep the name only: the directory gets another name when the run is whole."""
    record = notebook.metadata.get("papermill", {})
    record.update({key: name for key in ("input_path", "output_path") if key in record})
