"""Runs that are not complete: one that goes on, that was cut short, or that could not be made.

A run writes what it is about before it asks anything, and its recording says at any time what is
in it. So a run that any cause has ended, such as a lost server, a full disk or a signal, can be
resumed.
"""

from __future__ import annotations

import json
import platform
import shutil
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cilium_analysis import __version__
from cilium_analysis.bundle import Bundle
from cilium_analysis.errors import (
    BundleError,
    CiliumAnalysisError,
    Interrupted,
    OutOfMemory,
    TimeIsUp,
)
from cilium_analysis.findings import Severity
from cilium_analysis.report import openmetrics
from cilium_analysis.report.html import unmade_page
from cilium_analysis.report.summary import BUNDLE, parameters
from cilium_analysis.scratch import clear
from cilium_analysis.source import iso, window_as_json
from cilium_analysis.storage.directory import claimed
from cilium_analysis.storage.runs import RUN_SCHEMA, read_run, unfinished_since, write_json
from cilium_analysis.times import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from cilium_analysis.question import Question
    from cilium_analysis.storage import Address, Place
    from cilium_analysis.window import Window

#: Error of a notebook that has not run yet.
NOT_MADE = "not made before the run was cut short"
#: Error of a run until it is complete, and of one that was killed and could not write its own.
CUT = "it was cut short"
KILLED = "the process was killed"
#: A run that has recorded nothing yet may just have begun.
YOUNG = timedelta(minutes=5)


def begin(
    directory: Path,
    question: Question,
    *,
    name: str,
    topics: Sequence[str],
    asked: Sequence[str],
    began: datetime,
) -> None:
    """Write what a run is about, before it is made.

    Parameters
    ----------
    directory
        Where it is made.
    question, name, topics, asked, began
        Of the run, as of `cilium_analysis.report.summary.write`.
    """
    row = {"error": NOT_MADE, "seconds": 0.0, "title": "", "unknown": False, "findings": 0}
    given = parameters(question) | {"source": question.source.name, "topics": [*topics]}
    summary = _without_results(
        name,
        began,
        error=CUT,
        cluster=question.called,
        source=question.source.name,
        window=question.window,
        baseline=question.baseline,
        parameters=given,
        topics=[
            {"topic": topic, **row, "notebook": f"{topic}.ipynb", "html": f"{topic}.html"}
            for topic in topics
        ],
    )
    summary |= {"machine": platform.node(), "asked": list(asked)}
    # On a full disk this page is all that stays.
    _write(directory, summary)


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
    workloads: str = "",
    topics: Sequence[str] = (),
) -> None:
    """Write a run that could not be made, so that it is listed with the others as failed.

    Parameters
    ----------
    where
        The directory of all runs.
    name
        Of the run.
    error
        Why it could not be made, in one line.
    cluster, source
        What it would have been about.
    window, baseline, match, workloads, topics
        What was asked for.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    began = datetime.now(UTC)
    summary = _without_results(
        name,
        began,
        error=error,
        cluster=cluster,
        source=source,
        window=window,
        baseline=baseline,
        parameters={
            "topics": list(topics),
            "step": format_duration(window.step),
            "match": match,
            "workloads": workloads,
            "timezone": window.timezone,
        },
        topics=[],
    )
    with where.new_run(name, began=began) as temporary:
        _write(temporary, summary)


def _without_results(
    name: str, began: datetime, *, window: Window, baseline: Window, **known: Any
) -> dict[str, Any]:
    """Give the ``run.json`` of a run that has no results."""
    return {
        "schema": RUN_SCHEMA,
        "status": "failed",
        "window": window_as_json(window),
        "baseline": window_as_json(baseline),
        "versions": {"cilium-analysis": __version__},
        "findings": {str(severity): 0 for severity in sorted(Severity, reverse=True)},
        "first": "",
        "name": name,
        "began": iso(began.replace(microsecond=0)),
        "seconds": 0.0,
        **known,
    }


def _write(directory: Path, summary: dict[str, Any]) -> None:
    write_json(directory / "run.json", summary)
    (directory / "index.html").write_text(unmade_page(summary), encoding="utf-8")
    metrics = openmetrics.render(summary, None)
    (directory / openmetrics.NAME).write_text(metrics, encoding="utf-8")


def kept(directory: Path, problem: BaseException | None) -> bool:
    """Tell whether an unfinished run is worth keeping, and write what ended it.

    Parameters
    ----------
    directory
        Where it was being made.
    problem
        What ended it; None if that is not known.
    """
    try:
        bundle = Bundle(directory / BUNDLE)
        found = json.loads((directory / "run.json").read_bytes())
    except (BundleError, OSError, ValueError):
        return False
    if not any("file" in row for row in bundle.manifest["answers"]):
        return False
    # A full disk may be what ended it: then the run stays without the reason.
    with suppress(OSError):
        found["error"] = KILLED if problem is None else str(problem) or "it was stopped"
        write_json(directory / ".run.json", found)
        (directory / ".run.json").replace(directory / "run.json")
        (directory / "index.html").write_text(unmade_page(found), encoding="utf-8")
    (directory / ".run.json").unlink(missing_ok=True)
    return True


def with_hint(
    problem: CiliumAnalysisError | KeyboardInterrupt | MemoryError,
    where: Path | Address,
    *,
    by: str = "report",
) -> CiliumAnalysisError | KeyboardInterrupt:
    """Give the error that ended a command, with how to resume from what is kept."""
    hint = f"what was recorded is kept: {by} --resume {where} goes on from it"
    if isinstance(problem, KeyboardInterrupt) and not isinstance(problem, TimeIsUp):
        return Interrupted(f"{str(problem) or 'stopped'}; {hint}")
    if not isinstance(problem, CiliumAnalysisError | TimeIsUp):
        problem = OutOfMemory()
    return type(problem)(f"{problem}; {hint}")


def revive(runs: Path, *, tell: Callable[[str], None]) -> None:
    """Rename runs whose process is gone to their own names, if they can be resumed.

    Removes what else is left of such processes.

    Parameters
    ----------
    runs
        Directory of all runs.
    tell
        Takes a line on each.
    """
    clear()
    now = datetime.now(UTC)
    for path in sorted(runs.glob(".*")) if runs.is_dir() else ():
        began = unfinished_since(path.name)
        if began is None or path.is_symlink():
            continue
        with claimed(path) as gone, suppress(OSError):
            run = read_run(path / "run.json") or {}
            # The lock of another machine may not be seen from here.
            if not gone or run.get("machine", platform.node()) != platform.node():
                continue
            name = path.name[1:].partition(".")[0]
            if not (runs / name).exists() and kept(path, None):
                path.rename(runs / name)
                tell(f"a run was cut short: report --resume {runs / name} goes on from it")
            elif run or now - began > YOUNG:
                shutil.rmtree(path)
