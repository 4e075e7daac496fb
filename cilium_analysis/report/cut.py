"""Runs that are cut short: what a server has told is kept, and `resume` goes on from there.

A run says what it is about before it asks anything, and its recording tells at any time what is
in it. So whatever ends a run, a lost server, a full disk or a signal, what is left of it can be
taken up again.
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
from cilium_analysis.report import html, output
from cilium_analysis.report.summary import BUNDLE, parameters
from cilium_analysis.scratch import clear
from cilium_analysis.source import iso, window_as_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from cilium_analysis.objectstore import Address
    from cilium_analysis.question import Question

#: Why a notebook is not there yet.
NOT_MADE = "not made before the run was cut short"
#: What a run says of itself until it knows better, and what one that was killed cannot say.
CUT = "it was cut short"
KILLED = "the process was killed"
#: A run that has nothing yet may just have begun.
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
    made = [
        {"topic": topic, **row, "notebook": f"{topic}.ipynb", "html": f"{topic}.html"}
        for topic in topics
    ]
    summary: dict[str, Any] = {
        "schema": output.RUN_SCHEMA,
        "status": "failed",
        "error": CUT,
        "machine": platform.node(),
        "cluster": question.called,
        "source": question.source.name,
        "window": window_as_json(question.window),
        "baseline": window_as_json(question.baseline),
        "parameters": parameters(question) | {"source": question.source.name, "topics": [*topics]},
        "versions": {"cilium-analysis": __version__},
        "findings": {str(severity): 0 for severity in sorted(Severity, reverse=True)},
        "asked": list(asked),
        "first": "",
        "topics": made,
        "name": name,
        "began": iso(began.replace(microsecond=0)),
        "seconds": 0.0,
    }
    output.write_json(directory / "run.json", summary)
    # On a full disk this is the page that stays.
    (directory / "index.html").write_text(html.unmade_page(summary), encoding="utf-8")


def kept(directory: Path, problem: BaseException | None) -> bool:
    """Tell whether what there is of a run is worth keeping, and write why there is no more.

    Parameters
    ----------
    directory
        Where it was being made.
    problem
        What ended it; None if nobody knows.
    """
    try:
        bundle = Bundle(directory / BUNDLE)
        found = json.loads((directory / "run.json").read_bytes())
    except (BundleError, OSError, ValueError):
        return False
    if not any("file" in row for row in bundle.manifest["answers"]):
        return False
    # What is not written is only said less well: a full disk may be why.
    with suppress(OSError):
        found["error"] = KILLED if problem is None else str(problem) or "it was stopped"
        output.write_json(directory / ".run.json", found)
        (directory / ".run.json").replace(directory / "run.json")
        (directory / "index.html").write_text(html.unmade_page(found), encoding="utf-8")
    (directory / ".run.json").unlink(missing_ok=True)
    return True


def told(
    problem: CiliumAnalysisError | KeyboardInterrupt | MemoryError,
    where: Path | Address,
    *,
    by: str = "report",
) -> CiliumAnalysisError | KeyboardInterrupt:
    """Give the error that ended a command, with what to do about what is kept."""
    hint = f"what was recorded is kept: {by} --resume {where} goes on from it"
    if isinstance(problem, KeyboardInterrupt) and not isinstance(problem, TimeIsUp):
        return Interrupted(f"{str(problem) or 'stopped'}; {hint}")
    if not isinstance(problem, CiliumAnalysisError | TimeIsUp):
        problem = OutOfMemory()
    return type(problem)(f"{problem}; {hint}")


def revive(runs: Path, *, tell: Callable[[str], None]) -> None:
    """Put runs whose process is gone among the others, where they have anything to go on from.

    What else is left of such processes is removed.

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
        began = output.unfinished_since(path.name)
        if began is None or path.is_symlink():
            continue
        with output.claimed(path) as gone, suppress(OSError):
            run = output.read_run(path / "run.json") or {}
            # The lock of another machine may not be seen from here.
            if not gone or run.get("machine", platform.node()) != platform.node():
                continue
            name = path.name[1:].partition(".")[0]
            if not (runs / name).exists() and kept(path, None):
                path.rename(runs / name)
                tell(f"a run was cut short: report --resume {runs / name} goes on from it")
            elif run or now - began > YOUNG:
                shutil.rmtree(path)
