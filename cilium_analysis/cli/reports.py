"""The commands that make reports, and what they say when done."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cilium_analysis.cli.options import question
from cilium_analysis.cli.words import line, say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from cilium_analysis.question import Question
    from cilium_analysis.report import Run


def report(options: argparse.Namespace) -> int:
    """Report on what was asked for."""
    return _run(question(options), options, topics=options.topics)


def demo(options: argparse.Namespace) -> int:
    """Report on the bundled sample."""
    from cilium_analysis.question import ask

    return _run(ask(source="sample", baseline=""), options, topics=())


def _run(question: Question, options: argparse.Namespace, *, topics: Sequence[str]) -> int:
    from cilium_analysis.report import report

    run = report(
        question,
        topics=topics,
        directory=Path(options.output),
        jobs=options.jobs,
        show_code=options.show_code,
        compare=Path(options.compare) if options.compare else None,
        progress=sys.stderr.isatty(),
        tell=say,
    )
    for text in _lines(run):
        indent = text[: len(text) - len(text.lstrip(" "))]
        print(indent + line(text))
    for topic, error in run.failures.items():
        say(f"{topic} stopped with {error}; what ran is kept in {run.directory}")
    return 1 if run.failures else _verdict(run, options.fail_on)


def _lines(run: Run) -> list[str]:
    """Say what was found, and where to read it."""
    from cilium_analysis.report.clock import clock

    zone = run.summary["parameters"]["timezone"]
    found = []
    for row in run.findings["findings"]:
        span = f"({clock(row['start'], zone)} to {clock(row['end'], zone)} {zone})"
        found.append(f"{row['rank']}. [{row['severity']}] {row['title']} {span}")
        found += [f"   with: {each['title']}" for each in row.get("evidence", ())]
    nothing = "No findings, but the run is not whole." if run.failures else "Nothing unusual."
    compared = [
        f"{row['change']}: {row['title']}"
        for row in run.summary.get("compared", {}).get("findings", ())
        if row["change"] != "same"
    ]
    return [*(found or [nothing]), *compared, f"Report: {run.directory / 'index.html'}"]


def _verdict(run: Run, fail_on: str | None) -> int:
    """Give the exit code that findings of at least this severity ask for."""
    from cilium_analysis.findings import Severity

    if not fail_on or run.worst is None or run.worst < Severity[fail_on.upper()]:
        return 0
    return int(run.worst)
