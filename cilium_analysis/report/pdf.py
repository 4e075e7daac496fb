"""One PDF of a run: its summary, then each report, with bookmarks and page numbers.

It is made of the pages, as trees: text in them stays text. A program of its own draws it
(`cilium_analysis.report.drawing`), which is stopped if it takes too long.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.resources import files
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from cilium_analysis.errors import ParameterError
from cilium_analysis.report import drawing
from cilium_analysis.texts import clipped, line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from xml.etree.ElementTree import Element

#: File name of the PDF of a run.
NAME = "report.pdf"
SUMMARY = "index"
#: A table with more columns than this gets smaller letters.
WIDE = 9
#: Time limit [s]: a report of all topics takes less than a tenth of it.
DEADLINE = 300
#: Characters of a word, and of a cell of a table, at most: the renderer takes minutes to break
#: longer ones. The page has them uncut.
_WORD, _CELL = 250, 2000
#: If a cell has more characters than this, column widths are chosen here: the renderer takes the
#: square of their number. And characters that widen a column at most.
_CHOOSES, _WIDEST = 200, 60
_LONG = re.compile(rf"\S{{{_WORD + 1},}}")
#: Elements that are of no use on paper.
_ON_SCREEN_ONLY = ("script", "style", "button", "input", "select", "dialog", "nav", "source")


def check_renderer() -> None:
    """Check that a PDF can be made, before anything else is made.

    Raises
    ------
    ParameterError
        If the package or the library that it draws with is missing.
    """
    try:
        import weasyprint  # noqa: F401
    except ImportError:
        raise ParameterError(
            "a PDF needs the package weasyprint: pip install 'cilium-analysis[pdf]'"
        ) from None
    except OSError:
        raise ParameterError(
            "a PDF needs the library Pango: apt-get install libpango-1.0-0 libpangoft2-1.0-0"
            " libharfbuzz-subset0, or see https://doc.courtbouillon.org/weasyprint/"
        ) from None


class NotDrawn(Exception):
    """Why there is no PDF, in one line."""


def write_pdf(target: Path, pages: Mapping[str, str], *, title: str) -> str:
    """Make one PDF of pages.

    Parameters
    ----------
    target
        File to write.
    pages
        HTML by name: the summary as ``index``, then each report as its topic.
    title
        Of the document.

    Returns
    -------
    str
        Why there is none; empty if there is. The pages are worth keeping then too.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    try:
        content = drawn(pages, title=title)
    except NotDrawn as problem:
        return str(problem)
    except Exception as problem:  # any error of the renderer
        return f"{type(problem).__name__}: {line(str(problem))}".removesuffix(": ")
    target.write_bytes(content)
    return ""


def drawn(pages: Mapping[str, str], *, title: str, deadline: int = DEADLINE) -> bytes:
    """Give the PDF.

    Parameters
    ----------
    pages, title
        As for `write_pdf`.
    deadline
        How long it may take [s].

    Raises
    ------
    NotDrawn
        If there is none, or not in time.
    """
    asked = {"page": joined(pages, title=title), "style": _style(), "seconds": deadline}
    # -P: beside the program are modules that are called as those of Python are.
    command = [sys.executable, "-P", str(Path(drawing.__file__))]
    content = json.dumps(asked).encode()
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=deadline)  # noqa: S603 - our own
    except subprocess.TimeoutExpired:
        raise NotDrawn(f"it was not done within {deadline:,} s") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        how = f"the renderer was killed by signal {-done.returncode}"
        raise NotDrawn(clipped(line(said[-1]), 300) if done.returncode > 0 and said else how)
    return done.stdout


def _style() -> str:
    folder = files("cilium_analysis.report").joinpath("templates")
    return "\n".join(folder.joinpath(n).read_text("utf-8") for n in ("style.css", "paper.css"))


def joined(pages: Mapping[str, str], *, title: str) -> str:
    """Give one page that holds all pages, each a part, with a list of them after the first.

    Parameters
    ----------
    pages, title
        As for `write_pdf`.
    """
    parts = [_part(name, page, known=tuple(pages)) for name, page in pages.items()]
    root = ElementTree.Element("html", {"lang": "en"})
    head = ElementTree.SubElement(root, "head")
    ElementTree.SubElement(head, "meta", {"charset": "utf-8"})
    ElementTree.SubElement(head, "title").text = title
    for name in ("author", "generator"):
        ElementTree.SubElement(head, "meta", {"name": name, "content": "cilium_analysis"})
    body = ElementTree.SubElement(root, "body")
    body.extend([parts[0], *_contents(parts[1:]), *parts[1:]])
    return "<!doctype html>" + ElementTree.tostring(root, encoding="unicode", method="html")


