"""What all plots share: colours, axes, legends, times, numbers, names as text."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import matplotlib.dates as mdates
import matplotlib.pyplot as plt
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cilium_analysis.figures import AS_PAGE
from cilium_analysis.texts import clipped, visible
from cilium_analysis.times import zone

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

INK = "#222222"
#: Colour of what is not known, and what the colours of shares mean.
UNKNOWN = "#eeeeee"
FAILING = {0.0: "0% failing", 0.5: "50%", 1.0: "100%"}
#: A word, with the mark or the space behind it.
_WORDS = re.compile(r"[^\s./:,_-]*(?:[./:,_-]+\s*|\s+|$)")
#: Characters of a legend that fit above a plot, and those that the mark of a name takes.
_LINE, _HANDLE = 120, 6


def _strength(name: str, colour: str) -> LinearSegmentedColormap:
    """Give a colour map of one colour, the stronger the more, on a page of any colour."""
    return LinearSegmentedColormap.from_list(name, [(colour, 0.05), (colour, 1.0)])


#: Colour maps of shares from 0 to 1, and of amounts.
SHARES, AMOUNTS = _strength("shares", "#a63603"), _strength("amounts", "#08519c")


def plain(text: object) -> str:
    """Make any text safe to draw: a dollar sign would start a formula, and a drawing is XML.

    The labels of a series, a tuple, become one text without the empty ones.
    """
    if isinstance(text, tuple):
        text = ", ".join(str(part) for part in text if part != "")
    return visible(str(text)).replace("\\", "\\\\").replace("$", r"\$")


def axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """Give the axes to draw on, new ones of this size [inches] if none are given."""
    if ax is not None:
        return ax
    from cilium_analysis.plots.page import Drawing  # which uses this module

    _, made = plt.subplots(figsize=size, layout="constrained", FigureClass=Drawing)
    if os.environ.get(AS_PAGE):
        # Else IPython draws each figure once more before it is shown, for nobody.
        plt.uninstall_repl_displayhook()
    return made


def tidy(ax: Axes, *, grid: str = "y") -> None:
    """Hide the lines that show no data, and draw a light grid."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.grid(visible=True, axis=grid, color="#dddddd", linewidth=0.6)  # type: ignore[arg-type]
    ax.set_axisbelow(True)


def legend(
    ax: Axes,
    handles: Sequence[Artist] | None = None,
    names: Sequence[str] = (),
    *,
    reverse: bool = False,
    title: str | None = None,
    characters: int = _LINE,
) -> None:
    """Put the legend above the plot, where it covers nothing; long names get fewer columns."""
    if handles is None:
        handles, names = ax.get_legend_handles_labels()
    ax.legend(
        handles,
        names,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=columns(names, characters),
        frameon=False,
        reverse=reverse,
        fontsize=9,
        title=title,
        alignment="left",
    )


def columns(names: Sequence[str], characters: int = _LINE) -> int:
    """Give the number of columns of a legend in so many characters."""
    widest = max((len(name) for name in names), default=0)
    return max(1, min(4, characters // (widest + _HANDLE)))


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


def folded(text: str, width: int) -> str:
    """Break a longer text into two lines, where a name has a mark; a third part is left out."""
    if len(text) <= width:
        return text
    lines = [""]
    for word in _WORDS.findall(text.replace("\n", " ")):
        if lines[-1] and len(lines[-1]) + len(word.rstrip()) > width:
            lines.append("")
        lines[-1] += word
    first, *rest = (clipped(each.strip(), width) for each in lines)
    second = rest[0] if len(rest) == 1 else clipped(f"{rest[0]}…", width) if rest else ""
    return f"{first}\n{second}".strip()


def nothing(ax: Axes, text: str) -> Axes:
    """Write that there is nothing, instead of empty axes."""
    ax.set_axis_off()
    if len(ax.figure.axes) == 1 and isinstance(ax.figure, Figure):
        ax.figure.set_figheight(0.9)
    if len(ax.figure.axes) == 1:
        ax.figure.set_label(text)
    ax.text(0.5, 0.5, plain(text), ha="center", va="center", color="#666666", style="italic")
    return ax


def scale(ax: Axes, colours: Colormap, steps: Mapping[float, str], *, unknown: str = "") -> None:
    """Say above a plot which strength of a colour means what.

    Parameters
    ----------
    ax
        Of the plot.
    colours
        Its colour map.
    steps
        What to name, from 0 to 1, with the text.
    unknown
        Colour of what is not known; none if all is.
    """
    patches = [Patch(facecolor=colours(share)) for share in steps]
    patches += [Patch(facecolor=unknown)] if unknown else []
    legend(ax, patches, [*steps.values(), "unknown"][: len(patches)])
