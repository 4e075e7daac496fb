"""What ``%load_ext cilium_analysis`` adds to IPython, and takes away again."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from cilium_analysis.lab import displays
from cilium_analysis.lab.completion import matcher
from cilium_analysis.lab.figures import zooming
from cilium_analysis.lab.magics import CiliumMagics
from cilium_analysis.lab.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

#: Under this name the session outlives a reload; what it remembers stays.
_KEPT = "_cilium_analysis_session"
#: What showed things before: formatter, type, function or None.
_REPLACED = "_cilium_analysis_replaced"
_IDENTIFIER = "cilium_analysis.promql"
_MAGICS = {"line": ("promql", "metric"), "cell": ("promql",)}


def load(shell: InteractiveShell) -> None:
    """Add magics, completion and displays; loaded again, it takes the place of what was there."""
    unload(shell)
    session = getattr(shell, _KEPT, None)
    if type(session) is not Session:
        # None yet, or of a module that was loaded anew since.
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
    held[:] = [one for one in held if getattr(one, "matcher_identifier", "") != _IDENTIFIER]
    for formatter, shown, printer in getattr(shell, _REPLACED, ()):
        formatter.pop(shown, None)
        if printer is not None:
            formatter.for_type(shown, printer)
    setattr(shell, _REPLACED, [])


def _display(shell: InteractiveShell, session: Session) -> None:
    """Register how things look, in HTML and as plain text."""
    known: Any = shell.display_formatter
    rich, plain = (known.formatters[mime] for mime in ("text/html", "text/plain"))
    usual = plain.type_printers[list]
    made: list[tuple[Any, type, Callable[..., Any]]] = [
        (rich, kind, _html_of(facts)) for kind, facts in displays.FACTS.items()
    ]
    made += [(plain, kind, _text_of(facts)) for kind, facts in displays.FACTS.items()]
    made += [
        (rich, pd.DataFrame, partial(_frame_html, session)),
        (plain, pd.DataFrame, partial(_frame_text, session)),
        (rich, list, displays.list_html),
        (plain, list, partial(_list_text, usual)),
    ]
    replaced = [(one, kind, one.type_printers.get(kind)) for one, kind, _ in made]
    setattr(shell, _REPLACED, replaced)
    for formatter, kind, printer in made:
        formatter.for_type(kind, printer)


def _frame_html(session: Session, frame: pd.DataFrame) -> str | None:
    if displays.is_label_frame(frame):
        return displays.frame_html(frame, timezone=session.choice.timezone or "UTC")
    if displays.is_metrics(frame):
        return displays.metrics_html(frame)
    usual: Any = frame
    told: str | None = usual._repr_html_()
    return told


def _frame_text(session: Session, frame: pd.DataFrame, printer: Any, cycle: bool) -> None:
    label = displays.is_label_frame(frame)
    zone = session.choice.timezone or "UTC"
    printer.text(displays.frame_text(frame, timezone=zone) if label else repr(frame))


def _list_text(usual: Any, items: list[Any], printer: Any, cycle: bool) -> None:
    told = None if cycle else displays.list_text(items)
    if told is None:
        usual(items, printer, cycle)
    else:
        printer.text(told)


def _html_of(facts: Callable[[Any], dict[str, str]]) -> Callable[[Any], str]:
    return lambda thing: displays.definition_html(facts(thing))


def _text_of(facts: Callable[[Any], dict[str, str]]) -> Callable[[Any, Any, bool], None]:
    return lambda thing, printer, cycle: printer.text(displays.definition_text(facts(thing)))
