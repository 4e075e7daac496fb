"""How things look in a notebook: label frames, windows, sources, journals, findings, metrics.

Everything has a plain text beside its HTML, for consoles, and for whoever does not trust a
notebook. Every text from a cluster is escaped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cilium_analysis import show
from cilium_analysis.bundle import Bundle
from cilium_analysis.findings import Finding, Findings
from cilium_analysis.lab.memory import Remembering
from cilium_analysis.lab.tables import interactive, style
from cilium_analysis.metrics import COLUMNS, Help
from cilium_analysis.prometheus import Prometheus
from cilium_analysis.source import Record, iso
from cilium_analysis.texts import clipped, escaped, line, visible
from cilium_analysis.window import Window, format_duration, zone

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Rows of a table of series; who has more wants to aggregate.
MOST = 1000
_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 24
_LONGEST = 200


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


def is_metrics(frame: pd.DataFrame) -> bool:
    """Tell whether a frame is what a search for metrics found."""
    return tuple(frame.columns) == COLUMNS


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
    told = pd.DataFrame(
        {
            "last": frame.ffill().iloc[-1].to_numpy() if len(frame) else [],
            "min": frame.min().to_numpy(),
            "mean": frame.mean().to_numpy(),
            "max": frame.max().to_numpy(),
            "course": [course(column) for column in values.T],
        }
    )
    # A label may be called like one of these.
    own = keys[differ].rename(columns={name: f"{name} (label)" for name in told})
    return pd.concat([own, told], axis=1), {n: v for n, v in shared.items() if v}


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
    head = f"<p><strong>{escaped(summary(frame, timezone=timezone))}</strong></p>"
    if frame.empty:
        return f'{style()}<div class="ca-lab">{head}</div>'
    table, shared = series(frame.iloc[:, :MOST])
    facts = ", ".join(f"{name}={_short(value)}" for name, value in shared.items())
    every = f"<p>All of them: {escaped(facts)}</p>" if facts and frame.shape[1] > 1 else ""
    one = f"<p>{escaped(facts)}</p>" if facts and frame.shape[1] == 1 else ""
    more = (
        f"<p>The first {MOST:,} are shown: aggregate, or narrow the query.</p>"
        if frame.shape[1] > MOST
        else ""
    )
    return interactive(show.Table(table), above=head + every + one + more)


def frame_text(frame: pd.DataFrame, *, timezone: str = "UTC") -> str:
    """Show a label frame as plain text."""
    if frame.empty:
        return summary(frame, timezone=timezone)
    table, shared = series(frame.iloc[:, :20])
    facts = ", ".join(f"{name}={_short(value)}" for name, value in shared.items())
    clean = table.map(lambda cell: clipped(line(cell), 40) if isinstance(cell, str) else cell)
    rest = frame.shape[1] - 20
    parts = [summary(frame, timezone=timezone), facts, repr(show.Table(clean))]
    return "\n".join([*filter(None, parts), *([f"and {rest:,} more series"] if rest > 0 else [])])


def metrics_html(found: pd.DataFrame) -> str:
    """Show what a search for metrics found."""
    there = ["yes" if is_there else "no" for is_there in found["there"]]
    order = ["metric", "there", "help", "type", "labels", "component", "since", "until"]
    empty = "No metric is known by such a name, or with such a meaning."
    return interactive(show.Table(found.assign(there=there)[order], empty=empty))


def _short(text: str) -> str:
    return clipped(line(text), _LONGEST)


def window_facts(window: Window) -> dict[str, str]:
    """Tell of a window, for people."""
    length = format_duration(window.length)
    return {"Window": show.span(window), "Length": f"{length}, {window.points:,} points"}


def source_facts(source: Prometheus | Bundle | Remembering) -> dict[str, str]:
    """Tell of a source, for people; never its credentials, and nothing is asked for it."""
    if isinstance(source, Remembering):
        held = {"Remembered": f"{source.size / 1e6:,.1f} MB of answers"}
        inner = source.source
        return (source_facts(inner) if isinstance(inner, Prometheus | Bundle) else {}) | held
    if isinstance(source, Prometheus):
        return {"Server": source.name, "Asked": _asked(source.journal)}
    server = source.server
    rows = {
        "Bundle": str(source.directory),
        "Recorded from": source.name,
        "Server": " ".join(server[k] for k in ("application", "version") if k in server),
        "Holds": f"{len(source.queries):,} range queries, {show.span(source.window)}",
        "Topics": ", ".join(source.topics),
    }
    return {name: _short(text) for name, text in rows.items() if text}


def _asked(journal: Sequence[Record]) -> str:
    if not journal:
        return "nothing yet"
    samples = sum(record.samples for record in journal)
    return f"{len(journal):,} queries, {samples:,} samples; see source.journal"


def finding_facts(finding: Finding) -> dict[str, str]:
    """Tell of a finding, for people."""
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


def list_html(items: Sequence[Any]) -> str | None:
    """Show a journal, or a list of findings, as a table; other lists as they are."""
    if items and all(isinstance(item, Record) for item in items):
        told = show.journal(items)
        return interactive(show.Table(told.frame), above=f"<p>{escaped(told.folded)}</p>")
    if items and all(isinstance(item, Finding) for item in items):
        return _findings(items).to_html()
    return None


def list_text(items: Sequence[Any]) -> str | None:
    """Show a journal, or a list of findings, as plain text; other lists as they are."""
    if items and all(isinstance(item, Record) for item in items):
        told = show.journal(items)
        clean = told.frame.assign(query=[clipped(line(r.promql), 60) for r in items])
        return f"{told.folded}\n{show.Table(clean)!r}"
    if items and all(isinstance(item, Finding) for item in items):
        return repr(_findings(items))
    return None


def _findings(items: Sequence[Finding]) -> Findings:
    first, last = min(f.start for f in items), max(f.end for f in items)
    step = max(last - first, pd.Timedelta(seconds=1).to_pytimedelta())
    return Findings("", Window(first, first + step, step), None, tuple(items), ranked=True)


def definition_html(facts: dict[str, str]) -> str:
    """Show names and texts as HTML."""
    return f'{style()}<div class="ca-lab">{show.definition_list(facts)}</div>'


def definition_text(facts: dict[str, str]) -> str:
    """Show names and texts as plain text."""
    return "\n".join(f"{name}: {visible(text)}" for name, text in facts.items())


#: What tells of each type that is shown as names and texts.
FACTS: dict[type, Callable[[Any], dict[str, str]]] = {
    Window: window_facts,
    Prometheus: source_facts,
    Bundle: source_facts,
    Remembering: source_facts,
    Finding: finding_facts,
    Help: Help.rows,
}
