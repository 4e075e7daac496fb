"""A notebook that an earlier run executed: anybody may have made it, so it is not trusted.

A page shows its texts, tables and figures, but no script, no form and no link of it.
"""

from __future__ import annotations

import re
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from bleach.css_sanitizer import CSSSanitizer
from bleach.sanitizer import Cleaner
from nbformat import v4

from cilium_analysis import foreign
from cilium_analysis.figures import FIGURE, is_harmless
from cilium_analysis.findings import MIME
from cilium_analysis.report.execute import Executed
from cilium_analysis.show import NOTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nbformat import NotebookNode

#: Size limit of a notebook with its figures [bytes].
MOST = 2**27
#: Types of output that our own notebooks have.
_SHOWN = ("text/plain", "text/html", MIME, NOTES)
_FIGURE = "image/png"
#: Limits that keep parsers from taking minutes: characters of all Markdown, tags of all tables, and
#: depth of one. Ours have a tenth. Above them, a notebook is made again, or shown as text.
_MOST_MARKDOWN, _MOST_TAGS, _DEEPEST = 50_000, 40_000, 40
_TAG = re.compile(r"<(?P<end>/?)(?P<name>[a-zA-Z][a-zA-Z0-9]*)[^<>]*>|<")
_VOID = frozenset(("br", "hr", "img", "input"))
_DATA = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)", re.ASCII)
_BASE64 = re.compile(r"[A-Za-z0-9+/=\s]+", re.ASCII)
_TAGS = frozenset(
    {
        *("a", "blockquote", "br", "code", "dd", "details", "div", "dl", "dt", "em", "h1", "h2"),
        *("h3", "h4", "h5", "h6", "hr", "img", "li", "ol", "p", "pre", "small", "span", "strong"),
        *("sub", "summary", "sup", "table", "tbody", "td", "th", "thead", "tr", "ul"),
    }
)
_STYLES = ("text-align", "white-space", "color", "background-color", "font-weight")


def finished(directory: Path, name: str, seconds: float) -> Executed:
    """Give a notebook that an earlier run executed to its end, here or elsewhere.

    Parameters
    ----------
    directory, name
        Of its file.
    seconds
        It took then [s].

    Raises
    ------
    OSError
        If it is no plain file, or too long.
    ValueError
        If it is no notebook.
    """
    content = foreign.read(directory, name, most=MOST)
    numbers = dict.fromkeys(("nbformat", "nbformat_minor"), foreign.is_count)
    document = foreign.fields(foreign.parse(content), numbers)
    if document["nbformat"] != 4:
        raise ValueError(f"its 'nbformat' is {foreign.shown(document['nbformat'])}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it mends
            nbformat.validate(document)
            notebook = nbformat.reads(content.decode("utf-8"), as_version=4)
    except (nbformat.ValidationError, AttributeError, LookupError, RecursionError, TypeError):
        raise ValueError("it is no notebook") from None
    return Executed(Path(name).stem, _reduced(notebook), seconds, trusted=False)


def sanitized(body: str) -> str:
    """Give the HTML of such a notebook without links and scripts.

    Parameters
    ----------
    body
        As nbconvert makes it.
    """
    figures: list[str] = []

    def kept(found: re.Match[str]) -> str:
        figures.append(found[1])
        return f"data:image/png;base64,{len(figures) - 1}"

    # Figures are megabytes of one alphabet, which need not be searched letter by letter.
    clean = str(_cleaner().clean(_DATA.sub(kept, body)))
    return _DATA.sub(lambda found: found[0].replace(found[1], figures[int(found[1])]), clean)


@cache
def _cleaner() -> Cleaner:
    return Cleaner(
        tags=_TAGS,
        attributes=_is_harmless,
        protocols=("data",),
        strip=True,
        css_sanitizer=CSSSanitizer(allowed_css_properties=_STYLES),
    )


def _is_harmless(tag: str, name: str, value: str) -> bool:
    if name == "src":
        return tag == "img" and value.startswith("data:image/png;base64,")
    known = ("class", "style", "alt", "scope", "colspan", "rowspan", "tabindex", "role")
    return name in (*known, "data-value", "data-label", "aria-label")


def _reduced(notebook: NotebookNode) -> Any:
    """Give the cells that a page shows of a notebook, without their settings."""
    cells = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            source = cell.source if _is_flat(cell.source) else cell.source.replace("<", "&lt;")
            cells.append(v4.new_markdown_cell(source))
        elif cell.cell_type == "code":
            outputs = list(_outputs(cell.outputs))
            tags = [tag for tag in cell.metadata.get("tags", ()) if isinstance(tag, str)]
            made = v4.new_code_cell(cell.source, outputs=outputs, metadata={"tags": tags})
            cells.append(made)
    _check_size(cells)
    return v4.new_notebook(cells=cells, metadata={"language_info": {"name": "python"}})


def _check_size(cells: list[Any]) -> None:
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    tables = [o.get("data", {}).get("text/html", "") for c in cells for o in c.get("outputs", ())]
    if sum(map(len, texts)) > _MOST_MARKDOWN or sum(t.count("<") for t in tables) > _MOST_TAGS:
        raise ValueError("it has more in it than any notebook of ours")


def _outputs(outputs: list[Any]) -> Iterator[NotebookNode]:
    for output in outputs:
        if output.output_type == "stream":
            yield v4.new_output("stream", name=output.name, text=output.text)
        elif output.output_type == "error":
            kept = {key: output[key] for key in ("ename", "evalue", "traceback")}
            yield v4.new_output("error", **kept)
        else:
            data = {mime: output.data[mime] for mime in _SHOWN if mime in output.data}
            if not _is_flat(data.get("text/html", "")):
                del data["text/html"]
            figure = output.data.get(_FIGURE)
            if isinstance(figure, str) and _BASE64.fullmatch(figure):
                data[_FIGURE] = figure
            drawn = output.data.get(FIGURE)
            if is_harmless(drawn):
                data[FIGURE] = drawn
            yield v4.new_output("display_data", data=data or {"text/plain": "(not shown)"})


def _is_flat(html: str) -> bool:
    """Tell whether every element is closed where it should be, and none is nested too deeply."""
    opened: list[str] = []
    for tag in _TAG.finditer(html):
        name = (tag["name"] or "").lower()
        if tag["end"] == "/":
            if not opened or opened.pop() != name:
                return False
        elif not name:
            return False
        elif name not in _VOID:
            opened.append(name)
        if len(opened) > _DEEPEST:
            return False
    return not opened
