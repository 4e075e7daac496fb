"""What is known of the topic in focus: findings, the table of its groups, how far to trust it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as widgets

from cilium_analysis.explorer.cards import NAMES, badge
from cilium_analysis.explorer.quiet import Quiet
from cilium_analysis.explorer.state import TOPICS
from cilium_analysis.show import Notes, Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from cilium_analysis.explorer.asking import Loaded
    from cilium_analysis.explorer.panels import Panel

#: Rows of the table.
ROWS = 25


class Details:
    """Shows one topic in words and numbers.

    Parameters
    ----------
    focus
        Gets the topic that somebody wants to see.
    """

    def __init__(self, focus: Callable[[str], None]) -> None:
        self.topics = widgets.Dropdown(
            options=[(title, topic) for topic, title in TOPICS.items()],
            description="Details of",
            style={"description_width": "auto"},
            layout={"width": "220px"},
        )
        self._quiet = Quiet()
        self.topics.observe(self._quiet.unless(focus), "value")
        self._topic = self._shown = ""
        self._badge, self._text = widgets.HTML(), widgets.HTML()
        self._text.add_class("ca-wide")
        self.widget = widgets.VBox([widgets.HBox([self.topics, self._badge]), self._text])
        self.widget.add_class("ca-section")
        self.widget.add_class("ca-details")

    def mark(self, topic: str, *, old: bool) -> None:
        """Say whether what is shown is of an earlier choice, and show nothing of another topic."""
        with self._quiet:
            self.topics.value = topic
        if topic != self._topic:
            self._topic, self._shown = topic, ""
            self._text.value = '<p class="ca-quiet">not there yet</p>'
        self._badge.value = badge(f"old: {self._shown}") if old and self._shown else ""
        (self.widget.add_class if old else self.widget.remove_class)("ca-old")

    def show(self, loaded: Loaded, panel: Panel | None, *, narrowed: bool, shown: str) -> None:
        """Show a topic.

        Parameters
        ----------
        loaded, panel
            What is known and seen of it.
        narrowed
            Whether filters choose among the series, which findings do not follow.
        shown
            The window that it is of, in words.
        """
        if panel is None:
            return
        self._topic, self._shown = loaded.topic, shown
        of_all = " (of everything, whatever the filters choose)" if narrowed else ""
        table = panel.table.head(ROWS)
        table.index = table.index.rename(NAMES.get(str(table.index.name), table.index.name))
        left = len(panel.table) - len(table)
        more = f'<p class="ca-quiet">and {left:,} more</p>' if left > 0 else ""
        notes = Notes(loaded.notes, empty="No caveats from what this topic asked.")
        self._text.value = (
            f"<h2>Findings{of_all}</h2>{loaded.findings.to_html()}"
            f"<h2>By {table.index.name}</h2>{Table(table, empty='Nothing to show.')._repr_html_()}"
            f"{more}<h2>How far to trust this</h2>{notes._repr_html_()}"
        )
        self.mark(loaded.topic, old=False)
