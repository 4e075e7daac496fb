"""Plots over time: quantities, shares per node, and what happened when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.dates as mdates
import numpy as np

from cilium_analysis.plots.colours import OTHERS, REST, colour, hatches, line_looks
from cilium_analysis.plots.style import (
    FAILING,
    INK,
    SHARES,
    UNKNOWN,
    axes,
    legend,
    nothing,
    plain,
    scale,
    tidy,
    time_axis,
)
from cilium_analysis.texts import spoken

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import pandas as pd
    from matplotlib.axes import Axes

COLOURS = {"critical": "#B2182B", "warning": "#E69F00", "info": "#56B4E9"}
#: Points that are drawn as lines; more become an image.
_MOST_POINTS = 10_000
_MARKERS = {"policies": "D", "policy_change": "D", "agent": "^", "rollout": "o", "node": "s"}


def stacked(
    rates: pd.DataFrame,
    *,
    timezone: str = "UTC",
    unit: str = "",
    most: int = 6,
    empty: str = "",
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
    empty
        What to say when there are none; by default, whether there are no data or all are 0.
    ax
        Where to draw.
    """
    ax = axes(ax, (10, 4))
    known = bool(rates.notna().to_numpy().any())
    parts = largest(rates.fillna(0.0), most=most)
    if not len(parts) or not parts.shape[1] or not parts.to_numpy().any():
        return nothing(ax, empty or ("None" if known else "No data") + " in this window")
    areas = ax.stackplot(
        mdates.date2num(parts.index.to_numpy()),
        parts.to_numpy().T,
        labels=[plain(name) for name in parts.columns],
        colors=[colour(name) for name in parts.columns],
        step="pre",
        linewidth=0,
        rasterized=parts.size > _MOST_POINTS,
    )
    for area, hatch in zip(areas, hatches(list(parts.columns)), strict=True):
        if hatch:
            area.set(hatch=hatch, edgecolor="white")
    tidy(ax)
    ax.set_ylabel(plain(unit))
    ax.set_ylim(bottom=0)
    ax.margins(x=0)
    legend(ax, reverse=True)
    return time_axis(ax, timezone=timezone)


def largest(rates: pd.DataFrame, *, most: int) -> pd.DataFrame:
    """Keep the largest columns, and add the others up to one, which is the last.

    Parameters
    ----------
    rates
        Columns to choose from; one of others that were added up before is never chosen.
    most
        How many to keep.
    """
    sums = rates.sum().drop(OTHERS, errors="ignore")
    kept = rates[sums.sort_values(ascending=False, kind="stable").index[:most]].copy()
    rest = rates.drop(columns=kept.columns)
    if rest.shape[1]:
        kept[OTHERS] = rest.sum(axis=1)
    return kept


