"""The overview, in which the window is dragged; ipympl draws it."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import matplotlib as mpl
import matplotlib.dates as mdates
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.widgets import SpanSelector

from cilium_analysis import plots
from cilium_analysis.explorer.asking import DROPPED, FAILED

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import MouseEvent

    from cilium_analysis.window import Window

#: [pixels]; a canvas has the same size on every page.
SIZE = (660, 150)
#: Readable on light and on dark pages.
GREY = "#808080"
#: A shorter drag counts as a click [pixels].
CLICK = 4
NOTHING = "No data: not scraped, not exported, or not selected"
COLOURS = {DROPPED: "#0072B2", FAILED: "#D55E00"}


class Overview:
    """A picture of a longer time, in which the window is marked and can be dragged.

    `choose` is called with the start and end that were dragged.
    """

    def __init__(self, choose: Callable[[datetime, datetime], None]) -> None:
        self._choose = choose
        self._span: _Span | None = None
        self._window: Window | None = None
        self.figure = Figure(figsize=(SIZE[0] / 100, SIZE[1] / 100), dpi=100)
        self.figure.patch.set_alpha(0.0)
        self.canvas = _canvas(self.figure)
        self.legend = widgets.HTML()
        self.widget = widgets.VBox([self.canvas, self.legend])
        self.widget.add_class("ca-overview")

    def show(self, frame: pd.DataFrame, extent: Window, window: Window) -> None:
        """Draw another extent."""
        if self._span is not None:
            self._span.disconnect_events()
        self.figure.clear()
        ax = self.figure.add_axes((0.03, 0.3, 0.94, 0.67))
        _style(ax, extent)
        for name in frame.columns:
            _strip(ax, frame, str(name))
        if not frame.notna().to_numpy().any():
            place: Any = {"transform": ax.transAxes, "ha": "center", "va": "center"}
            ax.text(0.5, 0.5, NOTHING, color=GREY, fontsize=10, **place)
        self._span = _Span(
            ax,
            self._dragged,
            "horizontal",
            minspan=CLICK * (extent.end - extent.start) / timedelta(days=1) / ax.bbox.width,
            useblit=False,
            interactive=True,
            grab_range=8,
            props={"facecolor": "#56B4E9", "alpha": 0.3, "edgecolor": "#0072B2"},
            handle_props={"color": GREY, "linewidth": 2},
        )
        self.legend.value = _legend(frame)
        self.mark(window)

    def mark(self, window: Window) -> None:
        """Mark the window; that chooses nothing."""
        self._window = window
        if self._span is not None:
            self._span.extents = tuple(mdates.date2num([window.start, window.end]))
            self._span.set_visible(True)
            self.figure.canvas.draw_idle()

    def _dragged(self, first: float, last: float) -> None:
        if self._span is not None and last - first > self._span.minspan:
            start, end = (moment.astimezone(UTC) for moment in mdates.num2date([first, last]))
            self._choose(start, end)
        elif self._window is not None:
            self.mark(self._window)


class _Span(SpanSelector):
    """A span from where the button is pressed to where it is released.

    Front ends delay motions (ipympl: one in 33 ms), so that the last one may come too late to
    count; and a click, which chooses nothing, is reported like a drag.
    """

    _pressed: float | None = None

    def press(self, event: MouseEvent) -> None:  # type: ignore[override]
        if super().press(event):
            self._pressed = event.x

    def release(self, event: MouseEvent) -> None:  # type: ignore[override]
        if self._pressed not in (None, event.x):
            self.onmove(event)
        super().release(event)
        if self._pressed is not None and not self.get_visible():
            self.onselect(*self.extents)
        self._pressed = None


def _canvas(figure: Figure) -> Any:
    """Give the canvas of ipympl, without its toolbar: dragging moves the window."""
    before = mpl.get_backend()
    try:
        from ipympl.backend_nbagg import Canvas, FigureManager
    finally:
        # ipympl makes itself the backend when it is imported.
        if mpl.get_backend() != before:
            mpl.use(before)
    canvas = Canvas(figure)
    FigureManager(canvas, 0)
    canvas.header_visible = canvas.footer_visible = canvas.toolbar_visible = False
    canvas.resizable = False
    return canvas


def _style(ax: Axes, extent: Window) -> None:
    plots.time_axis(ax, timezone=extent.timezone)
    ax.set_xlabel("")
    ax.patch.set_alpha(0.0)
    ax.tick_params(colors=GREY, labelsize=8)
    ax.xaxis.get_offset_text().set_color(GREY)
    ax.yaxis.set_major_locator(MaxNLocator(1))
    ax.set_yticks([])
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(GREY)
    ax.set_xlim(*mdates.date2num([extent.start, extent.end]))
    ax.set_ylim(0, 1.05)


def _strip(ax: Axes, frame: pd.DataFrame, name: str) -> None:
    """Draw one quantity at full height: it shows when, not how much."""
    values = frame[name].fillna(0.0).to_numpy()
    highest = float(values.max()) if len(values) else 0.0
    times = mdates.date2num(frame.index.to_numpy())
    scaled = values / highest if highest else values
    if name == DROPPED:
        ax.fill_between(times, scaled, step="pre", color=COLOURS[name], alpha=0.55, linewidth=0)
    else:
        ax.plot(times, scaled, color=COLOURS[name], linewidth=1.2, drawstyle="steps-pre")


def _most(frame: pd.DataFrame, name: str) -> str:
    """Write the highest value of a quantity; one that is not in the data is unknown, not 0."""
    if name not in frame or not frame[name].notna().any():
        return "unknown"
    return f"up to {plots.short(float(frame[name].max()))}"


def _legend(frame: pd.DataFrame) -> str:
    items = "".join(
        f'<li><span class="ca-swatch" style="border-color: {colour};'
        f' border-top-width: {5 if name == DROPPED else 2}px"></span>{name}: <b>{most}</b></li>'
        for name, colour in COLOURS.items()
        for most in [_most(frame, name)]
    )
    how = "<li>Drag to choose the window; drag its edges to change it.</li>"
    return f'<ul class="ca-legend">{items}{how}</ul>'
