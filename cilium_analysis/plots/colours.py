"""One colour for one thing: the same on every page, whatever is drawn beside it. Pure.

What Cilium and HTTP name has a fixed colour: blue for what is fine, red for what fails. All other
names, such as those of nodes, have theirs by their text; numbered ones lie apart. Names in one plot
may share a colour: then their lines or their areas have different patterns, up to four of them.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Okabe and Ito (Color Universal Design, 2008).
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442")
#: With those of Tol (Colour Schemes, 2021) that lie apart from them.
_MORE = (*PALETTE[:6], "#332288", "#999933", "#882255", "#44AA99", "#AA4499", "#661100")
REST = "#999999"
OTHERS = "all others"
_FINE, _ODD, _GREEN, _BAD, _LIGHT, _OTHER, _YELLOW = PALETTE
_DARK, _OLIVE, _WINE, _TEAL, _PURPLE, _BROWN = _MORE[6:]
FIXED: Mapping[str, str] = {
    OTHERS: REST,
    **dict.fromkeys(("FORWARDED", "2xx", "200", "No Error", "INGRESS", "SYN"), _FINE),
    **dict.fromkeys(("EGRESS", "4xx", "404", "Non-Existent Domain", "FIN"), _ODD),
    **dict.fromkeys(("DROPPED", "5xx", "500", "Server Failure", "RST", "Policy denied"), _BAD),
    **dict.fromkeys(("REDIRECTED", "3xx", "SYN-ACK"), _LIGHT),
    **dict.fromkeys(("TRANSLATED", "ACK"), _GREEN),
    **dict.fromkeys(("ERROR", "403", "Query Refused"), _OTHER),
    **dict.fromkeys(("no response", "0", "Invalid source ip"), _DARK),
    **dict.fromkeys(("1xx", "AUDIT", "PSH", "Unsupported L3 protocol"), _OLIVE),
    **dict.fromkeys(("502", "CT: Truncated or invalid header"), _WINE),
    **dict.fromkeys(("TRACED", "401", "Stale or unroutable IP"), _TEAL),
    **dict.fromkeys(("429", "unknown"), _YELLOW),
    "503": _PURPLE,
    "504": _BROWN,
}
STYLES = ("-", "--", "-.", ":")
_HATCHES = ("", "///", "...", "xxx")
_NUMBERED = re.compile(r"(.*?)(\d{1,9})", re.DOTALL)


def colour(name: object) -> str:
    """Give the colour of a thing.

    Parameters
    ----------
    name
        As a plot names it.
    """
    text = str(name)
    if text in FIXED:
        return FIXED[text]
    found = _NUMBERED.fullmatch(text)
    stem, number = (found[1], int(found[2])) if found else (text, 0)
    return _MORE[(zlib.crc32(stem.encode()) + number) % len(_MORE)]


def line_looks(names: Sequence[object]) -> list[tuple[str, str]]:
    """Give colour and style of each line: no two of up to four of one colour have one style.

    Parameters
    ----------
    names
        In the order in which they are drawn.
    """
    looks: list[tuple[str, str]] = []
    for place, name in enumerate(names):
        styles = [STYLES[(place + more) % len(STYLES)] for more in range(len(STYLES))]
        free = [style for style in styles if (colour(name), style) not in looks]
        looks.append((colour(name), (free or styles)[0]))
    return looks


def hatches(names: Sequence[object]) -> list[str]:
    """Give the pattern of each area, another one for each of up to four areas of one colour."""
    colours = [colour(name) for name in names]
    again = [colours[:place].count(each) for place, each in enumerate(colours)]
    return [_HATCHES[number % len(_HATCHES)] for number in again]
