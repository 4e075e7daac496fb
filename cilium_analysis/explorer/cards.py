"""One card per topic: its total, its picture, its groups."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import ipywidgets as widgets

from cilium_analysis.explorer.panels import CHOICES
from cilium_analysis.explorer.pictures import legend, picture
from cilium_analysis.explorer.quiet import Quiet
from cilium_analysis.explorer.state import GROUPS, TOPICS
from cilium_analysis.texts import escaped

if TYPE_CHECKING:
    from collections.abc import Callable

    from cilium_analysis.explorer.panels import Panel

#: What dimensions are called, where that is not their name.
NAMES = {"class": "class of status", "source to target": "source → target"}


class Card:
    """Shows one topic.

    Parameters
    ----------
    topic
        Name of its notebook.
    group
        Gets the dimension that somebody wants it grouped by.
    """

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
        """Draw the topic.

        Parameters
        ----------
        panel
            What is seen.
        key
            Equal where the picture would be the same.
        timezone
            Of the reader.
        shown
            The window that it is of, in words.
        """
        self.panel, self.key, self._shown = panel, key, shown
        drawn = picture(panel, timezone=timezone, title=f"{self.title}, {shown}")
        self._picture.value = drawn + legend(panel)

    def group(self, dimension: str) -> None:
        """Show what it is grouped by."""
        with self._quiet:
            self.by.value = dimension

    def mark(self, *, old: bool) -> None:
        """Say whether what is drawn is of an earlier choice."""
        said, beside = (
            (self.panel.headline, self.panel.beside) if self.panel else ("…", "not asked yet")
        )
        said_old = f"old: {self._shown}" if old and self.panel else ""
        self._head.value = f"<h2>{escaped(self.title)}{badge(said_old)}</h2>"
        self._total.value = _total(said, beside)
        (self.widget.add_class if old else self.widget.remove_class)("ca-old")

    def focus(self, on: bool) -> None:
        """Say whether its details are shown below."""
        (self.widget.add_class if on else self.widget.remove_class)("ca-focus")


def badge(said: str) -> str:
    """Put a few words in a frame, beside what they are about; nothing if there are none."""
    return f' <span class="ca-badge">{escaped(said)}</span>' if said else ""


def _total(said: str, beside: str) -> str:
    return (
        f'<div class="ca-total">{escaped(said) or "&nbsp;"}</div>'
        f'<div class="ca-quiet">{escaped(beside) or "&nbsp;"}</div>'
    )
