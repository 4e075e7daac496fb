"""A figure between the notebook that draws it and the page that shows it: as SVG, wide and narrow.

`cilium_analysis.plots.page` draws it. A page shows it as an image, where no script runs and nothing
is loaded; one that was drawn elsewhere is looked through all the same.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from xml.etree import ElementTree

from cilium_analysis.texts import escaped

if TYPE_CHECKING:
    from collections.abc import Mapping

#: MIME type in a notebook: a mapping of the renderings to their SVG.
FIGURE = "application/vnd.cilium-analysis.figure.v1+json"
WIDE, NARROW = "wide", "narrow"
#: Environment variable of a kernel whose figures are for pages.
AS_PAGE = "FIGURES_FOR_PAGES"
#: Ink follows the page: dark on light, and light on dark.
STYLE = (
    "svg{color:#222;font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}"
    "path,use{stroke-linejoin:round;stroke-linecap:butt}"
    "@media (prefers-color-scheme:dark){svg{color:#e6e9f0}}"
)
#: Below this width the narrow one is shown, but not on paper.
_SCREEN = "screen and (max-width: 48rem)"
#: Characters of one, and what may be in it.
_MOST = 4_000_000
_TAGS = frozenset(
    [
        "svg",
        "style",
        "g",
        "defs",
        "path",
        "use",
        "text",
        "tspan",
        "image",
        "rect",
        "clipPath",
        "pattern",
    ]
)
_ATTRIBUTES = frozenset(
    {
        *("d", "style", "transform", "x", "y", "width", "height", "id", "clip-path", "fill"),
        *("viewBox", "patternUnits"),
    }
)
_VALUE = re.compile(r"(?:[^\\(]|(?<!url)\(|url\(#[\w-]+\))*")


def picture(drawn: Mapping[str, str], *, alt: str) -> str:
    """Give the HTML of a figure.

    Parameters
    ----------
    drawn
        Its SVG, wide and narrow.
    alt
        Its description.
    """
    wide, narrow = (f"data:image/svg+xml,{quote(drawn[name])}" for name in (WIDE, NARROW))
    return (
        f'<picture><source media="{_SCREEN}" srcset="{narrow}">'
        f'<img class="ca-drawn" src="{wide}" alt="{escaped(alt)}"></picture>'
    )


def is_harmless(drawn: Any) -> bool:
    """Tell whether a figure that anybody may have drawn has only what ours have."""
    return isinstance(drawn, dict) and all(
        isinstance(drawn.get(name), str) and _is_harmless(drawn[name]) for name in (WIDE, NARROW)
    )


def _is_harmless(svg: str) -> bool:
    if len(svg) > _MOST or "<!" in svg or "<?" in svg:  # no entities
        return False
    try:
        parts = list(ElementTree.fromstring(svg).iter())  # noqa: S314  without entities
    except ElementTree.ParseError:
        return False
    paths = {f"#{part.get('id')}" for part in parts if _name(part.tag) == "path"}
    for part in parts:
        tag, values = _name(part.tag), {_name(key): text for key, text in part.attrib.items()}
        link = values.pop("href", "")
        # What is used is drawn again each time: only a path, which uses nothing itself.
        linked = link in paths if tag == "use" else link.startswith("data:image/png;base64,")
        if (
            tag not in _TAGS
            or (link and not (linked and tag in ("use", "image")))
            or (tag == "style" and part.text != STYLE)
            or not values.keys() <= _ATTRIBUTES
            or not all(_VALUE.fullmatch(text) for text in values.values())
        ):
            return False
    return True


def _name(qualified: str) -> str:
    return qualified.rpartition("}")[2]
