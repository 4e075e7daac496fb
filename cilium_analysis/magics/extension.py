"""What ``%load_ext cilium_analysis`` adds to IPython, and takes away again."""

from __future__ import annotations

import os
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import pandas as pd

from cilium_analysis.magics import displays
from cilium_analysis.magics.commands import CiliumMagics
from cilium_analysis.magics.completion import IDENTIFIER, matcher
from cilium_analysis.magics.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

#: Under this name the session outlives a reload; what it remembers stays.
_KEPT = "_cilium_analysis_session"
#: The displays that were replaced: formatter, type, function or None.
_REPLACED = "_cilium_analysis_replaced"
_MAGICS = {"line": ("promql", "metric"), "cell": ("promql",)}


def load(shell: InteractiveShell) -> None:
    """Add magics, completion and displays; loaded again, it takes the place of what was there."""
    unload(shell)
    session = getattr(shell, _KEPT, None)
    if type(session) is not Session:
        # There is none yet, or its module has been reloaded since.
        session = Session()
        setattr(shell, _KEPT, session)
    shell.register_magics(CiliumMagics(shell, session))
    shell.Completer.custom_matchers.append(matcher(session, shell.user_ns))
    _display(shell, session)
    zooming(shell)


def unload(shell: InteractiveShell) -> None:
    """Take all of it away; what was not there is no error."""
    for kind, names in _MAGICS.items():
        for name in names:
            shell.magics_manager.magics[kind].pop(name, None)
    held = shell.Completer.custom_matchers
    held[:] = [one for one in held if getattr(one, "matcher_identifier", "") != IDENTIFIER]
    for formatter, shown, printer in getattr(shell, _REPLACED, ()):
        formatter.pop(shown, None)
        if printer is not None:
            formatter.for_type(shown, printer)
    setattr(shell, _REPLACED, [])


def zooming(shell: InteractiveShell) -> bool:
    """Switch matplotlib to figures that zoom and pan, in JupyterLab with ipympl.

    Elsewhere, under papermill too, figures stay pictures.

    Parameters
    ----------
    shell
        Of the kernel.

    Returns
    -------
    bool
        Whether they zoom now.
    """
    # JupyterLab names the notebook to its kernel in this variable.
    if "JPY_SESSION_NAME" not in os.environ or find_spec("ipympl") is None:
        return False
    shell.run_line_magic("matplotlib", "widget")
    # A figure that zooms is not scaled to the width of its cell, as a picture is.
    mpl.rcParams["figure.dpi"] = 80
    return True


def _display(shell: InteractiveShell, session: Session) -> None:
    """Register how things look, in HTML and as plain text."""
    known: Any = shell.display_formatter
    rich, plain = (known.formatters[mime] for mime in ("text/html", "text/plain"))
    usual = plain.type_printers[list]
    made: list[tuple[Any, type, Callable[..., Any]]] = [
        (rich, pd.DataFrame, partial(_frame_html, session)),
        (plain, pd.DataFrame, partial(_frame_text, session)),
        (rich, list, displays.list_html),
        (plain, list, partial(_list_text, usual)),
    ]
    for kind, facts in displays.FACTS.items():
        made += [
            (rich, kind, partial(_facts_html, facts)),
            (plain, kind, partial(_facts_text, facts)),
        ]
    replaced = [(one, kind, one.type_printers.get(kind)) for one, kind, _ in made]
    setattr(shell, _REPLACED, replaced)
    for formatter, kind, printer in made:
        formatter.for_type(kind, printer)


# What IPython calls to show a value; a printer of plain text also learns of a cycle.


def _frame_html(session: Session, frame: pd.DataFrame) -> str | None:
    if displays.is_label_frame(frame):
        return displays.frame_html(frame, timezone=session.choice.timezone or "UTC")
    if displays.is_metrics(frame):
        return displays.metrics_html(frame)
    usual: Any = frame
    html: str | None = usual._repr_html_()
    return html


def _frame_text(session: Session, frame: pd.DataFrame, printer: Any, cycle: bool) -> None:
    label = displays.is_label_frame(frame)
    zone = session.choice.timezone or "UTC"
    printer.text(displays.frame_text(frame, timezone=zone) if label else repr(frame))


def _list_text(usual: Any, items: list[Any], printer: Any, cycle: bool) -> None:
    text = None if cycle else displays.list_text(items)
    if text is None:
        usual(items, printer, cycle)
    else:
        printer.text(text)


def _facts_html(facts: Callable[[Any], dict[str, str]], thing: Any) -> str:
    return displays.definition_html(facts(thing))


def _facts_text(
    facts: Callable[[Any], dict[str, str]], thing: Any, printer: Any, cycle: bool
) -> None:
    printer.text(displays.definition_text(facts(thing)))
