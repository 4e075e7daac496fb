"""The command that prints schedules of reports: for cron, systemd and Kubernetes."""

from __future__ import annotations

import argparse
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cilium_analysis.cli.options import (
    add_cilium_namespace,
    add_command,
    add_comparison,
    add_fail_on,
    add_grafana,
    add_routine,
    add_text,
    add_textfile,
    add_workloads,
    number,
    workloads,
)
from cilium_analysis.cli.words import NAME, put_file, say
from cilium_analysis.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cilium_analysis.schedule import Credential, FleetPlan, Plan, Secret

_OFTEN = "1h"
_CRON_OUTPUT = "cilium-analysis-reports"
_NOTIFY = "services to notify: file:/PATH of a file with addresses, one per line"
_EPILOG = """\
Credentials are named, as files or keys of a Secret, and never printed. The environment of this
command has no influence: the schedule says all that a run uses.
"""
#: Options that say of one server what a fleet file says of each cluster.
_SAID_BY_A_FLEET = (
    *("source", "window", "baseline", "step", "match", "jobs", "kubernetes"),
    *("username", "tenant", "credential", "kubeconfig", "workload", "from", "to"),
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
        # A pod takes --notify too, to say what to do instead.
        add_routine(one, notify=argparse.SUPPRESS if platform == "kubernetes" else _NOTIFY)
        _add_kubernetes(one) if platform == "kubernetes" else _add_machine(one, platform)


def _add_plan(parser: argparse.ArgumentParser) -> None:
    """Add what to report on, and when. No variable of the environment is a default here."""
    add, text = parser.add_argument, partial(add_text, parser)
    add("topics", nargs="*", metavar="TOPIC", help="notebooks to run (default: all)")
    text("--source", "URL", "URL of a Prometheus-compatible server, or a way to one, as of report")
    text("--fleet", "FILE", "YAML that names clusters to report on, instead of --source")
    add(
        "--workers",
        type=partial(number, what="workers"),
        metavar="N",
        help="of a fleet: reports to make at a time (default: 2)",
    )
    text("--memory-limit", "B", "of a fleet: memory of each worker (default: 2GiB)")
    often = parser.add_mutually_exclusive_group()
    add_text(often, "--every", "D", "time between two reports: 15m, 1h (default), 6h, 1d, …")
    add_text(often, "--cron", "EXPR", "cron expression, instead of --every, such as '5 * * * *'")
    text("--window", "D", "length of the window of each report (default: as --every, or 1h)")
    add_comparison(parser)
    add_fail_on(parser)
    add(
        "--jobs",
        type=partial(number, what="notebooks"),
        default=0,
        metavar="N",
        help="notebooks to run at a time (default: 2)",
    )
    add("--pdf", action="store_true", help="also make a PDF of each report")
    add_grafana(parser)
    text(
        "--kubernetes",
        "WHERE",
        "read the Kubernetes API too, as in-cluster or a context",
    )
    add_cilium_namespace(parser)
    # A CronJob has a --namespace of its own.
    add_workloads(parser, namespace=False)
    text("--username", "NAME", "user name for basic authentication")
    text("--tenant", "NAME", "tenant to send as X-Scope-OrgID")


def _add_machine(parser: argparse.ArgumentParser, platform: str) -> None:
    """Add the options of cron and systemd."""
    add, text = parser.add_argument, partial(add_text, parser)
    output = f"~/{_CRON_OUTPUT}" if platform == "cron" else "/var/lib/NAME"
    text("--output", "DIR", f"directory of all runs (default: {output})")
    text("--program", "FILE", f"path of {NAME} (default: of this one)")
    add(
        "--credential",
        action="append",
        default=[],
        metavar="KEY=FILE",
        help="file with a token, password, ca.crt, tls.crt, tls.key, http-config, grafana-token,"
        " aws-credentials or google-credentials; may be repeated",
    )
    text("--kubeconfig", "FILE", "kubeconfig for --kubernetes, or for --source kubernetes:")
    add_textfile(parser)
    if platform == "systemd":
        add("--name", default=NAME, help=f"name of both units (default: {NAME})")
        add(
            "--user",
            default="",
            help="user who owns the reports (default: one that systemd makes for the service)",
        )


def _add_kubernetes(parser: argparse.ArgumentParser) -> None:
    add, text = parser.add_argument, partial(add_text, parser)
    add("--name", default=NAME, help=f"name of the CronJob (default: {NAME})")
    text("--namespace", "NS", "namespace of all (default: monitoring)", default="monitoring")
    add(
        "--image",
        default="",
        help="image made from the Containerfile (default: cilium-analysis with this version)",
    )
    text(
        "--secret",
        "NAME:KEY,…",
        "Secret with some of: token, username, password, ca.crt, tls.crt, tls.key, http-config,"
        " grafana-token, aws-credentials, google-credentials, and notify, the addresses of services"
        " to notify",
    )
    text("--claim", "NAME", "existing PersistentVolumeClaim for the reports (default: a new one)")
    text("--volume-size", "Q", "size of the new volume (default: 10Gi)", default="10Gi")
    text(
        "--output",
        "DIR",
        "directory of all runs in the pod (default: /reports), or s3://…",
        default="/reports",
    )
    text(
        "--service-account",
        "NAME",
        "existing one that may write to a store (default: a new one)",
    )
    text("--cpu", "Q", "processors at most (default: 2, or --workers)")
    text("--memory", "Q", "memory at most (default: 2Gi, or that of all workers)")


def schedule(options: argparse.Namespace) -> int:
    """Print the schedule."""
    plan = _plan(options)
    text = {"kubernetes": _kubernetes, "cron": _cron, "systemd": _systemd}[options.platform](
        plan, options
    )
    if gap := plan.timing.gap(plan.window):
        say(f"each report covers {plan.window}; no report covers the {gap} between them")
    if plan.keep is None:
        say("reports are never removed without --keep")
    put_file(text)
    return 0


def _plan(options: argparse.Namespace) -> Plan | FleetPlan:
    from cilium_analysis.schedule import Plan

    if options.fleet:
        return _fleet_plan(options)
    if not options.source:
        raise ParameterError("nothing to report on: give --source http://…, or --fleet FILE")
    if options.workers or options.memory_limit:
        raise ParameterError("--workers and --memory-limit are for a fleet: give --fleet FILE")
    return Plan(
        source=options.source,
        window=options.window,
        topics=tuple(options.topics),
        baseline=options.baseline,
        step=options.step,
        match=options.match,
        jobs=options.jobs,
        kubernetes=options.kubernetes,
        cilium_namespace=options.cilium_namespace,
        workloads=workloads(options),
        textfile=getattr(options, "textfile", ""),
        grafana=options.grafana,
        annotate=options.annotate,
        username=options.username,
        tenant=options.tenant,
        **_routine(options),
    )


def _fleet_plan(options: argparse.Namespace) -> FleetPlan:
    from cilium_analysis.schedule import FleetPlan
    from cilium_analysis.schedule.fleets import check_machine

    for name in ("textfile", "grafana", "annotate"):
        if getattr(options, name, ""):
            raise ParameterError(f"--{name} is for one server: leave it out")
    given = [name for name in _SAID_BY_A_FLEET if getattr(options, name, None)]
    if given or options.topics:
        named = [f"--{name}" for name in given] + list(options.topics)
        raise ParameterError(f"the fleet file says what to report on: leave out {', '.join(named)}")
    plan = FleetPlan(
        file=Path(options.fleet),
        workers=options.workers or 2,
        memory_limit=options.memory_limit or "2GiB",
        **_routine(options),
    )
    if options.platform != "kubernetes":
        check_machine(plan, home=options.platform == "cron")
    return plan


def _routine(options: argparse.Namespace) -> dict[str, Any]:
    """Give what every plan takes."""
    from cilium_analysis.schedule import Timing

    return {
        "timing": Timing(options.cron) if options.cron else Timing.every(options.every or _OFTEN),
        "timezone": options.timezone,
        "fail_on": options.fail_on or "",
        "keep": options.keep,
        "pdf": options.pdf,
        "notify_on": options.notify_on or "",
        "link": options.link or "",
    }


def _kubernetes(plan: Plan | FleetPlan, options: argparse.Namespace) -> str:
    from cilium_analysis.schedule import CronJob, FleetPlan, manifests
    from cilium_analysis.schedule.kubernetes import IMAGE

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
    from cilium_analysis.schedule import Secret

    if not options.secret:
        return None
    if not options.fleet:
        return Secret.parse(options.secret)
    name, colon, keys = options.secret.partition(":")
    if colon and keys != "notify":
        raise ParameterError("a fleet file names its keys: give --secret NAME, or NAME:notify")
    return Secret(name, ("notify",) if colon else ())


def _cron(plan: Plan | FleetPlan, options: argparse.Namespace) -> str:
    from cilium_analysis.schedule import crontab

    return crontab(
        plan,
        program=options.program or _this_program(),
        output=options.output or _CRON_OUTPUT,
        credentials=_credentials(options),
    )


def _systemd(plan: Plan | FleetPlan, options: argparse.Namespace) -> str:
    from cilium_analysis.schedule import Service, units

    service = Service(
        name=options.name,
        program=options.program or _this_program(),
        output=options.output,
        user=options.user,
        credentials=tuple(_credentials(options)),
    )
    if service.in_a_home:
        say(f"{service.program} is in a home, which services usually cannot read: see --program")
    if options.textfile and not options.user:
        where = Path(options.textfile).parent
        say(f"a service with a user of its own usually cannot write to {where}: see --user")
    return units(plan, service)


def _credentials(options: argparse.Namespace) -> Sequence[Credential]:
    from cilium_analysis.schedule import Credential

    found = [Credential.parse(text) for text in options.credential]
    found += [Credential("kubeconfig", options.kubeconfig)] if options.kubeconfig else []
    return [*found, *map(Credential.addresses, options.notify)]


def _this_program() -> str:
    """Find the command beside the Python that runs, where pip puts it."""
    beside = Path(sys.executable).parent / NAME
    return str(beside) if beside.is_file() else shutil.which(NAME) or NAME
