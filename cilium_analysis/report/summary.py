"""Writes the results of a run: ``findings.json``, ``findings.prom``, ``run.json``, the pages."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cilium_analysis import accounts
from cilium_analysis.bundle import Bundle
from cilium_analysis.findings import Finding, Findings, Severity, merge
from cilium_analysis.report import html, openmetrics, pdf
from cilium_analysis.report.execute import STOPPED
from cilium_analysis.report.verdict import UNKNOWN, called, first, verdict
from cilium_analysis.source import iso, window_as_json
from cilium_analysis.storage import runs
from cilium_analysis.texts import without_unknown
from cilium_analysis.times import format_duration
from cilium_analysis.topics import INCIDENT, PATH

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cilium_analysis.question import Question
    from cilium_analysis.report.compare import Other
    from cilium_analysis.report.execute import Executed
    from cilium_analysis.report.grafana import Explore

BUNDLE = "bundle"
#: The topics whose findings are stories made of those of all others.
_STORIES = (INCIDENT, PATH)


def parameters(question: Question) -> dict[str, str]:
    """Give the parameters of the notebooks: times in UTC, never credentials."""
    window, baseline = question.window, question.baseline
    return {
        "source": BUNDLE,
        "start": iso(window.start),
        "end": iso(window.end),
        "step": format_duration(window.step),
        "baseline": f"{iso(baseline.start)}/{iso(baseline.end)}",
        "match": question.match,
        "timezone": window.timezone,
        "workloads": question.workloads,
    }


@dataclass(frozen=True)
class About:
    """The name of a run, and when it was made.

    Parameters
    ----------
    name, began
        Of the run.
    asked
        Topics that were asked for by name.
    since
        Start of its duration, if it was resumed; `began` if None.
    """

    name: str
    asked: tuple[str, ...]
    began: datetime
    since: datetime | None = None


def write(
    question: Question,
    done: Sequence[Executed],
    directory: Path,
    about: About,
    *,
    show_code: bool,
    other: Other | None,
    paper: bool = False,
    explore: Explore | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write the findings, the summary and the pages of a run.

    Parameters
    ----------
    question
        Source, window and baseline of the run.
    done
        Its notebooks, also those that stopped with an error.
    directory
        Of the notebooks; everything is written there.
    about
        The run.
    show_code
        Whether the pages show the code cells.
    other
        Another run to compare with.
    paper
        Whether to make a PDF of all pages too.
    explore
        Grafana that findings link to.

    Returns
    -------
    tuple
        The content of ``run.json`` and of ``findings.json``.
    """
    found = _merged(question, done).as_json()
    summary = _summary(question, done, found, about.asked, Bundle(directory / BUNDLE))
    summary |= {"name": about.name, "began": iso(about.began.replace(microsecond=0))}
    if explore is not None:
        summary["grafana"] = asdict(explore)
    if other is not None:
        summary["compared"] = other.beside(found, unknown=summary["verdict"] == UNKNOWN)
    took = datetime.now(UTC) - (about.since or about.began)
    summary["seconds"] = round(took.total_seconds(), 3)
    pages = {pdf.SUMMARY: html.run_page(summary, found)}
    pages |= {
        executed.topic: html.notebook_page(executed, run=summary, show_code=show_code)
        for executed in done
    }
    runs.write_json(directory / "findings.json", found)
    text = accounts.markdown(
        Findings.from_json(found), summary["parameters"]["timezone"], name=called(summary)
    )
    (directory / "report.md").write_text(f"{text}\n", encoding="utf-8")
    for topic, page in pages.items():
        (directory / f"{topic}.html").write_text(page, encoding="utf-8")
    _write_run(directory, summary, found)
    if paper:  # all else is written already
        try:
            error = pdf.write_pdf(directory / pdf.NAME, pages, title=html.title(summary))
        except KeyboardInterrupt:
            error = STOPPED
        summary |= {"status": "failed", "pdf_error": error} if error else {"pdf": pdf.NAME}
        first = html.run_page(summary, found)
        (directory / f"{pdf.SUMMARY}.html").write_text(first, encoding="utf-8")
        _write_run(directory, summary, found)
    return summary, found


