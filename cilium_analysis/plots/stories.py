"""Plots of what happened when: stories as bars, everything else as marks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.dates as mdates
from matplotlib.lines import Line2D

from cilium_analysis.plots.style import INK, REST, axes, nothing, plain, tidy, time_axis

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import pandas as pd
    from matplotlib.axes import Axes

COLOURS = {"critical": "#B2182B", "warning": "#E69F00", "info": "#56B4E9"}
_MARKERS = {"policies": "D", "policy_change": "D", "agent": "^", "rollout": "o", "node": "s"}


def stories(
    table: pd.DataFrame,
    severities: Mapping[int, object],
    *,
    span: tuple[datetime, datetime],
    timezone: str = "UTC",
    most: int = 14,
    ax: Axes | None = None,
) -> Axes:
    """Draw what happened in order of time.

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
        Rows to draw, those of the first stories; what belongs to none are marks below them.
    ax
        Where to draw.
    """
    told = table[table["story"].notna()].sort_values(["story", "time"], kind="stable")
    told = told.drop_duplicates(["story", "kind", "where", "time"]).head(most)
    others = table[table["story"].isna()]
    rows = len(told) + (1 if len(others) else 0)
    ax = axes(ax, (10, max(1.6, 1.0 + 0.34 * rows)))
    if not rows:
        return nothing(ax, "No findings in this window")
    for place, (_, row) in enumerate(told.iterrows()):
        _bar(ax, place, row, COLOURS[str(severities[int(row["story"])])])
    _marks(ax, others, place=len(told))
    names = [f"{row['story']}  {_words(row['kind'])}" for _, row in told.iterrows()]
    names += ["beside them"] if len(others) else []
    ax.set_yticks(range(rows), [plain(name) for name in names], fontsize=9)
    ax.set_ylim(rows - 0.4, -0.6)
    ax.set_xlim(*mdates.date2num(list(span)))
    ax.tick_params(axis="y", length=0)
    tidy(ax, grid="x")
    return time_axis(ax, timezone=timezone)


def _words(kind: object) -> str:
    return str(kind).replace("_", " ")


def _bar(ax: Axes, place: int, row: pd.Series, colour: str) -> None:
    first, last = mdates.date2num([row["time"], row["end"]])
    if row["kind"] in _MARKERS:
        ax.plot([first], [place], marker=_MARKERS[row["kind"]], color=INK, markersize=6)
        return
    ax.barh(place, max(last - first, 1e-4), left=first, height=0.55, color=colour)
    if row["where"]:
        ax.annotate(
            plain(row["where"]),
            (last, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=INK,
            annotation_clip=True,
        )


def _marks(ax: Axes, others: pd.DataFrame, *, place: int) -> None:
    handles = []
    for kind, group in others.groupby("kind"):
        marker = _MARKERS.get(str(kind), "v")
        times = mdates.date2num(group["time"].to_numpy())
        ax.plot(times, [place] * len(group), marker, color=REST, markeredgecolor=INK, markersize=6)
        handles.append(
            Line2D([], [], linestyle="", marker=marker, color=REST, label=plain(_words(kind)))
        )
    if handles:
        ax.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=5,
            frameon=False,
            fontsize="small",
        )
