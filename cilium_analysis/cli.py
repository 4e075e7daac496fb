"""The command line. Everything heavy is imported when a command needs it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from cilium_analysis import __version__
from cilium_analysis.errors import CiliumAnalysisError, ParameterError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cilium_analysis.question import Question
    from cilium_analysis.report import Run

NAME = "cilium-analysis"
SOURCE_VARIABLE = "CILIUM_ANALYSIS_SOURCE"
INTERRUPTED = 130
_TIMES = ("--start", "--end")
_EPILOG = f"""\
Credentials never go on the command line: see CILIUM_ANALYSIS_BEARER_TOKEN_FILE,
CILIUM_ANALYSIS_USERNAME and others in the README. {SOURCE_VARIABLE} stands in for --source,
CILIUM_ANALYSIS_KUBERNETES for --kubernetes, without which no Kubernetes API is read.

Exit codes: 0 fine, 1 the run failed, 2 usage; with --fail-on also 10 for a warning
and 20 for a critical finding.
"""


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
    _prepare_process()
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        options = _parser().parse_args(_joined_times(given))
        return int(options.command(options))
    except KeyboardInterrupt:
        _say("stopped; nothing was left behind")
        return INTERRUPTED
    except CiliumAnalysisError as error:
        _show_trace(given)
        _say(str(error))
        return error.exit_code
    except Exception as error:
        _show_trace(given)
        _say(f"unexpected {type(error).__name__}: {error} (--debug shows where)")
        return 1


def _prepare_process() -> None:
    """Let a SIGTERM clean up as Ctrl-C does, and no terminal choke on a character."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _say(text: str) -> None:
    print(f"{NAME}: {_line(text)}", file=sys.stderr)


def _line(text: str) -> str:
    """Give a text as one line without control characters: names come from the cluster."""
    return "".join(c if c.isprintable() else "�" for c in " ".join(text.split()))


def _show_trace(arguments: Sequence[str]) -> None:
    if "--debug" in arguments:
        traceback.print_exc()


class _Parser(argparse.ArgumentParser):
    """Tells of a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        raise ParameterError(f"{message} (see {self.prog} --help)")


def _parser() -> _Parser:
    parser = _Parser(
        prog=NAME,
        description="Post-incident analysis of Cilium from its Prometheus metrics.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{NAME} {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    report = _command(commands, "report", _report, "run notebooks on a window, write HTML")
    _add_question(report)
    _add_report(report)
    capture = _command(commands, "capture", _capture, "record what a report needs, a bundle only")
    _add_question(capture)
    capture.add_argument("--output", metavar="DIR", help="of the new bundle")
    check = _command(commands, "check", _check, "is the monitoring itself set up right?")
    _add_question(check, topics=False)
    check.add_argument(
        "--cluster-role",
        action="store_true",
        help="print the smallest ClusterRole that --kubernetes needs, for kubectl apply -f -",
    )
    demo = _command(commands, "demo", _demo, "report on the bundled sample, without any server")
    _add_report(demo)
    return parser


def _command(commands: Any, name: str, function: Any, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=function)
    parser.add_argument("--debug", action="store_true", help="show where an error came from")
    return parser


def _add_question(parser: argparse.ArgumentParser, *, topics: bool = True) -> None:
    add = parser.add_argument
    if topics:
        add("topics", nargs="*", metavar="TOPIC", help="notebooks to run (default: all)")
    add(
        "--source",
        default=os.environ.get(SOURCE_VARIABLE, ""),
        help="URL of a Prometheus-compatible server, a bundle's directory, or sample",
    )
    add("--start", default="", metavar="T", help="ISO time or -2h (default: -2h, or a bundle's)")
    add("--end", default="", metavar="T", help="ISO time, or now (default)")
    add(
        "--baseline",
        default="",
        metavar="B",
        help="what to compare with: previous (default), 1d, 1w, or two times as T/T",
    )
    add("--step", default="", metavar="D", help="such as 30s (default: by the window's length)")
    add("--timezone", default="UTC", metavar="Z", help="of times, such as Europe/Berlin")
    add("--match", default="", metavar="M", help="""narrow all queries: 'cluster="prod"'""")
    _add_kubernetes(parser)


def _add_kubernetes(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--kubernetes",
        default="",
        metavar="WHERE",
        help="read events, policies, pods and nodes too: current (context of the kubeconfig),"
        " in-cluster, or the name of a context (default: do not)",
    )
    add("--kubeconfig", default="", metavar="FILE", help="instead of $KUBECONFIG, ~/.kube/config")
    add("--cilium-namespace", default="kube-system", metavar="NS", help="where Cilium runs")


def _add_report(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--output", default="reports", metavar="DIR", help="of all runs (default: reports)")
    add("--jobs", type=_jobs, default=2, metavar="N", help="notebooks at a time (default: 2)")
    add("--fail-on", choices=("warning", "critical"), help="exit 10 or 20 on such findings")
    add(
        "--compare",
        metavar="RUN",
        help="directory of another run: what is new, gone, worse, better",
    )
    add("--show-code", action="store_true", help="keep the code cells in the HTML")


def _jobs(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of notebooks: use 1 or more")
    return int(text)


def _joined_times(arguments: list[str]) -> list[str]:
    """Join ``--start -2h`` into one argument; argparse takes ``-2h`` for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] in _TIMES and argument[:1] == "-" and argument[1:2].isdecimal():
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _question(options: argparse.Namespace) -> Question:
    from cilium_analysis.capture import check_topics
    from cilium_analysis.question import ask

    check_topics(getattr(options, "topics", ()))
    if not options.source:
        raise UsageError(f"no source: give --source http://…, or set {SOURCE_VARIABLE}")
    return ask(
        source=options.source,
        start=options.start,
        end=options.end,
        step=options.step,
        baseline=options.baseline,
        match=options.match,
        timezone=options.timezone,
        kubernetes=options.kubernetes,
        kubeconfig=options.kubeconfig,
        cilium_namespace=options.cilium_namespace,
    )


