"""A line for a crontab."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cilium_analysis.errors import ParameterError
from cilium_analysis.objectstore import Address, located
from cilium_analysis.report.schedule import checks
from cilium_analysis.report.schedule.credentials import TENANT_VARIABLE, USERNAME_VARIABLE
from cilium_analysis.report.schedule.plan import check_files
from cilium_analysis.report.schedule.quoting import for_crontab

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cilium_analysis.report.schedule.credentials import Credential
    from cilium_analysis.report.schedule.fleets import FleetPlan
    from cilium_analysis.report.schedule.plan import Plan

#: Crons cut or refuse a longer command (MAX_COMMAND of Vixie's) [bytes].
_LONGEST = 998
#: Directory of the log where reports go to an object store.
LOG = "cilium-analysis-reports"
#: No exit code of ours; EX_TEMPFAIL of sysexits.h.
_BUSY = 75
#: macOS and the BSDs have no flock; there, the line does without.
_GUARD = f"! command -v flock >/dev/null || flock -n 9 || exit {_BUSY}"


def crontab(
    plan: Plan | FleetPlan, *, program: str, output: str, credentials: Sequence[Credential] = ()
) -> str:
    """Give the line, below comments that say what it does.

    Parameters
    ----------
    plan
        What to run, and when.
    program
        Path of the command.
    output
        Directory of all runs, and of the log; if relative, in the user's home.
    credentials
        Files to read credentials from.

    Raises
    ------
    ParameterError
        If the line cannot be written.
    """
    checks.one_line(output, "--output")
    checks.one_line(program, "--program")
    check_files(plan, credentials, home=True)
    # The log and the lock stay on the machine.
    directory = LOG if isinstance(located(output), Address) else output
    where = directory if directory.startswith("/") else f"./{directory}"
    log = f"{where.rstrip('/')}/cron.log"
    command = _command(plan, program, output, credentials, where=where, log=log)
    if (length := len(command.encode())) > _LONGEST:
        raise ParameterError(
            f"the command has {length} bytes, and crons cut or refuse it at {_LONGEST}: shorten the"
            " matchers, or use systemd"
        )
    return f"{_comments(plan, output, log)}{plan.timing.cron} {command}\n"


def _command(
    plan: Plan | FleetPlan,
    program: str,
    output: str,
    credentials: Sequence[Credential],
    *,
    where: str,
    log: str,
) -> str:
    arguments = plan.arguments(output=output)
    run = " ".join(_word(word) for word in [*_variables(plan, credentials), program, *arguments])
    # Beside the reports, where whoever runs it may write; one each for schedules that share them.
    lock = f"{where.rstrip('/')}/.cron-{_digest(arguments)}.lock"
    # What goes wrong must not only be in the log: what a command prints, cron sends by mail.
    words = [for_crontab(word) for word in (where, log, lock, f"{plan.source}: see {log}")]
    return (
        f"mkdir -p {words[0]} && ({_GUARD}; {run} >>{words[1]} 2>&1) 9>{words[2]}"
        f' || echo "cilium-analysis ended with $? ({_BUSY}: the last one still runs) on" {words[3]}'
    )


def _digest(arguments: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(arguments).encode()).hexdigest()[:8]


def _comments(plan: Plan | FleetPlan, output: str, log: str) -> str:
    there = "" if output.startswith("/") or "://" in output else "~/"
    home = "" if log.startswith("/") else "~/"
    return (
        f"# cilium-analysis: {plan.summary}\n"
        f"# Reports: {there}{output.rstrip('/')}/index.html. Log: {home}{log.removeprefix('./')}."
        " It runs by the clock of this machine.\n"
        "# A run that is due while the last one goes on is left out, where flock (util-linux) is.\n"
    )


def _variables(plan: Plan | FleetPlan, credentials: Sequence[Credential]) -> list[str]:
    plain = {USERNAME_VARIABLE: plan.username, TENANT_VARIABLE: plan.tenant}
    files = {one.variable: one.file for one in credentials}
    return [f"{name}={value}" for name, value in (files | plain).items() if value]


def _word(text: str) -> str:
    """Quote a word; the name of an assignment or option stays as it is, for people to read."""
    name, equals, value = text.partition("=")
    bare = name.replace("-", "").replace("_", "").isalnum() and name.isascii()
    return f"{name}={for_crontab(value)}" if equals and bare else for_crontab(text)
