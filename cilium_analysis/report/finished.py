"""A notebook that an earlier run executed: read and shown without trust, as it may be anybody's.

What a page shows of it are its texts, tables and figures; no script, no form and no link of it.
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
from cilium_analysis.findings import MIME
from cilium_analysis.report.execute import Executed
from cilium_analysis.show import NOTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nbformat import NotebookNode

#: Of a notebook with its figures [bytes].
MOST = 2**27
#: What our own notebooks show.
_SHOWN = ("text/plain", "text/html", MIME, NOTES)
_FIGURE = "image/png"
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
    """Give the HTML of such a notebook with nothing in it that leads away or runs.

    Parameters
    ----------
    body
        As nbconvert makes it.
    """
    return str(_cleaner().clean(body))


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
    known = ("class", "style", "alt", "scope", "colspan", "rowspan", "tabindex", "data-value")
    return name in (*known, "role", "aria-label")


def _reduced(notebook: NotebookNode) -> Any:
    """Give what a page shows of a notebook, without settings for whoever draws it."""
    cells = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cells.append(v4.new_markdown_cell(cell.source))
        elif cell.cell_type == "code":
            outputs = list(_outputs(cell.outputs))
            tags = [tag for tag in cell.metadata.get("tags", ()) if isinstance(tag, str)]
            made = v4.new_code_cell(cell.source, outputs=outputs, metadata={"tags": tags})
            cells.append(made)
    return v4.new_notebook(cells=cells, metadata={"language_info": {"name": "python"}})


def _outputs(outputs: list[Any]) -> Iterator[NotebookNode]:
    for output in outputs:
        if output.output_type == "stream":
            yield v4.new_output("stream", name=output.name, text=output.text)
        elif output.output_type == "error":
            kept = {key: output[key] for key in ("ename", "evalue", "traceback")}
            yield v4.new_output("error", **kept)
        else:
            data = {mime: output.data[mime] for mime in _SHOWN if mime in output.data}
            figure = output.data.get(_FIGURE)
            if isinstance(figure, str) and _BASE64.fullmatch(figure):
                data[_FIGURE] = figure
            yield v4.new_output("display_data", data=data)
