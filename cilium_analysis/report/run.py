"""A run: record what the topics need, run their notebooks on the recording, write the pages."""

from __future__ import annotations

import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cilium_analysis import findings
from cilium_analysis.bundle import Bundle
from cilium_analysis.capture import capture, choose_topics
from cilium_analysis.findings import Severity
from cilium_analysis.report import html, output, retention
from cilium_analysis.report.compare import compared, read_findings
from cilium_analysis.report.execute import Executed, execute
from cilium_analysis.report.kernel import Kernels
from cilium_analysis.report.notebooks import check_parameters, notebook_directory
from cilium_analysis.source import iso, window_as_json
from cilium_analysis.window import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta
    from pathlib import Path

    from cilium_analysis.question import Question

_BUNDLE = "bundle"
#: The question whose findings tell what those of all others amount to.
_STORIES = "incident"


@dataclass(frozen=True)
class Run:
    """A finished run.

    Parameters
    ----------
    directory
        Where everything is.
    summary, findings
        As ``run.json`` and ``findings.json`` hold them.
    """

    directory: Path
    summary: dict[str, Any]
    findings: dict[str, Any]

    @property
    def failures(self) -> dict[str, str]:
        """Why notebooks stopped, by topic."""
        return {row["topic"]: row["error"] for row in self.summary["topics"] if row["error"]}

    @property
    def worst(self) -> Severity | None:
        """Highest severity among the findings; None if there is none."""
        counts = self.summary["findings"]
        return max((s for s in Severity if counts[str(s)]), default=None)


