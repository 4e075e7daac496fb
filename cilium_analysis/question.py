"""A question: the parameters of a notebook or a command, checked and made into objects."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from cilium_analysis.bundle import Bundle
from cilium_analysis.connection import connect
from cilium_analysis.errors import ParameterError, WindowError, suggest
from cilium_analysis.queries import parse_matchers
from cilium_analysis.show import definition_list, span
from cilium_analysis.window import Window

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cilium_analysis.source import Source


@dataclass(frozen=True)
class Question:
    """Where to look, and when.

    Parameters
    ----------
    source
        A server or a bundle.
    window, baseline
        What to look at, and what to compare it with.
    match
        Label matchers that narrow every query; checked.
    """

    source: Source
    window: Window
    baseline: Window
    match: str = ""

    def _repr_html_(self) -> str:
        return definition_list(self._rows())

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {text}" for name, text in self._rows().items())

    def _rows(self) -> dict[str, str]:
        rows = {
            "Source": self.source.name,
            "Window": span(self.window),
            "Baseline": span(self.baseline),
            "Only": self.match,
        }
        return {name: text for name, text in rows.items() if text}


def ask(
    *,
    source: str,
    start: str = "",
    end: str = "",
    step: str = "",
    baseline: str = "previous",
    match: str = "",
    timezone: str = "UTC",
) -> Question:
    """Make the parameters of a notebook into what the topics take.

    Parameters
    ----------
    source
        As for `cilium_analysis.connect`.
    start, end
        As for `Window.parse`. Without a start, a bundle is asked for the window that it was
        recorded for, and a server for the last two hours.
    step
        As for `Window.parse`.
    baseline
        As for `Window.baseline`; empty is ``previous``, or a bundle's own.
    match
        Label matchers such as ``cluster="prod"``.
    timezone
        IANA name of the reader's zone.

    Raises
    ------
    UsageError
        If anything in it cannot be.
    """
    given = {"source": source, "start": start, "end": end, "step": step, "match": match}
    _refuse_other_than_text(given | {"baseline": baseline, "timezone": timezone})
    _refuse_unknown_injected()
    parse_matchers(match)
    found = connect(source)
    if isinstance(found, Bundle) and not start:
        window = _recorded(found, end=end, step=step, timezone=timezone)
        if not baseline and found.baseline:
            return Question(found, window, found.baseline, match)
    else:
        window = Window.parse(start or "-2h", end or "now", step=step, timezone=timezone)
    return Question(found, window, window.baseline(baseline or "previous"), match)


def _recorded(bundle: Bundle, *, end: str, step: str, timezone: str) -> Window:
    """Give the window of a bundle, as the reader's zone shows it."""
    if end or step:
        raise WindowError("an end or a step needs a start; give none of them for the whole bundle")
    held = bundle.window
    return Window(held.start, held.end, held.step, timezone=timezone or held.timezone)


def _refuse_other_than_text(parameters: Mapping[str, object]) -> None:
    """Papermill turns ``-p step 30`` into a number."""
    for name, value in parameters.items():
        if not isinstance(value, str):
            hint = f"write {name} = {str(value)!r}, or papermill's -r instead of -p"
            raise ParameterError(f"the parameter {name}={value!r} is not text: {hint}")


def _refuse_unknown_injected() -> None:
    """Refuse a parameter that papermill injected, but that the notebook does not have.

    papermill warns in its log and runs on: a mistyped ``-p strat …`` would become a report about
    the last two hours.
    """
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    cells = list(shell.user_ns.get("In", ())) if shell is not None else []
    for before, cell in pairwise(cells):
        if cell.startswith("# Parameters\n"):
            known = _assigned(before)
            for name in _assigned(cell) - known:
                raise ParameterError(f"unknown parameter {name!r}: {suggest(name, sorted(known))}")


def _assigned(cell: str) -> set[str]:
    """Give the names that a cell assigns to."""
    nodes = ast.walk(ast.parse(cell))
    return {
        node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
