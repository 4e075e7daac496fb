"""A notebook's answers as text: run here, cell by cell, on a bundled sample."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import nbformat
import numpy as np
from IPython.core.inputtransformer2 import TransformerManager
from matplotlib.axes import Axes

from cilium_analysis.bundle import Bundle
from cilium_analysis.capture import TOPICS
from cilium_analysis.cards import Stories
from cilium_analysis.connection import SAMPLES, sample_directory
from cilium_analysis.findings import Findings
from cilium_analysis.report.notebooks import notebook_directory
from cilium_analysis.source import iso

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
CASES = [(sample, topic) for sample in SAMPLES for topic in TOPICS]


def kept(sample: str, topic: str) -> Path:
    """Give the file of a page."""
    return HERE / sample / f"{topic}.txt"


def page(sample: str, topic: str) -> str:
    """Give all that the cells of a notebook show, and the queries that it asked."""
    notebook = nbformat.read(notebook_directory() / f"{topic}.ipynb", as_version=4)
    spans = Bundle(sample_directory(sample)).baseline
    assert spans
    baseline = f"{iso(spans.start)}/{iso(spans.end)}"
    shown: list[str] = []
    names: dict[str, Any] = {"display": lambda value: shown.append(_text(value))}
    for cell in notebook.cells:
        if cell.cell_type != "code" or "show.journal" in cell.source:
            continue
        source = cell.source.replace('"configured"', repr(sample))
        source = source.replace('"previous"', repr(baseline))
        shown += [text for value in _values(source, names) if (text := _text(value))]
        shown += [_axes(ax) for number in plt.get_fignums() for ax in plt.figure(number).axes]
        plt.close("all")
    asked = sorted({record.promql for record in names["question"].source.journal})
    return "\n\n".join([*shown, *asked]) + "\n"


def _values(source: str, names: dict[str, Any]) -> Iterator[object]:
    plain = TransformerManager().transform_cell(source)
    for statement in ast.parse(plain).body:
        if isinstance(statement, ast.Expr):
            yield eval(compile(ast.Expression(statement.value), "cell", "eval"), names)
        else:
            exec(compile(ast.Module([statement], []), "cell", "exec"), names)


def _text(value: object) -> str:
    if isinstance(value, Stories):
        drawn = [f"{rank}: {np.nansum(s.values):.5g} {s.unit}" for rank, s in value.signals.items()]
        return "\n".join([repr(value), _text(value.findings), *drawn])
    if isinstance(value, Findings):
        return json.dumps(value.as_json(), indent=1)
    return "" if value is None or isinstance(value, Axes) else repr(value)


def _axes(ax: Axes) -> str:
    """Give the words of a plot, and what each line and each area adds up to."""
    words = [ax.get_title(), ax.get_xlabel(), ax.get_ylabel(), *(t.get_text() for t in ax.texts)]
    legend = ax.get_legend()
    words += [text.get_text() for text in legend.get_texts()] if legend else []
    sums = [f"{np.nansum(np.asarray(line.get_ydata(), dtype='float64')):.5g}" for line in ax.lines]
    sums += [
        f"{np.nansum(patch.get_height()):.5g}"
        for patch in ax.patches
        if hasattr(patch, "get_height")
    ]
    for area in ax.collections:
        values = area.get_array()
        paths = [path.vertices for path in area.get_paths()[:1] if values is None]
        numbers = [values] if values is not None else paths
        sums += [f"{np.nansum(np.ma.filled(each, np.nan)):.5g}" for each in numbers]
    return "plot: " + " | ".join(word for word in words if word) + "\n" + " ".join(sums)
