"""Make this a report: the command of what is on the screen, to copy or to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as widgets

from cilium_analysis.errors import CiliumAnalysisError
from cilium_analysis.explorer.job import Runner
from cilium_analysis.explorer.making import Made, make
from cilium_analysis.show import Notes
from cilium_analysis.texts import escaped, line

if TYPE_CHECKING:
    from pathlib import Path

    from cilium_analysis.explorer.job import Post
    from cilium_analysis.explorer.making import Recipe


class Reporting:
    """Shows the command of a report, and runs it.

    Parameters
    ----------
    post
        As for `Runner`.
    """

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
        """Show the command; none while it is not known what it would be of."""
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
        """Run what is shown."""
        recipe = self._recipe
        if recipe is None:
            return
        self.made = None
        self._link.outputs = ()
        self.run.disabled, self.stop.disabled = True, False
        self._say("Starting the report …")
        self._runner.start(lambda job: make(recipe, job), show=self._told, end=self._ended)

    def halt(self) -> None:
        """Stop the report that is being made."""
        if self._runner.stop():
            self._say("Stopped; nothing was left behind.")
        self._rest()

    def _told(self, piece: str | Made) -> None:
        if isinstance(piece, str):
            self._say(piece)
            return
        self.made = piece.page
        self._say(f"Done: {piece.page}")
        self._show_link(piece.page)

    def _show_link(self, page: Path) -> None:
        from IPython.display import FileLink

        link = FileLink(str(page), result_html_prefix="Open the report: ")
        self._link.append_display_data(link)

    def _ended(self, problem: Exception | None) -> None:
        if problem is not None:
            said = line(str(problem)) or type(problem).__name__
            known = isinstance(problem, CiliumAnalysisError)
            self._say(said if known else f"Unexpected: {said}", wrong=True)
        self._rest()

    def _rest(self) -> None:
        self.run.disabled, self.stop.disabled = self._recipe is None, True

    def _say(self, text: str, *, wrong: bool = False) -> None:
        kind = ' class="ca-problem"' if wrong else ""
        self._said.value = f'<span role="status"{kind}>{escaped(line(text))}</span>'
