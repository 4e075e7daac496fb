"""The commands and their options: runs a command, and reports its errors in one line."""

from __future__ import annotations

import argparse
import signal
import sys
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from cilium_analysis import __version__
from cilium_analysis.cli import lab, others, reports, scheduling, serving, simulating
from cilium_analysis.cli.options import (
    add_command,
    add_grafana,
    add_kubernetes,
    add_question,
    add_report,
    add_routine,
    add_source,
    add_text,
    add_textfile,
    add_workloads,
    joined_times,
)
from cilium_analysis.cli.words import NAME, flush, say
from cilium_analysis.config import SOURCE_VARIABLE
from cilium_analysis.errors import (
    AccessDenied,
    CiliumAnalysisError,
    NotPrometheus,
    OutOfMemory,
    ParameterError,
    ServerUnavailable,
    TimeIsUp,
)
from cilium_analysis.times import format_duration
from cilium_analysis.topics import INCIDENT, PATH, TOPICS, WAS_IT_THE_NETWORK, WHAT_HAPPENED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import timedelta

INTERRUPTED = 130
_DOCTOR = f"; `{NAME} doctor` with the same --source tries the way to it step by step"
#: A command that has not ended by itself is stopped so long after its deadline [s].
_LATER = 2.0
_EPILOG = f"""\
Credentials never go on the command line. The documentation lists the environment variables for
them, such as CILIUM_ANALYSIS_BEARER_TOKEN_FILE and CILIUM_ANALYSIS_USERNAME. Other variables are
defaults of options: {SOURCE_VARIABLE} of --source, CILIUM_ANALYSIS_KUBERNETES of
--kubernetes, and CILIUM_ANALYSIS_NOTIFY_FILE, the path of a file with addresses, of --notify.

Exit codes: 0 fine, 1 the run failed, 2 usage. With --fail-on also 10 for a warning and 20 for a
critical finding, otherwise 30 if what was asked for is unknown: any topic that was named, or all
topics if none was named.
"""


def _topics() -> str:
    """List the topics with the question that each answers."""
    questions = {INCIDENT: WHAT_HAPPENED} | {name: one.question for name, one in TOPICS.items()}
    questions[PATH] = f"{WAS_IT_THE_NETWORK} (only if named, with --from and --to)"
    return "".join(f"  {name:18} {question}\n" for name, question in questions.items())


_REPORT_EPILOG = f"""\
topics:
{_topics()}
examples:
  {NAME} report --source http://prometheus:9090 --start -2h --fail-on critical
  {NAME} report incident drop_reasons --source http://prometheus:9090 \\
      --start '2026-03-21 08:10' --end '2026-03-21 09:00' --timezone Europe/Berlin
  {NAME} report incident --source http://prometheus:9090 --around '2026-03-21 09:10'
  {NAME} report path --from shop/cart --to shop/db --source http://prometheus:9090

{_EPILOG}"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments
        Instead of those of the process.

    Returns
    -------
    int
        The exit code.
    """
    prepare_process()
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        options = build_parser().parse_args(joined_times(given))
        with _ended_in_time(getattr(options, "deadline", None)):
            return int(options.command(options))
    except TimeIsUp as stop:
        say(str(stop))
        return 1
    except KeyboardInterrupt as stop:
        say(str(stop) or "stopped; nothing was left behind")
        return INTERRUPTED
    except CiliumAnalysisError as error:
        _show_trace(given)
        way = isinstance(error, AccessDenied | NotPrometheus | ServerUnavailable)
        say(f"{error}{_DOCTOR if way else ''}")
        return error.exit_code
    except MemoryError:
        _show_trace(given)
        say(str(OutOfMemory()))
        return OutOfMemory.exit_code
    except Exception as error:
        _show_trace(given)
        say(f"unexpected {type(error).__name__}: {error} (--debug shows where)")
        return 1
    finally:
        flush()


