"""The commands that make reports, on one cluster or on a fleet, and what they print when done."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cilium_analysis.cli.options import (
    OUTPUT,
    UNKNOWN,
    add_fail_on,
    add_patience,
    add_text,
    is_among,
    least,
    number,
    question,
    source_of,
)
from cilium_analysis.cli.words import put, say
from cilium_analysis.errors import (
    BundleError,
    CiliumAnalysisError,
    OutputError,
    ParameterError,
    PrometheusError,
    TimeIsUp,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from datetime import timedelta

    from cilium_analysis.findings import Severity
    from cilium_analysis.fleet import Result
    from cilium_analysis.fleet.engine import Engine
    from cilium_analysis.question import Question
    from cilium_analysis.report import Run
    from cilium_analysis.report.messages import Message
    from cilium_analysis.report.notify import Receiver
    from cilium_analysis.storage import Address


EXIT_UNKNOWN = 30


def add_fleet(parser: argparse.ArgumentParser) -> None:
    """Add which fleet, where it runs, and where its reports go."""
    add, text = parser.add_argument, partial(add_text, parser)
    add("file", metavar="FILE", help="YAML that names clusters, windows and topics")
    text("--output", "DIR", OUTPUT, default="reports")
    text(
        "--scheduler",
        "ADDRESS",
        "Dask scheduler whose workers can write to --output, such as tcp://host:8786"
        " (default: start workers on this machine)",
    )
    add(
        "--workers",
        type=partial(number, what="workers"),
        metavar="N",
        help="reports to make at a time (default: number of processors)",
    )
    add(
        "--memory-limit",
        metavar="B",
        help="memory of each worker with its notebooks (default: 2GiB)",
    )
    add("--missing", action="store_true", help="skip reports that already exist and are complete")
    add("--pdf", action="store_true", help="also make a PDF of each report")
    add_patience(parser, of="each report", dest="deadline_of_each")
    add_fail_on(parser)


def report(options: argparse.Namespace) -> int:
    """Make a report, or finish one; notify."""
    from cilium_analysis.report.grafana import Annotations, annotate
    from cilium_analysis.report.messages import about_failure, about_run
    from cilium_analysis.storage.runs import stopped_after

    annotations = Annotations.parse(options.annotate) if options.annotate else None
    receivers = _receivers(options, annotated=bool(annotations))
    asked = None
    try:
        _check_places(options)
        if options.resume:
            run = _resumed(options)
        else:
            asked = question(options)
            run = _made(asked, options, topics=options.topics, keep=options.keep)
    except (Exception, TimeIsUp) as problem:
        about, window = _about(options, asked), asked.window if asked else None
        _put_failure(options, about)
        source = about or options.source
        message = about_failure(problem, source=source, match=options.match, window=window)
        _send(receivers, message)
        raise
    with stopped_after(run.directory):
        # Before anything is printed: the terminal may be gone, and the others still have to know.
        placed = _put_metrics(options, run)
        page = run.directory.absolute() / "index.html"
        link = f"{options.link}/{run.directory.name}/index.html" if options.link else str(page)
        _send(receivers, about_run(run, **_worth(options), page=link))
        if annotations:
            at, served = _worth(options)["at"], link if options.link else ""
            annotate(annotations, run.summary, run.findings, at=at, page=served, tell=say)
        if asked is not None and run.unknown and options.format == "text":
            _say_if_nothing_is_there(asked)
        code = _told(run, options, page=link)
        return code if placed else code or 1


def _put_metrics(options: argparse.Namespace, run: Run[Path | Address]) -> bool:
    """Write the metrics of a run where a collector reads them; say if that fails."""
    from cilium_analysis.report import openmetrics

    if not options.textfile:
        return True
    path = Path(options.textfile)
    try:
        openmetrics.place(
            path, openmetrics.render(run.summary, run.findings, called_report=path.stem)
        )
    except OutputError as problem:
        say(str(problem))
        return False
    return True


def _about(options: argparse.Namespace, asked: Question | None) -> str:
    """Name what a run that was not made is about, as one that is made does; empty if unknown."""
    from cilium_analysis.report.verdict import called
    from cilium_analysis.storage import located, place

    if asked:
        return asked.called or asked.source.name
    with suppress(CiliumAnalysisError):
        where = located(options.resume or "")
        where = where.resolve() if isinstance(where, Path) else where
        earlier = place(where.parent).run(where.name) if options.resume else None
        return called(earlier) if earlier else ""
    return ""


def _put_failure(options: argparse.Namespace, about: str) -> None:
    """Write that a run could not be made: what the last one found is not known to hold."""
    from cilium_analysis.prometheus.credentials import shown_address
    from cilium_analysis.report import openmetrics

    path = Path(options.textfile)
    # What cannot be written to was said before, or is the error itself.
    with suppress(ParameterError, OutputError):
        if options.textfile:
            openmetrics.check_place(path)
            # The label of the last run stays, so that an alert on it goes on.
            known = about or openmetrics.cluster_in(path) or shown_address(options.source)
            text = openmetrics.render_failure(
                source=known or UNKNOWN, began=datetime.now(UTC), called_report=path.stem
            )
            openmetrics.place(path, text)


def _say_if_nothing_is_there(asked: Question) -> None:
    """Print why all is unknown, and when there are metrics, if the window has none at all."""
    from cilium_analysis.absence import without_metrics

    # The report is made; what is only told beside it must not make it fail.
    with suppress(BundleError, PrometheusError):
        if said := without_metrics(asked):
            put(said)


def _check_places(options: argparse.Namespace) -> None:
    """Check the places that are given before a server is asked anything."""
    from cilium_analysis.report.grafana import Explore
    from cilium_analysis.report.openmetrics import check_place
    from cilium_analysis.storage import located

    for text in (options.output, options.compare or ""):
        located(text)
    if options.textfile:
        check_place(Path(options.textfile))
    if options.grafana:
        Explore.parse(options.grafana)


def demo(options: argparse.Namespace) -> int:
    """Report on the bundled sample."""
    from cilium_analysis.question import ask
    from cilium_analysis.storage.runs import stopped_after

    run = _made(ask(source="sample", baseline=""), options, topics=())
    with stopped_after(run.directory):
        return _told(run, options)


def _made(
    question: Question,
    options: argparse.Namespace,
    *,
    topics: Sequence[str],
    keep: timedelta | None = None,
) -> Run[Path | Address]:
    from cilium_analysis.report import report
    from cilium_analysis.storage import located

    where = located(options.output)
    return report(question, topics=topics, directory=where, keep=keep, **_how(options))


def _resumed(options: argparse.Namespace) -> Run[Path | Address]:
    """Finish a run, which knows what was asked."""
    from cilium_analysis.report import resume
    from cilium_analysis.storage import located

    narrowed = ("namespace", "workload", "from", "to")
    times = ("start", "end", "around", "alert", "step", "baseline", "match", "kubernetes")
    refuse_with_resume(options, (*times, *narrowed))
    return resume(
        located(options.resume),
        source=source_of(options),
        timeout=options.timeout.total_seconds(),
        keep=options.keep,
        **_how(options),
    )


def refuse_with_resume(
    options: argparse.Namespace, names: Sequence[str], *, of: str = "run"
) -> None:
    """Refuse options that ask something else than what is to be resumed.

    Raises
    ------
    ParameterError
        If any of them is given, or a kubeconfig for a source that needs none.
    """
    from cilium_analysis.ways import is_of_a_cluster

    given = [*options.topics, *(f"--{name}" for name in names if getattr(options, name))]
    if given:
        raise ParameterError(f"--resume asks what the {of} asked: leave out {', '.join(given)}")
    if options.kubeconfig and not is_of_a_cluster(options.source):
        raise ParameterError("with --resume, --kubeconfig is for --source kubernetes:")


def _how(options: argparse.Namespace) -> dict[str, Any]:
    """Give how a report is made, new or resumed."""
    from cilium_analysis.storage import located

    return {
        "jobs": options.jobs,
        "show_code": options.show_code,
        "compare": located(options.compare) if options.compare else None,
        "paper": options.pdf,
        "explore": getattr(options, "grafana", ""),  # not of the demo
        "progress": sys.stderr.isatty(),
        "tell": say,
    }


def _told(run: Run[Path | Address], options: argparse.Namespace, *, page: str = "") -> int:
    """Print the results of a run; give the exit code."""
    page = page or str(run.directory / "index.html")
    for text in _lines(run) if options.format == "text" else _for_ticket(run, options.format, page):
        put(text)
    for topic, error in run.failures.items():
        say(f"{topic} stopped with {error}; what ran is kept in {run.directory}")
    return 1 if run.failures else verdict(run.worst, options.fail_on, unknown=run.unknown)


def fleet(options: argparse.Namespace) -> int:
    """Report on a fleet, and notify."""
    from cilium_analysis.fleet.result import about_fleet
    from cilium_analysis.report.messages import about_failure

    receivers = _receivers(options)
    try:
        result = _fleet_made(options)
    except Exception as problem:
        _send(receivers, about_failure(problem, source=f"fleet {Path(options.file).stem}"))
        raise
    for cluster in result.fleet.clusters:
        put(f"{cluster.name}: {_summed_up(result, cluster.name)}")
    put(f"Fleet: {result.page}")
    page = str(result.page.absolute())
    link = f"{options.link}/{result.page.name}" if options.link else page
    _send(receivers, about_fleet(result, **_worth(options), page=link))
    if result.failures:
        return 1
    return verdict(result.worst, options.fail_on, unknown=bool(result.unknown))


def _fleet_made(options: argparse.Namespace) -> Result:
    from cilium_analysis.fleet import How, read_fleet, run_fleet
    from cilium_analysis.report.pdf import check_renderer
    from cilium_analysis.storage import located

    if options.pdf and not options.scheduler:  # its workers have packages of their own
        check_renderer()
    return run_fleet(
        read_fleet(Path(options.file)),
        _engine(options),
        directory=located(options.output),
        how=How(
            paper=options.pdf,
            timeout=options.timeout.total_seconds(),
            deadline=options.deadline_of_each.total_seconds(),
        ),
        keep=options.keep,
        missing=options.missing,
        tell=say,
    )


def _engine(options: argparse.Namespace) -> Callable[[int], AbstractContextManager[Engine]]:
    """Give the engine of a fleet, by the number of reports."""
    from cilium_analysis.fleet import engine

    if options.scheduler:
        if options.workers or options.memory_limit:
            raise ParameterError(
                "--workers and --memory-limit are for workers on this machine:"
                " those of a scheduler have their own"
            )
        return lambda _: engine.connected(options.scheduler)
    most = options.workers or os.cpu_count() or 1
    start = partial(engine.local, memory_limit=options.memory_limit or "2GiB")
    return lambda reports: start(workers=min(most, reports))


def _summed_up(result: Result, cluster: str) -> str:
    """Say what was found in a cluster."""
    outcomes = result.of(cluster)
    failed = sum(bool(outcome.error) for outcome in outcomes)
    unknown = sum(outcome.unknown for outcome in outcomes)
    said = [f"{unknown} of {len(outcomes)} reports unknown"] if unknown else []
    names = ("critical", "warning", "info")
    counts = {name: sum(o.findings.get(name, 0) for o in outcomes) for name in names}
    said += [f"{count} {name}" for name, count in counts.items() if count]
    said += [f"{failed} of {len(outcomes)} reports failed"] if failed else []
    return ", ".join(said) or "nothing unusual"


def _receivers(options: argparse.Namespace, *, annotated: bool = False) -> Sequence[Receiver]:
    """Give the services to notify, before anything is made.

    A Grafana that is annotated is one, too, for ``--notify-on`` and ``--link``.
    """
    from cilium_analysis.report.notify import NOTIFY_VARIABLE, check_receivers, receivers

    found = receivers(options.notify)
    hint = f"add --notify file:PATH, or set {NOTIFY_VARIABLE}"
    check_receivers(
        bool(found) or annotated, notify_on=options.notify_on, link=options.link, hint=hint
    )
    return found


def _worth(options: argparse.Namespace) -> dict[str, Any]:
    """Give what is worth a message."""
    levels = options.notify_on or "warning"
    return {"at": least(levels), "unknown": is_among(UNKNOWN, levels)}


def _send(receivers: Sequence[Receiver], message: Message | None) -> None:
    from cilium_analysis.report.notify import send

    if receivers and message:
        send(receivers, message, tell=say)


def _lines(run: Run[Path | Address]) -> list[str]:
    """Say what is unknown, what was found, and where to read it."""
    from cilium_analysis.report.verdict import clock
    from cilium_analysis.texts import unknown_lines

    unknown = [f"Unknown: {text}" for text in unknown_lines(run.findings.get("unknown", ()))]
    zone = run.summary["parameters"]["timezone"]
    found = []
    for row in run.findings["findings"]:
        span = f"({clock(row['start'], zone)} to {clock(row['end'], zone)} {zone})"
        found.append(f"{row['rank']}. [{row['severity']}] {row['title']} {span}")
        found += [
            f"   with: {each['title']} (from {clock(each['start'], zone, day=False)})"
            for each in row.get("evidence", ())
        ]
    compared = [
        f"{row['change']}: {row['title']}"
        for row in run.summary.get("compared", {}).get("findings", ())
        if row["change"] != "same"
    ]
    if not found:
        found = _nothing_found(run, partly=bool(unknown))
    answer = [run.findings["answer"]] if run.findings.get("answer") else []
    return [*answer, *unknown, *found, *compared, f"Report: {run.directory / 'index.html'}"]


def _for_ticket(run: Run[Path | Address], notation: str, page: str) -> list[str]:
    """Give the account and the findings in the notation of a ticket or a chat."""
    from cilium_analysis.accounts import FORMATS
    from cilium_analysis.findings import Findings
    from cilium_analysis.report.verdict import called

    zone = run.summary["parameters"]["timezone"]
    found = Findings.from_json(run.findings)
    return FORMATS[notation](found, zone, name=called(run.summary), page=page).splitlines()


def _nothing_found(run: Run[Path | Address], *, partly: bool) -> list[str]:
    """Say that there is no finding; of what is unknown nothing is said by that."""
    if run.failures:
        return ["No findings, but the run is not complete."]
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
