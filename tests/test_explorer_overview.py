"""The overview: what a mouse does over it, and what is chosen by that."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from matplotlib.backend_bases import MouseButton, MouseEvent
from matplotlib.patches import Rectangle

from cilium_analysis.explorer.asking import DROPPED, FAILED
from cilium_analysis.explorer.overview import Overview
from cilium_analysis.window import Window

#: ipympl's own toolbar.
pytestmark = pytest.mark.filterwarnings("ignore:Passing unrecognized arguments")

START = datetime(2026, 3, 21, 8, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Mouse:
    """Moves over an overview of 100 minutes, told by minutes from its start."""

    def __init__(self) -> None:
        self.chosen: list[tuple[float, float]] = []
        self.overview = Overview(self._choose)
        self.show(20, 60)

    def _choose(self, start: datetime, end: datetime) -> None:
        self.chosen.append((round((start - START) / MINUTE, 1), round((end - START) / MINUTE, 1)))

    def show(self, first: int, last: int) -> None:
        extent = window(0, 100)
        index = pd.date_range(START, periods=101, freq="min", tz="UTC")
        frame = pd.DataFrame({DROPPED: 1.0, FAILED: 0.5}, index=index)
        self.overview.show(frame, extent, window(first, last))

    def at(self, name: str, minute: float) -> None:
        (ax,) = self.overview.figure.axes
        x = ax.bbox.x0 + minute / 100 * ax.bbox.width
        y = (ax.bbox.y0 + ax.bbox.y1) / 2
        canvas = self.overview.figure.canvas
        button = None if name == "motion_notify_event" else MouseButton.LEFT
        canvas.callbacks.process(name, MouseEvent(name, canvas, x, y, button))

    def press(self, minute: float) -> None:
        self.at("button_press_event", minute)

    def move(self, minute: float) -> None:
        self.at("motion_notify_event", minute)

    def release(self, minute: float) -> None:
        self.at("button_release_event", minute)

    def marked(self) -> tuple[float, float] | None:
        """Give the ends of what is seen to be marked, in minutes."""
        (ax,) = self.overview.figure.axes
        seen = [p for p in ax.patches if p.get_visible() and isinstance(p, Rectangle)]
        if not seen:
            return None
        ends = ax.transLimits.transform(seen[0].get_corners())[:, 0] * 100
        return round(float(ends.min())), round(float(ends.max()))


def window(first: int, last: int) -> Window:
    return Window(START + first * MINUTE, START + last * MINUTE, step=MINUTE)


@pytest.fixture
def mouse() -> Mouse:
    return Mouse()


def test_what_is_not_there_is_unknown_and_not_0(mouse: Mouse) -> None:
    overview = mouse.overview
    assert overview.legend.value.count("up to") == 2
    index = pd.date_range(START, periods=101, freq="min", tz="UTC")
    overview.show(pd.DataFrame(index=index), window(0, 100), window(20, 60))
    assert overview.legend.value.count("<b>unknown</b>") == 2
    assert "up to" not in overview.legend.value


@pytest.mark.parametrize("moved", [(), (32,), (32, 40, 50)])
def test_the_window_ends_where_the_button_is_let_go(mouse: Mouse, moved: tuple[int, ...]) -> None:
    """Whatever motions the front end has held back."""
    mouse.press(30)
    for minute in moved:
        mouse.move(minute)
    mouse.release(50)
    assert mouse.chosen == [(30.0, 50.0)]
    assert mouse.marked() == (30, 50)
    mouse.move(70)
    assert mouse.chosen == [(30.0, 50.0)]


def test_it_is_dragged_to_the_left_and_beyond_the_end(mouse: Mouse) -> None:
    mouse.press(50)
    mouse.release(-2)
    mouse.press(90)
    mouse.move(95)
    mouse.release(103)
    assert mouse.chosen == [(0.0, 50.0), (90.0, 100.0)]


def test_an_edge_is_dragged(mouse: Mouse) -> None:
    mouse.press(60)
    mouse.release(70)
    assert mouse.chosen == [(20.0, 70.0)]


@pytest.mark.parametrize("moved", [0.0, 0.3])
def test_a_click_chooses_nothing(mouse: Mouse, moved: float) -> None:
    """Before and after a window was dragged, the window stays marked."""
    mouse.press(80)
    mouse.release(80 + moved)
    assert mouse.chosen == []
    assert mouse.marked() == (20, 60)
    mouse.press(30)
    mouse.release(40)
    mouse.overview.mark(window(30, 40))
    for minute in (80, 10):
        mouse.press(minute)
        mouse.release(minute + moved)
        assert mouse.chosen == [(30.0, 40.0)]
        assert mouse.marked() == (30, 40)


def test_what_was_drawn_before_is_told_nothing(mouse: Mouse) -> None:
    mouse.show(10, 30)
    mouse.press(40)
    mouse.release(50)
    assert mouse.chosen == [(40.0, 50.0)]


def test_plots_of_ones_own_stay_what_they_were() -> None:
    """In a process of its own: the first import of ipympl makes it the backend."""
    code = (
        "import matplotlib.pyplot as plt\n"
        "from cilium_analysis.explorer.overview import Overview\n"
        "plt.switch_backend('svg')\n"
        "Overview(print)\n"
        "print(plt.get_backend(), type(plt.figure().canvas).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["svg", "FigureCanvasSVG"]
