"""What all plots share: colours, axes, legends, times, numbers, names as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.dates as mdates
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from cilium_analysis.window import zone

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442")
REST = "#999999"
INK = "#222222"
#: Colour map of shares from 0 to 1: white if nothing fails, dark if everything does.
SHARES = "Oranges"
#: Characters of a legend that fit above a plot, and those that the mark of a name takes.
_LINE, _HANDLE = 130, 6


def plain(text: object) -> str:
    """Make any text safe to draw: a dollar sign would start a formula.

    The labels of a series, a tuple, become one text without the empty ones.
    """
    if isinstance(text, tuple):
        text = ", ".join(str(part) for part in text if part != "")
    return str(text).replace("\\", "\\\\").replace("$", r"\$")


def axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """Give the axes to draw on, new ones of this size [inches] if none are given."""
    if ax is not None:
        return ax
    _, made = plt.subplots(figsize=size, layout="constrained")
    return made


def tidy(ax: Axes, *, grid: str = "y") -> None:
    """Hide the lines that show no data, and draw a light grid."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.grid(visible=True, axis=grid, color="#dddddd", linewidth=0.6)  # type: ignore[arg-type]
    ax.set_axisbelow(True)


def legend(ax: Axes, *, reverse: bool = False, title: str | None = None) -> None:
    """Put the legend above the plot, where it covers nothing; long names get fewer columns."""
    widest = max((len(name) for name in ax.get_legend_handles_labels()[1]), default=0)
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=max(1, min(4, _LINE // (widest + _HANDLE))),
        frameon=False,
        reverse=reverse,
        fontsize="small",
        title=title,
        alignment="left",
    )


def time_axis(ax: Axes, *, timezone: str) -> Axes:
    """Label the x axis with times as the reader's clock shows them.

    Parameters
    ----------
    ax
        Axes whose x values are times.
    timezone
        IANA name.
    """
    tz = zone(timezone)
    locator = mdates.AutoDateLocator(tz=tz, minticks=4, maxticks=9)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator, tz=tz))
    ax.set_xlabel(plain(f"Time ({timezone})"))
    return ax


def short_tick(value: float, _: object = None) -> str:
    """Write a tick as `short` does; matplotlib gives its position too."""
    return short(value)


def short(value: float) -> str:
    """Write a number with three digits at most, such as 0.31, 41.2 or 12.4k."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if letter == 'k' else limit):.3g}{letter}"
    return f"{value:.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.2g}"


def wrap(text: str, width: int = 16) -> str:
    """Break a long name into lines at spaces."""
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def nothing(ax: Axes, text: str) -> Axes:
    """Write that there is nothing, instead of empty axes."""
    ax.set_axis_off()
    if len(ax.figure.axes) == 1 and isinstance(ax.figure, Figure):
        ax.figure.set_figheight(0.9)
    ax.text(0.5, 0.5, plain(text), ha="center", va="center", color="#666666", style="italic")
    return ax


def share_bar(ax: Axes, image: Any) -> None:
    """Add the scale of the colours beside a plot of shares."""
    percent = FuncFormatter(lambda value, _: f"{value:.0%}")
    bar = ax.figure.colorbar(image, ax=ax, format=percent, ticks=[0, 0.5, 1], pad=0.02)
    bar.set_label("Share failing")
    bar.outline.set_visible(False)