def _part(name: str, page: str, *, known: Sequence[str]) -> Element:
    """Take the content of a page, and make its links and ids unique in the document."""
    from weasyprint import HTML

    (main,) = HTML(string=page).etree_element.iter("main")
    part = ElementTree.Element("section", {"id": name, "class": "ca-part"})
    part.extend(main)
    _for_paper(part)
    for element in part.iter():
        if "id" in element.attrib and element is not part:
            element.set("id", f"{name}-{element.get('id')}")
        if "href" in element.attrib:
            _relink(element, name, known)
    return part


def _relink(element: Element, name: str, known: Sequence[str]) -> None:
    """Make links to pages links to parts; keep those to the web, drop those to other files."""
    href = element.attrib["href"]
    page = href.removesuffix(".html")
    if href.startswith("#"):
        element.set("href", f"#{name}-{href[1:]}")
    elif href.endswith(".html") and page in known:
        element.set("href", f"#{page}")
    elif not href.startswith(("https://", "http://")):
        del element.attrib["href"]


def _for_paper(part: Element) -> None:
    """Remove what only a screen can show, unfold details, and cut what is too long."""
    for parent in list(part.iter()):
        for child in list(parent):
            classes = child.get("class", "").split()
            if (
                child.tag in _ON_SCREEN_ONLY
                or "ca-contents" in classes
                or not isinstance(child.tag, str)
            ):
                _without(parent, child)
            elif child.tag == "details":
                _unfold(child)
            elif child.tag == "table" and len(list(next(child.iter("tr"), []))) > WIDE:
                child.set("class", f"{child.get('class', '')} ca-wide")
    for element in part.iter():
        element.text, element.tail = _cut(element.text), _cut(element.tail)
    for cell in (*part.iter("td"), *part.iter("th")):
        text = "".join(cell.itertext())
        if len(text) > _CELL:
            cell[:] = []
            cell.text = clipped(text, _CELL)
    for table in part.iter("table"):
        _set_widths([list(row) for row in table.iter("tr")], table)


def _set_widths(rows: Sequence[Sequence[Element]], table: Element) -> None:
    """Choose the widths of columns of a table that has a long cell."""
    lengths = [[len("".join(cell.itertext())) for cell in row] for row in rows]
    columns = [max(column) for column in zip_longest(*lengths, fillvalue=0)]
    if max(columns, default=0) <= _CHOOSES:
        return
    table.set("class", f"{table.get('class', '')} ca-fixed")
    weights = [min(length, _WIDEST) + 8 for length in columns]
    for cell, weight in zip(rows[0], weights, strict=False):
        cell.set("style", f"width: {100 * weight / sum(weights):.1f}%")


def _cut(text: str | None) -> str | None:
    return text and _LONG.sub(lambda found: clipped(found[0], _WORD), text)


def _without(parent: Element, child: Element) -> None:
    """Remove an element, but not the text that stands behind it."""
    place = list(parent).index(child)
    if child.tail and place:
        parent[place - 1].tail = (parent[place - 1].tail or "") + child.tail
    elif child.tail:
        parent.text = (parent.text or "") + child.tail
    parent.remove(child)


def _unfold(details: Element) -> None:
    """Make it a plain block; of a list that its summary stands for, keep only that."""
    classes = details.get("class", "").split()
    details.tag = "div"
    details.set("class", "ca-unfolded")
    for place, summary in enumerate(details.findall("summary")):
        heading = summary.find("h2")
        if heading is not None:
            details[place] = heading
        elif "ca-about" in classes or "ca-more" in classes:
            details.remove(summary)
        summary.tag = "p"
        summary.set("class", "ca-faint")
    if "ca-unprinted" in classes:
        details[0].text = f"{details[0].text} (listed on the page only)"
        for child in details[1:]:
            details.remove(child)


def _contents(parts: Sequence[Element]) -> Iterator[Element]:
    """List the parts with their page numbers, if there are any parts."""
    if not parts:
        return
    contents = ElementTree.Element("section", {"class": "ca-pages"})
    ElementTree.SubElement(contents, "h2").text = "Reports in this document"
    listed = ElementTree.SubElement(contents, "ol")
    for part in parts:
        heading = next(part.iter("h1"), None)
        text = "".join(heading.itertext()) if heading is not None else part.attrib["id"]
        item = ElementTree.SubElement(listed, "li")
        ElementTree.SubElement(item, "a", {"href": f"#{part.get('id')}"}).text = text.strip()
    yield contents
