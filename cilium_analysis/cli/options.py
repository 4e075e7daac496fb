"""Options that several commands share, and what they ask for."""

from __future__ import annotations

import argparse
import os
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cilium_analysis.config import SOURCE_VARIABLE
from cilium_analysis.errors import UsageError, WindowError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cilium_analysis.findings import Severity
    from cilium_analysis.question import Question

_NOTIFY = (
    "where the address of a service to notify stands: file:PATH (one per line), or"
    " env:CILIUM_ANALYSIS_…; may be repeated"
)
OUTPUT = "of all runs: a directory (default: reports), or s3://…, gs://…, az://… or abfs://…"
_TIMES = ("--start", "--end")
UNKNOWN = "unknown"
LEVELS = (UNKNOWN, "warning", "critical")


def add_command(
    commands: Any, name: str, *, text: str, description: str, epilog: str
) -> argparse.ArgumentParser:
    """Add a command, or a kind of one, with what all have."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--debug", action="store_true", help="show where an error came from")
    return parser


def add_question(parser: argparse.ArgumentParser, *, topics: bool = True) -> None:
    """Add where to look, and when."""
    add = parser.add_argument
    if topics:
        add("topics", nargs="*", metavar="TOPIC", help="notebooks to run (default: all)")
    add_source(parser)
    add("--start", default="", metavar="T", help="ISO time or -2h (default: -2h, or a bundle's)")
    add("--end", default="", metavar="T", help="ISO time, or now (default)")
    add(
        "--baseline",
        default="",
        metavar="B",
        help="what to compare with: previous (default), 1d, 1w, or two times as T/T",
    )
    add("--step", default="", metavar="D", help="such as 30s (default: by the window's length)")
    add_patience(parser)
    add("--timezone", default="UTC", metavar="Z", help="of times, such as Europe/Berlin")
    add("--match", default="", metavar="M", help="""narrow all queries: 'cluster="prod"'""")
    add_kubernetes(parser)


def add_source(parser: argparse.ArgumentParser, *, default: str = "") -> None:
    """Add where to look; `default` says what is asked without it."""
    parser.add_argument(
        "--source",
        default=os.environ.get(SOURCE_VARIABLE, ""),
        help="URL of a Prometheus-compatible server, a bundle (directory or s3://…), sample, or"
        " sample-real" + default,
    )


def add_patience(
    parser: argparse.ArgumentParser, *, of: str = "the whole command", dest: str = "deadline"
) -> None:
    """Add how long a server is waited for, and how long the whole may take.

    A command is stopped at the ``deadline`` of its options.
    """
    add = parser.add_argument
    add(
        "--timeout",
        type=_duration,
        default=timedelta(minutes=2),
        metavar="D",
        help="for each query with all its tries (default: 2m)",
    )
    add(
        "--deadline",
        dest=dest,
        type=_duration,
        default=timedelta(minutes=30),
        metavar="D",
        help=f"for {of}: what is made by then is kept (default: 30m)",
    )


def add_kubernetes(parser: argparse.ArgumentParser) -> None:
    """Add whether to read the Kubernetes API, and which."""
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


def add_report(parser: argparse.ArgumentParser) -> None:
    """Add how to make a report, and where it goes."""
    add = parser.add_argument
    add("--output", default="reports", metavar="DIR", help=OUTPUT)
    add("--jobs", type=jobs, default=2, metavar="N", help="notebooks at a time (default: 2)")
    add_fail_on(parser)
    add(
        "--compare",
        metavar="RUN",
        help="directory or address of another run: what is new, gone, worse, better",
    )
    add("--pdf", action="store_true", help="make report.pdf too, of the summary and all reports")
    add("--show-code", action="store_true", help="keep the code cells in the HTML")


def add_fail_on(parser: argparse.ArgumentParser) -> None:
    """Add what makes a run fail, beside errors."""
    parser.add_argument(
        "--fail-on",
        action=_Joined,
        type=levels,
        metavar="LEVELS",
        help="warning, critical, unknown, or two of them as warning,unknown: exit 10 or 20 on such"
        " findings, else 30 if what was asked for cannot be judged",
    )


class _Joined(argparse.Action):
    """Puts what is given together, where an option is given more than once."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, f"{before},{values}" if before else values)


