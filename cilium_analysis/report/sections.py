"""Sections of a notebook's page: what they are called, which are folded, which are one line."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING

from cilium_analysis.show import DATE, MISSING
from cilium_analysis.texts import counted

if TYPE_CHECKING:
    from nbformat import NotebookNode

_MARKS = re.compile(r"[#*`]+")
#: A heading of the notebook's own text: outputs of cells have none.
_SECTION = re.compile(r"<h2>(.*?)</h2>")
_TAG = re.compile(r"<[^>]*>")
#: What a notebook says below its title, in the same cell.
_INTRODUCTION = re.compile(r"(</h1>\s*)(<p>(?:(?!</?div|<h[1-6]).)*?)(\s*</div>)", re.DOTALL)
#: Where a section begins, and its heading.
_BEGINS = re.compile(
    r'(<div[^<>]* class="cell [^"<>]*text_cell[^"<>]*"[^<>]*>\s*<div class="inner_cell">\s*'
    r'<div class="text_cell_render[^"<>]*">\s*)(<h2 id="section-\d+">.*?</h2>)'
)
#: Sentences that say that there is nothing; outputs that say nothing else have this without them.
_QUIET = re.compile(r'<p class="ca-quiet">(.*?)</p>')
_EMPTY = re.compile(r"(?:\s|</?div[^<>]*>)*")
#: What makes a text more than an explanation of what is not there.
_FULL = re.compile(r"<(?:table|img|picture|li|pre|svg|video|dl|details)\b")
_CELLS = re.compile(r'<div[^<>]* class="cell [^"<>]*(code|text)_cell[^"<>]*"[^<>]*>')
#: The first row of a table, its cells, and how many of them are told where it is folded.
_ROW = re.compile(r'<table class="ca-table.*?<tbody><tr>(.*?)</tr>', re.DOTALL)
_CELL = re.compile(r'<td([^<>]*?) data-label="([^"]*)"[^<>]*>(.*?)</td>')
_FIRST_CELLS = 5
#: Tag of the cell with the heading of a section that starts folded.
DETAIL = "detail"
#: Sections at the top, which are never folded: the answer, and when or where it happened.
_ANSWERS = 2
_ABOUT = (
    r'\1<details class="ca-about ca-roomy" open><summary>About this page</summary>\2</details>\3'
)


def linked(body: str) -> tuple[str, list[tuple[str, str]]]:
    """Give sections ids to link to, and list these ids with their headings."""
    sections: list[tuple[str, str]] = []

    def name(found: re.Match[str]) -> str:
        sections.append((f"section-{len(sections) + 1}", unescape(_TAG.sub("", found[1]))))
        return f'<h2 id="{sections[-1][0]}">{_whole_days(found[1])}</h2>'

    return _SECTION.sub(name, body), sections


def details_of(notebook: NotebookNode) -> frozenset[str]:
    """Give the headings of sections that a notebook tags as details: they start folded."""
    return frozenset(
        plain(cell.source.splitlines()[0])
        for cell in notebook.cells
        if cell.cell_type == "markdown"
        and cell.source.startswith("## ")
        and DETAIL in cell.metadata.get("tags", ())
    )


def folded(body: str, details: frozenset[str]) -> str:
    """Make each section a part of its own.

    After the first ones, those that are no details are folded by a narrow page only. A section
    whose outputs are nothing but sentences that say so is one line; without words it is left out.
    """
    lead, *parts = _BEGINS.split(_INTRODUCTION.sub(_ABOUT, body, count=1))
    # Before the first section they stand directly below the title.
    made = [lead.replace("<h3 ", '<h3 aria-level="2" ')]
    answers = _ANSWERS - ("output_html" in lead)  # the answer stands before the sections
    for place in range(0, len(parts), 3):
        opened, heading, rest = parts[place : place + 3]
        rest = _said_once(rest)
        said = _QUIET.findall(rest) if place and _is_quiet(rest) else []
        if said:
            where, what = re.findall(r'id="([^"]*)">(.*)</h2>', heading)[0]
            line = f'<p id="{where}" class="ca-quiet ca-void"><strong>{what}</strong>:'
            made += [f"{line} {' '.join(said)}</p>"] if any(said) else []
            continue
        if place < 3 * answers:
            made.append(f"<section>{heading}{opened}{rest}</section>")
            continue
        holds = f'<span class="ca-faint">{_holds(rest)}</span>'
        detail = unescape(_TAG.sub("", heading)) in details
        kind = "ca-section ca-detail" if detail else "ca-section ca-roomy"
        made.append(
            f'<details class="{kind}"{"" if detail else " open"}>'
            f"<summary>{heading}{holds}</summary>{opened}{rest}</details>"
        )
    return "".join(made)


def _is_quiet(section: str) -> bool:
    """Tell whether there is nothing to see in a section but sentences that say so."""
    own, *rest = _CELLS.split(section)
    cells = [("text", own), *zip(rest[::2], rest[1::2], strict=True)]
    return all(
        _EMPTY.fullmatch(_QUIET.sub("", cell)) if kind == "code" else not _FULL.search(cell)
        for kind, cell in cells
    )


def _said_once(section: str) -> str:
    """Leave out sentences that a section says again, as where a figure and a table are empty."""
    known: set[str] = set()

    def once(found: re.Match[str]) -> str:
        again = found[1] in known
        known.add(found[1])
        return "" if again else found[0]

    return _QUIET.sub(once, section)


def _holds(section: str) -> str:
    """Say what a folded section has in it, and what comes first, without its list of queries."""
    section = section.split('<details class="ca-folded ca-unprinted"')[0]
    rows = section.count("<tr") - section.count("<thead")
    counts = {"figure": section.count("<img"), "row": rows, "note": section.count("<li")}
    held = ", ".join(counted(number, name) for name, number in counts.items() if number)
    first = _first_row(section)
    return f"{held}; first: {first}" if first and held else held


def _first_row(section: str) -> str:
    """Write the first row of the first table: the foremost thing in it."""
    found = _ROW.search(section)
    cells = _CELL.findall(found[1]) if found else []
    told = [
        f"{_uncapital(name)} {text}" if place and "ca-number" in kind else text
        for place, (kind, name, cell) in enumerate(cells)
        if (text := _TAG.sub("", cell)) != MISSING
    ]
    return ", ".join(told[:_FIRST_CELLS])


def _uncapital(name: str) -> str:
    """Write a heading in the middle of a sentence; a name in capitals stays."""
    return name if name[1:2].isupper() else name[:1].lower() + name[1:]


def _whole_days(text: str) -> str:
    """Keep days from breaking at their hyphens."""
    return DATE.sub(r'<span class="ca-time">\g<0></span>', text)


def plain(markdown: str) -> str:
    """Give the words of a text in Markdown."""
    return " ".join(_MARKS.sub("", markdown).split())
