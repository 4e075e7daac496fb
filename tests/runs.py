"""Small notebooks of a test's own, and what becomes of their kernels."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat

from cilium_analysis.report.notebooks import notebook_directory
from tests.waiting import until

#: A program that makes a report, told where, of which notebooks, and which topics.
REPORT = """
import sys
from pathlib import Path
from cilium_analysis.cli.parser import prepare_process
from cilium_analysis.question import ask
from cilium_analysis.report import report
prepare_process()
out, notebooks = map(Path, sys.argv[1:3])
try:
    report(
        ask(source="sample", baseline=""),
        topics=sys.argv[3:],
        directory=out,
        notebooks=notebooks,
    )
except KeyboardInterrupt as stop:
    print(stop)
    sys.exit(130)
"""


def notebook(directory: Path, *code: str, topic: str = "drop_reasons") -> Path:
    """A notebook of that name with the usual parameters, and code of a test's own."""
    usual = nbformat.read(notebook_directory() / "drop_reasons.ipynb", as_version=4)
    parameters = next(c for c in usual.cells if "parameters" in c.metadata.get("tags", ()))
    heading = nbformat.v4.new_markdown_cell("# A question of mine")
    cells = [heading, parameters, *(nbformat.v4.new_code_cell(text) for text in code)]
    made = nbformat.v4.new_notebook(cells=cells, metadata=usual.metadata)
    directory.mkdir(exist_ok=True)
    nbformat.write(made, directory / f"{topic}.ipynb")
    return directory


def appears(path: Path) -> str:
    until(lambda: path.exists() and path.read_text().endswith(" "))
    return path.read_text()


def runs(pid: int) -> bool:
    """Whether a process lives; one that only waits to be reaped does not."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"