def add_routine(parser: argparse.ArgumentParser, *, notify: str = _NOTIFY) -> None:
    """Add what matters where reports are made again and again: what is kept, who is told.

    Parameters
    ----------
    parser
        Gets the options.
    notify
        Help on ``--notify``.
    """
    add = parser.add_argument
    add(
        "--resume",
        metavar="RUN",
        help="directory or address of a run: make only the reports it lacks",
    )
    add("--keep", type=_keep, metavar="D", help="remove runs that were made longer ago, as 30d")
    add("--notify", action="append", default=[], metavar="WHERE", help=notify)
    add(
        "--notify-on",
        action=_Joined,
        type=partial(levels, known=(UNKNOWN, "info", "warning", "critical")),
        metavar="LEVELS",
        help="least severity to notify of (default: warning), and unknown, as warning,unknown;"
        " a failure always is",
    )
    add(
        "--link",
        type=_link,
        metavar="URL",
        help="address at which the output directory is served, for links in notifications",
    )


def _keep(text: str) -> timedelta:
    # A plain number would be seconds, which is not what --keep 30 means to say.
    if text.strip().replace(".", "").isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} has no unit: write {text.strip()}d for days")
    return _duration(text, nothing="would keep nothing: use such as 30d")


def _duration(text: str, *, nothing: str = "is no time at all: use such as 30m") -> timedelta:
    from cilium_analysis.window import format_duration, parse_duration

    try:
        duration = parse_duration(text)
    except WindowError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None
    if format_duration(duration) == "0s":
        raise argparse.ArgumentTypeError(f"{text!r} {nothing}")
    return duration


def _link(text: str) -> str:
    """Check an address that messages will show: whole, and without credentials."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and parts.hostname and text.isprintable()
    except ValueError:
        good = False
    if not good or " " in text or "@" in parts.netloc or parts.query or parts.fragment:
        raise argparse.ArgumentTypeError(
            "a link begins with http:// or https:// and has no user, query or fragment:"
            " use such as https://reports.example.org/cilium"
        )
    return text.rstrip("/")


def levels(text: str, *, known: Sequence[str] = LEVELS) -> str:
    """Read what a run fails on, or what is told of it, such as ``warning,unknown``."""
    for level in text.split(","):
        if level not in known:
            raise argparse.ArgumentTypeError(
                f"invalid choice: {level!r} (choose from {', '.join(known)})"
            )
    return text


def least(given: str | None) -> Severity | None:
    """Give the least severity among levels; None if there is but ``unknown``, or nothing."""
    from cilium_analysis.findings import Severity

    chosen = [level for level in (given or "").split(",") if level not in ("", UNKNOWN)]
    return min((Severity[level.upper()] for level in chosen), default=None)


def is_among(level: str, given: str | None) -> bool:
    """Tell whether a level is among those given."""
    return level in (given or "").split(",")


def jobs(text: str) -> int:
    """Read a number of notebooks to run at a time."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of notebooks: use 1 or more")
    return int(text)


def joined_times(arguments: list[str]) -> list[str]:
    """Join ``--start -2h`` into one argument; argparse takes ``-2h`` for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] in _TIMES and argument[:1] == "-" and argument[1:2].isdecimal():
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def question(options: argparse.Namespace) -> Question:
    """Give the question that the options ask.

    Raises
    ------
    UsageError
        If it cannot be asked.
    """
    from cilium_analysis.capture import check_topics
    from cilium_analysis.question import ask
    from cilium_analysis.window import format_duration

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
        timeout=format_duration(options.timeout),
        deadline=format_duration(options.deadline),
    )
