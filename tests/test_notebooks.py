"""Notebooks tell a story and hold no logic: thin, clean, with the same parameters in each."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from cilium_analysis.capture import TOPICS
from cilium_analysis.report.notebooks import notebook_directory

NOTEBOOKS = sorted(notebook_directory().glob("*.ipynb"))
PARAMETERS = ["source", "start", "end", "step", "baseline", "match", "timezone", "workloads"]


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tagged(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]


def test_every_topic_has_its_notebook() -> None:
    assert set(TOPICS) <= {path.stem for path in NOTEBOOKS}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_thin_and_clean(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.cells[0].source.startswith("# ")
    assert len(code(notebook)) <= 15
    for cell in code(notebook):
        assert cell.outputs == []
        assert cell.execution_count is None
        assert len(cell.source.splitlines()) <= 10
        plain = TransformerManager().transform_cell(cell.source)  # magics are calls
        kinds = {type(node) for node in ast.walk(ast.parse(plain))}
        assert not kinds & {ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_parameters_are_the_same_typed_and_commented(path: Path) -> None:
    (cell,) = tagged(nbformat.read(path, as_version=4))
    statements = ast.parse(cell.source).body
    assert all(isinstance(statement, ast.AnnAssign) for statement in statements)
    assert [ast.unparse(s.target) for s in statements if isinstance(s, ast.AnnAssign)] == PARAMETERS
    assert all(
        ast.unparse(s.annotation) == "str" for s in statements if isinstance(s, ast.AnnAssign)
    )
    assert all("  # " in line for line in cell.source.splitlines())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_papermill_reads_every_parameter(path: Path) -> None:
    from papermill.inspection import inspect_notebook

    assert list(inspect_notebook(str(path))) == PARAMETERS
