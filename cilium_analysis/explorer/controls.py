"""The controls: source, times, baseline, matchers, filters."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from cilium_analysis.config import SOURCE_VARIABLE
from cilium_analysis.connection import SAMPLES
from cilium_analysis.explorer.background import Quiet
from cilium_analysis.explorer.cards import NAMES
from cilium_analysis.prometheus.credentials import shown_address
from cilium_analysis.texts import escaped, line
from cilium_analysis.times import format_duration, zone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from cilium_analysis.explorer.background import Post
    from cilium_analysis.explorer.state import State
    from cilium_analysis.window import Window

_AUTO = {"description_width": "auto"}


def status(text: str, *, wrong: bool = False) -> str:
    """Give a line of status as HTML; screen readers read it out."""
    kind = ' class="ca-problem"' if wrong else ""
    return f'<span role="status"{kind}>{escaped(line(text))}</span>'


class Field:
    """A text field, and below it why its text was rejected.

    Parameters
    ----------
    widget
        The text field.
    """

    def __init__(self, widget: Any) -> None:
        self.text = widget
        self._why = widgets.HTML(layout={"display": "none"})
        self.widget = widgets.VBox([widget, self._why])
        self.widget.add_class("ca-field")
        self.rejected = False

    def reject(self, why: str) -> None:
        """Say why the text was rejected, which stays; empty if it was not."""
        self.rejected = bool(why)
        self._why.value = f'<span role="alert" class="ca-problem">{escaped(line(why))}</span>'
        self._why.layout.display = "" if why else "none"
        (self.text.add_class if why else self.text.remove_class)("ca-rejected")


class Sources:
    """The source.

    Parameters
    ----------
    open_
        Gets the address to open, when the user leaves the field, and when he presses the button:
        the kernel may receive either of them first.
    """

    def __init__(self, address: str, open_: Callable[[str], None]) -> None:
        self._quiet = Quiet()
        known = dict.fromkeys([address, os.environ.get(SOURCE_VARIABLE, ""), *SAMPLES])
        self.address = widgets.Combobox(
            value=address,
            options=[one for one in known if one],
            description="Source",
            placeholder="http://prometheus:9090, a bundle's directory, or sample",
            ensure_option=False,
            continuous_update=False,
            style=_AUTO,
            layout={"width": "auto"},
        )
        self.open = widgets.Button(
            description="Open", tooltip="Look at this source", layout={"width": "90px"}
        )
        self.address.observe(self._quiet.unless(open_), "value")
        self.open.on_click(lambda _: open_(self.address.value))
        self._field = Field(self.address)
        self._field.widget.layout.flex = "1 1 420px"
        self.widget = widgets.HBox([self._field.widget, self.open])
        self.widget.add_class("ca-row")
        self.widget.add_class("ca-wide")

    def show(self, address: str) -> None:
        """Show the open source, unless what was typed since was rejected; that opens nothing."""
        if not self._field.rejected:
            with self._quiet:
                self.address.value = address

    def reject(self, why: str) -> None:
        """Say why the address was not opened, which stays; empty if it was.

        Credentials in it do not stay: the notebook would keep them.
        """
        with self._quiet:
            self.address.value = shown_address(self.address.value)
        self._field.reject(why)


class Times:
    """The window, the baseline, the step and the matchers.

    Parameters
    ----------
    choose
        Is called when the user leaves a field that he changed.
    move
        Gets how to move the window: ``earlier``, ``later``, ``wider``, ``closer``, ``all``.
    post
        As for `Runner`.
    """

    def __init__(self, choose: Callable[[], None], move: Callable[[str], None], post: Post) -> None:
        self._quiet = Quiet()
        self._choose, self._post = choose, post
        self.start, self.end = self._field("From"), self._field("To")
        self.baseline = self._field("Compared with", "previous, 1d, 1w, or T/T", "190px")
        self.step = self._field("Step", "by length", "130px")
        self.match = self._field("Only series with", 'cluster="prod"', "auto")
        names = ("start", "end", "baseline", "step", "match")
        self._fields = {name: Field(getattr(self, name)) for name in names}
        self._fields["match"].widget.layout.flex = "1 1 260px"
        self._window: Window | None = None
        buttons = []
        for way, title, tip in (
            ("earlier", "◀ Earlier", "Half a window earlier"),
            ("later", "Later ▶", "Half a window later"),
            ("wider", "− Wider", "A window twice as long"),
            ("closer", "+ Closer", "A window half as long"),
            ("all", "All", "All that the overview shows"),
        ):
            button = widgets.Button(description=title, tooltip=tip, layout={"width": "auto"})
            button.on_click(lambda _, way=way: move(way))
            buttons.append(button)
        self.zone = widgets.HTML()
        self.again = widgets.Button(
            description="Ask again", tooltip="Ask the source anew", layout={"width": "auto"}
        )
        start, end, *others = (field.widget for field in self._fields.values())
        rows = [
            widgets.HBox([start, end, self.zone]),
            widgets.HBox(buttons),
            widgets.HBox(others),
        ]
        for row in rows:
            row.add_class("ca-row")
        self.widget = widgets.VBox(rows)
        self.widget.add_class("ca-times")

    def _field(self, name: str, hint: str = "", width: str = "196px") -> widgets.Text:
        field = widgets.Text(
            description=name,
            placeholder=hint,
            continuous_update=False,
            style=_AUTO,
            layout={"width": width},
        )
        field.observe(self._changed, "value")
        return field

    def _changed(self, change: Mapping[str, Any]) -> None:
        if not self._quiet:
            self._post(partial(self._typed, change["owner"], change["new"]))

    def _typed(self, field: widgets.Text, value: str) -> None:
        """Choose what was typed, even if the field has been set since."""
        with self._quiet:
            field.value = value
        self._choose()

    def show(self, state: State, *, fixed: bool) -> None:
        """Show a state; that chooses nothing. A recording fixes the step and takes no matchers.

        A text that was rejected stays, unless another window was chosen by other means.
        """
        window = state.window
        values = {
            "start": local(window.start, window),
            "end": local(window.end, window),
            "baseline": state.baseline,
            "step": format_duration(window.step),
            "match": state.match,
        }
        if window != self._window:
            self.reject(dict.fromkeys(("start", "end", "step"), ""))
        self._window = window
        with self._quiet:
            for name, value in values.items():
                if not self._fields[name].rejected:
                    self._fields[name].text.value = value
            self.step.disabled = self.match.disabled = fixed
            self.zone.value = f'<span class="ca-quiet">{escaped(window.timezone)}</span>'

    @property
    def typed(self) -> dict[str, str]:
        """The texts of the fields, as of `cilium_analysis.explorer.state.read`."""
        return {name: field.text.value for name, field in self._fields.items()}

    def reject(self, why: Mapping[str, str]) -> None:
        """Say of the named fields why their texts were rejected; empty if they were not."""
        for name, reason in why.items():
            self._fields[name].reject(reason)

    def accept(self) -> None:
        """Forget what was rejected."""
        self.reject(dict.fromkeys(self._fields, ""))


def local(moment: datetime, window: Window) -> str:
    """Write a time as the reader's clock shows it."""
    return f"{moment.astimezone(zone(window.timezone)):%Y-%m-%d %H:%M:%S}"