def report(
    question: Question,
    *,
    topics: Sequence[str] = (),
    directory: Path,
    notebooks: Path | None = None,
    jobs: int = 1,
    show_code: bool = False,
    compare: Path | None = None,
    keep: timedelta | None = None,
    name: str = "",
    index: bool = True,
    progress: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Run:
    """Make a report.

    Parameters
    ----------
    question
        Where to look, and when.
    topics
        Names of notebooks; none means all that the source can answer.
    directory
        Of all runs; this one becomes a directory in it, with ``index.html``, a notebook and a
        page per topic, ``findings.json``, ``run.json`` and the bundle.
    notebooks
        Directory of notebooks to run instead of those of the package.
    jobs
        Notebooks to run at a time.
    show_code
        Whether the pages show the code cells.
    compare
        Directory of another run, to say what is new, gone, worse or better since.
    keep
        How long runs are kept: those of the directory that are older are removed when this one
        is written. None keeps all.
    name
        Of the run, as of `output.run_name`, where it was chosen beforehand.
    index
        Whether to write the list of all runs anew; whoever makes many does it once.
    progress
        Whether to show progress bars.
    tell
        Takes a line on what is being done now.

    Returns
    -------
    Run
        Also when a notebook stopped with an error: it is kept as evidence.

    Raises
    ------
    UsageError
        If anything asked for cannot be; nothing has run then.
    PrometheusError
        If the source does not answer; nothing is left behind then.
    KubernetesUnavailable
        If the Kubernetes API was asked for and does not answer; nothing is left behind then.
    """
    other = read_findings(compare) if compare else None
    chosen = choose_topics(topics, question.source)
    parameters = _parameters(question)
    files = [(notebooks or notebook_directory()) / f"{topic}.ipynb" for topic in chosen]
    for file in files:
        check_parameters(file, parameters)
    began, name = datetime.now(UTC), name or output.run_name(question.window)
    with output.new_run(directory, name, began=began) as temporary:
        tell(f"Reading {question.reading}")
        _record(question, chosen, temporary)
        tell(f"Running {', '.join(chosen)}")
        done = _execute(files, parameters, temporary, jobs=jobs, progress=progress)
        run = _write(
            question,
            done,
            temporary,
            name=name,
            began=began,
            show_code=show_code,
            other=other,
        )
    if index:
        retention.keep_in_order(directory, keep=keep, made={name}, tell=tell)
    return Run(directory / name, *run)


def _parameters(question: Question) -> dict[str, str]:
    """Give what the notebooks get: times that mean the same in every zone, never credentials."""
    window, baseline = question.window, question.baseline
    return {
        "source": _BUNDLE,
        "start": iso(window.start),
        "end": iso(window.end),
        "step": format_duration(window.step),
        "baseline": f"{iso(baseline.start)}/{iso(baseline.end)}",
        "match": question.match,
        "timezone": window.timezone,
    }


def _record(question: Question, topics: Sequence[str], directory: Path) -> None:
    window, baseline = question.window, question.baseline
    capture(
        question.source,
        window,
        baseline,
        topics=topics,
        match=question.match,
        directory=directory / _BUNDLE,
        cluster=question.cluster,
    )


def _execute(
    notebooks: Sequence[Path],
    parameters: dict[str, str],
    directory: Path,
    *,
    jobs: int,
    progress: bool,
) -> list[Executed]:
    """Run notebooks in threads: each is its own kernel process, which a thread waits for."""
    kernels = Kernels()
    pool = ThreadPoolExecutor(max_workers=jobs)
    # papermill changes the working directory of all threads for moments.
    target, files = directory.absolute(), [file.absolute() for file in notebooks]
    try:
        waiting = [
            pool.submit(execute, file, parameters, target, kernels=kernels, progress=progress)
            for file in files
        ]
        return [job.result() for job in waiting]
    finally:
        kernels.stop()
        pool.shutdown(cancel_futures=True)
        # IPython leaves its checkpoints where notebooks run.
        shutil.rmtree(directory / ".ipynb_checkpoints", ignore_errors=True)


def _write(
    question: Question,
    done: Sequence[Executed],
    directory: Path,
    *,
    name: str,
    began: datetime,
    show_code: bool,
    other: dict[str, Any] | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write what follows from the notebooks: findings, summary, pages."""
    incomplete = [executed.topic for executed in done if executed.error]
    found = findings.merge(
        _frame_of_reference(question),
        [document for executed in done for document in executed.findings],
        stories=[d for executed in done if executed.topic == _STORIES for d in executed.findings],
        incomplete=incomplete,
    )
    summary = _summary(question, done, found, Bundle(directory / _BUNDLE))
    summary |= {"name": name, "began": iso(began.replace(microsecond=0))}
    if other is not None:
        summary["compared"] = {"window": other["window"], "findings": compared(found, other)}
    summary["seconds"] = round((datetime.now(UTC) - began).total_seconds(), 3)
    output.write_json(directory / "findings.json", found)
    output.write_json(directory / "run.json", summary)
    for executed in done:
        page = html.notebook_page(executed, run=summary, show_code=show_code)
        (directory / f"{executed.topic}.html").write_text(page, encoding="utf-8")
    (directory / "index.html").write_text(html.run_page(summary, found), encoding="utf-8")
    return summary, found


def _frame_of_reference(question: Question) -> findings.Findings:
    return findings.Findings(question.source.name, question.window, question.baseline)


def _summary(
    question: Question, done: Sequence[Executed], found: dict[str, Any], bundle: Bundle
) -> dict[str, Any]:
    counts = Counter(row["severity"] for row in found["findings"])
    parameters = _parameters(question) | {"source": question.source.name}
    return {
        "schema": output.RUN_SCHEMA,
        "status": "failed" if any(executed.error for executed in done) else "complete",
        "cluster": question.called,
        "source": question.source.name,
        "server": bundle.server,
        "kubernetes": _kubernetes(bundle),
        "window": window_as_json(question.window),
        "baseline": window_as_json(question.baseline),
        "parameters": {"topics": [executed.topic for executed in done], **parameters},
        "versions": bundle.manifest["versions"],
        "findings": {str(s): counts[str(s)] for s in sorted(Severity, reverse=True)},
        "first": next((row["title"] for row in found["findings"]), ""),
        "topics": [_topic(executed) for executed in done],
        "cost": _cost(bundle.manifest["answers"]),
        "queries": [_query(row) for row in bundle.manifest["answers"]],
    }


def _kubernetes(bundle: Bundle) -> dict[str, Any] | None:
    """Say which API was read, when, and what could not be read; None if none was."""
    row = bundle.manifest.get("kubernetes")
    return {key: row[key] for key in ("server", "read", "unread", "notes")} if row else None


def _topic(executed: Executed) -> dict[str, Any]:
    return {
        "topic": executed.topic,
        "title": executed.title,
        "error": executed.error,
        "seconds": round(executed.seconds, 3),
        "findings": sum(len(document["findings"]) for document in executed.findings),
        "notebook": f"{executed.topic}.ipynb",
        "html": f"{executed.topic}.html",
    }


def _cost(answers: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Add up what all answers cost; one that the server refused cost a query."""
    totals: dict[str, float] = {
        key: sum(row.get(key, 0) for row in answers) for key in ("series", "samples", "bytes")
    }
    seconds = round(sum(row.get("seconds", 0.0) for row in answers), 3)
    return {"queries": len(answers), **totals, "seconds": seconds}


def _query(row: dict[str, Any]) -> dict[str, Any]:
    """Give what was asked and what it cost; the answer itself is in the bundle."""
    return {key: value for key, value in row.items() if key not in ("file", "rows", "sha256")}
