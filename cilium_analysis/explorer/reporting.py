"""Make this a report: the command of what is on the screen, to copy or to run."""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
from IPython.display import FileLink

from cilium_analysis.errors import CiliumAnalysisError
from cilium_analysis.explorer.background import Runner, describe
from cilium_analysis.explorer.controls import status
from cilium_analysis.explorer.state import GROUPS, TOPICS, unsaid
from cilium_analysis.findings import Findings, merge
from cilium_analysis.show import Notes
from cilium_analysis.source import iso
from cilium_analysis.texts import escaped
from cilium_analysis.times import format_duration
from cilium_analysis.topics.workloads import Workloads

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cilium_analysis.explorer.asking import Loaded
    from cilium_analysis.explorer.background import Job, Post
    from cilium_analysis.explorer.scope import Scope
    from cilium_analysis.explorer.state import Asked, State

_PROGRAM = "import sys; from cilium_analysis.cli import main; sys.exit(main(sys.argv[1:]))"


@dataclass(frozen=True)
class Recipe:
    """A report of what is on the screen.

    Parameters
    ----------
    arguments
        Of the command ``cilium-analysis``.
    unsaid
        What is on the screen but not in the report: one sentence each.
    """

    arguments: tuple[str, ...]
    unsaid: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The command line, quoted for a shell."""
        return shlex.join(["cilium-analysis", *self.arguments])


def recipe(
    state: State, asked: Asked, scope: Scope, loaded: Mapping[str, Loaded], *, output: str
) -> Recipe:
    """Write the command of the report on what is on the screen."""
    topics = [t for t in TOPICS if t not in loaded or loaded[t].whole]
    window = asked.window
    options = {
        "--source": scope.address,
        "--start": iso(window.start),
        "--end": iso(window.end),
        "--step": format_duration(window.step),
        "--baseline": asked.compared,
        "--match": asked.match,
        "--timezone": window.timezone if window.timezone != "UTC" else "",
        "--output": output if output != "reports" else "",
    }
    if scope.workloads:
        asked_of = Workloads.parse(scope.workloads)
        ends = {"--from": asked_of.source, "--to": asked_of.destination}
        options |= ends if asked_of.destination else {"--workload": asked_of.source}
    arguments = ["report", *topics]
    for name, value in options.items():
        # A value that begins with a dash would be read as another option.
        arguments += [f"{name}={value}"] if value[:1] == "-" else [name, value] if value else []
    return Recipe(tuple(arguments), tuple(_unsaid(state, scope, topics)))


def _unsaid(state: State, scope: Scope, topics: Sequence[str]) -> Iterator[str]:
    for topic in TOPICS:
        if topic not in topics:
            yield (
                f"{TOPICS[topic]}: the recording can report on it only for the whole of its"
                " window, so it is left out."
            )
    left = unsaid(state, scope)
    if left:
        yield (
            f"The filters on {', '.join(left)} only select what is drawn and added up here: the"
            " report, and all findings, are about everything."
        )
    if dict(state.groups) != dict(GROUPS):
        yield "Groupings are of this screen only: reports have their own tables and plots."


def findings(loaded: Mapping[str, Loaded]) -> dict[str, Any]:
    """Give the document that a report writes, of all topics that are whole."""
    whole = [loaded[topic].findings for topic in TOPICS if topic in loaded and loaded[topic].whole]
    if not whole:
        return {"findings": []}
    frame = Findings(whole[0].source, whole[0].window, whole[0].baseline)
    return merge(frame, whole).as_json()


@dataclass(frozen=True)
class Made:
    """A report that was made; `page` is its ``index.html``."""

    page: Path


class NotMade(CiliumAnalysisError):
    """The report stopped with an error."""


def make(recipe: Recipe, job: Job) -> Iterator[str | Made]:
    """Run the report in a process of its own.

    Yields
    ------
    str or Made
        Its messages while it runs, then the report.

    Raises
    ------
    NotMade
        If it stopped with an error.
    """
    command = [sys.executable, "-c", _PROGRAM, *recipe.arguments]
    message, page = "", None
    with subprocess.Popen(  # noqa: S603 - no shell, and our own program
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as process:
        job.on_stop(process.terminate)
        assert process.stdout is not None  # noqa: S101 - it was asked for
        for text in process.stdout:
            message = text.strip() or message
            if message.startswith("Report: "):
                page = Path(message.removeprefix("Report: "))
            yield message
    job.check()
    if process.returncode or page is None:
        raise NotMade(message or f"the report ended with exit code {process.returncode}")
    yield Made(page)


class Reporting:
    """Shows the command of a report, and runs it."""

    def __init__(self, post: Post) -> None:
        self._runner = Runner(post)
        self._recipe: Recipe | None = None
        self.made: Path | None = None
        self._text = widgets.HTML()
        self._text.add_class("ca-wide")
        self.run = widgets.Button(
            description="Make this a report", button_style="primary", disabled=True
        )
        self.stop = widgets.Button(description="Stop the report", disabled=True)
        self._said = widgets.HTML()
        self._said.add_class("ca-status")
        self._link = widgets.Output()
        self.run.on_click(lambda _: post(self.start))
        self.stop.on_click(lambda _: post(self.halt))
        row = widgets.HBox([self.run, self.stop, self._said])
        row.add_class("ca-row")
        title = widgets.HTML("<h2>Make this a report</h2>")
        self.widget = widgets.VBox([title, self._text, row, self._link])
        self.widget.add_class("ca-section")
        self.widget.add_class("ca-report")

    def show(self, recipe: Recipe | None) -> None:
        """Show the command; none while topics are still being asked."""
        self._recipe = recipe
        self.run.disabled = recipe is None or self._runner.busy
        if recipe is None:
            return
        left = Notes(recipe.unsaid)._repr_html_() if recipe.unsaid else ""
        self._text.value = (
            '<p class="ca-quiet">The same window, baseline and matchers, headlessly: copy the'
            " command, or run it here.</p>"
            f'<pre class="ca-command" tabindex="0">{escaped(recipe.command)}</pre>{left}'
        )

    def start(self) -> None:
        """Run the command."""
        recipe = self._recipe
        if recipe is None:
            return
        self.made = None
        self._link.outputs = ()
        self.run.disabled, self.stop.disabled = True, False
        self._say("Starting the report …")
        self._runner.start(lambda job: make(recipe, job), show=self._show_progress, end=self._ended)

    def halt(self) -> None:
        """Stop the report."""
        if self._runner.stop():
            self._say("Stopped; nothing was left behind.")
        self._rest()

    def _show_progress(self, piece: str | Made) -> None:
        if isinstance(piece, str):
            self._say(piece)
            return
        self.made = piece.page
        self._say(f"Done: {piece.page}")
        link = FileLink(str(piece.page), result_html_prefix="Open the report: ")
        self._link.append_display_data(link)

    def _ended(self, problem: Exception | None) -> None:
        if problem is not None:
            self._say(describe(problem), wrong=True)
        self._rest()

    def _rest(self) -> None:
        self.run.disabled, self.stop.disabled = self._recipe is None, True

    def _say(self, text: str, *, wrong: bool = False) -> None:
        self._said.value = status(text, wrong=wrong)
