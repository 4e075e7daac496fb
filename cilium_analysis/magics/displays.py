"""How label frames, windows, sources, journals, findings and metrics look in a notebook.

Everything has a plain text beside its HTML, for consoles and for notebooks that are not trusted.
Every text from a cluster is escaped.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pandas as pd

from cilium_analysis import show
from cilium_analysis.bundle import Bundle
from cilium_analysis.findings import Finding, Findings
from cilium_analysis.frames import NOTE
from cilium_analysis.memory import Remembering
from cilium_analysis.metrics import COLUMNS, Help
from cilium_analysis.prometheus import Prometheus
from cilium_analysis.source import Record, iso
from cilium_analysis.texts import clipped, escaped, line, visible
from cilium_analysis.times import format_duration, zone
from cilium_analysis.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Rows of a table of series in HTML, and as plain text.
MOST, _MOST_IN_TEXT = 1000, 20
_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 24
_LONGEST = 200


@cache
def _part(name: str) -> str:
    return files("cilium_analysis.magics").joinpath(name).read_text(encoding="utf-8")


def style() -> str:
    """Give the styles of the class ``ca-lab``, in the colours of the front end."""
    return f"<style>{_part('tables.css')}</style>"


def interactive(table: show.Table, *, above: str = "") -> str:
    """Give a table as HTML that sorts, filters and scrolls where the front end runs scripts.

    It needs no other file and no network.

    Parameters
    ----------
    table
        Escapes what is in it.
    above
        HTML that comes first.
    """
    name = f"ca-{uuid4().hex}"
    body = table._repr_html_()
    return (
        f'{style()}<div class="ca-lab" id="{name}">{above}'
        f'<div class="ca-scroll" tabindex="0" role="region" aria-label="Table">{body}</div></div>'
        f"<script>{_part('tables.js').replace('TABLE_ID', name)}</script>"
    )


# Label frames


def is_label_frame(frame: pd.DataFrame) -> bool:
    """Tell whether a frame is what a range query returns."""
    index = frame.index
    return (
        isinstance(index, pd.DatetimeIndex)
        and index.name == "time"
        and index.tz is not None
        and isinstance(frame.columns, pd.MultiIndex)
        and all(isinstance(name, str) for name in frame.columns.names)
    )


def summary(frame: pd.DataFrame, *, timezone: str = "UTC") -> str:
    """Say in one line what a label frame holds: series × steps, and the window."""
    count = "1 series" if frame.shape[1] == 1 else f"{frame.shape[1]:,} series"
    if frame.empty:
        return "no series: nothing in this window, or no such metric or label"
    times = frame.index
    step = pd.Series(times).diff().min() if len(times) > 1 else None
    when = (
        show.span(Window(times[0], times[-1], step.to_pytimedelta(), timezone=timezone))
        if step is not None and step >= pd.Timedelta(milliseconds=1)
        else f"{times[0].astimezone(zone(timezone)):%Y-%m-%d %H:%M:%S} {timezone}"
    )
    return f"{count} × {len(times):,} steps, {when}"


def series(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """Make a table of a label frame: one row per series.

    Returns
    -------
    tuple
        The table: labels that differ, ``last``, ``min``, ``mean``, ``max``, and ``course``
        (a line of bars); and the labels that all series share, with their values.
    """
    keys = frame.columns.to_frame(index=False).astype(str)
    differ = differing(keys)
    shared = {str(n): keys[n].iloc[0] for n in keys if n not in differ and len(keys)}
    values = frame.to_numpy(dtype="float64")
    numbers = pd.DataFrame(
        {
            "last": frame.ffill().iloc[-1].to_numpy() if len(frame) else [],
            "min": frame.min().to_numpy(),
            "mean": frame.mean().to_numpy(),
            "max": frame.max().to_numpy(),
            "course": [course(column) for column in values.T],
        }
    )
    # A label may be called like one of these.
    own = keys[differ].rename(columns={name: f"{name} (label)" for name in numbers})
    return pd.concat([own, numbers], axis=1), {n: v for n, v in shared.items() if v}


def differing(keys: pd.DataFrame) -> list[str]:
    """Name the columns in which not all rows are the same."""
    return [str(name) for name in keys if (keys[name] != keys[name].iloc[:1].squeeze()).any()]


def course(values: np.ndarray) -> str:
    """Draw a series as a line of bars; blank where there is no sample."""
    parts = np.array_split(values, min(_WIDTH, max(len(values), 1)))
    with np.errstate(invalid="ignore"):
        known = [part[np.isfinite(part)] for part in parts]
    peaks = np.array([part.max() if len(part) else np.nan for part in known])
    finite = peaks[np.isfinite(peaks)]
    if not len(finite):
        return ""
    low, high = min(float(finite.min()), 0.0), float(finite.max())
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(" " if np.isnan(p) else _BARS[round((p - low) * scale)] for p in peaks)


def frame_html(frame: pd.DataFrame, *, timezone: str = "UTC") -> str:
    """Show a label frame: what it holds, and a table of its series to sort and filter."""
    above = f"<p><strong>{escaped(summary(frame, timezone=timezone))}</strong></p>"
    if mark := _mark(frame):
        above += f"<p>{escaped(mark)}</p>"
    if frame.empty:
        return f'{style()}<div class="ca-lab">{above}</div>'
    table, shared = series(frame.iloc[:, :MOST])
    if shared:
        several = "All of them: " if frame.shape[1] > 1 else ""
        above += f"<p>{several}{escaped(_facts(shared))}</p>"
    if frame.shape[1] > MOST:
        above += f"<p>The first {MOST:,} are shown: aggregate, or narrow the query.</p>"
    return interactive(show.Table(table), above=above)


def frame_text(frame: pd.DataFrame, *, timezone: str = "UTC") -> str:
    """Show a label frame as plain text."""
    said = [summary(frame, timezone=timezone), _mark(frame)]
    if frame.empty:
        return "\n".join(filter(None, said))
    table, shared = series(frame.iloc[:, :_MOST_IN_TEXT])
    clean = table.map(lambda cell: clipped(line(cell), 40) if isinstance(cell, str) else cell)
    rest = frame.shape[1] - _MOST_IN_TEXT
    more = f"and {rest:,} more series" if rest > 0 else ""
    parts = (*said, _facts(shared), repr(show.Table(clean)), more)
    return "\n".join(filter(None, parts))


def _mark(frame: pd.DataFrame) -> str:
    """Say what an answer that was computed from a recording rests on; empty for any other."""
    mark = frame.attrs.get(NOTE)
    return line(mark) if isinstance(mark, str) else ""


def _facts(shared: dict[str, str]) -> str:
    return ", ".join(f"{name}={_short(value)}" for name, value in shared.items())


def _short(text: str) -> str:
    return clipped(line(text), _LONGEST)


# Metrics, journals and findings


def is_metrics(frame: pd.DataFrame) -> bool:
    """Tell whether a frame is what a search for metrics found."""
    return tuple(frame.columns) == COLUMNS


def metrics_html(found: pd.DataFrame) -> str:
    """Show what a search for metrics found."""
    there = ["yes" if is_there else "no" for is_there in found["there"]]
    order = ["metric", "there", "help", "type", "labels", "component", "since", "until"]
    empty = "No metric is known by such a name, or with such a meaning."
    return interactive(show.Table(found.assign(there=there)[order], empty=empty))


def list_html(items: Sequence[Any]) -> str | None:
    """Show a journal, or a list of findings, as a table; None for other lists."""
    if items and all(isinstance(item, Record) for item in items):
        table = show.journal(items)
        return interactive(show.Table(table.frame), above=f"<p>{escaped(table.folded)}</p>")
    if items and all(isinstance(item, Finding) for item in items):
        return _findings(items).to_html()
    return None


def list_text(items: Sequence[Any]) -> str | None:
    """Show a journal, or a list of findings, as plain text; None for other lists."""
    if items and all(isinstance(item, Record) for item in items):
        table = show.journal(items)
        clean = table.frame.assign(query=[clipped(line(r.promql), 60) for r in items])
        return f"{table.folded}\n{show.Table(clean)!r}"
    if items and all(isinstance(item, Finding) for item in items):
        return repr(_findings(items))
    return None


def _findings(items: Sequence[Finding]) -> Findings:
    first, last = min(f.start for f in items), max(f.end for f in items)
    step = max(last - first, pd.Timedelta(seconds=1).to_pytimedelta())
    return Findings("", Window(first, first + step, step), None, tuple(items), ranked=True)


# Names and texts


def definition_html(facts: dict[str, str]) -> str:
    """Show names and texts as HTML."""
    return f'{style()}<div class="ca-lab">{show.definition_list(facts)}</div>'


def definition_text(facts: dict[str, str]) -> str:
    """Show names and texts as plain text."""
    return "\n".join(f"{name}: {visible(text)}" for name, text in facts.items())


def window_facts(window: Window) -> dict[str, str]:
    """Describe a window."""
    length = format_duration(window.length)
    return {"Window": show.span(window), "Length": f"{length}, {window.points:,} points"}


def source_facts(source: Prometheus | Bundle | Remembering) -> dict[str, str]:
    """Describe a source, without its credentials; this asks no query."""
    if isinstance(source, Remembering):
        held = {"Remembered": f"{source.size / 1e6:,.1f} MB of answers"}
        inner = source.source
        return (source_facts(inner) if isinstance(inner, Prometheus | Bundle) else {}) | held
    if isinstance(source, Prometheus):
        samples = sum(record.samples for record in source.journal)
        queries = f"{len(source.journal):,} queries, {samples:,} samples; see source.journal"
        return {"Server": source.name, "Asked": queries if source.journal else "nothing yet"}
    server = source.server
    rows = {
        "Bundle": str(source.directory),
        "Recorded from": source.name,
        "Server": " ".join(server[k] for k in ("application", "version") if k in server),
        "Holds": f"{len(source.queries):,} range queries, {show.span(source.window)}",
        "Topics": ", ".join(source.topics),
    }
    return {name: _short(text) for name, text in rows.items() if text}


def finding_facts(finding: Finding) -> dict[str, str]:
    """Describe a finding."""
    rows = {
        "Severity": str(finding.severity),
        "What": finding.title,
        "When": f"{iso(finding.start)} to {iso(finding.end)}",
        "Where": ", ".join(f"{name}={value}" for name, value in finding.labels.items()),
        "Level": f"{finding.value:.4g} {finding.unit} instead of {finding.baseline_value:.4g}",
        "Trust": "; ".join((finding.trust, *finding.trust_reasons)),
        "Next": finding.next_step,
        "Query": finding.query,
    }
    return {name: line(text) for name, text in rows.items() if text}


#: The description of each type that is shown as names and texts.
FACTS: dict[type, Callable[[Any], dict[str, str]]] = {
    Window: window_facts,
    Prometheus: source_facts,
    Bundle: source_facts,
    Remembering: source_facts,
    Finding: finding_facts,
    Help: Help.rows,
}
