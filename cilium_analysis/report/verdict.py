"""How a run is summed up: in a word, in a line, and as a bar of the index. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from cilium_analysis import times
from cilium_analysis.findings import ABOUT_MONITORING, Severity
from cilium_analysis.texts import unknown_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

UNKNOWN = "unknown"
QUIET = "nothing unusual"
#: Bars of the index at most: more would be too thin to point at.
MOST = 120
#: Distance between two bars, and height of the highest [units of the drawing].
PITCH, HEIGHT = 10, 100.0
#: A full bar stands for at least so many findings.
LEAST_SCALE = 5
_SEVERITIES = [str(severity) for severity in sorted(Severity, reverse=True)]


def clock(stored: str, timezone: str, *, day: bool = True) -> str:
    """Write a stored UTC time as the reader's clock shows it."""
    return times.clock(datetime.fromisoformat(stored), timezone, day=day, seconds=True)


def called(run: Mapping[str, Any]) -> str:
    """Name what a run is about: the cluster if it has a name, otherwise its source."""
    return str(run.get("cluster") or run["source"])


def verdict(found: Mapping[str, Any], *, topics: Sequence[str], asked: Sequence[str] = ()) -> str:
    """Give the verdict of a run.

    Parameters
    ----------
    found
        As ``findings.json`` holds it.
    topics
        Topics of the run.
    asked
        Those of them that somebody asked for by name; none if all were taken.

    Returns
    -------
    str
        ``unknown`` if any topic that was asked for by name cannot be judged, or if no topic at
        all can be, those about the monitoring itself left aside. Otherwise the highest severity,
        or ``nothing unusual``.
    """
    unknown = {row["topic"] for row in found["unknown"]}
    judged = [topic for topic in topics if topic not in ABOUT_MONITORING]
    if unknown & set(asked) or (judged and unknown.issuperset(judged)):
        return UNKNOWN
    severities = [Severity[row["severity"].upper()] for row in found["findings"]]
    return str(max(severities)) if severities else QUIET


def first(found: Mapping[str, Any], *, unknown: bool) -> str:
    """Give what is to be read first: the title of the first finding, or why there is none.

    Parameters
    ----------
    found
        As ``findings.json`` holds it.
    unknown
        Whether the verdict is ``unknown``. Reasons then take the place of missing metrics.
    """
    missing = {"missing_metrics"} if unknown else set()
    titles = [row["title"] for row in found["findings"] if row["kind"] not in missing]
    lines = unknown_lines(found["unknown"]) if unknown else []
    more = f"; and {len(lines) - 1} more" if len(lines) > 1 else ""
    return next(iter(titles), f"Unknown: {lines[0]}{more}" if lines else "")


def is_unknown(run: Mapping[str, Any]) -> bool:
    """Tell whether a run could not be judged, as its ``run.json`` says."""
    return run.get("verdict") == UNKNOWN


def worst(run: Mapping[str, Any]) -> str:
    """Name the highest severity of a run's findings, ``failed``, or nothing."""
    if run["status"] == "failed":
        return "failed"
    return next((name for name in _SEVERITIES if run["findings"].get(name)), "")


def weight(run: Mapping[str, Any]) -> int:
    """Give a number to sort runs by: failed ones, unknown ones, then by severity and count."""
    total = 2 * int(run["status"] == "failed") + int(is_unknown(run))
    for name in _SEVERITIES:
        total = 1000 * total + min(int(run["findings"].get(name, 0)), 999)
    return total


def bars(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
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
    totals = [sum(int(run["findings"].get(name, 0)) for name in _SEVERITIES) for run in last]
    scale = max([LEAST_SCALE, *totals])
    return [
        {
            "name": run["name"],
            "label": _label(run),
            "x": PITCH * number,
            "parts": list(_parts(run, scale)),
        }
        for number, run in enumerate(last)
    ]


def _parts(run: Mapping[str, Any], scale: int) -> Iterator[dict[str, Any]]:
    if run["status"] == "failed" or is_unknown(run):
        whole = "failed" if run["status"] == "failed" else UNKNOWN
        yield {"severity": whole, "y": 0.0, "height": HEIGHT}
        return
    top = HEIGHT
    for name in _SEVERITIES:
        height = HEIGHT * int(run["findings"].get(name, 0)) / scale
        if height:
            top -= height
            yield {"severity": name, "y": round(top, 2), "height": round(height, 2)}


def _label(run: Mapping[str, Any]) -> str:
    zone = run["parameters"]["timezone"]
    counts = [f"{n} {name}" for name in _SEVERITIES if (n := run["findings"].get(name))]
    if is_unknown(run):
        counts.insert(0, UNKNOWN)
    said = "failed" if run["status"] == "failed" else ", ".join(counts) or QUIET
    return f"{called(run)}, to {clock(run['window']['end'], zone)} {zone}: {said}"
