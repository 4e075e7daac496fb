"""Figures as a page shows them: as SVG in the colours of the page, wide, and narrow for a phone.

A report asks its kernels for them (`cilium_analysis.figures`); elsewhere, as in JupyterLab, a
figure is shown as always.
"""

from __future__ import annotations

import base64
import io
import os
import re
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.dates import AutoDateLocator
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FixedLocator

from cilium_analysis.figures import AS_PAGE, FIGURE, NARROW, STYLE, WIDE
from cilium_analysis.plots.style import INK, columns, folded, legend
from cilium_analysis.texts import escaped, visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

#: Width of a figure on a phone [inches], and characters of a line, and of a name beside it.
_NARROW, _LINE, _BESIDE = 4.5, 56, 18
#: Columns whose names are not slanted there.
_LEVEL = 3
#: Colours that follow the page, and how strong they are there.
_INKS = {"#000000": 1.0, INK: 1.0, "#666666": 0.75, "#dddddd": 0.16, "#eeeeee": 0.08}
_INK = re.compile(f"(fill|stroke): ({'|'.join(_INKS)})")
_TAG, _ID, _USED = re.compile("<[^<>]+>"), re.compile(' id="([^"]*)"'), re.compile(r"#([\w-]+)")
_NEEDLESS = re.compile(r""" font-family: [^;"]*;?| transform="rotate\(-?0 [^)]*\)"|\n\s*$""")
_PATH, _STRAIGHT = re.compile(r' d="([^"]*)"'), re.compile(r"[MLz\d.\s-]*")
_NUMBER = re.compile(r"-?\d+\.\d+")


class Drawing(Figure):
    """A figure that a report also keeps for its page."""

    def _ipython_display_(self) -> None:
        if not os.environ.get(AS_PAGE):
            raise NotImplementedError  # IPython shows it as any other
        from IPython.display import display

        # A figure of nothing is a sentence.
        if said := self.get_label():
            html = f'<p class="ca-quiet">{escaped(str(said))}</p>'
            display({"text/plain": visible(str(said)), "text/html": html}, raw=True)
            return
        display(bundle(self), raw=True)


def bundle(figure: Figure) -> dict[str, Any]:
    """Give a figure as PNG for notebooks, and as SVG for pages; it stays narrow."""
    canvas = figure.canvas
    try:
        png = io.BytesIO()
        FigureCanvasAgg(figure).print_png(png)
        figure.set_layout_engine("none")  # its places are found
        wide = svg(figure)
        narrow(figure)
        return {
            "text/plain": repr(figure),
            "image/png": base64.b64encode(png.getvalue()).decode(),
            FIGURE: {WIDE: wide, NARROW: svg(figure)},
        }
    finally:
        figure.set_canvas(canvas)


def narrow(figure: Figure) -> None:
    """Fit a figure to the width of a phone: fewer ticks, and longer names in more lines."""
    height, more = figure.get_figheight(), 0.0
    figure.set_layout_engine("constrained")
    for ax in figure.axes:
        more += _fit(ax)
    if not any(isinstance(ax.yaxis.get_major_locator(), FixedLocator) for ax in figure.axes):
        height = max(min(height, 2.4), 0.75 * height)  # it has no rows, which need theirs
    figure.set_size_inches(_NARROW, height + more)


def _fit(ax: Axes) -> float:
    """Fit axes, and give the height that they need for it [inches]."""
    more = 0.0
    locator = ax.xaxis.get_major_locator()
    if isinstance(locator, AutoDateLocator):
        locator.minticks = 3
        locator.maxticks = dict.fromkeys(locator.maxticks, 5)
        ax.set_xlabel(ax.get_xlabel(), loc="left")  # the day is at the right
    for axis in (ax.xaxis, ax.yaxis):
        if isinstance(axis.get_major_locator(), FixedLocator):
            names = [folded(label.get_text(), _BESIDE) for label in axis.get_ticklabels()]
            axis.set_ticks(axis.get_ticklocs(), names)
    if isinstance(locator, FixedLocator) and len(ax.get_xticks()) > _LEVEL:
        ax.tick_params(axis="x", labelrotation=40)
        for label in ax.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
        more += 0.6
    for text in ax.texts:
        if isinstance(text, Annotation):
            text.set_text(folded(text.get_text(), _BESIDE))
    return more + _fit_legend(ax)


