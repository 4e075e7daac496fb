"""The magics: ``%promql`` and ``%%promql`` ask a query, ``%metric`` describes metrics.

Options and query are split here, without touching the query: IPython's own splitting takes quotes
away, and its expansion of ``{name}`` and ``$name`` would take the braces of PromQL for Python.
"""

from __future__ import annotations

import difflib
import keyword
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from IPython.core.magic import (
    Magics,
    line_cell_magic,
    line_magic,
    magics_class,
    no_var_expand,
    output_can_be_silenced,
)
from IPython.display import display

from cilium_analysis import plots, show
from cilium_analysis.bundle import Bundle, metrics_of
from cilium_analysis.bundle.simple import parse as parse_simple
from cilium_analysis.errors import (
    BundleError,
    CiliumAnalysisError,
    Interrupted,
    ParameterError,
    suggest,
)
from cilium_analysis.frames import NOTE
from cilium_analysis.magics.displays import definition_html, definition_text, differing
from cilium_analysis.magics.pointing import message
from cilium_analysis.magics.session import Choice, Session, window
from cilium_analysis.metrics import find
from cilium_analysis.progress import progress
from cilium_analysis.source import followed
from cilium_analysis.texts import clipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd
    from IPython.core.interactiveshell import InteractiveShell

    from cilium_analysis.memory import Remembering
    from cilium_analysis.metrics import Help
    from cilium_analysis.window import Window


