"""Plots: from frames to Axes. Nothing here is shown or saved.

Every function takes ``ax`` (a new one if not given) and returns it. Colours are those of Okabe
and Ito (Color Universal Design, 2008), which stay apart for colour-blind eyes; series also
differ in lightness and are labelled, so that a print in grey can be read. One thing has one colour
on all pages (`colours`).
"""

from cilium_analysis.plots.colours import OTHERS, PALETTE, colour, hatches, line_looks
from cilium_analysis.plots.style import plain, short, time_axis
from cilium_analysis.plots.tables import comparison, heatmap, matrix
from cilium_analysis.plots.times import (
    largest,
    lines,
    outages,
    shade,
    stacked,
    stories,
)

__all__ = [
    "OTHERS",
    "PALETTE",
    "colour",
    "comparison",
    "hatches",
    "heatmap",
    "largest",
    "line_looks",
    "lines",
    "matrix",
    "outages",
    "plain",
    "shade",
    "short",
    "stacked",
    "stories",
    "time_axis",
]
