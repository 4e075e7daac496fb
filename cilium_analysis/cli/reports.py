"""The commands that make reports, and what they say when done."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from cilium_analysis.cli.options import UNKNOWN, is_among, least, question
from cilium_analysis.cli.words import put, say
from cilium_analysis.errors import ParameterError, TimeIsUp

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from datetime import timedelta
    from pathlib import Path

    from cilium_analysis.findings import Severity
    from cilium_analysis.objectstore import Address
    from cilium_analysis.question import Question
    from cilium_analysis.report import Run
    from cilium_analysis.report.notify import Receiver


EXIT_UNKNOWN = 30


def report(options: argparse.Namespace) -> int:
    """Report on what was asked for, and notify who is to be told."""
    from cilium_analysis.report.output import kept

    audience = audience_of(options)
    asked = None
    try:
        if options.resume:
            run = _resumed(options)
        else:
            _check_places(options)
            asked = question(options)
            run = _made(asked, options, topics=options.topics, keep=options.keep)
    except (Exception, TimeIsUp) as problem:
        if audience:
            _notify_of_failure(audience, problem, options, asked)
        raise
    with kept(run.directory):
        # Before anything is printed: who reads that may be gone, and the others still have to know.
        if audience:
            _notify_of_run(audience, run, options)
        return _told(run, options.fail_on)


def _check_places(options: argparse.Namespace) -> None:
    """Tell of a place that cannot be before a server is asked anything."""
    from cilium_analysis.objectstore import located

    for text in (options.output, options.compare or ""):
        located(text)


def demo(options: argparse.Namespace) -> int:
    """Report on the bundled sample."""
    from cilium_analysis.question import ask
    from cilium_analysis.report.output import kept

    run = _made(ask(source="sample", baseline=""), options, topics=())
    with kept(run.directory):
        return _told(run, options.fail_on)


def _made(
    question: Question,
    options: argparse.Namespace,
    *,
    topics: Sequence[str],
    keep: timedelta | None = None,
) -> Run[Path | Address]:
    from cilium_analysis.objectstore import located
    from cilium_analysis.report import report

    return report(
        question,
        topics=topics,
        directory=located(options.output),
        jobs=options.jobs,
        show_code=options.show_code,
        compare=located(options.compare) if options.compare else None,
        paper=options.pdf,
        keep=keep,
        progress=sys.stderr.isatty(),
        tell=say,
    )


def _resumed(options: argparse.Namespace) -> Run[Path | Address]:
    """Take up a run, which knows what was asked.

    Raises
    ------
    ParameterError
        If something else is asked.
    """
    from cilium_analysis.objectstore import located
    from cilium_analysis.report import resume

    names = ("start", "end", "step", "baseline", "match", "kubernetes")
    given = [*options.topics, *(f"--{name}" for name in names if getattr(options, name))]
    if given:
        raise ParameterError(f"--resume asks what the run asked: leave out {', '.join(given)}")
    return resume(
        located(options.resume),
        source=options.source,
        timeout=options.timeout.total_seconds(),
        jobs=options.jobs,
        show_code=options.show_code,
        compare=located(options.compare) if options.compare else None,
        paper=options.pdf,
        keep=options.keep,
        progress=sys.stderr.isatty(),
        tell=say,
    )


def _told(run: Run[Path | Address], fail_on: str | None) -> int:
    """Print what a run amounts to; gives the exit code."""
    for text in _lines(run):
        put(text)
    for topic, error in run.failures.items():
        say(f"{topic} stopped with {error}; what ran is kept in {run.directory}")
    return 1 if run.failures else verdict(run.worst, fail_on, unknown=run.unknown)


def audience_of(options: argparse.Namespace) -> Sequence[Receiver]:
    """Give who is to be told of something, before it is done.

    Raises
    ------
    ParameterError
        If that cannot be read, or how is given but not whom.
    """
    from cilium_analysis.report.notify import NOTIFY_VARIABLE, check_whom, receivers

    found = receivers(options.notify)
    hint = f"add --notify file:PATH, or set {NOTIFY_VARIABLE}"
    check_whom(bool(found), notify_on=options.notify_on, link=options.link, hint=hint)
    return found


def _notify_of_run(
    audience: Sequence[Receiver], run: Run[Path | Address], options: argparse.Namespace
) -> None:
    from cilium_analysis.report.messages import about_run
    from cilium_analysis.report.notify import send

    page = run.directory.absolute() / "index.html"
    link = f"{options.link}/{run.directory.name}/index.html" if options.link else str(page)
    levels = options.notify_on or "warning"
    message = about_run(run, at=least(levels), unknown=is_among(UNKNOWN, levels), page=link)
    if message:
        send(audience, message, tell=say)


def _notify_of_failure(
    audience: Sequence[Receiver],
    problem: Exception | TimeIsUp,
    options: argparse.Namespace,
    asked: Question | None,
) -> None:
    """Tell that a report could not be made: where it is due, nobody looks at its exit code."""
    from cilium_analysis.report.messages import about_failure
    from cilium_analysis.report.notify import send

    source = asked.source.name if asked else options.source
    window = asked.window if asked else None
    message = about_failure(problem, source=source, match=options.match, window=window)
    send(audience, message, tell=say)


def _lines(run: Run[Path | Address]) -> list[str]:
    """Say what is not known, what was found, and where to read it."""
    from cilium_analysis.findings import unknown_lines
    from cilium_analysis.report.clock import clock

    unknown = [f"Unknown: {text}" for text in unknown_lines(run.findings.get("unknown", ()))]
    zone = run.summary["parameters"]["timezone"]
    found = []
    for row in run.findings["findings"]:
        span = f"({clock(row['start'], zone)} to {clock(row['end'], zone)} {zone})"
        found.append(f"{row['rank']}. [{row['severity']}] {row['title']} {span}")
        found += [f"   with: {each['title']}" for each in row.get("evidence", ())]
    compared = [
        f"{row['change']}: {row['title']}"
        for row in run.summary.get("compared", {}).get("findings", ())
        if row["change"] != "same"
    ]
    if not found:
        found = _nothing_found(run, partly=bool(unknown))
    return [*unknown, *found, *compared, f"Report: {run.directory / 'index.html'}"]


def _nothing_found(run: Run[Path | Address], *, partly: bool) -> list[str]:
    """Say that there is no finding; of what is unknown nothing is said by that."""
    if run.failures:
        return ["No findings, but the run is not whole."]
    if run.unknown:
        return []
    return ["Nothing unusual in what can be judged." if partly else "Nothing unusual."]


def verdict(worst: Severity | None, fail_on: str | None, *, unknown: bool) -> int:
    """Give the exit code that is asked for: that of the findings first, else that of unknown.

    Parameters
    ----------
    worst
        Highest severity found.
    fail_on
        Levels, separated by commas.
    unknown
        Whether what was asked for could not be judged.
    """
    at = least(fail_on)
    if at is not None and worst is not None and worst >= at:
        return int(worst)
    return EXIT_UNKNOWN if unknown and is_among(UNKNOWN, fail_on) else 0