#: Options that take a value, each with an example; and those that take none.
_EXAMPLES = {
    "--source": "http://prometheus:9090",
    "--start": '-6h, or "2026-03-21 08:00"',
    "--end": "now",
    "--step": "30s",
    "--timezone": "Europe/Berlin",
    "--as": "drops",
}
WITH_VALUE = tuple(_EXAMPLES)
ALONE = ("--plot",)
_OPTION = re.compile(r"\s*(?P<name>--[a-z]+)(?:(?:\s*=\s*|\s+)(?P<value>\"[^\"]*\"|'[^']*'|\S+))?")
_STRING_OR_COMMENT = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|`[^`]*`|\#[^\n]*")
#: Characters of a name in a legend.
_LONGEST = 60


@dataclass(frozen=True)
class Arguments:
    """The text after the name of the magic, split.

    Parameters
    ----------
    choice
        Where and when.
    query
        As it was written.
    name
        Of the variable that gets the frame; empty for none.
    plot
        Whether to draw the answer.
    """

    choice: Choice
    query: str
    name: str = ""
    plot: bool = False


def parse(line: str, cell: str | None = None) -> Arguments:
    """Read options and query.

    Parameters
    ----------
    line
        After the name of the magic: options, then the query.
    cell
        The query, if it has a cell of its own.

    Raises
    ------
    ParameterError
        If an option is unknown, lacks its value, or comes after the query.
    """
    given, rest = options(line)
    query = "\n".join(text for text in (rest, cell) if text and text.strip())
    query = re.sub(r";\s*$", "", query).strip("\n")
    # PromQL would subtract a metric of that name.
    names = "|".join(option.removeprefix("--") for option in (*WITH_VALUE, *ALONE))
    if late := re.search(rf"(?:^|\s)--(?:{names})\b", _STRING_OR_COMMENT.sub("", query)):
        raise ParameterError(f"{late[0].strip()} stands after the query: options come first")
    name = given.pop("--as", "")
    if name and (not name.isidentifier() or keyword.iskeyword(name)):
        raise ParameterError(f"--as {name}: the result needs a name that Python can use")
    plot = "--plot" in given
    return Arguments(choice_of(given), query if query.strip() else "", name, plot)


def options(line: str) -> tuple[dict[str, str], str]:
    """Take the options off the beginning of a line: their values by name, and what is left.

    Raises
    ------
    ParameterError
        As for `parse`.
    """
    given: dict[str, str] = {}
    while found := _OPTION.match(line):
        name, value = found["name"], found["value"]
        if name in ALONE:
            given[name], line = "", line[found.end("name") :]
            continue
        if name not in WITH_VALUE:
            known = suggest(name, (*WITH_VALUE, *ALONE))
            raise ParameterError(f"unknown option {name}: {known}")
        if value is None or value.startswith("--"):
            raise ParameterError(f"{name} needs a value, as in {name} {_EXAMPLES[name]}")
        given[name], line = value.strip("\"'"), line[found.end() :]
    return given, line.strip()


def choice_of(given: Mapping[str, str]) -> Choice:
    """Give the choice that options make."""
    chosen = {name.removeprefix("--"): text for name, text in given.items()}
    return Choice(**{name: text for name, text in chosen.items() if name not in ("as", "plot")})


class Facts:
    """Names and texts to read."""

    def __init__(self, facts: Mapping[str, str]) -> None:
        self.facts = dict(facts)

    def __repr__(self) -> str:
        return definition_text(self.facts)

    def _repr_html_(self) -> str:
        return definition_html(self.facts)


@magics_class
class CiliumMagics(Magics):
    """Magics that share a `Session`."""

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell, session: Session) -> None:
        super().__init__(shell)
        self.session = session

    @no_var_expand
    @output_can_be_silenced
    @line_cell_magic
    def promql(self, line: str, cell: str | None = None) -> pd.DataFrame | Facts:
        """Ask a query of PromQL at every step of a window: a DataFrame, one column per series.

        ::

            %promql [OPTIONS] QUERY          frame = %promql [OPTIONS] QUERY

            %%promql [OPTIONS]
            QUERY, on several lines, with # comments

            %promql --source http://prometheus:9090 --start -6h      keep these options

        Options come first; without a query they are kept for the queries that follow.

        --source S    URL of a server, directory of a bundle, sample, or a variable that holds a
                      source; by default CILIUM_ANALYSIS_SOURCE
        --start T     2026-03-21 08:10 (in quotes), 2026-03-21T08:10+01:00, -6h; by default the
                      last two hours, or the window of a bundle
        --end T       the same, or now
        --step D      30s, 5m; by default chosen by the length of the window
        --timezone Z  of times without an offset and of what is shown: Europe/Berlin
        --as NAME     assign the frame to a variable; a ; at the end shows nothing
        --plot        draw it

        Braces and dollar signs are PromQL's: no Python variable is put in. Where one is needed,
        ask the source itself, with texts quoted for PromQL::

            from cilium_analysis import Window, connect
            from cilium_analysis.queries import quote
            source = connect("sample")
            window = Window.parse("2026-03-21 08:00", "2026-03-21 10:00", step="30s")
            node = "worker-2"
            source.range(f"cilium_endpoint{{node={quote(node)}}}", window)
        """
        with briefly():
            arguments = parse(line, cell)
            if not arguments.query:
                return self._choose(arguments)
            return self._ask(arguments)

    @no_var_expand
    @line_magic
    def metric(self, line: str) -> Help | pd.DataFrame:
        """Describe a metric: type, labels, versions, traps; or find metrics by what they mean.

        ``%metric cilium_drop_count_total``, ``%metric dropped packets``
        """
        with briefly():
            remembering = self.session.source(self.session.choice.source, self._names)
            source: Any = remembering.source
            if not hasattr(source, "metrics"):
                raise ParameterError(f"{source!r} does not list its metrics")
            words = line.strip()
            found: Help | pd.DataFrame = (
                source.metric(words) if find(words) is not None else source.metrics(words)
            )
            return found

    @staticmethod
    def _answer(source: Remembering, promql: str, when: Window) -> pd.DataFrame:
        """Ask; if a bundle cannot answer, name similar queries that it holds."""
        try:
            return source.range(promql, when)
        except BundleError as problem:
            inner = source.source
            if not isinstance(inner, Bundle) or promql in inner.queries or parse_simple(promql):
                raise
            near = _like(promql, inner)
            held = "".join(f"\n  {one}" for one in near) or " those that Tab shows after %promql"
            text = f"{inner.directory} holds no answer to this query, but to these:{held}"
            raise BundleError(text) from problem

    @property
    def _names(self) -> dict[str, Any]:
        names: dict[str, Any] = self.shell.user_ns
        return names

    def _choose(self, arguments: Arguments) -> Facts:
        """Keep the options for the next queries, if all are valid, and show them."""
        if arguments.name or arguments.plot:
            raise ParameterError("--as and --plot need a query: %promql --as NAME QUERY")
        chosen = arguments.choice.over(self.session.choice)
        source = self.session.source(chosen.source, self._names)
        when = window(chosen, source)
        self.session.choice = chosen
        return Facts({"Source": source.name, "Window": show.span(when), "Next": "%promql QUERY"})

    def _ask(self, arguments: Arguments) -> pd.DataFrame:
        chosen = arguments.choice.over(self.session.choice)
        source = self.session.source(chosen.source, self._names)
        when = window(chosen, source)
        with progress(source.source), followed() as said:
            frame = self._answer(source, arguments.query, when)
        mark = frame.attrs.get(NOTE)
        # What shows the frame shows its mark; a picture does not.
        notes = [mark] if mark and (arguments.name or arguments.plot) else []
        notes += [f"The server says: {text}" for text in said.warnings if text != mark]
        if notes:
            display(show.Notes(notes))
        if arguments.name:
            self.shell.user_ns[arguments.name] = frame
        if arguments.plot:
            plots.lines(_named(frame), timezone=when.timezone)
        return frame


def _like(promql: str, bundle: Bundle) -> list[str]:
    """Give recorded queries that ask for the same metrics, the most similar first."""
    wanted = set(metrics_of([promql]))
    shared = [one for one in bundle.queries if wanted & set(metrics_of([one]))]
    return difflib.get_close_matches(promql, shared, n=5, cutoff=0.0)


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    """Give a label frame for drawing: each series by the values that tell it apart."""
    keys = frame.columns.to_frame(index=False).astype(str)
    differ = differing(keys) or [str(name) for name in keys][:1]
    rows = keys[differ].to_dict("records")
    names = [" · ".join(text for text in row.values() if text) for row in rows]
    return frame.set_axis([clipped(name, _LONGEST) for name in names], axis=1)


@contextmanager
def briefly() -> Iterator[None]:
    """Show errors of this package as their message, without a trace of its insides."""
    try:
        yield
    except CiliumAnalysisError as problem:
        _show_as(problem, f"{type(problem).__name__}:\n{message(problem)}")
        raise
    except KeyboardInterrupt:
        stopped = Interrupted("stopped: there is no answer; the source can be asked again")
        _show_as(stopped, str(stopped))
        raise stopped from None


def _show_as(problem: BaseException, text: str) -> None:
    # What IPython asks an error for, InteractiveShell.showtraceback.
    problem._render_traceback_ = text.splitlines  # type: ignore[attr-defined]
