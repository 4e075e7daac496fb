"""A line for a crontab, quoted for cron and for the shell that cron starts."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from cilium_analysis.errors import ParameterError
from cilium_analysis.schedule import checks
from cilium_analysis.schedule.credentials import TENANT_VARIABLE, USERNAME_VARIABLE
from cilium_analysis.schedule.plan import check_files
from cilium_analysis.storage import Address, located

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cilium_analysis.schedule.credentials import Credential
    from cilium_analysis.schedule.fleets import FleetPlan
    from cilium_analysis.schedule.plan import Plan

#: Crons cut or refuse a longer command (MAX_COMMAND of Vixie's) [bytes].
_LONGEST = 998
#: Directory of the log where reports go to an object store.
LOG = "cilium-analysis-reports"
#: No exit code of ours; EX_TEMPFAIL of sysexits.h.
_BUSY = 75
#: macOS and the BSDs have no flock; there, the line does without.
_GUARD = f"! command -v flock >/dev/null || flock -n 9 || exit {_BUSY}"
_PLAIN = re.compile(r"[\w./:@,=+-]+", re.ASCII)
#: What cron or the shell would read, or an opening that either would.
_RUNS = re.compile(r"%|'+|[^%'\\]*\\|[^%'\\]+")


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
    """
    checks.one_line(output, "--output")
    checks.one_line(program, "--program")
    check_files(plan, credentials, home=True)
    # The log and the lock stay on the machine.
    directory = LOG if isinstance(located(output), Address) else output
    where = directory if directory.startswith("/") else f"./{directory}"
    log = f"{where.rstrip('/')}/cron.log"
    arguments = plan.arguments(output=output)
    command = _command(plan, [program, *arguments], credentials, where=where, log=log)
    if (length := len(command.encode())) > _LONGEST:
        raise ParameterError(
            f"the command has {length} bytes, and crons cut or refuse it at {_LONGEST}: shorten the"
            " matchers, or use systemd"
        )
    reports = output if output.startswith("/") or "://" in output else f"~/{output}"
    shown_log = log if log.startswith("/") else f"~/{log.removeprefix('./')}"
    return (
        f"# cilium-analysis: {plan.summary}\n"
        f"# Reports: {reports.rstrip('/')}/index.html. Log: {shown_log}."
        " It runs by the clock of this machine.\n"
        "# A run is left out if the last one still goes on, where flock (util-linux) exists.\n"
        f"{plan.timing.cron} {command}\n"
    )


def _command(
    plan: Plan | FleetPlan,
    words: Sequence[str],
    credentials: Sequence[Credential],
    *,
    where: str,
    log: str,
) -> str:
    files = {one.variable: one.file for one in credentials}
    variables = files | {USERNAME_VARIABLE: plan.username, TENANT_VARIABLE: plan.tenant}
    given = [f"{name}={value}" for name, value in variables.items() if value]
    run = " ".join(_word(word) for word in [*given, *words])
    # Beside the reports, where the user may write; one each for schedules that share a directory.
    digest = hashlib.sha256("\0".join(words[1:]).encode()).hexdigest()[:8]
    lock = f"{where.rstrip('/')}/.cron-{digest}.lock"
    # An error must not only be in the log: what a command prints, cron sends by mail.
    about = _quoted(f"{plan.source} (see {log})")
    return (
        f"mkdir -p {_quoted(where)} && ({_GUARD}; {run} >>{_quoted(log)} 2>&1) 9>{_quoted(lock)}"
        f' || echo "cilium-analysis ended with $? ({_BUSY}: the last one still runs) on" {about}'
    )


def _word(text: str) -> str:
    """Quote a word; the name of an assignment or option stays as it is, for people to read."""
    name, equals, value = text.partition("=")
    bare = name.replace("-", "").replace("_", "").isalnum() and name.isascii()
    return f"{name}={_quoted(value)}" if equals and bare else _quoted(text)


def _quoted(text: str) -> str:
    r"""Quote a text for the shell that cron starts.

    An unescaped ``%`` ends the command, and crons differ in whether they take the backslash of
    ``\%`` away and whether one backslash escapes another. So a ``%`` stands outside of quotes,
    where the shell takes away what cron has left, and no backslash stands before another.
    """
    if _PLAIN.fullmatch(text):
        return text

    def quoted(run: str) -> str:
        if run == "%":
            return r"\%"
        return f'"{run}"' if run[0] == "'" else f"'{run}'"

    return "".join(map(quoted, _RUNS.findall(text))) or "''"
