"""Pictures of panels as SVG, in the colours of the theme, with a text for screen readers."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.dates as mdates
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cilium_analysis import plots
from cilium_analysis.plots.colours import PALETTE
from cilium_analysis.texts import escaped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from cilium_analysis.explorer.panels import Panel

#: Groups that are drawn apart; the others are drawn together.
MOST = 6
#: Points of a line: more do not fit into a picture.
POINTS = 360
#: Width and height [points]; the page makes it as wide as there is room.
SIZE = (470.0, 172.0)
#: Colours of the plots, and those of the page that replace them.
_THEMED: Mapping[str, str] = {
    "#000000": "var(--ca-ink)",
    "#222222": "var(--ca-ink)",
    "#666666": "var(--ca-quiet)",
    "#dddddd": "var(--ca-grid)",
    "#eeeeee": "var(--ca-grid)",
    "#ffffff": "var(--ca-paper)",
}
#: How swatches show the styles of lines, as lengths of dashes and gaps, and the patterns of areas.
_DASHES: Mapping[str, str] = {"-": "18", "--": "5 2", "-.": "7 2 2 2", ":": "2 2"}
_STROKES: Mapping[str, str] = {
    "": "",
    "///": "M0 9L9 0M5 9L14 0M10 9L19 0",
    "...": "M2 3h2M8 3h2M14 3h2M5 7h2M11 7h2",
    "xxx": "M0 9L9 0M9 9L18 0M0 0L9 9M9 0L18 9",
}
_INK = re.compile("|".join(_THEMED))
_RC: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "cilium-analysis",
    "font.size": 8.5,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}


def picture(panel: Panel, *, timezone: str, title: str) -> str:
    """Draw a panel.

    Returns
    -------
    str
        HTML: an ``svg`` with a text alternative; every text in it is escaped.
    """
    with mpl.rc_context(_RC):
        figure = Figure(figsize=(SIZE[0] / 72, SIZE[1] / 72))
        FigureCanvasSVG(figure)
        figure.patch.set_visible(False)
        ax = figure.add_axes((0.075, 0.18, 0.89, 0.725))
        _draw(panel, ax, timezone=timezone)
        return _as_html(figure, f"{title}. {panel.headline}; {panel.beside}.")


def _draw(panel: Panel, ax: Axes, *, timezone: str) -> None:
    ax.patch.set_visible(False)
    frame = thinned(panel)
    if panel.kind == "outages":
        _outages(frame, ax, timezone=timezone, empty=panel.empty)
    elif not frame.shape[1] or not np.nan_to_num(frame.to_numpy()).any():
        _nothing(ax, panel.empty)
    else:
        draw = plots.stacked if panel.kind == "stacked" else plots.lines
        draw(frame, ax=ax, timezone=timezone, unit=panel.unit, most=MOST)
        # Edges would cover thin parts.
        for part in ax.collections if panel.kind == "stacked" else ():
            part.set_edgecolor("none")
        ax.set_xlim(*mdates.date2num(panel.frame.index[[0, -1]].to_numpy()))
        ax.yaxis.set_major_locator(MaxNLocator(4))
        # Beside the numbers it would cover them, on a page that makes letters larger.
        ax.set_ylabel("")
        unit = plots.plain(panel.unit)
        ax.text(0, 1.03, unit, transform=ax.transAxes, fontsize=8, color="#666666")
        plots.shade(ax, panel.marks)
    legend = ax.get_legend()
    if legend is not None:
        legend.remove()
    ax.set_xlabel("")
    # A fixed place: measuring all ticks for labels that are empty takes time.
    ax.xaxis.set_label_coords(0.5, -0.1)
    ax.yaxis.set_label_coords(-0.1, 0.5)


def _outages(frame: pd.DataFrame, ax: Axes, *, timezone: str, empty: str) -> None:
    if len(frame) < 2 or not frame.shape[1]:
        _nothing(ax, empty)
        return
    worst = frame.sum().sort_values(ascending=False, kind="stable").index[:12]
    ax.set_position((0.2, 0.18, 0.79, 0.785))
    plots.outages(frame[worst], ax=ax, timezone=timezone)
    for image in ax.collections:
        image.set_rasterized(True)
    if not frame.to_numpy(dtype="float64", na_value=0.0).any():
        for other in ax.figure.axes[1:]:
            other.remove()  # a scale of shares, where there are none
        for image in ax.collections:
            image.set_cmap(ListedColormap([PALETTE[2]]))
            image.set_alpha(0.4)
        ax.set_position((0.2, 0.18, 0.79, 0.785))


def _nothing(ax: Axes, text: str) -> None:
    ax.set_axis_off()
    ax.text(0.5, 0.5, plots.plain(text), ha="center", va="center", color="#666666", fontsize=10)


def thinned(panel: Panel) -> pd.DataFrame:
    """Give the frame that is drawn: the groups that are drawn apart, in as many points as fit.

    Several steps become their mean, so that areas stay the same; of levels the highest is kept,
    so that no peak is lost.
    """
    frame = panel.frame
    if panel.kind == "stacked":
        frame = plots.largest(frame.fillna(0.0), most=MOST)
    elif panel.kind == "lines" and frame.shape[1] > MOST:
        moved = (frame.max() - frame.min()).sort_values(ascending=False, kind="stable")
        frame = frame[moved.index[:MOST]]
    every = -(-len(frame) // POINTS)
    if every <= 1:
        return frame
    groups = np.arange(len(frame)) // every
    by_group = frame.groupby(groups)
    merged = by_group.mean() if panel.kind == "stacked" else by_group.max()
    last = np.append(np.flatnonzero(np.diff(groups)), len(frame) - 1)
    return merged.set_axis(frame.index[last], axis=0)


def _as_html(figure: Figure, alternative: str) -> str:
    target = io.StringIO()
    figure.savefig(target, format="svg", metadata={"Date": None})
    text = target.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # This style would apply to the whole page.
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = _INK.sub(lambda found: _THEMED[found[0]], text)
    head, rest = text.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    label = escaped(alternative)
    opened = f'<svg role="img" aria-label="{label}" {box[0] if box else ""}>'
    return f'<div class="ca-picture">{opened}{rest}</div>'


def legend(panel: Panel) -> str:
    """Give the groups of a picture as a list: colour, name, total."""
    names = list(thinned(panel).columns)
    if panel.kind == "outages" and not panel.total and names:
        calm = f'<span class="ca-swatch" style="border-color: {PALETTE[2]}"></span>'
        return _list([(calm, "its probes are in the data, and none failed", "")])
    if not names or panel.kind == "outages":
        return _list([("", str(name), _row(panel, name)) for name in names[:4]])
    if panel.kind == "lines":
        peaks = panel.frame[names].max().sort_values(ascending=False, kind="stable")
        names = list(peaks.index)
        swatches = [_swatch(ink, dashes=_DASHES[style]) for ink, style in plots.line_looks(names)]
    else:
        looks = zip(names, plots.hatches(names), strict=True)
        swatches = [_swatch(plots.colour(name), strokes=_STROKES[hatch]) for name, hatch in looks]
    items = [
        (swatch, str(name), _row(panel, name)) for swatch, name in zip(swatches, names, strict=True)
    ]
    left = panel.frame.shape[1] - len(names)
    more = f"and {left} more" if panel.kind == "lines" and left > 0 else ""
    return _list(items, more)


def _swatch(colour: str, *, dashes: str = "", strokes: str = "") -> str:
    """Draw a piece of a line, or of an area, as `cilium_analysis.plots` draws it."""
    if dashes:
        look = (
            f'<path d="M0 4.5H18" stroke="{colour}" stroke-width="3" stroke-dasharray="{dashes}"/>'
        )
    else:
        over = f'<path d="{strokes}" stroke="var(--ca-ink)"/>' if strokes else ""
        look = f'<rect width="18" height="9" fill="{colour}"/>{over}'
    return f'<svg class="ca-look" viewBox="0 0 18 9" aria-hidden="true">{look}</svg>'


def _row(panel: Panel, name: object) -> str:
    """Give the total of a group, as the table has it."""
    if not len(panel.table.columns):
        return ""
    column = panel.table.iloc[:, 0]
    if name == plots.OTHERS:
        drawn = [str(each) for each in thinned(panel).columns]
        rest = [i for i, each in enumerate(column.index) if (str(each) or "unnamed") not in drawn]
        return f"{column.iloc[rest].sum():,.0f}"
    found = [i for i, each in enumerate(column.index) if (str(each) or "unnamed") == str(name)]
    unit = " min" if panel.kind == "outages" else ""
    return f"{column.iloc[found[0]]:,.0f}{unit}" if found else ""


def _list(items: Sequence[tuple[str, str, str]], more: str = "") -> str:
    rows = "".join(
        f"<li>{swatch}{escaped(name)} <b>{escaped(amount)}</b></li>"
        for swatch, name, amount in items
    )
    rest = f"<li>{escaped(more)}</li>" if more else ""
    return f'<ul class="ca-legend">{rows}{rest}</ul>' if rows or rest else ""