def _write_run(directory: Path, summary: dict[str, Any], found: dict[str, Any]) -> None:
    metrics = openmetrics.render(summary, found)
    (directory / openmetrics.NAME).write_text(metrics, encoding="utf-8")
    runs.write_json(directory / "run.json", summary)


def _merged(question: Question, done: Sequence[Executed]) -> Findings:
    """Give the findings of all notebooks: stories first, and what is in none of them."""
    by_topic = [
        (executed.topic, read_findings(document, executed))
        for executed in done
        for document in executed.findings
    ]
    empty = Findings(
        question.source.name,
        question.window,
        question.baseline,
        incomplete=tuple(executed.topic for executed in done if executed.error),
    )
    stories = [one for topic, one in by_topic if topic in _STORIES]
    return merge(empty, [one for _, one in by_topic], stories=stories)


def read_findings(document: dict[str, Any], executed: Executed) -> Findings:
    """Read the findings of a notebook; the commands of one that is not ours are no code to copy.

    Parameters
    ----------
    document
        As the notebook wrote it.
    executed
        The notebook.
    """
    found = replace(Findings.from_json(document), topic=executed.topic)
    if executed.trusted:
        return found

    def plain(finding: Finding) -> Finding:
        evidence = tuple(map(plain, finding.evidence))
        return replace(finding, next_step=finding.next_step.replace("`", "'"), evidence=evidence)

    return replace(found, items=tuple(map(plain, found.items)))


def _summary(
    question: Question,
    done: Sequence[Executed],
    found: dict[str, Any],
    asked: Sequence[str],
    bundle: Bundle,
) -> dict[str, Any]:
    topics = [executed.topic for executed in done if not executed.error]
    word = verdict(found, topics=topics, asked=asked)
    counts = Counter(row["severity"] for row in found["findings"])
    given = parameters(question) | {"source": question.source.name}
    answers = bundle.manifest["answers"]
    kubernetes = bundle.manifest.get("kubernetes")
    if kubernetes:
        kubernetes = {key: kubernetes[key] for key in ("server", "read", "unread", "notes")}
    # The answers themselves are in the bundle.
    in_bundle = ("file", "rows", "sha256")
    queries = [{k: v for k, v in row.items() if k not in in_bundle} for row in answers]
    return {
        "schema": runs.RUN_SCHEMA,
        "status": "failed" if any(executed.error for executed in done) else "complete",
        "cluster": question.called,
        "source": question.source.name,
        "server": bundle.server,
        "kubernetes": kubernetes or None,
        "window": window_as_json(question.window),
        "baseline": window_as_json(question.baseline),
        "located": question.located,
        "parameters": {"topics": [executed.topic for executed in done], **given},
        "versions": bundle.manifest.get("versions", {}),
        "findings": {str(s): counts[str(s)] for s in sorted(Severity, reverse=True)},
        "asked": list(asked),
        "verdict": word,
        "unknown": found["unknown"],
        "first": first(found, unknown=word == UNKNOWN),
        "caveats": without_unknown(
            (text for executed in done for text in executed.caveats), found["unknown"]
        ),
        "topics": [_topic(executed) for executed in done],
        "cost": _cost(answers),
        "queries": queries,
    }


def _topic(executed: Executed) -> dict[str, Any]:
    return {
        "topic": executed.topic,
        "title": executed.title,
        "error": executed.error,
        "seconds": round(executed.seconds, 3),
        "unknown": any(
            row["topic"] == executed.topic
            for document in executed.findings
            for row in document.get("unknown", ())
        ),
        "findings": sum(len(document["findings"]) for document in executed.findings),
        "notebook": f"{executed.topic}.ipynb",
        "html": f"{executed.topic}.html",
    }


def _cost(answers: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Add up the cost of all answers; a query that the server refused counts too."""
    totals: dict[str, float] = {
        key: sum(row.get(key, 0) for row in answers) for key in ("series", "samples", "bytes")
    }
    seconds = round(sum(row.get("seconds", 0.0) for row in answers), 3)
    return {"queries": len(answers), **totals, "seconds": seconds}
