"""The command that prints what runs reports again and again: for cron, systemd, Kubernetes."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cilium_analysis.cli.options import add_command, add_routine, jobs
from cilium_analysis.cli.words import NAME, say
from cilium_analysis.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cilium_analysis.report.schedule import Credential, Plan, Timing

_OFTEN = "1h"
_CRON_OUTPUT = "cilium-analysis-reports"
_NOTIFY = "file of addresses of services to notify, one per line: file:/PATH"
_EPILOG = """\
Credentials are named, by files or keys of a Secret, and never printed. Nothing is taken from the
environment: what is printed is all there is.
"""
_PLATFORMS = {
    "kubernetes": "a CronJob and what it needs",
    "cron": "a line for a crontab",
    "systemd": "a service and a timer",
}


def add_schedule(parser: argparse.ArgumentParser) -> None:
    """Add the platforms, each with its options."""
    parser.epilog = _EPILOG
    platforms = parser.add_subparsers(
        dest="platform", required=True, metavar="PLATFORM", parser_class=type(parser)
    )
    for platform, text in _PLATFORMS.items():
        described = f"Print {text}."
        one = add_command(platforms, platform, text=text, description=described, epilog=_EPILOG)
        _add_plan(one)
        _add_own(one, platform)


def _add_plan(parser: argparse.ArgumentParser) -> None:
    """Add what to report on, and when. The environment stands in for nothing of it."""
    add = parser.add_argument
    add("topics", nargs="*", metavar="TOPIC", help="notebooks to run (default: all)")
    add("--source", required=True, metavar="URL", help="of a Prometheus-compatible server")
    often = parser.add_mutually_exclusive_group()
    often.add_argument("--every", default="", metavar="D", help="15m, 1h (default), 6h, 1d, …")
    often.add_argument("--cron", default="", metavar="EXPR", help="instead, such as '5 * * * *'")
    add("--window", default="", metavar="D", help="to report on (default: as --every, or 1h)")
    add("--baseline", default="", metavar="B", help="previous (default), 1d, 1w, or T/T")
    add("--step", default="", metavar="D", help="such as 30s (default: by the window's length)")
    add("--timezone", default="UTC", metavar="Z", help="such as Europe/Berlin (default: UTC)")
    add("--match", default="", metavar="M", help="""narrow all queries: 'cluster="prod"'""")
    add("--fail-on", choices=("warning", "critical"), default="", help="such findings are failures")
    add("--jobs", type=jobs, default=0, metavar="N", help="notebooks at a time (default: 2)")
    add("--kubernetes", default="", metavar="WHERE", help="read the Kubernetes API too")
    add("--cilium-namespace", default="kube-system", metavar="NS", help="where Cilium runs")
    add("--username", default="", metavar="NAME", help="for basic authentication")
    add("--tenant", default="", metavar="NAME", help="sent as X-Scope-OrgID")


def _add_own(parser: argparse.ArgumentParser, platform: str) -> None:
    # A pod takes --notify too, to say what to do instead.
    add_routine(parser, notify=argparse.SUPPRESS if platform == "kubernetes" else _NOTIFY)
    if platform == "kubernetes":
        _add_kubernetes(parser)
        return
    add = parser.add_argument
    output = f"~/{_CRON_OUTPUT}" if platform == "cron" else "/var/lib/NAME"
    add("--output", default="", metavar="DIR", help=f"of all runs (default: {output})")
    add("--program", default="", metavar="FILE", help=f"path of {NAME} (default: of this one)")
    add(
        "--credential",
        action="append",
        default=[],
        metavar="KEY=FILE",
        help="file with a token, password, ca.crt, tls.crt, tls.key, aws-credentials or"
        " google-credentials; may be repeated",
    )
    add("--kubeconfig", default="", metavar="FILE", help="for --kubernetes")
    if platform == "systemd":
        add("--name", default=NAME, help=f"of the units (default: {NAME})")
        add("--user", default="", help="owner of the reports (default: one of the service's own)")


def _add_kubernetes(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--name", default=NAME, help=f"of the CronJob (default: {NAME})")
    add("--namespace", default="monitoring", metavar="NS", help="of all (default: monitoring)")
    add("--image", default="", help="made from the Containerfile (default: with this version)")
    add(
        "--secret",
        default="",
        metavar="NAME:KEY,…",
        help="Secret with some of: token, username, password, ca.crt, tls.crt, tls.key,"
        " aws-credentials, google-credentials, and notify, the addresses of services to notify",
    )
    add("--claim", default="", metavar="NAME", help="volume for the reports (default: a new one)")
    add("--volume-size", default="10Gi", metavar="Q", help="of the new one (default: 10Gi)")
    add("--output", default="/reports", metavar="DIR", help="where it is mounted, or s3://…")
    add("--service-account", default="", metavar="NAME", help="one that is there, for a store")
    add("--cpu", default="2", metavar="Q", help="processors at most (default: 2)")
    add("--memory", default="2Gi", metavar="Q", help="memory at most (default: 2Gi)")


def schedule(options: argparse.Namespace) -> int:
    """Print the schedule."""
    plan = _plan(options)
    text = {"kubernetes": _kubernetes, "cron": _cron, "systemd": _systemd}[options.platform](
        plan, options
    )
    if plan.gap:
        say(f"each report looks at {plan.window}; {plan.gap} until the next begins are in none")
    if plan.keep is None:
        say("reports are never removed without --keep")
    print(text, end="")
    return 0


def _plan(options: argparse.Namespace) -> Plan:
    from cilium_analysis.report.schedule import Plan

    return Plan(
        source=options.source,
        timing=_timing(options),
        window=options.window,
        topics=tuple(options.topics),
        baseline=options.baseline,
        step=options.step,
        match=options.match,
        timezone=options.timezone,
        fail_on=options.fail_on,
        jobs=options.jobs,
        kubernetes=options.kubernetes,
        cilium_namespace=options.cilium_namespace,
        username=options.username,
        tenant=options.tenant,
        keep=options.keep,
        notify_on=options.notify_on or "",
        link=options.link or "",
    )


def _timing(options: argparse.Namespace) -> Timing:
    from cilium_analysis.report.schedule import Timing

    return Timing(options.cron) if options.cron else Timing.every(options.every or _OFTEN)


def _kubernetes(plan: Plan, options: argparse.Namespace) -> str:
    from cilium_analysis.report.schedule import CronJob, Secret, manifests
    from cilium_analysis.report.schedule.kubernetes import IMAGE

    if options.notify:
        hint = "write the addresses into the key notify of a Secret, and give --secret NAME:notify"
        raise ParameterError(f"a pod cannot see the files of this machine for --notify: {hint}")
    job = CronJob(
        name=options.name,
        namespace=options.namespace,
        image=options.image or IMAGE,
        secret=Secret.parse(options.secret) if options.secret else None,
        claim=options.claim,
        volume_size=options.volume_size,
        output=options.output,
        service_account=options.service_account,
        cpu=options.cpu,
        memory=options.memory,
    )
    return manifests(plan, job)


def _cron(plan: Plan, options: argparse.Namespace) -> str:
    from cilium_analysis.report.schedule import crontab

    return crontab(
        plan,
        program=options.program or _this_program(),
        output=options.output or _CRON_OUTPUT,
        credentials=_credentials(options),
    )


def _systemd(plan: Plan, options: argparse.Namespace) -> str:
    from cilium_analysis.report.schedule import Service, units

    service = Service(
        name=options.name,
        program=options.program or _this_program(),
        output=options.output,
        user=options.user,
        credentials=tuple(_credentials(options)),
    )
    if service.in_a_home:
        say(f"{service.program} is in a home, which services cannot read as a rule: see --program")
    return units(plan, service)


def _credentials(options: argparse.Namespace) -> Sequence[Credential]:
    from cilium_analysis.report.schedule import Credential

    found = [Credential.parse(text) for text in options.credential]
    kubeconfig = [Credential("kubeconfig", options.kubeconfig)] if options.kubeconfig else []
    notify = [Credential.addresses(text) for text in options.notify]
    return [*found, *kubeconfig, *notify]


def _this_program() -> str:
    """Find the command beside the Python that runs, where pip puts it."""
    beside = Path(sys.executable).parent / NAME
    return str(beside) if beside.is_file() else shutil.which(NAME) or NAME