def lines(
    frame: pd.DataFrame,
    *,
    timezone: str = "UTC",
    unit: str = "",
    most: int = 7,
    empty: str = "No data in this window",
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
    empty
        What to say where there is nothing to draw.
    ax
        Where to draw.
    """
    ax = axes(ax, (10, 3.2))
    peaks = frame.max().dropna().sort_values(ascending=False, kind="stable")
    if not len(peaks):
        return nothing(ax, empty)
    names = list(peaks.index[:most])
    for name, (ink, style) in zip(names, line_looks(names), strict=True):
        ax.plot(
            mdates.date2num(frame.index.to_numpy()),
            frame[name].to_numpy(dtype="float64"),
            label=plain(name),
            color=ink,
            linestyle=style,
            linewidth=1.6,
            rasterized=frame.size > _MOST_POINTS,
        )
    tidy(ax)
    ax.set_ylabel(plain(unit))
    ax.margins(x=0)
    ax.set_ylim(bottom=min(0.0, float(frame.min().min())))
    left_out = len(peaks) - most
    title = f"and {left_out} more below" if left_out > 0 else None
    legend(ax, title=title)
    return time_axis(ax, timezone=timezone)


def shade(
    ax: Axes, intervals: Sequence[tuple[datetime, datetime]], *, colour: str = "#D55E00"
) -> Axes:
    """Mark intervals, such as those of findings, at the top of a plot over time.

    Parameters
    ----------
    ax
        Axes whose x values are times.
    intervals
        Start and end of each.
    colour
        Of the marks.
    """
    if not ax.axison:  # nothing is drawn there
        return ax
    for start, end in intervals:
        first, last = mdates.date2num([start, end])
        ax.axvspan(first, last, ymin=0.985, ymax=1.0, color=colour, linewidth=0)
    return ax


def outages(
    frame: pd.DataFrame,
    *,
    timezone: str = "UTC",
    empty: str = "No outage in this window",
    ax: Axes | None = None,
) -> Axes:
    """Draw a strip per node: which share of the paths failed when.

    Parameters
    ----------
    frame
        Rows are times, the ends of their steps; columns are nodes; values 0 to 1, NaN where
        nothing is known.
    timezone
        In which the reader reads times.
    empty
        What to say where there is nothing to draw.
    ax
        Where to draw.
    """
    rows = frame.shape[1]
    ax = axes(ax, (10, max(1.6, 1.1 + 0.36 * rows)))
    if len(frame) < 2 or not rows:
        return nothing(ax, empty)
    values = frame.to_numpy(dtype="float64").T
    ends = mdates.date2num(frame.index.to_numpy())
    edges = np.concatenate([[2 * ends[0] - ends[1]], ends])
    ax.set_facecolor(UNKNOWN)
    image = ax.pcolormesh(
        edges, np.arange(rows + 1), np.ma.masked_invalid(values), cmap=SHARES, vmin=0, vmax=1
    )
    image.set_rasterized(True)
    ax.set_yticks(np.arange(rows) + 0.5, [plain(name) for name in frame.columns], fontsize=9)
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    scale(ax, SHARES, FAILING, unknown=UNKNOWN)
    return time_axis(ax, timezone=timezone)


def stories(
    table: pd.DataFrame,
    severities: Mapping[int, object],
    *,
    span: tuple[datetime, datetime],
    timezone: str = "UTC",
    most: int = 14,
    ax: Axes | None = None,
) -> Axes:
    """Draw what happened when: findings of stories as bars, everything else as marks.

    Parameters
    ----------
    table
        As from `cilium_analysis.incident.timeline`.
    severities
        Severity of each story (``critical``, ``warning``, ``info``), by its rank.
    span
        Start and end of the window.
    timezone
        In which the reader reads times.
    most
        Rows to draw, those of the first stories; what belongs to no story is marked below them.
    ax
        Where to draw.
    """
    drawn = table[table["story"].notna()].sort_values(["story", "time"], kind="stable")
    drawn = drawn.drop_duplicates(["story", "kind", "where", "time"]).head(most)
    others = table[table["story"].isna()]
    rows = len(drawn) + (1 if len(others) else 0)
    ax = axes(ax, (10, max(1.6, 1.0 + 0.34 * rows)))
    if not rows:
        return nothing(ax, "No findings in this window")
    ax.set_xlim(*mdates.date2num(list(span)))
    for place, (_, row) in enumerate(drawn.iterrows()):
        _bar(ax, place, row, COLOURS[str(severities[int(row["story"])])])
    _marks(ax, others, place=len(drawn))
    names = [f"{row['story']}  {spoken(str(row['kind']))}" for _, row in drawn.iterrows()]
    names += ["other events"] if len(others) else []
    ax.set_yticks(range(rows), [plain(name) for name in names], fontsize=9)
    ax.set_ylim(rows - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    tidy(ax, grid="x")
    return time_axis(ax, timezone=timezone)


def _bar(ax: Axes, place: int, row: pd.Series, colour: str) -> None:
    first, last = mdates.date2num([row["time"], row["end"]])
    if row["kind"] in _MARKERS:
        ax.plot([first], [place], marker=_MARKERS[row["kind"]], color=INK, markersize=6)
        return
    ax.barh(place, max(last - first, 1e-4), left=first, height=0.55, color=colour)
    if row["where"]:
        left, right = ax.get_xlim()
        # On the side where there is more room for it.
        ends = right - last >= first - left
        ax.annotate(
            plain(row["where"]),
            (last if ends else first, place),
            xytext=(4 if ends else -4, 0),
            textcoords="offset points",
            ha="left" if ends else "right",
            va="center",
            fontsize=9,
            color=INK,
            annotation_clip=True,
        )


def _marks(ax: Axes, others: pd.DataFrame, *, place: int) -> None:
    handles, names = [], []
    for kind, group in others.groupby("kind"):
        marker = _MARKERS.get(str(kind), "v")
        times = mdates.date2num(group["time"].to_numpy())
        places = [place] * len(group)
        handles += ax.plot(times, places, marker, color=REST, markeredgecolor=INK, markersize=6)
        names.append(plain(spoken(str(kind))))
    if handles:
        legend(ax, handles, names)
