"""The command that reports on many clusters at once, and what it says when done."""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cilium_analysis.cli.options import OUTPUT, UNKNOWN, add_fail_on, add_patience, is_among, least
from cilium_analysis.cli.reports import audience_of, verdict
from cilium_analysis.cli.words import put, say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from cilium_analysis.report.fleet import Result
    from cilium_analysis.report.fleet.engine import Engine
    from cilium_analysis.report.notify import Receiver


def add_fleet(parser: argparse.ArgumentParser) -> None:
    """Add which fleet, where it runs, and where its reports go."""
    add = parser.add_argument
    add("file", metavar="FILE", help="YAML that names clusters, windows and topics")
    add("--output", default="reports", metavar="DIR", help=OUTPUT)
    add(
        "--scheduler",
        default="",
        metavar="ADDRESS",
        help="of a Dask cluster whose workers see --output too, such as tcp://host:8786"
        " (default: workers on this machine)",
    )
    add("--workers", type=workers, metavar="N", help="reports at a time (default: processors)")
    add("--memory-limit", metavar="B", help="of each worker with its notebooks (default: 2GiB)")
    add("--missing", action="store_true", help="only reports of which there is no whole one yet")
    add("--pdf", action="store_true", help="make a PDF of each report too")
    add_patience(parser, of="each report", dest="deadline_of_each")
    add_fail_on(parser)


def workers(text: str) -> int:
    """Read a number of workers."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of workers: use 1 or more")
    return int(text)


def fleet(options: argparse.Namespace) -> int:
    """Report on a fleet, and notify who is to be told."""
    audience = audience_of(options)
    try:
        result = _made(options)
    except Exception as problem:
        if audience:
            _notify_of_failure(audience, problem, options)
        raise
    _tell(result)
    if audience:
        _notify(audience, result, options)
    if result.failures:
        return 1
    return verdict(result.worst, options.fail_on, unknown=bool(result.unknown))


def _made(options: argparse.Namespace) -> Result:
    from cilium_analysis.objectstore import located
    from cilium_analysis.report.fleet import How, read_fleet, run_fleet
    from cilium_analysis.report.pdf import check_renderer

    if options.pdf and not options.scheduler:  # whose workers have packages of their own
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
    """Give what reports run on, when it is told how many there are.

    Raises
    ------
    ParameterError
        If options are given that a scheduler of its own decides on.
    """
    from cilium_analysis.errors import ParameterError
    from cilium_analysis.report.fleet import engine

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


def _tell(result: Result) -> None:
    """Print what was found in each cluster, and where to read it."""
    for cluster in result.fleet.clusters:
        outcomes = result.of(cluster.name)
        failed = sum(bool(outcome.error) for outcome in outcomes)
        counts = {
            name: sum(outcome.findings.get(name, 0) for outcome in outcomes)
            for name in ("critical", "warning", "info")
        }
        unknown = sum(outcome.unknown for outcome in outcomes)
        told = [f"{unknown} of {len(outcomes)} reports unknown"] if unknown else []
        told += [f"{count} {name}" for name, count in counts.items() if count]
        told += [f"{failed} of {len(outcomes)} reports failed"] if failed else []
        put(f"{cluster.name}: {', '.join(told) or 'nothing unusual'}")
    put(f"Fleet: {result.page}")


def _notify(audience: Sequence[Receiver], result: Result, options: argparse.Namespace) -> None:
    from cilium_analysis.report.messages import about_fleet
    from cilium_analysis.report.notify import send

    page = str(result.page.absolute())
    link = f"{options.link}/{result.page.name}" if options.link else page
    on = options.notify_on or "warning"
    message = about_fleet(result, at=least(on), unknown=is_among(UNKNOWN, on), page=link)
    if message:
        send(audience, message, tell=say)


def _notify_of_failure(
    audience: Sequence[Receiver], problem: Exception, options: argparse.Namespace
) -> None:
    from cilium_analysis.report.messages import about_failure
    from cilium_analysis.report.notify import send

    send(audience, about_failure(problem, source=f"fleet {Path(options.file).stem}"), tell=say)
