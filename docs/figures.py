"""Figures of the explanation: examples whose truth is known, counted by the package itself."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib import dates, rc_context
from matplotlib.figure import Figure

from cilium_analysis import counters, frames
from cilium_analysis.findings import Finding, Severity
from cilium_analysis.incident.links import DEPTH, LINKS, ends
from cilium_analysis.incident.stories import stories
from cilium_analysis.plots import PALETTE, time_axis
from cilium_analysis.plots import stories as draw_stories
from cilium_analysis.statistics.rises import Rises

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

STEP = timedelta(seconds=30)
#: The same as matplotlib counts time [days].
WIDTH = STEP / timedelta(days=1)
START = pd.Timestamp("2026-03-21 09:00", tz="UTC")
#: A reason that has been there all along: it proves that the agent was being scraped.
ALWAYS = "Stale or unroutable IP"
BLUE, ORANGE = PALETTE[0], PALETTE[1]


def draw(place: Path) -> None:
    """Draw all figures as SVG.

    Parameters
    ----------
    place
        Directory of the files.
    """
    figures = {"birth": birth(), "pinned": pinned(), "onset": onset(), "stories": linked()}
    # The same file from the same figure, and text that a reader can select.
    with rc_context({"svg.hashsalt": "docs", "svg.fonttype": "none"}):
        for name, figure in figures.items():
            figure.savefig(place / f"{name}.svg", metadata={"Date": None})
    (place / "links.md").write_text(links(), encoding="utf-8")


def values(*, reasons: dict[str, Floats]) -> pd.DataFrame:
    """Make the label frame that a server answers for a drop counter of one agent."""
    length = len(next(iter(reasons.values())))
    times = frames.milliseconds(pd.date_range(START, periods=length, freq=STEP))
    series = [{"direction": "INGRESS", "node": "worker-1", "reason": each} for each in reasons]
    return frames.build(times, np.column_stack(list(reasons.values())), series)


def birth() -> Figure:
    """Show a series that begins with its first drops, and what the two ways of counting see."""
    level = np.array([np.nan] * 6 + [940, 1920, 2900, 2980] + [3000] * 6)
    frame = values(reasons={ALWAYS: np.full(len(level), 40.0), "Policy denied": level})
    counted = counters.increase(frame).xs("Policy denied", level="reason", axis=1)
    return _compared(
        frame.index,
        level,
        {
            "increase between samples": np.diff(level, prepend=np.nan),
            "counters.increase": counted.to_numpy()[:, 0],
        },
        title="Packets dropped, “Policy denied”",
    )


def pinned() -> Figure:
    """Show a pinned counter that falls to 0 while its agent restarts, and jumps back."""
    level: Floats = np.arange(5000.0, 5320.0, 20.0)
    level[7:9] = 0.0
    frame = values(reasons={"Policy denied": level})
    after = np.diff(level, prepend=np.nan)
    # As rate() and increase() read it: what fell was reset, and began at 0 again.
    as_reset: Floats = np.where(after < 0, level, after)
    counted = counters.increase(frame).to_numpy()[:, 0]
    return _compared(
        frame.index,
        level,
        {"read as a reset": as_reset, "counters.increase": counted},
        title="Packets dropped; the agent restarts at 09:03:30",
    )


def onset() -> Figure:
    """Show the interval that `Rises` finds in counts, and how sharply its start is known."""
    random = np.random.default_rng(7)
    counts = random.poisson(4.0, 60).astype(float)
    counts[24:41] += random.poisson(30.0, 17)
    baseline = random.poisson(4.0, 60).astype(float)
    ((first, last),) = Rises().at(STEP).find(counts, baseline)
    times = dates.date2num(pd.date_range(START, periods=len(counts), freq=STEP))
    figure = Figure(figsize=(8.0, 2.8), layout="constrained")
    ax = figure.subplots()
    ax.bar(times, counts, width=-WIDTH, align="edge", color=BLUE, label="packets per step")
    level = Rises().level(baseline)
    ax.axhline(level, color="black", linestyle="--", label=f"baseline, {level:.1f} per step")
    begin, end = times[first] - WIDTH, times[last - 1]
    ax.axvspan(begin, end, color=ORANGE, alpha=0.2, label="interval of the finding", zorder=0)
    ax.axvspan(begin, times[first], color=ORANGE, alpha=0.9, label="step of the onset", zorder=0)
    _finish(ax, "packets per step")
    return figure


def linked() -> Figure:
    """Show four findings of one incident, and one of another event, as the package links them."""
    denied = {"reason": "Policy denied", "direction": "INGRESS", "destination": "default/web"}
    found = [
        _finding("policy_change", 60, 61, Severity.INFO, {}),
        _finding("drop_spike", 60, 102, Severity.CRITICAL, denied),
        _finding("http_denied", 60, 102, Severity.CRITICAL, {"destination": "default/web"}),
        _finding("tcp_failures", 63, 104, Severity.WARNING, {"destination": "default/web"}),
        _finding("agent_restart", 22, 24, Severity.INFO, {"node": "worker-5"}),
    ]
    told = stories(found, step=STEP)
    rows = [
        (rank, one.kind, one.start, one.end, str(ends(one)))
        for rank, story in enumerate(told, start=1)
        for one in story.members
    ]
    table = pd.DataFrame(rows, columns=["story", "kind", "time", "end", "where"])
    severities = {rank: story.severity for rank, story in enumerate(told, start=1)}
    figure = Figure(figsize=(8.0, 2.6), layout="constrained")
    span = (_at(0), _at(120))
    draw_stories(table, severities, span=span, ax=figure.subplots())
    return figure


def _at(minute: int) -> pd.Timestamp:
    return START - timedelta(hours=1) + timedelta(minutes=minute)


def _finding(
    kind: str, begin: int, end: int, severity: Severity, labels: dict[str, str]
) -> Finding:
    """Make a finding from one minute to another, of which only the time and place matter."""
    return Finding(
        kind=kind,
        severity=severity,
        title=kind,
        start=_at(begin),
        end=_at(end),
        value=10.0,
        baseline_value=0.0,
        unit="",
        query="",
        next_step="",
        labels=labels,
    )


def _compared(index: pd.Index, level: Floats, read: dict[str, Floats], *, title: str) -> Figure:
    """Draw the values of a counter, and below them what each way of reading makes of them."""
    figure = Figure(figsize=(8.0, 4.2), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    times = dates.date2num(index)
    above.plot(times, level, "o-", color="black", markersize=4, label="value of the counter")
    figure.suptitle(title, fontsize=10)
    for place, (name, gained) in enumerate(read.items()):
        total = np.nansum(gained)
        below.bar(
            times + (place - 1) * WIDTH * 0.4,
            gained,
            width=WIDTH * 0.4,
            align="edge",
            color=(ORANGE, BLUE)[place],
            label=f"{name}: {total:,.0f} in all",
        )
    _finish(above, "packets")
    _finish(below, "packets per step")
    above.set(xlabel="", xlim=(times[0] - WIDTH, times[-1] + WIDTH))
    return figure


def _finish(ax: Axes, unit: str) -> None:
    time_axis(ax, timezone="UTC")
    ax.set_ylabel(unit)
    ax.set_ylim(bottom=0)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(fontsize=9, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)


def links() -> str:
    """Give the links of stories as a table in Markdown, in the order of their depth."""
    rows = ["| depth | kind | may show as |", "|---|---|---|"]
    for kind, depth in DEPTH.items():
        shown = dict.fromkeys(one for link in LINKS.get(kind, ()) for one in link.shown_as)
        rows.append(f"| {depth + 1} | `{kind}` | {', '.join(f'`{one}`' for one in shown)} |")
    return "\n".join(rows) + "\n"