class Filters:
    """The filters; `choose` is called with a dimension and the values of it that count."""

    def __init__(
        self,
        choose: Callable[[str, tuple[str, ...]], None],
        clear: Callable[[], None],
        post: Post,
    ) -> None:
        self._quiet = Quiet()
        self._choose = choose
        self._state: State | None = None
        self._values: Mapping[str, Sequence[str]] = {}
        self.dimension = widgets.Dropdown(
            description="Filter by", style=_AUTO, layout={"width": "220px"}
        )
        self.values = widgets.SelectMultiple(
            description="values that count",
            rows=5,
            style=_AUTO,
            layout={"width": "auto", "flex": "0 1 460px"},
        )
        self.clear = widgets.Button(
            description="Clear filters", layout={"width": "auto"}, disabled=True
        )
        self.summary = widgets.HTML()
        self.summary.add_class("ca-only")
        self.dimension.observe(self._quiet.unless(lambda _: post(self._fill)), "value")
        self.values.observe(self._picked, "value")
        self.clear.on_click(lambda _: clear())
        self.widget = widgets.HBox([self.dimension, self.values, self.clear, self.summary])
        self.widget.add_class("ca-row")
        self.widget.add_class("ca-filters")

    def show(self, state: State, values: Mapping[str, Sequence[str]]) -> None:
        """Show the choices and the chosen ones; that chooses nothing."""
        self._state, self._values = state, values
        names = [(NAMES.get(name, name), name) for name in values]
        with self._quiet:
            if list(self.dimension.options) != names:
                held = self.dimension.value
                self.dimension.options = names
                first = "node" if "node" in values else next(iter(values), None)
                self.dimension.value = held if held in values else first
        self._fill()
        self.clear.disabled = not state.filters
        self.summary.value = _summary(state)

    def _fill(self) -> None:
        if self._state is None or self.dimension.value is None:
            return
        dimension = self.dimension.value
        chosen = self._state.filter(dimension)
        options = [
            (value or "unnamed", value)
            for value in dict.fromkeys([*self._values.get(dimension, ()), *chosen])
        ]
        with self._quiet:
            if list(self.values.options) != options:
                self.values.options = options
            self.values.value = chosen

    def _picked(self, change: Mapping[str, tuple[str, ...]]) -> None:
        if not self._quiet and self.dimension.value is not None:
            self._choose(self.dimension.value, change["new"])


def _summary(state: State) -> str:
    if not state.filters:
        return (
            '<span class="ca-quiet">Everything counts. Ctrl or Shift selects more than one.</span>'
        )
    parts = [
        f"{NAMES.get(name, name)}: <b>{escaped(', '.join(v or 'unnamed' for v in chosen))}</b>"
        for name, chosen in state.filters
    ]
    return f"Only {'; '.join(parts)}"
