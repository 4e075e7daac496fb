"""Plots of tables: one number per row and column, or per row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cilium_analysis.plots.colours import PALETTE, REST
from cilium_analysis.plots.style import (
    AMOUNTS,
    FAILING,
    INK,
    SHARES,
    UNKNOWN,
    axes,
    legend,
    nothing,
    plain,
    scale,
    short,
    short_tick,
    tidy,
    wrap,
)
from cilium_analysis.texts import clipped

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

#: Cells whose numbers can be read; and the strength of a colour from which they are white.
_MOST_NUMBERS, _DARK = 400, 0.7
#: Characters of a name beside a plot.
_NAME = 60


def heatmap(
    table: pd.DataFrame,
    *,
    unit: str = "",
    empty: str = "No data in this window",
    ax: Axes | None = None,
) -> Axes:
    """Draw a table as colours, with the numbers in it; the scale is logarithmic.

    Parameters
    ----------
    table
        Values that are 0 or more, by row and column.
    unit
        Of the values, for the colour bar.
    empty
        What to say when there are none.
    ax
        Where to draw.
    """
    rows, columns = table.shape
    ax = axes(ax, (max(6.0, 2.2 + 1.3 * columns), max(1.8, 1.6 + 0.36 * rows)))
    if not rows or not columns or not table.to_numpy().any():
        return nothing(ax, empty)
    values = table.to_numpy(dtype="float64")
    norm = LogNorm(vmin=1, vmax=max(float(values.max()), 10.0), clip=False)
    _cells(ax, np.ma.masked_less(values, 1), norm=norm, colours=AMOUNTS)
    ax.set_xticks(range(columns), [wrap(_name(name)) for name in table.columns], fontsize=9)
    ax.set_yticks(range(rows), [_name(name) for name in table.index], fontsize=9)
    ax.set_xlabel(plain(unit))
    if not _numbers(ax, values, dark_from=float(norm.inverse(_DARK))):
        steps = {float(norm(x)): short(x) for x in (1, float(norm.inverse(0.5)), norm.vmax or 1)}
        scale(ax, AMOUNTS, steps)
    return ax


def _name(name: object) -> str:
    """Write a name beside a plot, which needs room too."""
    return plain(clipped(str(name), _NAME))


def _cells(ax: Axes, values: Any, *, norm: Normalize, colours: Colormap) -> None:
    """Draw a table of colours; many cells as one image."""
    rows, columns = values.shape
    edges = (np.arange(columns + 1) - 0.5, np.arange(rows + 1) - 0.5)
    cells = ax.pcolormesh(*edges, values, cmap=colours, norm=norm, linewidth=0)
    cells.set_rasterized(values.size > _MOST_NUMBERS)
    ax.invert_yaxis()
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)


def _numbers(ax: Axes, values: Any, *, dark_from: float) -> bool:
    """Write the numbers into a heat map, and tell whether they can be read."""
    if values.size > _MOST_NUMBERS:
        return False
    for (row, column), value in np.ndenumerate(values):
        if value:
            colour = "white" if value > dark_from else INK
            ax.text(column, row, short(value), ha="center", va="center", fontsize=9, color=colour)
    return True


def comparison(
    table: pd.DataFrame,
    *,
    window: str = "packets",
    baseline: str = "expected",
    unit: str = "",
    most: int = 8,
    empty: str = "No data in this window or its baseline",
    ax: Axes | None = None,
) -> Axes:
    """Draw the window beside its baseline, one pair of bars per row; without one, only the window.

    Parameters
    ----------
    table
        One row per thing, named by the index.
    window, baseline
        The columns to draw.
    unit
        Of the values, for the x axis.
    most
        Rows to draw, from the top.
    empty
        What to say when there are none.
    ax
        Where to draw.
    """
    rows = table.head(most).iloc[::-1]
    ax = axes(ax, (10, max(1.8, 0.9 + 0.62 * len(rows))))
    if not len(rows):
        return nothing(ax, empty)
    places = np.arange(len(rows))
    drawn = (
        (0.2, window, "window", PALETTE[3], ""),
        (-0.2, baseline, "baseline, for the same length", REST, "//"),
    )
    for offset, column, label, colour, hatch in drawn:
        if rows[column].isna().all():
            continue
        bars = ax.barh(
            places + offset,
            rows[column],
            height=0.38,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            linewidth=0,
            label=label,
        )
        ax.bar_label(
            bars, [short(value) for value in rows[column]], padding=3, fontsize=9, color=INK
        )
    ax.set_yticks(places, [wrap(plain(name), 34) for name in rows.index], fontsize=9)
    tidy(ax, grid="x")
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.xaxis.set_major_formatter(FuncFormatter(short_tick))
    ax.margins(x=0.1)
    ax.set_xlabel(plain(unit))
    legend(ax)
    return ax


def matrix(
    table: pd.DataFrame,
    *,
    empty: str = "No pair of nodes is known to have failed",
    ax: Axes | None = None,
) -> Axes:
    """Draw which share of the probes from each node (rows) to each other (columns) failed.

    Parameters
    ----------
    table
        0 to 1; NaN where there is no such path.
    empty
        What to say where there is nothing to draw.
    ax
        Where to draw.
    """
    rows, columns = table.shape
    ax = axes(ax, (max(5.0, 2.8 + 0.62 * columns), max(2.2, 1.8 + 0.36 * rows)))
    if not rows or not columns:
        return nothing(ax, empty)
    values = table.to_numpy(dtype="float64")
    ax.set_facecolor(UNKNOWN)
    _cells(ax, np.ma.masked_invalid(values), norm=Normalize(0, 1), colours=SHARES)
    names = [_name(name) for name in table.columns]
    ax.set_xticks(range(columns), names, fontsize=9, rotation=35, ha="right")
    ax.set_yticks(range(rows), [_name(name) for name in table.index], fontsize=9)
    ax.set_xlabel("Target")
    ax.set_ylabel("Source")
    _numbers(ax, np.nan_to_num(values), dark_from=_DARK)
    scale(ax, SHARES, FAILING, unknown=UNKNOWN)
    return ax
