"""Plots: from frames to Axes. Nothing here is shown or saved.

Every function takes ``ax`` (a new one if not given) and returns it. Colours are those of Okabe
and Ito (Color Universal Design, 2008), which stay apart for colour-blind eyes; series also
differ in lightness and are labelled, so that a print in grey can be read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.dates as mdates
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cilium_analysis.window import zone

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import pandas as pd
    from matplotlib.axes import Axes

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442")
REST = "#999999"
INK = "#222222"


def plain(text: object) -> str:
    """Make any text safe to draw: a dollar sign would start a formula."""
    return str(text).replace("\\", "\\\\").replace("$", r"\$")


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    if ax is not None:
        return ax
    _, made = plt.subplots(figsize=size, layout="constrained")
    return made


def _tidy(ax: Axes, *, grid: str = "y") -> None:
    """Take the ink away that says nothing."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.grid(visible=True, axis=grid, color="#dddddd", linewidth=0.6)  # type: ignore[arg-type]
    ax.set_axisbelow(True)


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


def stacked(
    rates: pd.DataFrame,
    *,
    timezone: str = "UTC",
    unit: str = "",
    most: int = 6,
    ax: Axes | None = None,
) -> Axes:
    """Draw what adds up to a whole over time, the largest part at the bottom.

    Parameters
    ----------
    rates
        Rows are times, columns the parts, by name.
    timezone
        In which the reader reads times.
    unit
        Of the values, for the y axis.
    most
        Parts to tell apart; the others are drawn together.
    ax
        Where to draw.
    """
    ax = _axes(ax, (10, 4))
    parts = largest(rates.fillna(0.0), most=most)
    if not len(parts) or not parts.shape[1] or not parts.to_numpy().any():
        return _nothing(ax, "Nothing in this window")
    colours = [REST if name == OTHERS else PALETTE[i] for i, name in enumerate(parts.columns)]
    ax.stackplot(
        mdates.date2num(parts.index.to_numpy()),
        parts.to_numpy().T,
        labels=[plain(name) for name in parts.columns],
        colors=colours,
        step="pre",
        edgecolor="white",
        linewidth=0.3,
    )
    _tidy(ax)
    ax.set_ylabel(plain(unit))
    ax.set_ylim(bottom=0)
    ax.margins(x=0)
    ax.legend(loc="upper left", frameon=False, reverse=True, fontsize="small")
    return time_axis(ax, timezone=timezone)


OTHERS = "all others"


def largest(rates: pd.DataFrame, *, most: int) -> pd.DataFrame:
    """Keep the largest columns, and add the others up to one.

    Parameters
    ----------
    rates
        Columns to choose from.
    most
        How many to keep.
    """
    order = rates.sum().sort_values(ascending=False, kind="stable").index
    kept = rates[order[:most]].copy()
    if len(order) > most:
        kept[OTHERS] = rates[order[most:]].sum(axis=1)
    return kept


def heatmap(table: pd.DataFrame, *, unit: str = "", ax: Axes | None = None) -> Axes:
    """Draw a table as colours, with the numbers in it; the scale is logarithmic.

    Parameters
    ----------
    table
        Values that are 0 or more, by row and column.
    unit
        Of the values, for the colour bar.
    ax
        Where to draw.
    """
    rows, columns = table.shape
    ax = _axes(ax, (max(6.0, 2.2 + 1.3 * columns), max(1.8, 1.6 + 0.36 * rows)))
    if not rows or not columns or not table.to_numpy().any():
        return _nothing(ax, "Nothing in this window")
    values = table.to_numpy(dtype="float64")
    scale = LogNorm(vmin=1, vmax=max(float(values.max()), 10.0), clip=False)
    image = ax.imshow(np.ma.masked_less(values, 1), cmap="Blues", norm=scale, aspect="auto")
    ax.set_xticks(range(columns), [_wrap(plain(name)) for name in table.columns], fontsize=8)
    ax.set_yticks(range(rows), [plain(name) for name in table.index], fontsize=9)
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    _numbers(ax, values, dark_from=float(scale.inverse(0.55)))
    bar = ax.figure.colorbar(image, ax=ax, format=FuncFormatter(_short_tick), pad=0.02)
    bar.set_label(plain(unit))
    bar.outline.set_visible(False)
    return ax