def prepare_process() -> None:
    """Let every signal that ends it clean up as Ctrl-C does; write odd characters as ``?``."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    hangup = getattr(signal, "SIGHUP", None)
    # nohup wants it ignored.
    if hangup is not None and signal.getsignal(hangup) == signal.SIG_DFL:
        signal.signal(hangup, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


@contextmanager
def _ended_in_time(limit: timedelta | None) -> Iterator[None]:
    """Stop the command, as Ctrl-C does, if it does not end by itself in time.

    The client of a server gives up first, and says which query it waited for. Windows has no such
    signal; only the client gives up there.
    """
    alarm = getattr(signal, "SIGALRM", None)
    if limit is None or alarm is None:
        yield
        return

    def stop(*_: object) -> None:
        raise TimeIsUp(f"stopped, as the deadline of {format_duration(limit)} has passed")

    before = signal.signal(alarm, stop)
    signal.setitimer(signal.ITIMER_REAL, limit.total_seconds() + _LATER)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(alarm, before)


def _show_trace(arguments: Sequence[str]) -> None:
    if "--debug" in arguments:
        traceback.print_exc()


class _Parser(argparse.ArgumentParser):
    """Reports a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        raise ParameterError(f"{message} (see {self.prog} --help)")


def build_parser() -> argparse.ArgumentParser:
    """Give the parser of the whole command line; nothing heavy is imported for it."""
    parser = _Parser(
        prog=NAME,
        description="Post-incident analysis of Cilium from its Prometheus metrics.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{NAME} {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    _add_reports(commands)
    _add_others(commands)
    return parser


def _add_reports(commands: Any) -> None:
    """Add the commands that make reports."""
    report = _command(commands, "report", reports.report, "run notebooks on a window, write HTML")
    report.epilog = _REPORT_EPILOG
    add_question(report, topics="notebooks to run")
    add_workloads(report)
    add_report(report)
    report.add_argument(
        "--resume",
        metavar="RUN",
        help="finish a run that stopped or failed (directory or address): make only the reports"
        " that it lacks",
    )
    add_textfile(report)
    add_grafana(report)
    add_routine(report)
    text = "make reports on many clusters, and compare the clusters"
    fleet = _command(commands, "fleet", reports.fleet, text)
    reports.add_fleet(fleet)
    add_routine(fleet)
    text = "report on the bundled sample, without a server"
    add_report(_command(commands, "demo", reports.demo, text))


def _add_others(commands: Any) -> None:
    """Add the commands beside them."""
    text = "record a bundle: all answers that a report needs"
    capture = _command(commands, "capture", others.capture, text)
    add_question(capture, topics="topics to record")
    capture.add_argument(
        "--output", metavar="DIR", help="directory of the new bundle, or its address as s3://…"
    )
    capture.add_argument(
        "--resume",
        metavar="DIR",
        help="finish a bundle that was cut short (directory): record what it lacks",
    )
    text = "check whether the monitoring itself is set up right"
    check = _command(commands, "check", others.check, text)
    add_question(check)
    check.add_argument(
        "--cluster-role",
        action="store_true",
        help="print the smallest ClusterRole that --kubernetes needs, for kubectl apply -f -",
    )
    text = "try the way to a server step by step, and say where it ends and what to change"
    doctor = _command(commands, "doctor", others.doctor, text)
    add_source(doctor)
    add_kubernetes(doctor)
    add_text(doctor, "--match", "M", "label matchers that select the cluster")
    add_text(doctor, "--timezone", "Z", "of times (default: UTC)", default="UTC")
    text = "put the notebooks into a directory, and start JupyterLab there"
    lab.add_lab(_command(commands, "lab", lab.lab, text))
    text = "serve the analysis to assistants, as tools of the Model Context Protocol"
    serving.add_mcp(_command(commands, "mcp", serving.mcp, text))
    text = "print a schedule that makes reports regularly"
    scheduling.add_schedule(_command(commands, "schedule", scheduling.schedule, text))
    text = "simulate a Cilium cluster: as files, or served by a Prometheus"
    simulating.add_simulate(_command(commands, "simulate", simulating.simulate, text))


def _command(
    commands: Any, name: str, function: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    description = f"{text[0].upper()}{text[1:]}."
    parser = add_command(commands, name, text=text, description=description, epilog=_EPILOG)
    parser.set_defaults(command=function)
    return parser