def _report(options: argparse.Namespace) -> int:
    return _run(_question(options), options, topics=options.topics)


def _demo(options: argparse.Namespace) -> int:
    from cilium_analysis.question import ask

    return _run(ask(source="sample", baseline=""), options, topics=())


def _capture(options: argparse.Namespace) -> int:
    from cilium_analysis.capture import capture
    from cilium_analysis.report.output import run_name

    question = _question(options)
    directory = Path(options.output or f"bundle-{run_name(question.window)}")
    _say(f"Reading {question.reading}")
    capture(
        question.source,
        question.window,
        question.baseline,
        topics=options.topics,
        match=question.match,
        directory=directory,
        cluster=question.cluster,
    )
    print(f"Bundle: {directory}")
    return 0


def _check(options: argparse.Namespace) -> int:
    """Print what there is, what is missing, and how to switch it on."""
    from cilium_analysis.topics import setup

    if options.cluster_role:
        return _print_cluster_role()
    question = _question(options)
    data = setup.load(
        question.source,
        question.window,
        question.baseline,
        match=question.match,
        cluster=question.cluster,
    )
    for row in setup.checks(data).to_dict("records"):
        hint = f" – Helm: {row['how to switch it on']}" if row["how to switch it on"] else ""
        print(_line(f"{row['what']}: {row['state']}{hint}"))
    for row in setup.kubernetes(data).to_dict("records"):
        told = [text for text in (row["state"], row["seen"], row["what to do"]) if text]
        print(_line(f"Kubernetes, {row['what']}: {' – '.join(told)}"))
    found = [finding.title for finding in setup.findings(data)]
    for text in [*found, *setup.notes(data)]:
        print(_line(f"- {text}"))
    return 0


def _print_cluster_role() -> int:
    from cilium_analysis.kube import cluster_role

    print(cluster_role(), end="")
    return 0


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
        tell=_say,
    )
    for line in _lines(run):
        indent = line[: len(line) - len(line.lstrip(" "))]
        print(indent + _line(line))
    for topic, error in run.failures.items():
        _say(f"{topic} stopped with {error}; what ran is kept in {run.directory}")
    return 1 if run.failures else _verdict(run, options.fail_on)


def _lines(run: Run) -> list[str]:
    """Say what was found, and where to read it."""
    from cilium_analysis.report.html import clock

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
