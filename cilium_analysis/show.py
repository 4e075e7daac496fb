"""Tables and lists for people; every text in them is escaped and visible."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cilium_analysis.texts import duration, escaped, line, number, percent, visible, within
from cilium_analysis.times import clock, format_duration, interval, zone
from cilium_analysis.topics.buckets import BOUNDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cilium_analysis.source import Record
    from cilium_analysis.window import Window

#: How numbers are written, by the name of their column; of others, as `texts.number` does.
FORMATS: Mapping[str, str | Callable[[float], str]] = {
    **dict.fromkeys(("packets", "forwarded", "expected", "events", "requests"), "{:,.0f}"),
    **dict.fromkeys(("errors", "denied", "by policy", "by application"), "{:,.0f}"),
    **dict.fromkeys(("bytes", "expected bytes", "bytes/packet"), "{:,.0f}"),
    **dict.fromkeys(
        ("mean time", "usual mean time", "its mean time", "seconds", "duration"), duration
    ),
    "interval": duration,
    **dict.fromkeys(("error ratio", "usual ratio"), "{:.2%}"),
    **dict.fromkeys(("share", "scraped", "up", "fill", "peak fill", "usual fill"), percent),
    **dict.fromkeys(("usual peak fill", "failed probes", "usual failed probes"), percent),
    "change": "{:+,.0f}",
    "of traffic": "{:.3%}",
}
#: Columns of quantiles; in a table with the columns `BOUNDS`, which are not shown, they are
#: durations [s], and those outside of the bounds are only known to be less, or more.
QUANTILES = frozenset(f"{usual}p{q}" for usual in ("", "usual ") for q in (50, 90, 95, 99))
#: Columns in the words of people, where the name in the frame is that of a label.
HEADINGS: Mapping[str, str] = {
    "rcode": "result code",
    "qtypes": "record types asked for",
    "ips returned": "addresses returned",
    "nxdomain": "no such name",
    "syn": "SYN",
    "syn-ack": "SYN-ACK",
    **{name: name for name in QUANTILES},
}
MISSING = "–"
#: A table with more columns than this gets smaller letters.
WIDE = 9
#: Characters of a text that needs no line of its own on a narrow page; notes that are not folded.
_BRIEF, _OPEN = 14, 4
#: A day, which does not break at its hyphens.
DATE = re.compile(r"\d{4}-\d\d-\d\d")
#: MIME type of notes in a notebook, beside the text.
NOTES = "application/vnd.cilium-analysis.notes.v1+json"


@dataclass(frozen=True)
class Table:
    """A frame as a table to read.

    Parameters
    ----------
    frame
        Rows to show; its index is shown if it has a name. Its times are in UTC.
    empty
        Text if there are no rows; if empty, a page leaves out a section with nothing else.
    folded
        Line below which a long table is folded away on a screen; if empty, the table is open.
    on_paper
        Whether a folded table is on paper; else the line stands for it there.
    timezone
        In which times are written; the headings name it.
    """

    frame: pd.DataFrame
    empty: str = "Nothing to show."
    folded: str = ""
    on_paper: bool = True
    timezone: str = "UTC"

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
            f'<td{look} data-label="{escaped(DATE.sub(_unbroken, name))}"'
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
        """Give what is shown: one column for each heading."""
        named = any(name is not None for name in self.frame.index.names)
        flat = self.frame.reset_index() if named else self.frame
        return local(flat.drop(columns=[n for n in BOUNDS if n in flat]), self.timezone)

    def _cells(self) -> pd.DataFrame:
        """Write every cell as text."""
        flat = self._flat()
        timed, nothing = BOUNDS[0] in self.frame, [np.nan] * len(flat)
        first, last = (self.frame[n].tolist() if n in self.frame else nothing for n in BOUNDS)
        texts = {
            line(str(name)): [
                within(*each)
                if timed and _plain(name) in QUANTILES
                else _text(each[0], FORMATS.get(_plain(name)))
                for each in zip(column, first, last, strict=True)
            ]
            for name, column in flat.items()
        }
        return pd.DataFrame(texts)


def _text(value: object, pattern: str | Callable[[float], str] | None) -> str:
    if value is None or value is pd.NaT or value is pd.NA or value == "" or value != value:
        return MISSING
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        return visible(str(value)).replace("\n", " ")
    if pattern:
        return pattern.format(value) if isinstance(pattern, str) else pattern(float(value))
    return f"{value:,}" if isinstance(value, int | np.integer) else number(float(value))


def _plain(name: object) -> str:
    return str(name).replace("_", " ")


def _name(name: object) -> str:
    """Write the name of a column as people read it."""
    words = line(HEADINGS.get(_plain(name), _plain(name)))
    return words if words in QUANTILES else words[:1].upper() + words[1:]


def _heading(name: str) -> str:
    """Write a heading, with what is in parentheses, such as a zone, on one line."""
    text, bracket, rest = escaped(name).partition(" (")
    if not bracket:
        return text
    rest = DATE.sub(r'<span class="ca-time">\g<0></span>', rest)
    return f'{text} <span style="white-space: nowrap">({rest}</span>'


def _unbroken(day: re.Match[str]) -> str:
    """Write a day with hyphens that do not break, where no element can keep it whole."""
    return day[0].replace("-", "\N{NON-BREAKING HYPHEN}")


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
        exact = f' data-value="{min(float(value), sys.float_info.max)!r}"'
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
    whole = interval(window.start, window.end, window.timezone, seconds=True)
    return f"{whole}, every {format_duration(window.step)}"


def local(table: pd.DataFrame, timezone: str) -> pd.DataFrame:
    """Write a table's times in the reader's zone; the headings name it.

    If all times are on one day, the headings name the day too. On a day with a clock change each
    time has its offset.

    Parameters
    ----------
    table
        With times in UTC.
    timezone
        IANA name.
    """
    times = [n for n, kind in table.dtypes.items() if isinstance(kind, pd.DatetimeTZDtype)]
    tz = zone(timezone)
    moments = {str(n): [None if pd.isna(t) else t for t in table[n]] for n in times}
    days = {t.astimezone(tz).date() for column in moments.values() for t in column if t}
    day = f"{days.pop()} " if len(days) == 1 else ""
    texts = {
        n: ["" if t is None else clock(t, timezone, day=not day, seconds=True) for t in column]
        for n, column in moments.items()
    }
    return table.assign(**texts).rename(columns={n: f"{n} ({day}{timezone})" for n in times})


def journal(records: Sequence[Record]) -> Table:
    """Give the queries of a source and their cost as a table, folded."""
    rows = [
        {
            "query": record.promql,
            "from": pd.Timestamp(record.window.start) if record.window else None,
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
