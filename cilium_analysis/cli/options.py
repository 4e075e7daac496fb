"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import argparse
import os
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from cilium_analysis.cli.words import say
from cilium_analysis.config import SOURCE_VARIABLE
from cilium_analysis.errors import ParameterError, UsageError, WindowError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cilium_analysis.findings import Severity
    from cilium_analysis.question import Question

OUTPUT = "directory of all runs (default: reports), or s3://…, gs://…, az://… or abfs://…"
NOTIFY = (
    "service to notify: file:PATH of a file with addresses, one per line, or the name of a"
    " variable with one as env:CILIUM_ANALYSIS_…; may be repeated"
)
_TIMES = ("--start", "--end", "--around")
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


def add_text(
    parser: argparse._ActionsContainer, name: str, metavar: str, text: str, default: str = ""
) -> None:
    """Add an option that takes any text."""
    parser.add_argument(name, default=default, metavar=metavar, help=text)


def add_question(parser: argparse.ArgumentParser, *, topics: str = "") -> None:
    """Add where to look, and when; with `topics`, what is made of them."""
    add, text = parser.add_argument, partial(add_text, parser)
    if topics:
        add("topics", nargs="*", metavar="TOPIC", help=f"{topics} (default: all)")
    add_source(parser)
    text("--start", "T", "start of the window: ISO time, or -2h (default: -2h, or a bundle's)")
    text("--end", "T", "end of the window: ISO time, or now (default: now, or a bundle's)")
    if topics:
        text("--around", "T", "time of an incident: finds start and end of what is unusual there")
        text("--alert", "NAME", "the same for the last time that this alert fired, within 7 days")
    add_comparison(parser)
    add_patience(parser)
    add_kubernetes(parser)


def add_workloads(parser: argparse.ArgumentParser, *, namespace: bool = True) -> None:
    """Add which workloads it is about; ``--workload`` takes a namespace, too."""
    group = parser.add_argument_group(
        "a part of the cluster", "narrows Hubble's metrics; those of agents cover all workloads"
    )
    if namespace:
        group.add_argument("--namespace", metavar="NS", default="", help="traffic of a namespace")
    workload = partial(group.add_argument, metavar="NS/NAME", default="")
    workload("--workload", help="traffic of a workload, such as shop/cart, or of a namespace")
    workload("--from", help="one end of a pair, or a namespace; its lookups count too")
    workload("--to", help="the other end; traffic in both directions counts")


def workloads(options: argparse.Namespace, *, namespace: str = "") -> str:
    """Give the workloads that the options name, as `cilium_analysis.question.ask` takes them.

    Raises
    ------
    ParameterError
        If they contradict each other.
    """
    pair = [getattr(options, "from"), options.to]
    if any(pair) and not all(pair):
        raise ParameterError("--from and --to go together: give both, or --workload NS/NAME")
    both = " to ".join(pair) if any(pair) else ""
    given = [one for one in (namespace, options.workload, both) if one]
    if len(given) > 1:
        raise ParameterError("give one of --namespace, --workload, and --from with --to")
    return given[0] if given else ""


def add_comparison(parser: argparse.ArgumentParser) -> None:
    """Add what the window is compared with, and how it is asked for."""
    text = partial(add_text, parser)
    text("--baseline", "B", "time to compare with: previous (default), 1d, 1w, or two times as T/T")
    text("--step", "D", "time between two samples, such as 30s (default: by the window's length)")
    text("--timezone", "Z", "time zone, such as Europe/Berlin (default: UTC)", default="UTC")
    text("--match", "M", "label matchers to add to every query, such as 'cluster=\"prod\"'")


def add_source(parser: argparse.ArgumentParser, *, default: str = "") -> None:
    """Add where to look; `default` says what is asked without it."""
    parser.add_argument(
        "--source",
        default=os.environ.get(SOURCE_VARIABLE, ""),
        help="URL of a Prometheus-compatible server; kubernetes: for the one in the cluster of the"
        " kubeconfig, or kubernetes:NAMESPACE/SERVICE:PORT; grafana:URL for one behind a Grafana; a"
        " bundle (directory or s3://…); sample, or sample-real" + default,
    )
    add_text(parser, "--context", "NAME", "context of the kubeconfig, for --source kubernetes:")
    parser.add_argument(
        "--via",
        choices=("proxy", "port-forward"),
        default="",
        help="way to a Service: the API server's proxy (default), or a port-forward",
    )


def source_of(options: argparse.Namespace) -> str:
    """Give the source, with the context and the kubeconfig that it is found by.

    Raises
    ------
    ParameterError
        If a context is given to a source that needs none.
    """
    from cilium_analysis.ways import is_of_a_cluster

    source = str(options.source)
    if not is_of_a_cluster(source):
        if options.context or options.via:
            raise ParameterError("--context and --via are for --source kubernetes:")
        return source
    file = str(Path(options.kubeconfig).absolute()) if options.kubeconfig else ""
    given = {"context": options.context, "kubeconfig": file, "via": options.via}
    more = urlencode({name: text for name, text in given.items() if text})
    return source + (("&" if "?" in source else "?") + more if more else "")


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
        help="time limit of each query with all its retries (default: 2m)",
    )
    add(
        "--deadline",
        dest=dest,
        type=_duration,
        default=timedelta(minutes=30),
        metavar="D",
        help=f"time limit of {of}; what is done by then is kept (default: 30m)",
    )


def add_kubernetes(parser: argparse.ArgumentParser) -> None:
    """Add whether to read the Kubernetes API, and which."""
    text = partial(add_text, parser)
    text(
        "--kubernetes",
        "WHERE",
        "read events, policies, pods and nodes too, from: current (context of the"
        " kubeconfig), in-cluster, or the name of a context (default: do not read them)",
    )
    text("--kubeconfig", "FILE", "kubeconfig to use (default: $KUBECONFIG, or ~/.kube/config)")
    add_cilium_namespace(parser)