def _numbers(ax: Axes, values: Any, *, dark_from: float) -> None:
    """Write the numbers into a heat map, as long as they can be read."""
    if values.size > 400:
        return
    for (row, column), value in np.ndenumerate(values):
        if value:
            colour = "white" if value > dark_from else INK
            ax.text(column, row, short(value), ha="center", va="center", fontsize=8, color=colour)


def _short_tick(value: float, _: object = None) -> str:
    return short(value)


def _wrap(text: str, width: int = 16) -> str:
    """Break a long name into lines at spaces."""
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def short(value: float) -> str:
    """Write a number with three digits at most, such as 0.31, 41.2 or 12.4k."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if letter == 'k' else limit):.3g}{letter}"
    return f"{value:.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.2g}"


def comparison(
    table: pd.DataFrame,
    *,
    window: str = "packets",
    baseline: str = "expected",
    unit: str = "",
    most: int = 8,
    ax: Axes | None = None,
) -> Axes:
    """Draw the window beside its baseline, one pair of bars per row.

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
    ax
        Where to draw.
    """
    rows = table.head(most).iloc[::-1]
    ax = _axes(ax, (10, max(1.8, 0.9 + 0.62 * len(rows))))
    if not len(rows):
        return _nothing(ax, "Nothing in this window or its baseline")
    places = np.arange(len(rows))
    drawn = (
        (0.2, window, "window", PALETTE[3], ""),
        (-0.2, baseline, "baseline, for the same length", REST, "//"),
    )
    for offset, column, label, colour, hatch in drawn:
        bars = ax.barh(
            places + offset,
            rows[column],
            height=0.38,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            label=label,
        )
        ax.bar_label(bars, [short(value) for value in rows[column]], padding=3, fontsize=8)
    ax.set_yticks(places, [_wrap(plain(name), 34) for name in rows.index], fontsize=9)
    _tidy(ax, grid="x")
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.xaxis.set_major_formatter(FuncFormatter(_short_tick))
    ax.margins(x=0.1)
    ax.set_xlabel(plain(unit))
    ax.legend(loc="lower right", frameon=False, fontsize="small")
    return ax


def shade(
    ax: Axes, stretches: Sequence[tuple[datetime, datetime]], *, colour: str = "#D55E00"
) -> Axes:
    """Mark stretches of time, such as those of findings, at the top of a plot over time.

    Parameters
    ----------
    ax
        Axes whose x values are times.
    stretches
        Start and end of each.
    colour
        Of the marks.
    """
    for start, end in stretches:
        first, last = mdates.date2num([start, end])
        ax.axvspan(first, last, ymin=0.985, ymax=1.0, color=colour, linewidth=0)
    return ax


def _nothing(ax: Axes, text: str) -> Axes:
    """Say that there is nothing, rather than leave empty axes."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, plain(text), ha="center", va="center", color="#666666", style="italic")
    return ax


def lines(
    frame: pd.DataFrame,
    *,
    timezone: str = "UTC",
    unit: str = "",
    most: int = 7,
    ax: Axes | None = None,
) -> Axes:
    """Draw several quantities over time; a gap in the data stays a gap.

    Parameters
    ----------
    frame
        Rows are times, columns the quantities, by name.
    timezone
        In which the reader reads times.
    unit
        Of the values, for the y axis.
    most
        Quantities to draw, those with the highest peaks; the legend says how many are not.
    ax
        Where to draw.
    """
    ax = _axes(ax, (10, 3.2))
    peaks = frame.max().dropna().sort_values(ascending=False, kind="stable")
    if not len(peaks):
        return _nothing(ax, "Nothing in this window")
    styles = ("-", "--", "-.", ":")
    for place, name in enumerate(peaks.index[:most]):
        ax.plot(
            mdates.date2num(frame.index.to_numpy()),
            frame[name].to_numpy(dtype="float64"),
            label=plain(name),
            color=PALETTE[place % len(PALETTE)],
            linestyle=styles[place % len(styles)],
            linewidth=1.6,
        )
    _tidy(ax)
    ax.set_ylabel(plain(unit))
    ax.margins(x=0)
    ax.set_ylim(bottom=min(0.0, float(frame.min().min())))
    left_out = len(peaks) - most
    title = f"and {left_out} more below" if left_out > 0 else None
    ax.legend(loc="upper left", frameon=False, fontsize="small", title=title)
    return time_axis(ax, timezone=timezone)
