"""Checks of what papermill puts into a notebook as its parameters."""

from __future__ import annotations

import ast
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

from cilium_analysis.errors import ParameterError, suggest

if TYPE_CHECKING:
    from collections.abc import Mapping


def check_text(parameters: Mapping[str, object]) -> None:
    """Refuse parameters that are no text: papermill turns ``-p step 30`` into a number."""
    for name, value in parameters.items():
        if not isinstance(value, str):
            hint = f"write {name} = {str(value)!r}, or papermill's -r instead of -p"
            raise ParameterError(f"the parameter {name}={value!r} is not text: {hint}")


def check_injected() -> None:
    """Refuse a parameter that papermill injected, but that the notebook does not have.

    papermill only warns in its log: a mistyped ``-p strat …`` would become a report about the last
    two hours.
    """
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    cells = list(shell.user_ns.get("In", ())) if shell is not None else []
    for before, cell in pairwise(cells):
        if cell.startswith("# Parameters\n"):
            known = _assigned(before)
            for name in _assigned(cell) - known:
                raise ParameterError(f"unknown parameter {name!r}: {suggest(name, sorted(known))}")


def _assigned(cell: str) -> set[str]:
    """Return the names that a cell assigns to."""
    nodes = ast.walk(ast.parse(cell))
    return {
        node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
