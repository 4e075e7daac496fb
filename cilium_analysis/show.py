"""Tables and lists for people; every text in them is escaped and visible."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from cilium_analysis.source import Record, iso
from cilium_analysis.texts import escaped, line, percent, visible
from cilium_analysis.window import format_duration, zone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cilium_analysis.window import Window

#: How numbers are written, by the name of their column.
FORMATS: Mapping[str, str | Callable[[float], str]] = {
    **dict.fromkeys(("packets", "forwarded", "expected", "events", "requests"), "{:,.0f}"),
    **dict.fromkeys(("errors", "denied", "by policy", "by application"), "{:,.0f}"),
    **dict.fromkeys(("bytes", "expected bytes", "bytes/packet"), "{:,.0f}"),
    **dict.fromkeys(("p50", "p95", "p99", "usual p50", "usual p95", "usual p99"), "{:.3g}"),
    **dict.fromkeys(("error ratio", "usual ratio"), "{:.2%}"),
    **dict.fromkeys(("share", "scraped"), percent),
    **dict.fromkeys(("samples", "series"), "{:,}"),
    "change": "{:+,.0f}",
    "of traffic": "{:.3%}",
    "seconds": "{:.3f}",
}
MISSING = "–"
#: A table with more columns than this gets smaller letters.
WIDE = 9
#: Characters of a text that needs no line of its own on a narrow page; notes that are not folded.
_BRIEF, _OPEN = 14, 4
#: MIME type of notes in a notebook, beside the text.
NOTES = "application/vnd.cilium-analysis.notes.v1+json"


@dataclass(frozen=True)
class Table:
    """A frame as a table to read.

    Parameters
    ----------
    frame
        Rows to show; its index is shown if it has a name.
    empty
        Text if there are no rows.
    folded
        Line below which a long table is folded away on a screen; if empty, the table is open.
    on_paper
        Whether a folded table is on paper; else the line stands for it there.
    """

    frame: pd.DataFrame
    empty: str = "Nothing to show."
    folded: str = ""
    on_paper: bool = True

    def __repr__(self) -> str:
        return self._cells().to_string(index=False) if len(self.frame) else line(self.empty)

    def _repr_html_(self) -> str:
        if not len(self.frame):
            return f'<p class="ca-quiet">{escaped(self.empty)}</p>'
        flat, cells = self._flat(), self._cells()
        looks = [
            _look(flat[name], texts) for name, (_, texts) in zip(flat, cells.items(), strict=True)
        ]
        names = [_name(name) for name in flat.columns]
        head = "".join(
            f'<th scope="col"{look}>{_heading(name)}</th>'
            for name, look in zip(names, looks, strict=True)
        )
        opened = [
            f'<td{look} data-label="{escaped(name)}"'
            for name, look in zip(names, looks, strict=True)
        ]
        body = "".join(
            f"<tr>{''.join(map(_cell, opened, row, known))}</tr>"
            for row, known in zip(
                cells.itertuples(index=False, name=None),
                flat.itertuples(index=False, name=None),
                strict=True,
            )
        )
        kind = "ca-table ca-wide" if len(names) > WIDE else "ca-table"
        table = f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        if not self.folded:
            return table
        summary = f"<summary>{escaped(self.folded)}</summary>"
        kind = "ca-folded" if self.on_paper else "ca-folded ca-unprinted"
        return f'<details class="{kind}">{summary}{table}</details>'

    def _flat(self) -> pd.DataFrame:
        named = any(name is not None for name in self.frame.index.names)
        return self.frame.reset_index() if named else self.frame

    def _cells(self) -> pd.DataFrame:
        """Write every cell as text."""
        flat = self._flat()
        texts = {
            line(str(name)): [_text(value, FORMATS.get(str(name))) for value in column]
            for name, column in flat.items()
        }
        return pd.DataFrame(texts)


def _text(value: object, pattern: str | Callable[[float], str] | None) -> str:
    if value is None or value is pd.NaT or value is pd.NA or value == "" or value != value:
        return MISSING
    if pattern and isinstance(value, int | float):
        return pattern.format(value) if isinstance(pattern, str) else pattern(value)
    if not isinstance(value, float):
        return f"{value:,}" if type(value) is int else visible(str(value)).replace("\n", " ")
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _name(name: object) -> str:
    """Write the name of a column as people read it."""
    words = line(str(name)).replace("_", " ")
    return words[:1].upper() + words[1:]


def _heading(name: str) -> str:
    """Write a heading, with what is in parentheses, such as a zone, on one line."""
    text, bracket, rest = escaped(name).partition(" (")
    return f'{text} <span style="white-space: nowrap">({rest}</span>' if bracket else text


def _look(column: pd.Series, texts: pd.Series) -> str:
    """Give the attributes of a column's cells: numbers, short texts, or any texts."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        return ' class="ca-number"'
    brief = ' class="ca-brief"' if texts.str.len().max() <= _BRIEF else ""
    # JupyterLab aligns all cells to the right.
    return f'{brief} style="text-align: left"'


