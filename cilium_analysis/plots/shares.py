"""Shares from 0 to 1 as colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.ticker import FuncFormatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Of shares from 0 to 1: white where nothing fails, dark in print and for every eye where all does.
SHARES = "Oranges"


def share_bar(ax: Axes, image: Any) -> None:
    """Add the scale of the colours beside a plot of shares."""
    bar = ax.figure.colorbar(
        image, ax=ax, format=FuncFormatter(_percent), ticks=[0, 0.5, 1], pad=0.02
    )
    bar.set_label("Share failing")
    bar.outline.set_visible(False)


def _percent(value: float, _: object = None) -> str:
    return f"{value:.0%}"
