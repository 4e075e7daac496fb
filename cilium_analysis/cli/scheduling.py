"""The command that prints what runs reports again and again: for cron, systemd, Kubernetes."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cilium_analysis.cli.fleets import workers
from cilium_analysis.cli.options import add_command, add_fail_on, add_routine, jobs
from cilium_analysis.cli.words import NAME, put_file, say
from cilium_analysis.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cilium_analysis.report.schedule import Credential, FleetPlan, Plan, Secret, Timing

_OFTEN = "1h"
_CRON_OUTPUT = "cilium-analysis-reports"
_NOTIFY = "file of addresses of services to notify, one per line: file:/PATH"
_EPILOG = """\
Credentials are named, by files or keys of a Secret, and never printed. Nothing is taken from the
environment: what is printed is all there is.
"""
#: Options that say of one server what a fleet file says of each.
_SAID_BY_A_FLEET = (
    *("source", "window", "baseline", "step", "match", "jobs", "kubernetes"),
    *("username", "tenant", "credential", "kubeconfig"),
)
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
    add("--source", default="", metavar="URL", help="of a Prometheus-compatible server")
    add(
        "--fleet", default="", metavar="FILE", help="instead: YAML that names clusters to report on"
    )
    add("--workers", type=workers, metavar="N", help="of a fleet: reports at a time (default: 2)")
    add("--memory-limit", default="", metavar="B", help="of each worker (default: 2GiB)")
    often = parser.add_mutually_exclusive_group()
    often.add_argument("--every", default="", metavar="D", help="15m, 1h (default), 6h, 1d, …")
    often.add_argument("--cron", default="", metavar="EXPR", help="instead, such as '5 * * * *'")
    add("--window", default="", metavar="D", help="to report on (default: as --every, or 1h)")
    add("--baseline", default="", metavar="B", help="previous (default), 1d, 1w, or T/T")
    add("--step", default="", metavar="D", help="such as 30s (default: by the window's length)")
    add("--timezone", default="UTC", metavar="Z", help="such as Europe/Berlin (default: UTC)")
    add("--match", default="", metavar="M", help="""narrow all queries: 'cluster="prod"'""")
    add_fail_on(parser)
    add("--jobs", type=jobs, default=0, metavar="N", help="notebooks at a time (default: 2)")
    add("--pdf", action="store_true", help="make a PDF of each report too")
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
    add("--cpu", default="", metavar="Q", help="processors at most (default: 2, or --workers)")
    add("--memory", default="", metavar="Q", help="memory at most (default: 2Gi, or all workers')")


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
    put_file(text)
    return 0


def _plan(options: argparse.Namespace) -> Plan | FleetPlan:
    from cilium_analysis.report.schedule import Plan

    if options.fleet:
        return _fleet_plan(options)
    if not options.source:
        raise ParameterError("nothing to report on: give --source http://…, or --fleet FILE")
    if options.workers or options.memory_limit:
        raise ParameterError("--workers and --memory-limit are for a fleet: give --fleet FILE")
    return Plan(
        source=options.source,
        timing=_timing(options),
        window=options.window,
        topics=tuple(options.topics),
        baseline=options.baseline,
        step=options.step,
        match=options.match,
        timezone=options.timezone,
        fail_on=options.fail_on or "",
        jobs=options.jobs,
        kubernetes=options.kubernetes,
        cilium_namespace=options.cilium_namespace,
        username=options.username,
        tenant=options.tenant,
        pdf=options.pdf,
        keep=options.keep,
        notify_on=options.notify_on or "",
        link=options.link or "",
    )


def _fleet_plan(options: argparse.Namespace) -> FleetPlan:
    from cilium_analysis.report.schedule import FleetPlan
    from cilium_analysis.report.schedule.fleets import check_machine

    given = [name for name in _SAID_BY_A_FLEET if getattr(options, name, None)]
    if given or options.topics:
        named = [f"--{name}" for name in given] + list(options.topics)
        raise ParameterError(f"the fleet file says what to report on: leave out {', '.join(named)}")
    plan = FleetPlan(
        file=Path(options.fleet),
        timing=_timing(options),
        timezone=options.timezone,
        workers=options.workers or 2,
        memory_limit=options.memory_limit or "2GiB",
        fail_on=options.fail_on or "",
        keep=options.keep,
        pdf=options.pdf,
        notify_on=options.notify_on or "",
        link=options.link or "",
    )
    if options.platform != "kubernetes":
        check_machine(plan)
    return plan


def _timing(options: argparse.Namespace) -> Timing:
    from cilium_analysis.report.schedule import Timing

    return Timing(options.cron) if options.cron else Timing.every(options.every or _OFTEN)


def _kubernetes(plan: Plan | FleetPlan, options: argparse.Namespace) -> str:
    from cilium_analysis.report.schedule import CronJob, FleetPlan, manifests
    from cilium_analysis.report.schedule.cronjob import IMAGE

    if options.notify:
        hint = "write the addresses into the key notify of a Secret, and give --secret NAME:notify"
        raise ParameterError(f"a pod cannot see the files of this machine for --notify: {hint}")
    job = CronJob(
        name=options.name,
        namespace=options.namespace,
        image=options.image or IMAGE,
        secret=_secret(options),
        claim=options.claim,
        volume_size=options.volume_size,
        output=options.output,
        service_account=options.service_account,
        cpu=options.cpu or (str(plan.workers) if isinstance(plan, FleetPlan) else "2"),
        memory=options.memory or (plan.memory if isinstance(plan, FleetPlan) else "2Gi"),
    )
    return manifests(plan, job)


def _secret(options: argparse.Namespace) -> Secret | None:
    from cilium_analysis.report.schedule import Secret

    if not options.secret:
        return None
    if not options.fleet:
        return Secret.parse(options.secret)
    name, colon, keys = options.secret.partition(":")
    if colon and keys != "notify":
        raise ParameterError("a fleet file names its keys: give --secret NAME, or NAME:notify")
    return Secret(name, ("notify",) if colon else ())


def _cron(plan: Plan | FleetPlan, options: argparse.Namespace) -> str:
    from cilium_analysis.report.schedule import crontab

    return crontab(
        plan,
        program=options.program or _this_program(),
        output=options.output or _CRON_OUTPUT,
        credentials=_credentials(options),
    )


def _systemd(plan: Plan | FleetPlan, options: argparse.Namespace) -> str:
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