def _cell(opened: str, text: str, value: Any) -> str:
    # The exact number, for sorting: the text is rounded and grouped.
    exact = ""
    if opened.startswith('<td class="ca-number"') and not pd.isna(value):
        exact = f' data-value="{float(value)!r}"'
    return f"{opened}{exact}>{escaped(text)}</td>"


@dataclass(frozen=True)
class Notes:
    """Sentences to read, as a list."""

    sentences: Sequence[str]
    empty: str = "Nothing to add."

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        """Show a list in a notebook, with the sentences for programs that read it."""
        html = self._repr_html_()
        return {"text/plain": repr(self), "text/html": html, NOTES: list(self.sentences)}

    def __repr__(self) -> str:
        return "\n".join(f"- {line(text)}" for text in self.sentences) or line(self.empty)

    def _repr_html_(self) -> str:
        if not self.sentences:
            return f'<p class="ca-quiet">{escaped(self.empty)}</p>'
        items = [f"<li>{escaped(text)}</li>" for text in self.sentences]
        if len(items) <= _OPEN + 1:
            return _list(items)
        summary = f"<summary>{len(items) - _OPEN} more</summary>"
        more = f'<details class="ca-more">{summary}{_list(items[_OPEN:])}</details>'
        return _list(items[:_OPEN]) + more


def _list(items: Sequence[str]) -> str:
    return f'<ul class="ca-notes">{"".join(items)}</ul>'


def definition_list(rows: Mapping[str, str]) -> str:
    """Give names and texts as an HTML description list."""
    inner = "".join(
        f"<dt>{escaped(name)}</dt><dd>{escaped(text)}</dd>" for name, text in rows.items()
    )
    return f'<dl class="ca-facts">{inner}</dl>'


def span(window: Window) -> str:
    """Write a window in the reader's zone."""
    tz = zone(window.timezone)
    start, end = window.start.astimezone(tz), window.end.astimezone(tz)
    last = f"{end:%H:%M:%S}" if start.date() == end.date() else f"{end:%Y-%m-%d %H:%M:%S}"
    step = format_duration(window.step)
    return f"{start:%Y-%m-%d %H:%M:%S} to {last} {window.timezone}, every {step}"


def local(table: pd.DataFrame, timezone: str) -> pd.DataFrame:
    """Write a table's times in the reader's zone; the headings name it.

    If all times are on one day, the headings name the day too.

    Parameters
    ----------
    table
        With times in UTC.
    timezone
        IANA name.
    """
    times = [n for n, kind in table.dtypes.items() if isinstance(kind, pd.DatetimeTZDtype)]
    tz = zone(timezone)
    moments = {str(n): [None if pd.isna(t) else t.astimezone(tz) for t in table[n]] for n in times}
    days = {t.date() for column in moments.values() for t in column if t is not None}
    form, day = ("%H:%M:%S", f"{days.pop()} ") if len(days) == 1 else ("%Y-%m-%d %H:%M:%S", "")
    texts = {n: ["" if t is None else t.strftime(form) for t in c] for n, c in moments.items()}
    return table.assign(**texts).rename(columns={n: f"{n} ({day}{timezone})" for n in times})


def journal(records: Sequence[Record]) -> Table:
    """Give the queries of a source and their cost as a table, folded."""
    rows = [
        {
            "query": record.promql,
            "from": iso(record.window.start) if record.window else MISSING,
            "series": record.series,
            "samples": record.samples,
            "seconds": record.seconds,
            "warnings": "; ".join(record.warnings) or MISSING,
        }
        for record in records
    ]
    samples, seconds = (sum(getattr(r, name) for r in records) for name in ("samples", "seconds"))
    queries = "1 query" if len(rows) == 1 else f"{len(rows)} queries"
    folded = f"{queries}, {samples:,} samples, {seconds:.1f} s of the server"
    return Table(pd.DataFrame(rows), empty="Nothing was asked.", folded=folded, on_paper=False)