def add_cilium_namespace(parser: argparse.ArgumentParser) -> None:
    """Add in which namespace Cilium runs."""
    where = "namespace of Cilium (default: kube-system)"
    add_text(parser, "--cilium-namespace", "NS", where, default="kube-system")


def add_report(parser: argparse.ArgumentParser) -> None:
    """Add how to make a report, and where it goes."""
    add, text = parser.add_argument, partial(add_text, parser)
    text("--output", "DIR", OUTPUT, default="reports")
    add(
        "--jobs",
        type=partial(number, what="notebooks"),
        default=2,
        metavar="N",
        help="notebooks to run at a time (default: 2)",
    )
    add_fail_on(parser)
    add(
        "--compare",
        metavar="RUN",
        help="another run (directory or address): show what is new, gone, worse and better since",
    )
    add("--pdf", action="store_true", help="also make report.pdf of the summary and all reports")
    add(
        "--format",
        choices=("text", "markdown", "slack", "jira"),
        default="text",
        help="how to print what was found: as text (default), or to paste into a chat or a ticket",
    )
    add("--show-code", action="store_true", help="show the code cells on the HTML pages")


def add_textfile(parser: argparse.ArgumentParser) -> None:
    """Add where the metrics of a run go, beside its directory."""
    text = (
        "also write what was found as metrics to FILE.prom, for the textfile collector of a node"
        " exporter; a later run takes its place"
    )
    add_text(parser, "--textfile", "FILE", text)


def add_grafana(parser: argparse.ArgumentParser) -> None:
    """Add a Grafana to link to, and one that gets annotations."""
    add_text(
        parser,
        "--grafana",
        "URL",
        "Grafana whose Explore shows the query of a finding: a link beside each; with"
        " ?datasource=NAME, if it is not the default one",
    )
    add_text(
        parser,
        "--annotate",
        "grafana:URL",
        "Grafana that gets findings as annotations, from the severity of --notify-on on",
    )


def add_fail_on(parser: argparse.ArgumentParser) -> None:
    """Add what makes a run fail, beside errors."""
    parser.add_argument(
        "--fail-on",
        action=_Joined,
        type=levels,
        metavar="LEVELS",
        help="warning, critical, unknown, or two of them as warning,unknown: exit with 10 or 20 on"
        " such a finding, otherwise with 30 if what was asked for cannot be judged",
    )


class _Joined(argparse.Action):
    """Joins the values of an option that is given more than once."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, f"{before},{values}" if before else values)


def add_routine(parser: argparse.ArgumentParser, *, notify: str = NOTIFY) -> None:
    """Add what matters where reports are made regularly: which are kept, and who is notified.

    Parameters
    ----------
    parser
        Gets the options.
    notify
        Help on ``--notify``.
    """
    add = parser.add_argument
    add(
        "--keep",
        type=_keep,
        metavar="D",
        help="remove runs that were made longer ago than this, such as 30d (default: keep all)",
    )
    add("--notify", action="append", default=[], metavar="WHERE", help=notify)
    add(
        "--notify-on",
        action=_Joined,
        type=partial(levels, known=(UNKNOWN, "info", "warning", "critical")),
        metavar="LEVELS",
        help="notify of findings of this severity or a higher one (default: warning), and of"
        " unknown, as warning,unknown; a failure is always notified",
    )
    add(
        "--link",
        type=_link,
        metavar="URL",
        help="URL at which the output directory is served, for links in notifications",
    )


def _keep(text: str) -> timedelta:
    # A plain number would be seconds, which nobody means by --keep 30.
    if text.strip().replace(".", "").isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} has no unit: write {text.strip()}d for days")
    return _duration(text, nothing="would keep nothing: write it as 30d")


def _duration(text: str, *, nothing: str = "is no time at all: write it as 30m") -> timedelta:
    from cilium_analysis.times import format_duration, parse_duration

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
            " write it as https://reports.example.org/cilium"
        )
    return text.rstrip("/")


def levels(text: str, *, known: Sequence[str] = LEVELS) -> str:
    """Read levels, such as ``warning,unknown``."""
    for level in text.split(","):
        if level not in known:
            raise argparse.ArgumentTypeError(
                f"invalid choice: {level!r} (choose from {', '.join(known)})"
            )
    return text


def least(given: str | None) -> Severity | None:
    """Give the least severity among levels; None if there is none, or only ``unknown``."""
    from cilium_analysis.findings import Severity

    chosen = [level for level in (given or "").split(",") if level not in ("", UNKNOWN)]
    return min((Severity[level.upper()] for level in chosen), default=None)


def is_among(level: str, given: str | None) -> bool:
    """Tell whether a level is one of those given."""
    return level in (given or "").split(",")


def number(text: str, *, what: str) -> int:
    """Read a number of things, at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of {what}: use 1 or more")
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
    """Give the question that the options ask."""
    from cilium_analysis.capture import check_topics
    from cilium_analysis.question import ask
    from cilium_analysis.times import format_duration

    check_topics(getattr(options, "topics", ()))
    if not options.source:
        raise UsageError(f"no source: give --source http://…, or set {SOURCE_VARIABLE}")
    asked = ask(
        source=source_of(options),
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
        workloads=workloads(options, namespace=options.namespace)
        if hasattr(options, "workload")
        else "",
        around=getattr(options, "around", ""),
        alert=getattr(options, "alert", ""),
    )
    if found := getattr(asked.source, "found", ""):
        say(found)
    if asked.located:
        say(asked.located)
    return asked
