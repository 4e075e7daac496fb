"""A run that could not be made: listed with the others, as failed, with its error."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cilium_analysis import __version__
from cilium_analysis.findings import Severity
from cilium_analysis.report import html, output
from cilium_analysis.source import iso, window_as_json
from cilium_analysis.window import format_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cilium_analysis.report.places import Place
    from cilium_analysis.window import Window


def write_unmade(
    where: Place,
    name: str,
    *,
    error: str,
    cluster: str,
    source: str,
    window: Window,
    baseline: Window,
    match: str = "",
    topics: Sequence[str] = (),
) -> None:
    """Write the directory of a run that there is nothing of but why.

    Parameters
    ----------
    where
        Of all runs.
    name
        Of the run.
    error
        Why it could not be made, in one line.
    cluster, source
        What it would have been about.
    window, baseline, match, topics
        What was asked for.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    began = datetime.now(UTC)
    summary: dict[str, Any] = {
        "schema": output.RUN_SCHEMA,
        "status": "failed",
        "error": error,
        "cluster": cluster,
        "source": source,
        "window": window_as_json(window),
        "baseline": window_as_json(baseline),
        "parameters": {
            "topics": list(topics),
            "step": format_duration(window.step),
            "match": match,
            "timezone": window.timezone,
        },
        "versions": {"cilium-analysis": __version__},
        "findings": {str(severity): 0 for severity in sorted(Severity, reverse=True)},
        "first": "",
        "topics": [],
        "name": name,
        "began": iso(began.replace(microsecond=0)),
        "seconds": 0.0,
    }
    with where.new_run(name, began=began) as temporary:
        output.write_json(temporary / "run.json", summary)
        (temporary / "index.html").write_text(html.unmade_page(summary), encoding="utf-8")
