"""How the findings of runs went over time: the bars of the index. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cilium_analysis.report.clock import called, clock
from cilium_analysis.report.verdict import QUIET, UNKNOWN, is_unknown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: Bars of more runs would be too thin to point at.
MOST = 120
#: From one bar to the next, and height of the highest [units of the drawing].
PITCH, HEIGHT = 10, 100.0
#: A single finding is drawn as one of so many.
LEAST_SCALE = 5
_ORDER = ("critical", "warning", "info")


def trend(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give the bars of the last runs, the oldest first.

    Parameters
    ----------
    runs
        As their ``run.json`` has them.

    Returns
    -------
    list of dict
        ``name`` of the run, ``label`` in words, ``x``, and ``parts`` from the bottom up
        (``severity``, ``y`` of its upper edge, ``height``).
    """
    last = sorted(runs, key=lambda run: (run["window"]["end"], run["began"]))[-MOST:]
    scale = max([LEAST_SCALE, *(_count(run) for run in last)])
    return [
        {
            "name": run["name"],
            "label": _label(run),
            "x": PITCH * place,
            "parts": list(_parts(run, scale)),
        }
        for place, run in enumerate(last)
    ]


def worst(run: Mapping[str, Any]) -> str:
    """Name the highest severity of a run's findings, ``failed``, or nothing."""
    if run["status"] == "failed":
        return "failed"
    return next((name for name in _ORDER if run["findings"].get(name)), "")


def weight(run: Mapping[str, Any]) -> int:
    """Give a number to sort runs by: the worst first, then the most."""
    # What is unknown comes after what failed.
    total = 2 * int(run["status"] == "failed") + int(is_unknown(run))
    for name in _ORDER:
        total = 1000 * total + min(int(run["findings"].get(name, 0)), 999)
    return total


def _count(run: Mapping[str, Any]) -> int:
    return sum(int(run["findings"].get(name, 0)) for name in _ORDER)


def _parts(run: Mapping[str, Any], scale: int) -> Iterator[dict[str, Any]]:
    if run["status"] == "failed":
        yield {"severity": "failed", "y": 0.0, "height": HEIGHT}
        return
    if is_unknown(run):
        yield {"severity": UNKNOWN, "y": 0.0, "height": HEIGHT}
        return
    top = HEIGHT
    for name in _ORDER:
        height = HEIGHT * int(run["findings"].get(name, 0)) / scale
        if height:
            top -= height
            yield {"severity": name, "y": round(top, 2), "height": round(height, 2)}


def _label(run: Mapping[str, Any]) -> str:
    zone = run["parameters"]["timezone"]
    counts = [f"{n} {name}" for name in _ORDER if (n := run["findings"].get(name))]
    if is_unknown(run):
        counts.insert(0, UNKNOWN)
    told = "failed" if run["status"] == "failed" else ", ".join(counts) or QUIET
    return f"{called(run)}, to {clock(run['window']['end'], zone)} {zone}: {told}"