def _fit_legend(ax: Axes) -> float:
    found = ax.get_legend()
    if found is None:
        return 0.0
    handles = [handle for handle in found.legend_handles if handle is not None]
    names = [folded(text.get_text(), _LINE - 6) for text in found.get_texts()]
    before, now = columns(names), columns(names, _LINE)
    legend(ax, handles, names, title=found.get_title().get_text(), characters=_LINE)
    return 0.17 * (len(names) / now - len(names) / before)


def svg(figure: Figure) -> str:
    """Give a figure as SVG whose ink follows the page: dark on light, light on dark."""
    patches = [figure.patch, *(ax.patch for ax in figure.axes)]
    shown = [patch for patch in patches if patch.get_facecolor()[:3] == (1.0, 1.0, 1.0)]
    written = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    for patch in shown:
        patch.set_visible(False)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "cilium-analysis"}):
        FigureCanvasSVG(figure).print_svg(written, metadata=nothing)
    for patch in shown:
        patch.set_visible(True)
    return _compact(written.getvalue())


def _compact(text: str) -> str:
    """Shorten what matplotlib writes, and give it the page's colours and letters."""
    width, height = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)[0]
    drawn = text.partition("</defs>")[2]  # a style, which would be that of a white page
    used = set(_USED.findall(drawn))
    # Only within tags: what stands between them are names, which are anybody's.
    drawn = _TAG.sub(lambda found: _short(found[0], used), drawn)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        f' width="{width}pt" height="{height}pt" viewBox="0 0 {width} {height}"'
        f' fill="currentColor"><style>{STYLE}</style>{drawn}'
    )


def _short(tag: str, used: set[str]) -> str:
    tag = _ID.sub(lambda found: found[0] if found[1] in used else "", tag)
    tag = _INK.sub(_inked, _NEEDLESS.sub("", tag))
    return _PATH.sub(lambda found: f' d="{"".join(_steps(found[1]))}"', tag).strip()


def _inked(found: re.Match[str]) -> str:
    strength = _INKS[found[2]]
    faint = f"; {found[1]}-opacity: {strength}" if strength < 1 else ""
    return f"{found[1]}: currentColor{faint}"


def _steps(path: str) -> Iterator[str]:
    """Write a path as steps of tenths of a point, without those that lead nowhere new."""
    if not _STRAIGHT.fullmatch(path):
        yield _NUMBER.sub(lambda found: f"{float(found[0]):.1f}", " ".join(path.split()))
        return
    for part in path.split("M")[1:]:
        places = np.array(part.replace("L", " ").replace("z", " ").split(), dtype="float64")
        points = np.rint(10 * places.reshape(-1, 2)).astype(int)
        yield f"M{points[0, 0] / 10:g} {points[0, 1] / 10:g}"
        for x, y in (np.diff(_corners(points), axis=0) / 10).tolist():
            yield f"h{x:g}" if not y else f"v{y:g}" if not x else f"l{x:g} {y:g}"
        yield "z" if "z" in part else ""


def _corners(points: NDArray[np.int_]) -> NDArray[np.int_]:
    """Give the points between which a path is straight; of a level run, its ends."""
    x, y = np.diff(points, axis=0).T
    directions = np.where(y == 0, np.sign(x), np.where(x == 0, 2.0 * np.sign(y), np.nan))
    moved = np.flatnonzero(directions != 0)
    directions = directions[moved]
    # Slanted ones differ from each other: NaN is not itself.
    turns = moved[:-1][directions[1:] != directions[:-1]]
    return points[[0, *(turns + 1), *(moved[-1:] + 1)]]
