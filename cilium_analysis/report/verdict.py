"""What a run amounts to in a word: its worst finding, nothing unusual, or unknown. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cilium_analysis.findings import Severity, unknown_lines
from cilium_analysis.topics.verdict import ABOUT_MONITORING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

UNKNOWN = "unknown"
QUIET = "nothing unusual"


def verdict(found: Mapping[str, Any], *, topics: Sequence[str], asked: Sequence[str] = ()) -> str:
    """Give the verdict of a run.

    Parameters
    ----------
    found
        As ``findings.json`` holds it.
    topics
        That the run looked at.
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
    """Give what is to be read first: the first finding, or why there is none.

    Parameters
    ----------
    found
        As ``findings.json`` holds it.
    unknown
        Whether the verdict is so; that metrics are missing is then said with its reasons.
    """
    missing = {"missing_metrics"} if unknown else set()
    titles = [row["title"] for row in found["findings"] if row["kind"] not in missing]
    lines = unknown_lines(found["unknown"]) if unknown else []
    more = f"; and {len(lines) - 1} more" if len(lines) > 1 else ""
    return next(iter(titles), f"Unknown: {lines[0]}{more}" if lines else "")


def is_unknown(run: Mapping[str, Any]) -> bool:
    """Tell whether a run could not be judged, as its ``run.json`` says."""
    return run.get("verdict") == UNKNOWN
