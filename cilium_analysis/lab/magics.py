"""The magics: ``%promql`` and ``%%promql`` ask a query, ``%metric`` tells of metrics."""

from __future__ import annotations

import difflib
from contextlib import contextmanager
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
from cilium_analysis.errors import BundleError, CiliumAnalysisError, Interrupted, ParameterError
from cilium_analysis.lab.arguments import parse
from cilium_analysis.lab.displays import definition_html, definition_text, differing
from cilium_analysis.lab.pointing import told
from cilium_analysis.lab.session import Session, window
from cilium_analysis.metrics import find
from cilium_analysis.progress import progress
from cilium_analysis.texts import clipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd
    from IPython.core.interactiveshell import InteractiveShell

    from cilium_analysis.lab.arguments import Arguments
    from cilium_analysis.lab.memory import Remembering
    from cilium_analysis.metrics import Help
    from cilium_analysis.window import Window


#: Characters of a name in a legend.
_LONGEST = 60


class Told:
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
    def promql(self, line: str, cell: str | None = None) -> pd.DataFrame | Told:
        """Ask a query of PromQL at every step of a window: a DataFrame, one column per series.

        ::

            %promql [OPTIONS] QUERY          frame = %promql [OPTIONS] QUERY

            %%promql [OPTIONS]
            QUERY, on several lines, with # comments

            %promql --source http://prometheus:9090 --start -6h      from now on, and show

        Options come first; without a query they hold from then on.

        --source S    URL of a server, directory of a bundle, sample, or a variable that holds a
                      source; CILIUM_ANALYSIS_SOURCE if never said
        --start T     2026-03-21 08:10 (in quotes), 2026-03-21T08:10+01:00, -6h; the last two
                      hours, or the window of a bundle, if never said
        --end T       the same, or now
        --step D      30s, 5m; chosen by the length of the window if not said
        --timezone Z  of times without an offset and of what is shown: Europe/Berlin
        --as NAME     assign the frame to a variable; a ; at the end shows nothing
        --plot        draw it

        Braces and dollar signs are PromQL's: no Python variable is put in. Where one is needed,
        ask the source itself, with texts quoted for PromQL::

            from cilium_analysis.texts import clipped
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
        """Tell of a metric: type, labels, versions, traps; or find metrics by what they mean.

        ``%metric cilium_drop_count_total``, ``%metric dropped packets``
        """
        with briefly():
            source = self._source_of(self.session.source(self.session.choice.source, self._names))
            words = line.strip()
            found: Help | pd.DataFrame = (
                source.metric(words) if find(words) is not None else source.metrics(words)
            )
            return found

    @staticmethod
    def _answer(source: Remembering, promql: str, when: Window) -> pd.DataFrame:
        """Ask; of a bundle that does not hold the query, say what it holds."""
        try:
            return source.range(promql, when)
        except BundleError as problem:
            inner = source.source
            if not isinstance(inner, Bundle) or promql in inner.queries:
                raise
            near = _like(promql, inner)
            held = "".join(f"\n  {one}" for one in near) or " those that Tab shows after %promql"
            text = f"{inner.directory} holds no answer to this query, but to these:{held}"
            raise BundleError(text) from problem

    @property
    def _names(self) -> dict[str, Any]:
        names: dict[str, Any] = self.shell.user_ns
        return names

    @staticmethod
    def _source_of(source: Remembering) -> Any:
        inner = source.source
        if not hasattr(inner, "metrics"):
            raise ParameterError(f"{inner!r} does not tell its metrics")
        return inner

    def _choose(self, arguments: Arguments) -> Told:
        """Keep what holds from now on, once all of it can be, and show it."""
        if arguments.name or arguments.plot:
            raise ParameterError("--as and --plot need a query: %promql --as NAME QUERY")
        chosen = arguments.choice.over(self.session.choice)
        source = self.session.source(chosen.source, self._names)
        when = window(chosen, source)
        self.session.choice = chosen
        return Told({"Source": source.name, "Window": show.span(when), "Next": "%promql QUERY"})

    def _ask(self, arguments: Arguments) -> pd.DataFrame:
        chosen = arguments.choice.over(self.session.choice)
        source = self.session.source(chosen.source, self._names)
        when, began = window(chosen, source), len(source.journal)
        with progress(source.source):
            frame = self._answer(source, arguments.query, when)
        said = [text for record in source.journal[began:] for text in record.warnings]
        if said:
            display(show.Notes([f"The server says: {text}" for text in dict.fromkeys(said)]))
        if arguments.name:
            self.shell.user_ns[arguments.name] = frame
        if arguments.plot:
            plots.lines(_named(frame), timezone=when.timezone)
        return frame


def _like(promql: str, bundle: Bundle) -> list[str]:
    """Give recorded queries that ask for the same metrics, the likest first."""
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
        _shown_as(problem, f"{type(problem).__name__}:\n{told(problem)}")
        raise
    except KeyboardInterrupt:
        stopped = Interrupted("stopped: there is no answer; the source can be asked again")
        _shown_as(stopped, str(stopped))
        raise stopped from None


def _shown_as(problem: BaseException, text: str) -> None:
    # What IPython asks an error for, InteractiveShell.showtraceback.
    problem._render_traceback_ = text.splitlines  # type: ignore[attr-defined]
