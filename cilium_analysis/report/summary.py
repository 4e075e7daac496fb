"""What a run amounts to: its findings, its ``run.json``, and its pages."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cilium_analysis.bundle import Bundle
from cilium_analysis.findings import Findings, Severity, merge, without_unknown
from cilium_analysis.report import html, output, pdf
from cilium_analysis.report.execute import STOPPED
from cilium_analysis.report.verdict import UNKNOWN, first, verdict
from cilium_analysis.source import iso, window_as_json
from cilium_analysis.window import format_duration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from cilium_analysis.question import Question
    from cilium_analysis.report.compare import Other
    from cilium_analysis.report.execute import Executed

BUNDLE = "bundle"
#: The question whose findings tell what those of all others amount to.
_STORIES = "incident"


def parameters(question: Question) -> dict[str, str]:
    """Give what the notebooks get: times that mean the same in every zone, never credentials."""
    window, baseline = question.window, question.baseline
    return {
        "source": BUNDLE,
        "start": iso(window.start),
        "end": iso(window.end),
        "step": format_duration(window.step),
        "baseline": f"{iso(baseline.start)}/{iso(baseline.end)}",
        "match": question.match,
        "timezone": window.timezone,
    }


@dataclass(frozen=True)
class About:
    """What a run is called, and when it was made.

    Parameters
    ----------
    name, began
        Of the run.
    asked
        Topics that somebody asked for by name.
    since
        What its seconds are counted from, if it was taken up again; `began` if None.
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
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write what follows from the notebooks: findings, summary, pages.

    Parameters
    ----------
    question
        That was asked.
    done
        Its notebooks, also those that stopped with an error.
    directory
        Where they are, and where everything goes.
    about
        The run.
    show_code
        Whether the pages show the code cells.
    other
        Another run to compare with.
    paper
        Whether to make a PDF of all pages too.

    Returns
    -------
    tuple
        What ``run.json`` and ``findings.json`` hold.
    """
    by_topic = [
        (executed.topic, Findings.from_json(document))
        for executed in done
        for document in executed.findings
    ]
    empty = Findings(
        question.source.name,
        question.window,
        question.baseline,
        incomplete=tuple(executed.topic for executed in done if executed.error),
    )
    stories = [one for topic, one in by_topic if topic == _STORIES]
    found = merge(empty, [one for _, one in by_topic], stories=stories).as_json()
    summary = _summary(question, done, found, about.asked, Bundle(directory / BUNDLE))
    summary |= {"name": about.name, "began": iso(about.began.replace(microsecond=0))}
    if other is not None:
        summary["compared"] = other.beside(found, unknown=summary["verdict"] == UNKNOWN)
    took = datetime.now(UTC) - (about.since or about.began)
    summary["seconds"] = round(took.total_seconds(), 3)
    pages = {pdf.SUMMARY: html.run_page(summary, found)}
    pages |= {
        executed.topic: html.notebook_page(executed, run=summary, show_code=show_code)
        for executed in done
    }
    output.write_json(directory / "findings.json", found)
    for topic, page in pages.items():
        (directory / f"{topic}.html").write_text(page, encoding="utf-8")
    output.write_json(directory / "run.json", summary)
    if paper:
        summary |= _drawn(directory, pages, html.title(summary))
        first = html.run_page(summary, found)
        (directory / f"{pdf.SUMMARY}.html").write_text(first, encoding="utf-8")
        output.write_json(directory / "run.json", summary)
    return summary, found


def _drawn(directory: Path, pages: Mapping[str, str], title: str) -> dict[str, str]:
    """Make the PDF; gives what ``run.json`` says of it. All else is written already."""
    try:
        error = pdf.write_pdf(directory / pdf.NAME, pages, title=title)
    except KeyboardInterrupt:
        error = STOPPED
    return {"status": "failed", "pdf_error": error} if error else {"pdf": pdf.NAME}


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
    return {
        "schema": output.RUN_SCHEMA,
        "status": "failed" if any(executed.error for executed in done) else "complete",
        "cluster": question.called,
        "source": question.source.name,
        "server": bundle.server,
        "kubernetes": _kubernetes(bundle),
        "window": window_as_json(question.window),
        "baseline": window_as_json(question.baseline),
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
    """Add up what all answers cost; one that the server refused cost a query."""
    totals: dict[str, float] = {
        key: sum(row.get(key, 0) for row in answers) for key in ("series", "samples", "bytes")
    }
    seconds = round(sum(row.get("seconds", 0.0) for row in answers), 3)
    return {"queries": len(answers), **totals, "seconds": seconds}


def _query(row: dict[str, Any]) -> dict[str, Any]:
    """Give what was asked and what it cost; the answer itself is in the bundle."""
    return {key: value for key, value in row.items() if key not in ("file", "rows", "sha256")}
