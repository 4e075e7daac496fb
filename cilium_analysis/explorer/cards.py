"""One card per topic: its total, its picture, its groups; and the details of the topic in focus.

The details are its findings, the table of its groups, and its caveats.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import ipywidgets as widgets

from cilium_analysis.explorer.background import Quiet
from cilium_analysis.explorer.panels import CHOICES
from cilium_analysis.explorer.pictures import legend, picture
from cilium_analysis.explorer.state import GROUPS, TOPICS
from cilium_analysis.show import Notes, Table
from cilium_analysis.texts import escaped

if TYPE_CHECKING:
    from collections.abc import Callable

    from cilium_analysis.explorer.asking import Loaded
    from cilium_analysis.explorer.panels import Panel

#: Rows of the table.
ROWS = 25
#: Titles of dimensions, where they differ from their names.
NAMES = {"class": "class of status", "source to target": "source → target"}


class Card:
    """Shows one topic; `group` is called with it and the dimension that the user chooses."""

    def __init__(self, topic: str, group: Callable[[str, str], None]) -> None:
        self.topic = topic
        self.panel: Panel | None = None
        self.key: object = None
        self.title = TOPICS[topic]
        self._shown = ""
        self._head, self._total = widgets.HTML(), widgets.HTML()
        self.by = widgets.Dropdown(
            options=[(NAMES.get(name, name), name) for name in CHOICES[topic]],
            value=GROUPS[topic],
            description=f"{self.title} by",
            style={"description_width": "auto"},
            layout={"width": "auto", "flex": "0 0 auto"},
        )
        self._quiet = Quiet()
        self.by.observe(self._quiet.unless(partial(group, topic)), "value")
        self._picture = widgets.HTML()
        head = widgets.HBox([self._head, self.by])
        head.add_class("ca-head")
        self.widget = widgets.VBox([head, self._total, self._picture])
        self.widget.add_class("ca-card")
        self.widget.add_class(f"ca-card-{topic}")

    def show(self, panel: Panel, key: object, *, timezone: str, shown: str) -> None:
        """Draw the topic; equal keys stand for equal pictures, `shown` is its window in words."""
        self.panel, self.key, self._shown = panel, key, shown
        drawn = picture(panel, timezone=timezone, title=f"{self.title}, {shown}")
        self._picture.value = drawn + legend(panel)

    def group(self, dimension: str) -> None:
        """Show the dimension that it is grouped by."""
        with self._quiet:
            self.by.value = dimension

    def mark(self, *, old: bool) -> None:
        """Show whether the picture belongs to an earlier choice."""
        total, beside = (
            (self.panel.headline, self.panel.beside) if self.panel else ("…", "not asked yet")
        )
        age = f"old: {self._shown}" if old and self.panel else ""
        self._head.value = f"<h2>{escaped(self.title)}{badge(age)}</h2>"
        self._total.value = (
            f'<div class="ca-total">{escaped(total) or "&nbsp;"}</div>'
            f'<div class="ca-quiet">{escaped(beside) or "&nbsp;"}</div>'
        )
        (self.widget.add_class if old else self.widget.remove_class)("ca-old")

    def focus(self, on: bool) -> None:
        """Show whether its details are below."""
        (self.widget.add_class if on else self.widget.remove_class)("ca-focus")


def badge(text: str) -> str:
    """Give a few words in a frame; nothing if there are none."""
    return f' <span class="ca-badge">{escaped(text)}</span>' if text else ""


class Details:
    """Shows one topic in words and numbers; `focus` is called with the one the user chooses."""

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
        """Show whether the details belong to an earlier choice; remove those of another topic."""
        with self._quiet:
            self.topics.value = topic
        if topic != self._topic:
            self._topic, self._shown = topic, ""
            self._text.value = '<p class="ca-quiet">not there yet</p>'
        self._badge.value = badge(f"old: {self._shown}") if old and self._shown else ""
        (self.widget.add_class if old else self.widget.remove_class)("ca-old")

    def show(self, loaded: Loaded, panel: Panel | None, *, narrowed: bool, shown: str) -> None:
        """Show a topic; if it is `narrowed`, filters select among the answers, not the findings."""
        if panel is None:
            return
        self._topic, self._shown = loaded.topic, shown
        of_all = " (of everything, whatever the filters select)" if narrowed else ""
        table = panel.table.head(ROWS)
        table.index = table.index.rename(NAMES.get(str(table.index.name), table.index.name))
        left = len(panel.table) - len(table)
        more = f'<p class="ca-quiet">and {left:,} more</p>' if left > 0 else ""
        notes = Notes(loaded.notes, empty="No caveats from what this topic asked.")
        self._text.value = (
            f"<h2>Findings{of_all}</h2>{loaded.findings.to_html()}"
            f"<h2>By {table.index.name}</h2>{Table(table, empty=panel.empty)._repr_html_()}"
            f"{more}<h2>How far to trust this</h2>{notes._repr_html_()}"
        )
        self.mark(loaded.topic, old=False)
