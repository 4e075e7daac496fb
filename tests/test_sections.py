"""Sections of a page: one that holds nothing is a line, and no output is lost by that."""

from __future__ import annotations

from typing import Any

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.pages import article

QUIET = '<p class="ca-quiet">No series.</p>'


def shown(*outputs: Any, text: str = "Drops by node.") -> str:
    """The page of a notebook whose last section has these outputs."""
    made = [
        new_output("display_data", data={"text/html": one}) if isinstance(one, str) else one
        for one in outputs
    ]
    cells = [
        *(new_markdown_cell("# Title\n\nAbout it"), new_markdown_cell("## First")),
        *(new_code_cell("1", outputs=[]), new_markdown_cell(f"## Where\n\n{text}")),
        *(new_markdown_cell("And the share."), new_code_cell("1", outputs=made)),
    ]
    notebook = new_notebook(cells=cells)
    return article(notebook)


@pytest.mark.parametrize(
    "beside",
    [
        '<p class="ca-unknown">Unknown: no drop metrics on worker-3.</p>',
        "<p>Total: 12,431 packets</p>",
        "<div><canvas id='x'></canvas></div>",
        "12,431",
        new_output("stream", name="stderr", text="a warning"),
        new_output("display_data", data={"text/plain": "12,431"}),
    ],
)
def test_no_output_beside_a_quiet_sentence_is_lost(beside: Any) -> None:
    page = shown(QUIET, beside)
    assert "ca-void" not in page
    assert QUIET in page
    told = ("Unknown: no drop", "12,431", "<canvas", "a warning")
    assert any(words in page for words in told)


def test_a_section_that_says_only_that_there_is_nothing_is_a_line() -> None:
    page = shown(QUIET, QUIET)
    assert page.count("No series.") == 1
    assert (
        '<p id="section-2" class="ca-quiet ca-void"><strong>Where</strong>: No series.</p>' in page
    )
    assert "Drops by node" not in page
    assert "ca-void" not in shown(QUIET, text="| a | b |\n|---|---|\n| 1 | 2 |")
